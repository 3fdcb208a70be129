"""Progress of training on the terminal, in TensorBoard and in other tools."""

import contextlib
import io
import itertools
import json
import logging
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from conftest import make_model
from PIL import Image
from rich.console import Console

from kddim.callbacks import (
    ImageGridCallback,
    KIDCallback,
    RunCheckpoint,
    TensorBoardCallback,
    TrackerCallback,
    TrainingProgress,
    trackers,
)

EPOCHS, STEPS = 3, 4


@pytest.fixture
def read_events():
    """Function that reads a folder as TensorBoard does: steps, values and pictures by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        tags = events.Tags()
        scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
        pictures = {tag: [(e.step, e) for e in events.Images(tag)] for tag in tags["images"]}
        return scalars, pictures

    return read


class FakeModel:
    """What callbacks ask of a model."""

    stop_training = False
    optimizer = types.SimpleNamespace(learning_rate=np.float32(0.5))


def loss_of(epoch, batch):
    return 1.0 / (1 + epoch * STEPS + batch)


def hooks(callback, first_epoch=0, first_batch=0):
    """Call the hooks of a fit as Keras does, and yield `(epoch, batch)` after each."""
    callback.set_model(FakeModel())
    callback.set_params({"epochs": EPOCHS, "steps": STEPS})
    callback.on_train_begin()
    for epoch in range(first_epoch, EPOCHS):
        callback.on_epoch_begin(epoch)
        yield epoch, -1
        losses = [loss_of(epoch, batch) for batch in range(STEPS)]
        for batch in range(first_batch, STEPS):
            # As Keras': means over the epoch.
            callback.on_train_batch_end(batch, {"loss": np.mean(losses[: batch + 1])})
            yield epoch, batch
        first_batch = 0
        callback.on_epoch_end(epoch, {"loss": np.mean(losses), "val_kid": float(epoch)})
        yield epoch, STEPS
    callback.on_train_end()


def test_tensorboard_shows_all_logs_means_of_steps_and_pictures(tmp_path, read_events):
    samples = tmp_path / "samples"
    samples.mkdir()
    for number in (1, 3):
        Image.new("L", (6, 4 + number)).save(samples / f"epoch_000{number}.png")
    board = TensorBoardCallback(tmp_path / "logs", samples, every_steps=2)
    for _ in hooks(board):
        pass
    scalars, pictures = read_events(tmp_path / "logs")
    names = {"epoch/epoch", "epoch/loss", "epoch/val_kid", "epoch/learning_rate", "batch/loss"}
    assert set(scalars) == names
    assert scalars["epoch/epoch"] == [(4, 1.0), (8, 2.0), (12, 3.0)]
    assert scalars["epoch/val_kid"] == [(4, 0.0), (8, 1.0), (12, 2.0)]
    assert scalars["epoch/learning_rate"][0] == (4, 0.5)
    # Means over the two steps before, although Keras gives means over the epoch.
    wanted = [(step, (1 / (step - 1) + 1 / step) / 2) for step in range(2, 13, 2)]
    np.testing.assert_allclose(scalars["batch/loss"], wanted, rtol=1e-6)
    assert [(step, e.width, e.height) for step, e in pictures["samples"]] == [(4, 6, 5), (12, 6, 7)]
    assert Image.open(io.BytesIO(pictures["samples"][0][1].encoded_image_string)).size == (6, 5)


@pytest.mark.parametrize("passes_over", [True, False], ids=["passes over", "leaves out"])
@pytest.mark.parametrize("saved", range((STEPS + 2) * EPOCHS))
def test_no_step_appears_twice_after_a_kill(tmp_path, read_events, saved, passes_over):
    """A checkpoint after each hook, a kill after each later one."""
    for _ in hooks(TensorBoardCallback(tmp_path / "whole", every_steps=2)):
        pass
    whole = read_events(tmp_path / "whole")[0]
    for killed in {saved, saved + 1, saved + 3, saved + STEPS + 2}:
        folder = tmp_path / f"killed {killed}"
        board = TensorBoardCallback(folder, every_steps=2)
        for index, (epoch, batch) in enumerate(itertools.islice(hooks(board), killed + 1)):
            if index == saved:
                state, place = json.loads(json.dumps(board.get_state())), (epoch, batch)
        resumed = TensorBoardCallback(folder, every_steps=2)
        resumed.set_state(state)
        epoch, done = place[0], place[1] + 1
        if done > STEPS:  # after the end of an epoch
            epoch, done = epoch + 1, 0
        for _ in hooks(resumed, epoch, 0 if passes_over else done):
            pass
        assert read_events(folder)[0] == whole


def test_a_second_fit_goes_on_and_a_new_callback_begins_again(tmp_path, read_events):
    board = TensorBoardCallback(tmp_path)
    for _ in range(2):
        for _ in hooks(board):
            pass
    found = read_events(tmp_path)[0]["epoch/epoch"]
    assert found == [(STEPS * number, float(number)) for number in range(1, 2 * EPOCHS + 1)]
    for _ in hooks(TensorBoardCallback(tmp_path), first_epoch=2):  # as with BackupAndRestore
        pass
    assert read_events(tmp_path)[0]["epoch/epoch"] == found[:3]
    for _ in hooks(TensorBoardCallback(tmp_path)):
        pass
    assert read_events(tmp_path)[0]["epoch/epoch"] == found[:3]


def test_a_tool_that_fails_does_not_end_training(tmp_path, caplog):
    board = TensorBoardCallback(tmp_path / "logs", every_steps=1)
    with caplog.at_level("WARNING", "kddim"):
        for place in hooks(board):
            if place == (0, 1):
                board._writer._writer.close()
    (told,) = [r.getMessage() for r in caplog.records]
    assert told.startswith("TensorBoard receives no more numbers (")


@pytest.mark.backend
def test_tensorboard_beside_kid_and_grids(model, images, tmp_path, read_events):
    kid = KIDCallback(images, lambda batch: batch.mean((1, 2)), 8, 1)
    grids = ImageGridCallback(tmp_path / "samples", 1, 2, 1)
    board = TensorBoardCallback(tmp_path / "logs", tmp_path / "samples", every_steps=1)
    history = model.fit(
        images,
        validation_data=images[:32],
        epochs=2,
        verbose=0,
        callbacks=[kid, grids, board],
    ).history
    scalars, pictures = read_events(tmp_path / "logs")
    for key, values in history.items():
        np.testing.assert_allclose(scalars[f"epoch/{key}"], list(zip((2, 4), values)), rtol=1e-6)
    assert [step for step, _ in scalars["batch/n_loss"]] == [1, 2, 3, 4]
    losses = np.reshape([value for _, value in scalars["batch/loss"]], (2, 2))
    np.testing.assert_allclose(losses.mean(1), history["loss"], rtol=1e-5)
    assert [step for step, _ in pictures["samples"]] == [2, 4]


@pytest.mark.backend
def test_a_training_that_goes_on_from_a_checkpoint_shows_each_step_once(
    images, tmp_path, read_events
):
    def fit(folder, *others, epoch=0):
        checkpoint = RunCheckpoint(tmp_path / folder / "checkpoints", every_steps=3)
        board = TensorBoardCallback(tmp_path / folder / "logs", every_steps=1)
        progress = TrainingProgress(16, console=Console(file=io.StringIO()))
        keras.utils.set_random_seed(0)
        model = make_model(images, seed=0)
        if epoch is None:
            epoch = RunCheckpoint.restore(model, checkpoint.folder.folder).epoch
        model.fit(
            images,
            batch_size=16,
            epochs=2,
            initial_epoch=epoch,
            shuffle=False,
            verbose=0,
            callbacks=[board, checkpoint, progress, *others],
        )
        return read_events(tmp_path / folder / "logs")[0]

    def stop(batch, logs, seen=[]):  # noqa: B006
        seen.append(batch)
        if len(seen) == 7:
            raise RuntimeError

    whole = fit("whole")
    with pytest.raises(RuntimeError):
        fit("killed", keras.callbacks.LambdaCallback(on_train_batch_end=stop))
    assert read_events(tmp_path / "killed" / "logs")[0]["batch/loss"][-1][0] == 7
    found = fit("killed", epoch=None)
    assert [step for step, _ in found["batch/loss"]] == list(range(1, 9))
    assert set(found) == set(whole)
    for tag, points in found.items():
        np.testing.assert_allclose(points, whole[tag], rtol=1e-4, err_msg=tag)


def test_events_are_written_without_tensorflow():
    program = """
import sys, tempfile
from kddim.callbacks import TensorBoardCallback
before = "tensorflow" in sys.modules  # Keras may import it
board = TensorBoardCallback(tempfile.mkdtemp())
board.start(); board._started = True; board.write(1, {"loss": 1.0}); board.close()
print(before, "tensorflow" in sys.modules)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    before, after = answer.stdout.split()
    assert before == after, answer.stderr[-2000:]


class FakeRun:
    def __init__(self, step):
        self.step, self._next_step, self.logged, self.finished = step, step + 1, [], False

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture(params=["wandb", "trackio"])
def tool(request, monkeypatch):
    """A module in place of the tool: what it was told, and the step that its run has reached."""
    module = types.ModuleType(request.param)
    module.__spec__ = types.SimpleNamespace(name=request.param)
    module.calls, module.reached, module.mode, module.key = [], 0, "online", True
    module.Error = RuntimeError
    module.Image = lambda path: f"image of {path}"
    module.setup = lambda: types.SimpleNamespace(settings=types.SimpleNamespace(mode=module.mode))
    module.login = lambda: module.key

    def init(**arguments):
        module.calls.append(arguments)
        module.run = FakeRun(module.reached)
        return module.run

    module.init = init
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    return module


def test_a_tracker_receives_what_tensorboard_does(tool, tmp_path):
    (tmp_path / "epoch_0002.png").write_bytes(b"")
    (callback,) = trackers(tmp_path / "run", False, tool.__name__, {"ema": 0.5}, tmp_path)
    for _ in hooks(callback):
        pass
    (call,) = tool.calls
    assert (call["project"], call["config"], call["resume"]) == ("kddim", {"ema": 0.5}, "allow")
    assert call["name"].startswith("run")
    assert ("batch/loss" in tool.run.logged[2][1]) == (tool.run.logged[2][0] == 10)
    epochs = [values["epoch/epoch"] for _, values in tool.run.logged if "epoch/epoch" in values]
    assert epochs == [1, 2, 3]
    assert (8, {"samples": f"image of {tmp_path}/epoch_0002.png"}) in tool.run.logged
    assert tool.run.finished


def test_a_resumed_run_is_continued_in_the_tool(tool, tmp_path):
    first = TrackerCallback(tool.__name__, "run", every_steps=1)
    for place in itertools.islice(hooks(first), 8):
        if place == (0, STEPS):
            state = json.loads(json.dumps(first.get_state()))
    assert [step for step, _ in tool.run.logged] == [1, 2, 3, 4, 4, 5]
    tool.reached = 6
    resumed = TrackerCallback(tool.__name__, "run", every_steps=1)
    resumed.set_state(state)
    for _ in hooks(resumed, 1):
        pass
    assert tool.calls[0] == tool.calls[1]
    assert [step for step, _ in tool.run.logged] == [6, 7, 8, 8, 9, 10, 11, 12, 12]


def test_a_tool_that_cannot_begin_is_an_error_before_training(tool):
    def refuse(**arguments):
        raise RuntimeError("no network\nat all")

    tool.init = refuse
    with pytest.raises(ValueError, match=r"to begin a run. Received: no network$"):
        next(hooks(TrackerCallback(tool.__name__, "run")))
    if tool.__name__ == "wandb":
        tool.key = False
        with pytest.raises(ValueError, match="WANDB_MODE=offline"):
            TrackerCallback("wandb", "run")
        tool.mode = "offline"
        TrackerCallback("wandb", "run")


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_tool_is_named_before_training(tmp_path, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(ValueError, match=f"pip install {name}"):
        trackers(tmp_path, name == "tensorboard", None if name == "tensorboard" else name, {})
    with pytest.raises(ValueError, match="Unknown tracker: expected one of 'wandb', 'trackio'"):
        trackers(tmp_path, False, "mlflow", {})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr("kddim.callbacks.progress.time.perf_counter", lambda: now[0])
    return now


def run_progress(progress, clock, step=1.0, between=10.0, first_epoch=0, skipped=0):
    """Steps of one second with 10 seconds of validation, by the clock; yields at each hook."""
    for epoch, batch in hooks(progress, first_epoch):
        yield epoch, batch
        if 0 <= batch + 1 < STEPS:
            fast = epoch == first_epoch and batch + 1 < skipped
            clock[0] += 1e-6 if fast else step
        elif batch == STEPS - 1:
            clock[0] += between


def test_an_epoch_has_one_line(clock):
    written = io.StringIO()
    progress = TrainingProgress(10, console=Console(file=written, width=40))
    with contextlib.closing(progress):
        for _ in run_progress(progress, clock):
            pass
    lines = written.getvalue().splitlines()
    # After the first epoch: 8 steps of 1 s, and two validations of 10 s.
    assert lines == [
        "epoch 1/3: loss 0.5208, KID 0, 10 images/s, 14 s, 28 s left",
        "epoch 2/3: loss 0.1586, KID 1, 10 images/s, 14 s, 14 s left",
        "epoch 3/3: loss 0.09634, KID 2, 10 images/s, 14 s",
    ]


def test_steps_of_an_earlier_process_do_not_count_for_the_speed(clock):
    progress = TrainingProgress(10, console=Console(file=io.StringIO()))
    progress.resumed_step = 3
    speeds = {}
    for place in run_progress(progress, clock, first_epoch=1, skipped=3):
        speeds[place] = progress.images_per_second
    assert speeds[1, 2] is None
    assert {round(speeds[2, batch], 6) for batch in range(STEPS)} == {10.0}


def test_a_time_limit_bounds_the_time_left(clock):
    written = io.StringIO()
    progress = TrainingProgress(10, max_seconds=20.0, console=Console(file=written))
    for _ in run_progress(progress, clock):
        pass
    assert written.getvalue().splitlines()[0].endswith("14 s, 6 s left")


def test_a_terminal_has_a_bar_that_lines_do_not_break(clock, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    terminal.isatty = lambda: True
    handler = logging.StreamHandler(terminal)
    logging.getLogger("kddim").addHandler(handler)
    console = Console(file=terminal, force_terminal=True, width=90, legacy_windows=False)
    progress = TrainingProgress(10, console=console)
    try:
        with contextlib.closing(progress):
            for place in run_progress(progress, clock):
                if place == (1, 1):
                    logging.getLogger("kddim").warning("a line of [red]the log[/red]")
                    task = progress._bar.tasks[0]
                    assert (task.completed, task.total) == (6, 12)
                    assert task.fields["values"] == "loss 0.1833, KID 0, 10 images/s, 26 s left"
                if place == (1, STEPS - 1):
                    assert "validating" in progress._bar.tasks[0].fields["values"]
    finally:
        logging.getLogger("kddim").removeHandler(handler)
    assert handler.stream is terminal
    text = terminal.getvalue()
    clear, up = "\x1b[2K", "\x1b[?25h"
    assert f"{clear}a line of [red]the log[/red]\n" in text  # the bar's line is cleared before
    assert up in text  # the cursor is back


def test_a_bar_is_removed_if_training_fails(clock, monkeypatch):
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, legacy_windows=False)
    progress, out = TrainingProgress(10, console=console), sys.stdout
    with pytest.raises(RuntimeError), contextlib.closing(progress):  # noqa: PT012
        for _ in run_progress(progress, clock):
            raise RuntimeError
    assert sys.stdout is out
    assert terminal.getvalue().endswith("\x1b[2K")


def test_the_last_kid_is_shown_after_a_resume():
    progress = TrainingProgress(10, console=Console(file=io.StringIO()))
    for _ in itertools.islice(hooks(progress), STEPS + 3):
        pass
    resumed = TrainingProgress(10, console=Console(file=io.StringIO()))
    resumed.set_state(json.loads(json.dumps(progress.get_state())))
    assert resumed.get_state() == {"kid": 0.0}
