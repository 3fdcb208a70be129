"""Exact resume: `RunCheckpoint` and the files of checkpoints."""

import signal

import keras
import numpy as np
import pytest
from conftest import make_model

from kddim import backend, callbacks, checkpoints, data
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
        self.model = make_model(self.images, seed=7, widths=(4, 8))
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


# In the first steps, at the last step of an epoch, while validating, after the callbacks of an
# epoch, and twice in one epoch.
CUTS = [
    StopAt(0, 3),
    StopAt(1, 4),
    StopAt(1, 0, "on_test_batch_begin"),
    StopAt(1, None, "on_epoch_end"),
    StopAt(3, 1),
    StopAt(3, 3),
]


@pytest.mark.backend
def test_a_killed_training_ends_as_one_that_was_not(uninterrupted, tmp_path):
    images, wanted = uninterrupted
    run = Run(images, tmp_path)
    for number, cut in enumerate(CUTS):
        with pytest.raises(RuntimeError, match="killed"):
            run.start(stop=cut, resume=number > 0)
    check_equal(run.start(resume=True).result(), wanted)
    assert len(list((tmp_path / "c").iterdir())) == 2


# Where a signal comes, and the position of the checkpoint that it leaves.
SIGNALS = [
    (StopAt(0, 2, number=signal.SIGTERM), (0, 4)),  # between two steps: after the next one
    (StopAt(1, 2, "on_train_batch_begin", signal.SIGINT), (1, 3)),
    (StopAt(2, 0, "on_test_batch_begin", signal.SIGINT), (2, STEPS)),
    (StopAt(2, None, "on_epoch_end", signal.SIGTERM), (2, STEPS)),
]


@pytest.mark.backend
def test_a_signal_saves_where_it_came(uninterrupted, tmp_path):
    images, wanted = uninterrupted
    run = Run(images, tmp_path, every_steps=None)
    for index, (cut, place) in enumerate(SIGNALS):
        handler = signal.getsignal(cut.number)
        with pytest.raises(Interrupted, match=r"RunCheckpoint\.restore") as stopped:
            run.start(stop=cut, resume=index > 0)
        assert stopped.value.status == 128 + cut.number
        assert signal.getsignal(cut.number) is handler
        state = checkpoints.newest(tmp_path / "c")
        assert (state.epoch, state.step) == place
    check_equal(run.start(resume=True).result(), wanted)


class StopWhileTracing(keras.callbacks.Callback):
    """Sends a signal while a framework traces a function, as during the first KID."""

    def on_epoch_end(self, epoch, logs=None):
        def step(value):
            signal.raise_signal(signal.SIGINT)
            return value

        backend.compile_step(step, self.model.variables)(keras.ops.zeros((2,)))


@pytest.mark.backend
def test_a_signal_while_a_function_is_traced_saves_too(images, tmp_path):
    model, train = make_model(images, widths=(4, 8)), data.ImageDataset(images, 32, training=True)
    checkpoint = RunCheckpoint(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        model.fit(train, verbose=0, callbacks=[StopWhileTracing(), checkpoint])
    values = [keras.ops.convert_to_numpy(v.value) for v in model.network.variables]
    other = make_model(images, widths=(4, 8))
    state = RunCheckpoint.restore(other, tmp_path)
    assert (state.epoch, state.step) == (0, 2)
    for variable, value in zip(other.network.variables, values):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), value)


def small(tmp_path, images, **options):
    """A model after three steps, whose checkpoints are in `tmp_path`."""
    model = make_model(images, widths=(4, 8))
    checkpoint = RunCheckpoint(tmp_path, every_steps=1, **options)
    train = data.ImageDataset(images, 16, training=True, steps_per_epoch=3)
    model.fit(train, verbose=0, callbacks=[checkpoint])
    return model, train


def test_every_change_and_every_loss_of_bytes_is_seen(images, tmp_path):
    small(tmp_path, images, keep=1)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    checkpoints.read_checkpoint(path)
    random = np.random.default_rng(0)
    damaged = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    for place in random.integers(0, len(whole), 200):
        changed = bytearray(whole)
        changed[place] ^= 1 << random.integers(0, 8)
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="Expected a whole checkpoint"):
            checkpoints.read_checkpoint(path)


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(images, tmp_path, caplog):
    model, _ = small(tmp_path, images)
    before, newest = sorted(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    state = RunCheckpoint.restore(model, tmp_path)
    assert (state.steps, state.path) == (2, before)
    assert f"Going on from the one before, {before}" in caplog.text
    assert str(newest) in caplog.text
    before.write_bytes(b"")
    with pytest.raises(ValueError, match=r"Expected a checkpoint.*none that is whole"):
        RunCheckpoint.restore(model, tmp_path)


def test_a_checkpoint_is_a_numpy_archive_that_holds_no_objects(images, tmp_path):
    model, _ = small(tmp_path, images, keep=1)
    (path,) = tmp_path.iterdir()
    with np.load(path, allow_pickle=False) as archive:
        values = [archive[f"model/{i}"] for i in range(len(model.variables))]
    for value, variable in zip(values, model.variables):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable.value))


def test_another_model_is_refused_before_anything_is_assigned(images, tmp_path):
    small(tmp_path, images)
    other = make_model(images, widths=(4, 12))
    weights = other.get_weights()
    with pytest.raises(ValueError, match=r"variables of the checkpoint.*has shape"):
        RunCheckpoint.restore(other, tmp_path)
    for mine, before in zip(other.get_weights(), weights):
        np.testing.assert_array_equal(mine, before)


def test_checkpoints_of_another_training_are_neither_mixed_nor_removed(images, tmp_path):
    model, train = small(tmp_path, images)
    names = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"RunCheckpoint\.restore"):
        model.fit(train, verbose=0, callbacks=[RunCheckpoint(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_weights_that_are_not_finite_replace_no_checkpoint(images, tmp_path):
    model, _ = small(tmp_path, images)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    model.network.set_weights([np.full_like(w, np.nan) for w in model.network.get_weights()])
    checkpoint = RunCheckpoint(tmp_path)
    checkpoint.set_model(model)
    with pytest.raises(ValueError, match="diverged"):
        checkpoint.save()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_does_not_end_a_training(images, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints, "_write_archive", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))  # fmt: skip
    model = make_model(images, widths=(4, 8))
    train = data.ImageDataset(images, 16, training=True, steps_per_epoch=3)
    with pytest.raises(OSError, match="No space"):  # of the last one, at the end
        model.fit(train, verbose=0, callbacks=[RunCheckpoint(tmp_path, every_steps=1)])
    assert caplog.text.count("no checkpoint was written, and the training goes on") == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every_steps": 0}, "every_steps"),
        ({"every_minutes": 0.0}, "every_minutes"),
        ({"every_minutes": float("nan")}, "every_minutes"),
        ({"keep": 0}, "keep"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        RunCheckpoint("folder", **options)


def test_the_newest_position_of_no_checkpoint_is_none(tmp_path):
    assert checkpoints.newest(tmp_path) is None
