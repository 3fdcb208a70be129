"""Exact resume: `RunCheckpoint` and the files of checkpoints."""

import signal

import keras
import numpy as np
import pytest
from conftest import make_model

from kddim import callbacks, checkpoints, data
from kddim.callbacks import RunCheckpoint
from kddim.signals import Interrupted

EPOCHS, STEPS = 4, 5


class StopAt(keras.callbacks.Callback):
    """Ends the process of a training, as far as `fit` can tell, or sends it a signal."""

    def __init__(self, epoch, step=None, when="on_train_batch_end", number=None):
        super().__init__()
        self.place, self.when, self.number = (epoch, step), when, number
        self.epoch = 0

    def _meet(self, when, step=None):
        if when == self.when and (self.epoch, step) == self.place:
            self.place = None
            if self.number is None:
                raise RuntimeError("killed")
            signal.raise_signal(self.number)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self._meet("on_train_batch_begin", batch)

    def on_train_batch_end(self, batch, logs=None):
        self._meet("on_train_batch_end", batch)

    def on_test_batch_begin(self, batch, logs=None):
        self._meet("on_test_batch_begin", batch)

    def on_epoch_end(self, epoch, logs=None):
        self._meet("on_epoch_end")


class Run:
    """A training of a small model with all callbacks of kddim, which may be cut."""

    def __init__(self, images, folder, **options):
        self.images, self.folder, self.options = images, folder, options

    def start(self, *, stop=None, resume=False):
        keras.utils.set_random_seed(1)
        train = data.ImageDataset(
            self.images[:48], 8, training=True, steps_per_epoch=STEPS, flip=True, seed=3
        )
        validation = data.ImageDataset(self.images[48:], 8)
        self.model = make_model(self.images, seed=7)
        self.model.compile(optimizer=keras.optimizers.Adam(3e-3))
        self.kid = callbacks.KIDCallback(validation, "random_conv", 16, 2, every=2, verbose=0)
        self.history = callbacks.HistoryCallback(self.folder)
        self.best = callbacks.BestModelCallback(self.folder / "best.keras")
        self.plateau = keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, 0, min_delta=10.0)
        grid = callbacks.ImageGridCallback(self.folder, 1, 2, 1)
        self.checkpoint = RunCheckpoint(self.folder / "c", **({"every_steps": 3} | self.options))
        found = [self.kid, grid, self.best, self.history, self.plateau, self.checkpoint]
        found += [stop] if stop else []
        state = RunCheckpoint.restore(self.model, self.folder / "c") if resume else None
        self.model.fit(
            train, validation_data=validation, epochs=EPOCHS, verbose=0, callbacks=found,
            initial_epoch=state.epoch if state else 0,
        )  # fmt: skip
        return self

    def result(self):
        variables = [*self.model.variables, *self.model.optimizer.variables]
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in self.history.rows]
        return {
            "variables": [keras.ops.convert_to_numpy(v.value) for v in variables],
            "kid": self.kid.history,
            "rows": rows,
            "best": (self.best.best, self.best.best_epoch),
            "images": self.model.generate(2, 2, seed=0),
            "pictures": sorted(path.name for path in self.folder.glob("*.png")),
        }


def check_equal(found, wanted):
    for mine, theirs in zip(found.pop("variables"), wanted["variables"], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(found.pop("images"), wanted["images"])
    assert found == {key: wanted[key] for key in found}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    random = np.random.default_rng(0)
    images = random.random((64, 4, 4, 3)).astype("float32").repeat(4, axis=1).repeat(4, axis=2)
    folder = tmp_path_factory.mktemp("whole")
    return images, Run(images, folder, every_steps=None).start().result()


CUTS = {
    "in the first steps": [StopAt(0, 3)],
    "at the last step of an epoch": [StopAt(1, 4)],
    "while validating": [StopAt(1, 0, "on_test_batch_begin")],
    "after the callbacks of an epoch": [StopAt(1, None, "on_epoch_end")],
    "twice in one epoch": [StopAt(2, 1), StopAt(2, 3)],
    "again and again": [StopAt(0, 3), StopAt(1, 2), StopAt(1, 4), StopAt(3, 0), StopAt(3, 4)],
}


@pytest.mark.backend
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_a_killed_training_ends_as_one_that_was_not(uninterrupted, tmp_path, cuts):
    images, wanted = uninterrupted
    run = Run(images, tmp_path)
    for number, cut in enumerate(cuts):
        with pytest.raises(RuntimeError, match="killed"):
            run.start(stop=cut, resume=number > 0)
    check_equal(run.start(resume=True).result(), wanted)


# Where a signal comes, and the step of the checkpoint that it leaves.
SIGNALS = {
    "between two steps": (StopAt(1, 2, number=signal.SIGTERM), 4),
    "within a step": (StopAt(1, 2, "on_train_batch_begin", signal.SIGINT), 3),
    "while validating": (StopAt(2, 0, "on_test_batch_begin", signal.SIGINT), STEPS),
    "after the callbacks of an epoch": (StopAt(1, None, "on_epoch_end", signal.SIGTERM), STEPS),
}


@pytest.mark.backend
@pytest.mark.parametrize(("cut", "step"), SIGNALS.values(), ids=SIGNALS)
def test_a_signal_saves_where_it_came(uninterrupted, tmp_path, cut, step):
    images, wanted = uninterrupted
    run, place, number = Run(images, tmp_path, every_steps=None), cut.place, cut.number
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"RunCheckpoint\.restore") as stopped:
        run.start(stop=cut)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is handler
    state = checkpoints.newest(tmp_path / "c")
    assert state.epoch == place[0]
    assert state.step == step
    check_equal(run.start(resume=True).result(), wanted)
