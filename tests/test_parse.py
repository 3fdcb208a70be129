"""Samplers from text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from kddim.samplers import DDIM, DDPM, AdamsBashforth, Heun
from kddim.samplers.parse import make_sampler, parse_value, with_eta


@pytest.mark.parametrize(
    ("text", "sampler"),
    [
        ("ddim", DDIM()),
        ("ddim:eta=0.5", DDIM(0.5)),
        ("ddim:clip=-1:1", DDIM(clip=(-1.0, 1.0))),
        ("ddim:clip=none,times=1:0.5:0", DDIM(times=(1.0, 0.5, 0.0))),
        ("ddpm:variance=large", DDPM("large")),
        ("heun:alpha=0.5,variable=sigma", Heun(0.5, "sigma")),
        ("adams_bashforth:order=3,times=log_snr", AdamsBashforth(3, "log_snr")),
    ],
)
def test_fields_decide_how_values_are_read(text, sampler):
    made = make_sampler(text)
    assert made == sampler
    for field in dataclasses.fields(sampler):
        assert type(getattr(made, field.name)) is type(getattr(sampler, field.name))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("euler", "Unknown sampler"),
        ("ddim:eta", "as name:option=value"),
        ("heun:beta=1", "Expected options of heun among alpha, variable, times, clip. Received: b"),
        ("heun:alpha=abc", "alpha is a number. Received: alpha=abc"),
        ("adams_bashforth:order=2.5", "order is an integer. Received: order=2.5"),
        ("ddim:clip=1", "clip is numbers separated by colons or none"),
        ("ddim:clip=0:1:2", "Received: clip=0:1:2"),
        ("ddim:times=0.5", "Unknown times"),
        ("ddim:times=0:1", "decreasing"),
    ],
)
def test_errors_name_the_option_and_its_kind(text, match):
    with pytest.raises(ValueError, match=match):
        make_sampler(text)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("2", int, 2),
        ("2", float, 2.0),
        ("2", str, "2"),
        ("2", int | str, 2),
        ("None", int | None, None),
        ("true", bool, True),
        ("2", Any, 2),
        ("a", Any, "a"),
        ("1:2", tuple[int, ...], (1, 2)),
        ("1:2", str | Sequence[float], (1.0, 2.0)),
        ("1", str | Sequence[float], "1"),
    ],
)
def test_values_of_many_types(text, hint, value):
    parsed = parse_value(text, hint)
    assert parsed == value
    assert type(parsed) is type(value)


def test_eta_replaces_that_of_the_sampler():
    assert with_eta(DDIM(times="log_snr"), 1) == DDIM(1, times="log_snr")
    assert with_eta(Heun(), None) == Heun()
    assert make_sampler("ddim:eta=0.5", eta=1.0) == DDIM(1.0)
    with pytest.raises(ValueError, match=r"such as ddim\. Received: eta=1 for Heun"):
        with_eta(Heun(), 1.0)
    with pytest.raises(ValueError, match="DDPM"):
        with_eta(DDPM(), 0.5)
    with pytest.raises(ValueError, match="`eta`"):
        with_eta(DDIM(), -1.0)
