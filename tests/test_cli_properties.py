"""Any arguments of any verb: accepted, or one line on standard error and exit status 2."""

import contextlib
import io
import unicodedata

import click
import numpy as np
import pytest
from conftest import make_model
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import kddim
from faults.areas.arguments import must_refuse, values_of
from kddim import cli

VERBS = sorted(cli.app.commands)
# Values that work, for required parameters and for some others.
VALUES = {
    "source": ("digits",), "model": ("m.keras",), "run": ("runs/m",), "models": ("m.keras",), "first": ("images.npz",), "second": ("images.npz",),
    "output": ("new", "new.npz", "new.png", "new.json"), "num_images": ("3",),
    "diffusion_steps": ("2", "3"), "steps": ("1,2",), "image_size": ("8", "8x16"), "seed": ("1",),
    "shard": ("1/1", "2/3"), "devices": ("1", "all"),
    "picture": ("p.png",), "pictures": ("p.png",), "mask": ("p.png",),
    "encoder": ("random_conv",), "kid_encoder": ("none", "random_conv"), "widths": ("4,8",),
}  # fmt: skip
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=30)


class Reached(BaseException):
    """The command passed its checks and began to compute."""


def reach(*args, **options):
    raise Reached


def refuse_download(*args, **options):
    raise OSError("no network in this test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    np.savez(path / "images.npz", images=np.zeros((4, 8, 8, 1), "uint8"))
    (path / "m.keras").write_bytes(b"never read")
    Image.new("L", (8, 8), 255).save(path / "p.png")
    return path


@pytest.fixture
def shallow(folder, monkeypatch):
    """A working directory in which models load at once and nothing heavy is computed."""
    images = np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32")
    model = make_model(images, widths=(4, 8))
    monkeypatch.chdir(folder)
    monkeypatch.setattr("kddim.runs.load_model", lambda *args, **options: model)
    monkeypatch.setattr("kddim.data._load_parts", reach)
    monkeypatch.setattr("keras.utils.get_file", refuse_download)
    monkeypatch.setattr("kddim.metrics.encoders.base.Encoder.__call__", reach)
    for name in (
        "generate",
        "encode",
        "decode",
        "reconstruct",
        "interpolate",
        "inpaint",
        "image_to_image",
        "sampling_denoiser",
    ):
        monkeypatch.setattr(kddim.DiffusionModel, name, reach)
    return folder


def values(parameter):
    """Strategy of texts for a parameter: values that work, nasty ones, and any text."""
    kind = parameter.type
    choices = list(VALUES.get(parameter.name, ())) + list(values_of(parameter))
    if isinstance(kind, click.Choice):
        choices += list(kind.choices) if parameter.name != "backend" else []
    return st.one_of(st.sampled_from(choices), st.integers().map(str), st.floats().map(str), TEXT)


def command_lines(verb):
    """Strategy of argument lists for a verb: its arguments, and any of its options."""
    parameters = cli.app.commands[verb].params
    places = [p for p in parameters if isinstance(p, click.Argument)]
    options = [p for p in parameters if isinstance(p, click.Option)]
    positional = st.tuples(*(st.one_of(st.sampled_from(VALUES.get(p.name, ("x",))), values(p)) for p in places))  # fmt: skip
    chosen = st.lists(st.sampled_from(options), max_size=4).flatmap(
        lambda found: st.tuples(*(written(p) for p in found))
    )
    needed = [p for p in options if p.required]
    required = st.tuples(*(written(p, True) for p in needed))
    return st.tuples(positional, required, chosen).map(
        lambda parts: [verb, *parts[0], *(word for option in (*parts[1], *parts[2]) for word in option)]
    )  # fmt: skip


def written(option, works=False):
    """Strategy of the words of an option."""
    if option.is_flag:
        return st.just((option.opts[0],))
    choices = st.sampled_from(VALUES[option.name]) if works else values(option)
    return choices.map(lambda value: (option.opts[0], value))


def outcome(arguments):
    """Exit status of a command, or "reached", with its standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(arguments)
        except SystemExit as stop:
            return stop.code, err.getvalue(), out.getvalue()
        except Reached:
            return "reached", err.getvalue(), out.getvalue()
    raise AssertionError("the command line returned")


@pytest.mark.parametrize("verb", VERBS)
def test_any_arguments_are_accepted_or_refused_in_one_line(verb, shallow):
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines(verb))
    def check(arguments):
        before = sorted(shallow.rglob("*"))
        status, err, _ = outcome(arguments)
        assert status in ("reached", 0, 2), (status, err)
        if status == 2:
            errors = [line for line in err.splitlines() if line.startswith("kddim: error: ")]
            assert len(errors) == 1, err
            assert err.rstrip("\n").splitlines()[-1] == errors[0]
            assert "Traceback" not in err
            controls = [c for c in errors[0] if unicodedata.category(c) == "Cc"]
            assert not controls, errors
            assert sorted(shallow.rglob("*")) == before

    check()


@pytest.mark.parametrize("verb", VERBS)
def test_values_that_no_program_takes_are_refused(verb, shallow):
    """Signs, not-a-numbers and empty sources, one option at a time."""
    for parameter in cli.app.commands[verb].params:
        if getattr(parameter, "is_flag", False) or parameter.name == "backend":
            continue
        for value in values_of(parameter):
            if must_refuse(parameter, value):
                arguments = with_value(verb, parameter, value)
                status, err, _ = outcome(arguments)
                assert status == 2, (arguments, status, err)


def with_value(verb, parameter, value):
    """Command line of a verb that works except for one value."""
    words = [verb]
    for other in cli.app.commands[verb].params:
        if isinstance(other, click.Argument):
            words.append(value if other is parameter else VALUES[other.name][0])
    for other in cli.app.commands[verb].params:
        if isinstance(other, click.Option) and (other is parameter or other.required):
            chosen = value if other is parameter else VALUES[other.name][1]
            words += [f"{other.opts[0]}={chosen}"] if other.opts[0].startswith("--") else [other.opts[0], chosen]  # fmt: skip
    return words
