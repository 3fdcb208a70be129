"""A new sampler, schedule or encoder takes one file and one line, as docs/extending.md says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kddim import names, predictions, registry, samplers, schedules
from kddim.metrics import encoders
from kddim.samplers import times

PACKAGE = Path(registry.__file__).parent

SAMPLER = '''
import dataclasses
import keras
from kddim.samplers.ddim import DDIM

@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class Added(DDIM):
    """A sampler of a test."""
'''
SCHEDULE = '''
import dataclasses
import keras
from kddim.schedules.cosine import CosineSchedule

@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class AddedSchedule(CosineSchedule):
    """A schedule of a test."""
'''
ENCODER = '''
from kddim.metrics.encoders.base import Encoder

def added_encoder(image_size, weights, antialias):
    """Return an encoder of a test."""
    return Encoder("added", lambda images: images.mean(axis=(1, 2)))
'''
USE = """
import keras, kddim
from kddim.metrics import encoders
from kddim.training import TrainingConfig

def message(call, *arguments):
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)

sampler = kddim.samplers.get("added_sampler")
assert type(sampler).__name__ == "Added"
assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sampler)) == sampler
schedule = kddim.schedules.get("added_schedule")
assert kddim.schedules.get(keras.saving.serialize_keras_object(schedule)) == schedule
assert encoders.get("added_encoder").description == "added"
assert "'added_sampler'" in message(kddim.samplers.get, "x")
assert "'added_schedule'" in message(kddim.schedules.get, "x")
assert '"added_encoder"' in message(encoders.get, "x")
assert "'added_encoder'" in message(lambda: TrainingConfig(kid_encoder="x").resolved())
print("found")
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with a new sampler, schedule and encoder: a file and a line each."""
    root = tmp_path_factory.mktemp("extended")
    package = root / "kddim"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / "names.py").read_text()
    for kind, table, folder, content, name in (
        ("sampler", "SAMPLERS", "samplers", SAMPLER, "Added"),
        ("schedule", "SCHEDULES", "schedules", SCHEDULE, "AddedSchedule"),
        ("encoder", "ENCODERS", "metrics/encoders", ENCODER, "added_encoder"),
    ):
        (package / folder / f"added_{kind}.py").write_text(content)
        path = f"kddim.{folder.replace('/', '.')}.added_{kind}.{name}"
        line = f'    "added_{kind}": "{path}",\n'
        text = text.replace(f"{table} = {{\n", f"{table} = {{\n{line}")
    (package / "names.py").write_text(text)
    return root


def run(extended, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, timeout=120, cwd=extended,
        env={**os.environ, "PYTHONPATH": str(extended), **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("generate", "added_sampler"),
        ("sweep", "added_sampler"),
        ("train", "added_schedule"),
        ("generate", "added_schedule"),
        ("train", "added_encoder"),
        ("evaluate", "added_encoder"),
    ],
)
def test_help_lists_the_new_name_without_keras(extended, verb, name):
    answer = run(
        extended,
        "-m",
        "kddim",
        verb,
        "--help",
        KERAS_BACKEND="none, which would fail",
        COLUMNS="200",
    )
    assert name in answer.stdout, answer.stderr[-2000:]


def test_get_and_error_messages_know_the_new_names(extended):
    answer = run(extended, "-c", USE)
    assert answer.stdout == "found\n", answer.stderr[-2000:]


def test_tables_hold_what_the_rooms_offer():
    assert list(samplers.NAMES) == list(names.SAMPLERS)
    assert list(schedules.NAMES) == list(names.SCHEDULES)
    assert list(encoders.NAMES) == list(names.ENCODERS)
    assert all(callable(registry.load_object(path)) for path in names.ENCODERS.values())


def test_help_lists_time_grids_and_prediction_types():
    from kddim.cli import sweep, train

    help_of = {option.name: option.help for option in (*sweep.params, *train.params) if option.name != "model" and hasattr(option, "help")}  # fmt: skip
    assert all(name in help_of["times"] for name in times.GRIDS)
    assert all(name in help_of["prediction_type"] for name in predictions.PREDICTION_TYPES)


def test_names_in_words():
    assert names.join_names(["a"]) == "a"
    assert names.join_names(["a", "b", "c"]) == "a, b or c"
