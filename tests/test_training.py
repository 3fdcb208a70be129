"""Run folders: `kddim.training.train`."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import make_model
from PIL import Image

import kddim
from kddim import data, runs, training
from kddim.training import TrainingConfig

SMALL = {
    "source": "digits", "widths": (8, 16), "block_depth": 1, "epochs": 2, "steps_per_epoch": 3,
    "batch_size": 16, "kid_encoder": "random_conv", "kid_images": 16, "kid_steps": 2, "every": 1,
}  # fmt: skip


def run(tmp_path, overwrite=False, **options):
    return training.train(
        TrainingConfig(**(SMALL | options)), tmp_path / "run", overwrite=overwrite, verbose=0
    )


def test_a_run_folder_holds_what_it_should(tmp_path):
    folder = run(tmp_path)
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert names == [
        "checkpoints/step_00000006.npz", "config.json", "history.csv", "history.png", "model.keras",
        "samples/epoch_0001.png", "samples/epoch_0002.png", "state.json",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["training"]["widths"] == [8, 16]
    assert config["training"]["image_size"] == 8
    assert config["kid"]["encoder"] == "random_conv"
    assert config["kid"]["generated_images"] == 16
    assert config["best_epoch"] in (1, 2)
    model = runs.load_model(folder)
    assert model.image_shape == (8, 8, 1)
    assert int(model.ema_steps) == 3 * config["best_epoch"]
    assert Image.open(folder / "samples/epoch_0001.png").size[0] > 100
    described = runs.describe(folder)
    assert described["images"] == "8x8, 1 channels"
    assert described["training source"] == "digits"


def test_the_same_seed_gives_the_same_run(tmp_path):
    images = []
    for name in ("a", "b"):
        folder = run(tmp_path / name, kid_encoder="none", epochs=1)
        images.append(runs.load_model(folder).generate(2, 2, seed=0))
    np.testing.assert_allclose(*images, atol=1e-5)


def test_without_kid_the_last_model_is_kept(tmp_path):
    folder = run(tmp_path, kid_encoder="none", every=5)
    assert int(runs.load_model(folder).ema_steps) == 6
    assert json.loads((folder / "config.json").read_text())["kid"] is None


def test_an_earlier_run_is_kept_unless_it_may_be_replaced(tmp_path):
    folder = run(tmp_path, epochs=2, kid_encoder="none")
    (folder / "notes.txt").write_text("mine")
    before = (folder / "model.keras").read_bytes()
    with pytest.raises(ValueError, match="--overwrite"):
        run(tmp_path)
    assert (folder / "model.keras").read_bytes() == before
    run(tmp_path, overwrite=True, epochs=1, kid_encoder="none")
    assert (folder / "model.keras").read_bytes() != before
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in (folder / "samples").iterdir()] == ["epoch_0001.png"]


def test_a_folder_that_is_no_run_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds config\.json"):
        run(tmp_path, overwrite=True)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"source": "no/such/folder.npz"}, "no such file"),
        ({"batch_size": 4000}, "one batch of 4000 training images"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"epochs": 0}, "epochs of at least 1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch of at least 1"),
        ({"widths": (8, 8, 8, 8, 8)}, "divisible by 16"),
        ({"schedule": "cosin"}, "Unknown schedule"),
        ({"kid_encoder": "inceptio"}, "Unknown encoder"),
        ({"kid_images": 1}, "kid_images of at least 2"),
        ({"kid_max_seconds": 0}, "kid_max_seconds above 0"),
        ({"kid_encoder": "pt_inception"}, "Expected `weights` for pt_inception"),
        ({"encoder_weights": "some.h5"}, "Expected no `weights` for 'random_conv'"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"ema": 1.5}, "`ema`"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        run(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoder", ["none", "random_conv"])
def test_divergence_is_said_and_not_saved(tmp_path, encoder):
    with pytest.raises(ValueError, match=r"finite loss.*smaller learning rate"):
        run(tmp_path, learning_rate=1e30, kid_encoder=encoder)
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_run_is_not_replaced_before_all_input_is_seen_to_be_right(tmp_path):
    folder = run(tmp_path, epochs=1, kid_encoder="none")
    before = (folder / "model.keras").read_bytes()
    for options in ({"limit": 20, "batch_size": 16, "validation_split": 0.05}, {"schedule": "x"}):
        with pytest.raises(ValueError, match=r"Expected|Unknown"):
            run(tmp_path, overwrite=True, **options)
        assert (folder / "model.keras").read_bytes() == before


def test_images_of_any_number_of_channels(tmp_path):
    images = np.random.default_rng(0).random((40, 8, 8, 4)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    folder = run(tmp_path, source=str(tmp_path / "images.npy"), image_size=8, epochs=1)
    assert runs.load_model(folder).generate(1, 1, seed=0).shape == (1, 8, 8, 4)
    assert (folder / "samples" / "epoch_0001.png").is_file()


def test_the_loss_may_compare_another_kind_than_the_prediction(tmp_path):
    folder = run(tmp_path, prediction_type="velocity", loss_type="noise", schedule="sigmoid")
    model = runs.load_model(folder)
    assert (model.prediction_type, model.loss_type) == ("velocity", "noise")
    with pytest.raises(ValueError, match="Unknown loss_type"):
        run(tmp_path, overwrite=True, loss_type="x")


def test_kid_by_any_encoder_with_weights_of_a_file(tmp_path):
    network = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3), pooling="avg"
    )
    weights = tmp_path / "m.weights.h5"
    network.save_weights(weights)
    options = {"encoder_weights": str(weights), "kid_max_seconds": 1000.0, "epochs": 1}
    folder = run(tmp_path, kid_encoder="mobilenet", **options)
    config = json.loads((folder / "config.json").read_text())
    assert config["kid"]["encoder"] == "mobilenet 0.25 (m.weights.h5, 128x128, antialiased)"
    assert config["kid"]["generated_images"] == 16


def test_the_data_set_of_a_run_is_built_once(tmp_path, monkeypatch):
    built = []
    init = data.ImageDataset.__init__
    monkeypatch.setattr(
        data.ImageDataset,
        "__init__",
        lambda self, *args, **kwargs: (built.append(kwargs), init(self, *args, **kwargs))[1],
    )
    run(tmp_path, epochs=1, steps_per_epoch=3, kid_encoder="none")
    assert sum(kwargs.get("training", False) for kwargs in built) == 1


def test_steps_per_epoch_of_a_data_set():
    train, validation = data.load("digits", 8, 16, steps_per_epoch=3)
    assert (len(train), len(validation)) == (3, 23)
    with pytest.raises(ValueError, match="`steps_per_epoch` to be an int of at least 1"):
        data.load("digits", 8, 16, steps_per_epoch=0)


def test_resolved_settings_have_no_defaults_left():
    resolved = TrainingConfig("digits", epochs=3).resolved()
    assert (resolved.image_size, resolved.epochs, resolved.repeats, resolved.every) == (8, 3, 1, 10)
    assert resolved.resolved() == resolved
    assert list(dataclasses.asdict(resolved)) == list(dataclasses.asdict(TrainingConfig()))
    assert TrainingConfig("a.npz").resolved().widths == (32, 64, 96, 128)


def test_a_model_is_loaded_in_the_precision_asked_for(tmp_path, images):
    model = make_model(images, dtype="mixed_bfloat16")
    model.save(tmp_path / "m.keras")
    kept = runs.load_model(tmp_path / "m.keras")
    assert kept.network_dtype == "mixed_bfloat16"
    converted = runs.load_model(tmp_path / "m.keras", "float32")
    assert converted.network_dtype == "float32"
    for one, other in zip(kept.get_weights(), converted.get_weights()):
        np.testing.assert_array_equal(one, other)
    full = make_model(images)
    full.set_weights(model.get_weights())
    exact = full.generate(4, 3, seed=0)
    np.testing.assert_allclose(converted.generate(4, 3, seed=0), exact, atol=1e-5)
    assert np.abs(kept.generate(4, 3, seed=0) - exact).max() > 1e-4


def test_a_custom_network_keeps_its_precision(tmp_path, images, caplog):
    network = make_model(images).network
    kddim.DiffusionModel(16, network=network).save(tmp_path / "m.keras")
    with caplog.at_level("WARNING"):
        model = runs.load_model(tmp_path / "m.keras", "mixed_bfloat16")
    assert model.network.compute_dtype == "float32"
    assert "keeps its precision" in caplog.text
