"""Keras' callbacks find the direction of values that callbacks add to the logs."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from kddim.metrics.direction import LowerIsBetter

KID = LowerIsBetter("kid")
KIDS = [5.0, 3.0, 1.0, 2.0, 4.0]


@keras.saving.register_keras_serializable(package="test")
class Plain(keras.Model):
    """A model as any other; what `metrics` adds can be switched off."""

    directed = True

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    @property
    def metrics(self):
        return [*super().metrics, KID] if self.directed else super().metrics


class Measure(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_kid"] = KIDS[epoch]


def fitted(*callbacks, directed=True):
    keras.utils.set_random_seed(0)
    model = Plain()
    model.directed = directed
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    x = np.random.default_rng(0).random((16, 3), "float32")
    data = {"x": x, "y": x[:, :1], "validation_data": (x, x[:, :1])}
    return model, model.fit(**data, epochs=5, verbose=0, callbacks=[Measure(), *callbacks])


@pytest.mark.backend
def test_callbacks_take_the_lowest_value_without_a_mode(tmp_path):
    path = str(tmp_path / "best.{epoch}.weights.h5")
    options = {"monitor": "val_kid", "save_best_only": True, "save_weights_only": True}
    fitted(keras.callbacks.ModelCheckpoint(path, **options))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"best.{e}.weights.h5" for e in (1, 2, 3)]
    _, history = fitted(keras.callbacks.EarlyStopping("val_kid", patience=1))
    assert len(history.history["loss"]) == 4
    model, _ = fitted(keras.callbacks.ReduceLROnPlateau("val_kid", patience=1))
    assert float(model.optimizer.learning_rate) < 0.009


def test_without_a_direction_keras_asks_for_a_mode():
    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        fitted(keras.callbacks.EarlyStopping("val_kid"), directed=False)


@pytest.mark.backend
def test_logs_and_saved_files_hold_nothing_of_it(tmp_path):
    found = {}
    for directed in (True, False):
        keras.utils.clear_session()  # names of layers are numbered, and are in the file
        model, history = fitted(directed=directed)
        model.save(path := tmp_path / f"{directed}.keras")
        with zipfile.ZipFile(path) as file:
            config = file.read("config.json")
            (tmp_path / "w.h5").write_bytes(file.read("model.weights.h5"))
        names: list[str] = []
        with h5py.File(tmp_path / "w.h5") as weights:
            weights.visit(names.append)
        found[directed] = history.history, model.evaluate(np.ones((4, 3)), np.ones((4, 1)), verbose=0, return_dict=True).keys(), names, len(config)  # fmt: skip
    assert found[True] == found[False]
    assert KID.variables == []


@pytest.mark.backend
def test_files_of_before_load(tmp_path, monkeypatch):
    model, _ = fitted(directed=False)
    model.save(tmp_path / "old.keras")
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    assert KID in loaded.metrics
    x = np.ones((4, 3), "float32")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    loaded.fit(x, x[:, :1], verbose=0)
    loaded.save(tmp_path / "new.keras")
    monkeypatch.setattr(Plain, "directed", False)
    again = keras.saving.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), loaded.predict(x, verbose=0))
