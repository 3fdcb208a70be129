"""Arguments of every verb: bad types, signs, sizes, texts and paths."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from faults.attack import Attack, lost_if, wrong_if
from faults.base import TRAIN
from faults.box import Box

# A command of each verb that works, to which attacks append options.
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*TRAIN, "--epochs", "1", "--steps-per-epoch", "1", "-o", "new"),
    "generate": ("generate", "run", "-n", "2", "--diffusion-steps", "2", "-o", "new.npz"),
    "evaluate": (
        "evaluate", "run", "digits", "-n", "8", "--diffusion-steps", "2", "--encoder",
        "random_conv",
    ),
    "compare": ("compare", "pictures", "images.npz", "--encoder", "random_conv", "-n", "8"),
    "stats": ("stats", "pictures", "-o", "new.npz", "--encoder", "random_conv"),
    "sweep": (
        "sweep", "run", "digits", "--steps", "1", "--eta", "0", "-n", "8", "-o", "new",
        "--encoder", "random_conv",
    ),
    "timetable": (
        "timetable", "run", "digits", "--steps", "2", "--dtypes", "float32", "-n", "8",
        "--batch-size", "8", "--measured-steps", "2", "--repeats", "1", "-o", "new", "--encoder",
        "random_conv",
    ),
    "inpaint": (
        "inpaint", "run", "pictures/good_00.png", "pictures/good_01.png", "-n", "2",
        "--diffusion-steps", "2", "-o", "new.npz",
    ),
    "image-to-image": (
        "image-to-image", "run", "pictures", "-n", "2", "--diffusion-steps", "2", "-o", "new.npz",
    ),
    "consistency": ("consistency", "run", "--steps", "1,2", "-n", "2", "-o", "new"),
    "interpolate": (
        "interpolate", "run", "--num-pairs", "1", "-n", "3", "--grid-size", "2",
        "--diffusion-steps", "2", "-o", "new",
    ),
    "reconstruct": ("reconstruct", "run", "digits", "--steps", "1,2", "-n", "4", "-o", "new"),
    "info": ("info", "run"),
}  # fmt: skip

HUGE = str(10**12)
INTEGERS = ("-1", "0", "", "x", "1.5", "nan", HUGE, str(10**30), "1\n2")
FLOATS = ("-1", "nan", "inf", "-inf", "1e400", "1e-400", "1e38", "", "x")
LISTS = ("", ",", "0", "-1,2", "1e3", "8,", "100000000", HUGE, "x,y", ",".join(["2"] * 500))
SIZES = ("", "0", "x", "8x", "-8", "1000000", "7", "8x8x8", "8x16", "1e3", HUGE)
TEXTS = (
    "", "x", "日本語", "a\nb", "\x1b[31mred", "a" * 5000, "../..", "nowhere/at/all", "-", ",",
    "{0}", "%s", "\u202etxt", "a:b=c,d", "ddim:eta=nan", "nan",
)  # fmt: skip
PATHS = (
    "", "日本語 ñ/é", "a\nb", "\x1b[31mred", "a" * 300, "pictures", "images.npz", "run",
    "images.npz/below", "/proc/version", "d/" * 1500 + "x", ".", "nowhere/at/all.npz", "new.txt",
    "new.keras", "new..npz", "-x",
)  # fmt: skip
# Options whose value may be any integer, or may be zero.
ANY_INTEGER = {"seed", "split_seed"}
ZERO_ALLOWED = {*ANY_INTEGER, "attention_levels"}
ENDLESS_ALLOWED = {"max_minutes", "kid_max_seconds"}
# With these a long training was asked for, which is no fault.
LONG = {"epochs"}


def attacks(random: random.Random) -> Iterator[Attack]:
    yield from _single()
    yield from _pairs(random)
    yield from _findings()
    for verb in COMMANDS:
        yield _attack(f"arguments/{verb}/nothing", (verb,), None)
        yield _attack(f"arguments/{verb}/unknown option", (*COMMANDS[verb], "--nosuch"), True)


def parameters(verb: str) -> list[click.Parameter]:
    """Return the parameters of a verb that take a value."""
    from kddim.cli import app

    found = app.commands[verb].params if verb in app.commands else []
    return [p for p in found if not getattr(p, "is_flag", False) and p.name != "backend"]


def values_of(parameter: click.Parameter) -> tuple[str, ...]:
    """Return nasty values for a parameter."""
    name, kind = parameter.name, parameter.type
    if name == "image_size":
        return SIZES
    if name in ("widths", "steps", "attention_levels", "eta") and kind is click.STRING:
        return LISTS
    if isinstance(kind, (click.IntRange, type(click.INT))):
        return tuple(v for v in INTEGERS if not (name in LONG and v in (HUGE, str(10**30))))
    if isinstance(kind, (click.FloatRange, type(click.FLOAT))):
        return FLOATS
    if isinstance(kind, click.Path):
        return PATHS
    return TEXTS


def must_refuse(parameter: click.Parameter, value: str) -> bool:
    """Return True if no sensible program takes the value."""
    name, kind = parameter.name, parameter.type
    integer = isinstance(kind, (click.IntRange, type(click.INT)))
    number = integer or isinstance(kind, (click.FloatRange, type(click.FLOAT)))
    if number and value in ("", "x", "nan", "-inf", "1\n2"):
        return True
    if integer and value == "1.5":
        return True
    if number and value == "-1":
        return name not in ANY_INTEGER
    if integer and value == "0":
        return name not in ZERO_ALLOWED
    if number and value in ("inf", "1e400"):
        return name not in ENDLESS_ALLOWED
    if isinstance(kind, click.Choice):
        return True
    if name in ("source", "first", "second", "model"):
        return value == ""
    return name in ("widths", "steps", "image_size") and value in ("", ",", "0", "x", "-8")


def _single() -> Iterator[Attack]:
    for verb, command in COMMANDS.items():
        for parameter in parameters(verb):
            for number, value in enumerate(values_of(parameter)):
                name = f"arguments/{verb}/{parameter.name}/{number}"
                words = _with(command, parameter, value)
                yield _attack(name, words, must_refuse(parameter, value) or None)


def _with(command: tuple[str, ...], parameter: click.Parameter, value: str) -> tuple[str, ...]:
    if isinstance(parameter, click.Option):
        return (*command, f"{parameter.opts[-1]}={value}") if value else (
            *command, parameter.opts[0], value
        )  # fmt: skip
    place = 1 + ["model" in command[0], parameter.name in ("second",)].count(True)
    if parameter.name == "source" and command[0] in (
        "evaluate",
        "sweep",
        "timetable",
        "reconstruct",
    ):
        place = 2
    return (*command[:place], value, *command[place + 1 :])


def _pairs(random: random.Random) -> Iterator[Attack]:
    """Two nasty values at once."""
    for number in range(150):
        verb = random.choice(list(COMMANDS))
        options = [p for p in parameters(verb) if isinstance(p, click.Option)]
        command = COMMANDS[verb]
        refuse = False
        for parameter in random.sample(options, min(2, len(options))):
            value = random.choice(values_of(parameter))
            command = _with(command, parameter, value)
            refuse = refuse or must_refuse(parameter, value)
        yield _attack(f"arguments/pairs/{number}", command, refuse or None)


def _attack(
    name: str, command: tuple[str, ...], refuse: bool | None, finding: str = "", says: str = ""
) -> Attack:
    def act(box: Box) -> None:
        box.use("run", "pictures", "images.npz")
        report = box.kddim(*command)
        wrong_if(refuse and report.status == 0, "the value is taken")
        if report.status == 0:
            check_output(box, command)
        elif says:
            wrong_if(says not in report.err, f"the message does not name {says!r}")

    return Attack(name, "arguments", act, finding)


def check_output(box: Box, command: tuple[str, ...]) -> None:
    """Raise unless the output of a verb with its first name is complete."""
    verb, new = command[0], box.path("new")
    if verb == "train" and new.is_dir():
        check_run(new)
    elif verb == "generate" and box.path("new.npz").is_file():
        images = np.load(box.path("new.npz"))["images"]
        wrong_if(images.dtype != np.uint8 or images.ndim != 4, f"images {images.shape}")
    elif verb in ("sweep", "timetable", "consistency", "reconstruct") and new.is_dir():
        lost_if(not list(new.glob("*.csv")), f"no table: {sorted(p.name for p in new.iterdir())}")


def check_run(folder: Path) -> None:
    """Raise unless a run folder holds a model, settings and a finite history."""
    import csv
    import json
    import zipfile

    names = {path.name for path in folder.iterdir()}
    for name in ("model.keras", "config.json", "history.csv"):
        wrong_if(name not in names, f"success without {name}")
    wrong_if(zipfile.ZipFile(folder / "model.keras").testzip(), "the model is damaged")
    json.loads((folder / "config.json").read_text())
    with (folder / "history.csv").open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    losses = [float(row["loss"]) for row in rows]
    wrong_if(not rows or not np.isfinite(losses).all(), f"success with the losses {losses}")


def _findings() -> Iterator[Attack]:
    huge = {
        "num-images": (*COMMANDS["generate"], "-n", HUGE),
        "diffusion-steps": (*COMMANDS["generate"], "--diffusion-steps", str(10**9)),
        "grid-size": (*COMMANDS["interpolate"], "--grid-size", "100000"),
        "image-size": (*COMMANDS["train"], "--image-size", "1000000"),
        "image-size limit": (*COMMANDS["train"], "--limit", "60", "--image-size", "1000000"),
        "block-depth": (*COMMANDS["train"], "--block-depth", "100000"),
        "kid-images": (*COMMANDS["train"], "--kid-images", HUGE),
        "kid-steps": (*COMMANDS["train"], "--kid-steps", str(10**9)),
        "steps-per-epoch": (*COMMANDS["train"], "--steps-per-epoch", HUGE),
        "repeats": (*COMMANDS["train"], "--repeats", HUGE),
    }
    for name, command in huge.items():
        yield _attack(f"arguments/huge/{name}", command, True, "10")
    for name, options in {"channels": ("--channels", "100000"), "widths": ("--widths", "100000000")}.items():  # fmt: skip
        command = (*COMMANDS["train"], *options)
        yield _attack(f"arguments/low/{name}", command, True, "low arguments")
    deep = (*COMMANDS["generate"][:-1], "d/" * 1500 + "new.npz")
    yield _attack("arguments/low/deep output", deep, None, "low arguments")  # done or refused
    for number in range(2):
        command = (*COMMANDS["evaluate"], "-o", "pictures" if number else "new/")
        yield Attack(f"arguments/low/evaluate to a folder {number}", "arguments", _late(command), "low late")  # fmt: skip
    for verb, words in {"stats": ("stats", ""), "compare": ("compare", "", "")}.items():
        command = (*words, *COMMANDS[verb][len(words) :])
        yield _attack(f"arguments/low/empty {verb}", command, True, "low empty source")
    command = (*COMMANDS["train"], "--weight-decay=-1")
    yield _attack("arguments/low/weight decay", command, True, "low weight decay")
    yield Attack("arguments/flat memory", "arguments", _flat_memory, "11")


def _late(command: tuple[str, ...]) -> Any:
    """A report that cannot be written is refused before anything is computed."""

    def act(box: Box) -> None:
        box.use("run", "pictures")
        box.path("new").mkdir()
        report = box.refused(*command, "--overwrite")
        wrong_if("generating" in report.text, "refused only after the images were generated")

    return act


def _flat_memory(box: Box) -> None:
    """Memory of `generate` does not grow with the number of images."""
    box.use("large.keras")
    peaks = []
    for number in (300, 6000):
        command = ("generate", "large.keras", "-n", number, "--diffusion-steps", 1)
        peaks.append(box.done(*command, "-o", f"{number}.npz", cpu=120.0).peak)
        images = np.load(box.path(f"{number}.npz"))["images"]
        wrong_if(len(images) != number, f"{len(images)} images instead of {number}")
    grown = (peaks[1] - peaks[0]) / 1e6
    if grown > 150:
        from faults.attack import Failure

        raise Failure("memory", f"6,000 images take {grown:.0f} MB more than 300")
