"""Models survive files, processes and backends."""

import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import runs

pytestmark = pytest.mark.backend

LOAD = """
import sys, keras, kddim, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[2], model.generate(3, 4, seed=5))
"""


def generate_elsewhere(path, tmp_path, backend):
    """The images of a saved model, in a fresh process, on a given backend."""
    result = tmp_path / f"{backend}.npy"
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", LOAD, str(path), str(result)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return np.load(result)


def test_a_keras_file_gives_the_same_images_in_every_process(model, images, tmp_path):
    model.fit(images, batch_size=32, epochs=1, verbose=0)
    path = tmp_path / "m.keras"
    model.save(path)
    expected = model.generate(3, 4, seed=5)
    actual = generate_elsewhere(path, tmp_path, keras.backend.backend())
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_keras_file_crosses_backends(model, tmp_path):
    path = tmp_path / "m.keras"
    model.save(path)
    expected = model.generate(3, 4, seed=5)
    for backend in ("tensorflow", "jax", "torch"):
        if backend != keras.backend.backend():
            pytest.importorskip(backend)
            actual = generate_elsewhere(path, tmp_path, backend)
            np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_training_goes_on_after_loading(model, images, tmp_path):
    model.compile(keras.optimizers.AdamW(3e-3), loss="mean_squared_error")
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.loss == "mean_squared_error"
    assert int(loaded.optimizer.iterations) == int(loaded.ema_steps) == 4
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-6)
    history = loaded.fit(images, batch_size=16, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert int(loaded.ema_steps) == 8


def test_weights_files(model, images, tmp_path):
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    other = make_model(1.0 - images)
    other.network.set_weights([w + 1 for w in other.network.get_weights()])
    other.load_weights(path)
    np.testing.assert_allclose(
        other.generate(3, 4, seed=5), model.generate(3, 4, seed=5), atol=1e-6
    )
    assert other.normalizer.adapted


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": kddim.schedules.LinearBetaSchedule(100), "prediction_type": "velocity"},
        {"schedule": "log_snr_linear", "ema": 0.9, "seed": 3, "name": "mine"},
    ],
)
def test_options_survive(images, tmp_path, options):
    model = make_model(images[:, :, :8], **options)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_config() == model.get_config()
    assert loaded.schedule == model.schedule
    np.testing.assert_allclose(
        loaded.generate(2, 3, seed=1), model.generate(2, 3, seed=1), atol=1e-6
    )


def test_a_custom_network_survives(images, tmp_path):
    network = kddim.networks.residual_unet(16, (4, 8), 1, embedding_dims=8, name="mine")
    model = make_model(images, network=network)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.network.name == "mine"
    np.testing.assert_allclose(
        loaded.generate(2, 3, seed=1), model.generate(2, 3, seed=1), atol=1e-6
    )


def test_the_flowers_model_is_small(tmp_path):
    images = np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32")
    model = kddim.DiffusionModel(64)
    model.normalizer.adapt(images)
    model.compile()
    model.save(tmp_path / "with.keras")
    assert (tmp_path / "with.keras").stat().st_size < 40e6
    model.save(tmp_path / "without.keras", include_optimizer=False)
    assert (tmp_path / "without.keras").stat().st_size < 17e6
    bare = keras.saving.load_model(tmp_path / "without.keras")
    np.testing.assert_allclose(bare.generate(1, 2, seed=0), model.generate(1, 2, seed=0), atol=1e-5)


def test_an_interrupted_save_leaves_the_earlier_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model.save(path)
    before = path.read_bytes()

    def interrupted(self, filepath, **kwargs):
        with open(filepath, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_no_code_is_in_the_file(model, tmp_path):
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = archive.read("config.json").decode()
    assert "Lambda" not in config
    assert "__lambda__" not in config


def test_files_that_are_no_models_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="there is no"):
        runs.load_model(tmp_path / "missing.keras")
    with pytest.raises(ValueError, match=r"holds model\.keras"):
        runs.load_model(tmp_path)
    (tmp_path / "corrupt.keras").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="cannot be loaded"):
        runs.load_model(tmp_path / "corrupt.keras")
    model.save(tmp_path / "m.keras")
    whole = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be loaded"):
        runs.load_model(tmp_path / "cut.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="Received: a Sequential"):
        runs.load_model(tmp_path / "other.keras")
