"""Runs that are stopped, resumed, replaced and diverge: `kddim.training`."""

import csv
import json
import signal

import keras
import numpy as np
import pytest

from kddim import callbacks, checkpoints, runs, training
from kddim.training import TrainingConfig

SMALL = {
    "source": "digits", "widths": (4, 8), "block_depth": 1, "epochs": 3, "steps_per_epoch": 4,
    "batch_size": 16, "kid_encoder": "random_conv", "kid_images": 16, "kid_steps": 2, "every": 1,
    "checkpoint_steps": 3, "limit": 200,
}  # fmt: skip
TIMES = {"seconds", "images_per_second"}


class Stop(Exception):
    """The end of a process, as far as a run can tell."""


@pytest.fixture
def stop(monkeypatch):
    """Make the next run stop after some steps, by an exception or by a signal."""
    on_train_batch_end = callbacks.HealthCallback.on_train_batch_end

    def after(steps, number=None):
        left = iter(range(steps, 0, -1))

        def counted(self, batch, logs=None):
            on_train_batch_end(self, batch, logs)
            if next(left, None) == 1:
                if number is None:
                    raise Stop
                signal.raise_signal(number)

        monkeypatch.setattr(callbacks.HealthCallback, "on_train_batch_end", counted)

    return after


def train(folder, overwrite=False, **options):
    return training.train(
        TrainingConfig(**(SMALL | options)), folder, overwrite=overwrite, verbose=0
    )


def result(folder):
    """Everything that a run leaves, without times."""
    with (folder / "history.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    config = json.loads((folder / "config.json").read_text())
    return {
        "rows": rows,
        "kid": config["kid"],
        "best_epoch": config["best_epoch"],
        "samples": {p.name: p.read_bytes() for p in (folder / "samples").iterdir()},
        "weights": [w.tobytes() for w in runs.load_model(folder).get_weights()],
        "last": checkpoints.newest(folder / "checkpoints").steps,
    }


@pytest.mark.backend
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, stop):
    whole = result(train(tmp_path / "whole"))
    stop(6)
    with pytest.raises(Stop):
        train(tmp_path / "run")
    stop(0)
    assert json.loads((tmp_path / "run" / "state.json").read_text())["finished"] is False
    training.resume(tmp_path / "run", verbose=0)
    assert result(tmp_path / "run") == whole
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    assert (state["finished"], state["epoch"], state["epochs"]) == (True, 3, 3)


def test_a_signal_says_the_command_that_goes_on(tmp_path, stop):
    stop(5, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="kddim train --resume") as stopped:
        train(tmp_path / "run")
    assert stopped.value.status == 143
    assert checkpoints.newest(tmp_path / "run" / "checkpoints").steps == 5


@pytest.mark.slow
def test_a_run_without_a_checkpoint_starts_again(tmp_path, stop, caplog):
    whole = result(train(tmp_path / "whole"))
    stop(1)
    with pytest.raises(Stop):
        train(tmp_path / "run")
    stop(0)
    with caplog.at_level("INFO", "kddim"):
        training.resume(tmp_path / "run", verbose=0)
    assert "no checkpoint yet" in caplog.text
    assert result(tmp_path / "run") == whole


def test_a_finished_run_is_left_alone_or_trained_further(tmp_path, caplog):
    longer = result(train(tmp_path / "longer", epochs=4))
    folder = train(tmp_path / "run")
    before = result(folder)
    with caplog.at_level("INFO", "kddim"):
        training.resume(folder, verbose=0)
    assert "is finished" in caplog.text
    assert result(folder) == before
    training.resume(folder, epochs=4, verbose=0)
    assert result(folder) == longer
    assert json.loads((folder / "config.json").read_text())["training"]["epochs"] == 4


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_nothing_but_time(tmp_path, stop, caplog):
    whole = result(train(tmp_path / "whole"))
    stop(10)
    with pytest.raises(Stop):
        train(tmp_path / "run")
    stop(0)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    training.resume(tmp_path / "run", verbose=0)
    assert "Going on from the one before" in caplog.text
    assert result(tmp_path / "run") == whole


def test_a_run_that_fails_brings_the_earlier_run_back(tmp_path, stop):
    folder = train(tmp_path / "run", epochs=1)
    (folder / "notes.txt").write_text("mine")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    stop(2)
    with pytest.raises(Stop):
        train(folder, overwrite=True, seed=1)
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert after == before


def test_an_earlier_run_is_kept_until_the_new_one_has_a_model(tmp_path, stop):
    folder = train(tmp_path / "run", epochs=1)
    model = (folder / "model.keras").read_bytes()
    stop(2, signal.SIGTERM)
    for _ in range(2):  # the second time, it is not replaced by the run without a model
        with pytest.raises(KeyboardInterrupt):
            train(folder, overwrite=True, seed=1)
        assert (folder / ".earlier" / "model.keras").read_bytes() == model
        assert not (folder / "model.keras").exists()
        stop(2, signal.SIGTERM)
    stop(0)
    training.resume(folder, verbose=0)
    assert not (folder / ".earlier").exists()
    assert (folder / "model.keras").read_bytes() != model


def test_what_a_killed_start_left_does_not_block_the_same_command(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.partial.json").write_text("{")
    folder = train(tmp_path / "run", epochs=1)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("encoder", ["none", "random_conv"])
def test_a_diverged_run_leaves_the_model_of_the_last_checkpoint(tmp_path, encoder, monkeypatch):
    """The weights are fine for seven steps, and NaN afterwards."""
    seen = []
    on_train_batch_begin = callbacks.RunCheckpoint.on_train_batch_begin

    def poisoned(self, batch, logs=None):
        on_train_batch_begin(self, batch, logs)
        seen.append(batch)
        if len(seen) == 7:
            kernel = self.model.network.trainable_variables[0]
            kernel.assign(np.full(kernel.shape, np.nan))

    monkeypatch.setattr(callbacks.RunCheckpoint, "on_train_batch_begin", poisoned)
    with pytest.raises(callbacks.DivergenceError, match=r"last checkpoint"):
        train(tmp_path / "run", kid_encoder=encoder, steps_per_epoch=100)
    assert int(runs.load_model(tmp_path / "run").ema_steps) == 6


def test_a_diverged_run_says_that_there_is_no_model(tmp_path):
    with pytest.raises(callbacks.DivergenceError, match="No model was saved"):
        train(tmp_path / "run", learning_rate=1e30, checkpoint_steps=None)
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_diverged_run_that_replaced_another_brings_it_back(tmp_path):
    folder = train(tmp_path / "run", epochs=1)
    before = (folder / "model.keras").read_bytes()
    with pytest.raises(callbacks.DivergenceError, match="holds the earlier run"):
        train(folder, overwrite=True, learning_rate=1e30, checkpoint_steps=None)
    assert (folder / "model.keras").read_bytes() == before


def test_the_dtype_of_a_run_is_that_of_its_beginning(tmp_path, stop):
    keras.config.set_dtype_policy("mixed_bfloat16")
    stop(4)
    with pytest.raises(Stop):
        train(tmp_path / "run", kid_encoder="none")
    stop(0)
    keras.config.set_dtype_policy("float32")
    training.resume(tmp_path / "run", verbose=0)
    assert keras.config.dtype_policy().name == "float32"
    assert runs.load_model(tmp_path / "run").get_config()["dtype"] == "mixed_bfloat16"


@pytest.mark.slow
def test_other_images_than_those_of_the_beginning_are_said(tmp_path, stop, caplog):
    random = np.random.default_rng(0)
    source = tmp_path / "images.npy"
    np.save(source, random.random((40, 8, 8, 1)).astype("float32"))
    stop(4)
    with pytest.raises(Stop):
        train(tmp_path / "run", source=str(source), image_size=8)
    stop(0)
    np.save(source, random.random((40, 8, 8, 1)).astype("float32"))
    training.resume(tmp_path / "run", verbose=0)
    assert "changed since the run began" in caplog.text


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a run folder, which holds config\.json"):
        training.resume(tmp_path)
