"""Samplers from text, such as `heun:alpha=0.5,times=log_snr`."""

import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any

from kddim import samplers
from kddim.registry import field_names
from kddim.samplers.base import Sampler

# Types of values in the order in which they are tried, with functions that read a value and
# phrases for error messages.
_KINDS: dict[Any, tuple[Callable[[str], Any], str]] = {
    type(None): (lambda text: {"none": None}[text.lower()], "none"),
    bool: (lambda text: {"true": True, "false": False}[text.lower()], "true or false"),
    int: (int, "an integer"),
    float: (float, "a number"),
    str: (str, "a word"),
}


def make_sampler(specification: str, eta: float | None = None) -> Sampler:
    """Return the sampler that a text describes.

    The types of the fields of the sampler's class decide how the values are read. A tuple or a
    sequence is written with colons.

    Args:
        specification: `name` or `name:option=value,option=value`.
        eta: Stochasticity, at least 0, for a sampler with the option `eta`. None leaves it.

    Raises:
        ValueError: If the name, an option or a value is unknown or out of range, or if the sampler
            has no `eta`.

    Example:
        >>> make_sampler("ddim:times=1:0.5:0,clip=-1:1", eta=0.5)
        DDIM(eta=0.5, times=(1.0, 0.5, 0.0), clip=(-1.0, 1.0))
    """
    name, _, text = specification.partition(":")
    words = [word.partition("=") for word in text.split(",") if word]
    if not all(equals for _, equals, _ in words):
        raise ValueError(
            f"Expected a sampler as name:option=value,option=value. Received: {specification!r}"
        )
    kind = type(samplers.get(name))
    hints = typing.get_type_hints(kind)
    known = field_names(kind)
    unknown = sorted({option for option, _, _ in words} - set(known))
    if unknown:
        raise ValueError(
            f"Expected options of {name} among {', '.join(known)}. Received: {', '.join(unknown)}"
        )
    options = {}
    for option, _, value in words:
        try:
            options[option] = parse_value(value, hints[option])
        except ValueError as error:
            raise ValueError(
                f"Expected options of {name} such that {option} is {error}. "
                f"Received: {option}={value}"
            ) from None
    return with_eta(kind(**options), eta)


def with_eta(sampler: Sampler, eta: float | None) -> Sampler:
    """Return a sampler with another stochasticity.

    Args:
        sampler: The sampler.
        eta: Factor of the standard deviation of the added noise, at least 0: 0 is
            deterministic, 1 is DDPM (DDIM paper, Eq. 16). None returns `sampler` as it is. For
            `kddim.samplers.Auto`, a number chooses `DDIM`.

    Raises:
        ValueError: If the sampler has no option `eta`, or `eta` is out of range.
    """
    if eta is None:
        return sampler
    if isinstance(sampler, samplers.Auto):
        return samplers.DDIM(eta)
    if "eta" not in field_names(sampler):
        raise ValueError(
            "Expected no `eta` (--eta), except for a sampler that has this option, such as ddim. "
            f"Received: eta={eta:g} for {sampler}"
        )
    return dataclasses.replace(sampler, eta=eta)  # type: ignore[type-var]


def parse_value(text: str, hint: Any) -> Any:
    """Return the value of a given type that a text stands for.

    Args:
        text: The text, such as `0.5`, `log_snr`, `none` or `-1:1`.
        hint: Type of the value: None, bool, int, float, str, a tuple or a sequence of these, or
            a union of such types. `Any` is a number or a word.

    Raises:
        ValueError: If the text stands for no such value. The message names the kinds of values
            that would do, as a phrase.
    """
    readers = [_reader(kind) for kind in _alternatives(hint)]
    for read, _ in readers:
        with contextlib.suppress(ValueError, KeyError):
            return read(text)
    raise ValueError(" or ".join(phrase for _, phrase in readers))


def _alternatives(hint: Any) -> list[Any]:
    """Return the types that a hint allows, with `str` last, since each text is a string."""
    if hint is Any:
        return [int, float, str]
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    return sorted(kinds, key=lambda kind: list(_KINDS).index(kind) if kind in _KINDS else 0)


def _reader(kind: Any) -> tuple[Callable[[str], Any], str]:
    """Return the function that reads a value of a type, and the phrase for the type."""
    sequence = functools.partial(_read_sequence, kind), "numbers separated by colons"
    return _KINDS.get(kind, sequence)


def _read_sequence(kind: Any, text: str) -> tuple[Any, ...]:
    parts, elements = text.split(":"), typing.get_args(kind)
    if typing.get_origin(kind) is not tuple or elements[1:] == (Ellipsis,):
        elements = elements[:1] * max(len(parts), 2)  # one number is no sequence
    pairs = zip(parts, elements, strict=True)
    return tuple(parse_value(part, element) for part, element in pairs)
