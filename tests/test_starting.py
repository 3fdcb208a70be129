"""Runs that start from the weights of another model: `kddim train --init`."""

import json
import shutil

import numpy as np
import pytest
from conftest import make_model
from test_cli import kddim
from test_resume import SMALL, Stop, result, stop, train  # noqa: F401 (a fixture)

import kddim as package
from kddim import checkpoints, presets, runs
from kddim.presets.catalogue import digest_of
from kddim.training import TrainingConfig, starting

FEW = {"widths": None, "epochs": 1, "steps_per_epoch": 1, "kid_encoder": "none"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A preset of digits, packed from a model."""
    images = np.random.default_rng(0).random((16, 8, 8, 1)).astype("float32")
    model = make_model(images, widths=(4, 8), prediction_type="velocity")
    folder = tmp_path_factory.mktemp("presets") / "digits"
    return presets.pack(model, folder, num_images=1, diffusion_steps=1)


@pytest.fixture(scope="module")
def attentive(tmp_path_factory):
    """A run with a network that `DiffusionModel` has no options for, and its preset."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"attention_levels": (1,), "normalization": "group", "widths": (4, 8)}
    run = train(folder / "run", **(FEW | options))
    return run, presets.pack(run, folder / "preset", num_images=1, diffusion_steps=1)


def first_weights(monkeypatch, folder, **options):
    """Weights of a run before its first step, and its model."""
    found = []

    def fit(model, *args, **rest):
        found.append((model, model.network.get_weights(), model.ema_network.get_weights()))
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(package.DiffusionModel, "fit", fit)
        with pytest.raises(Stop):
            train(folder, **(FEW | options))
    return found[0]


def test_a_run_starts_from_a_preset_and_is_adapted_to_its_own_images(tmp_path, monkeypatch, digits):
    model, *weights = first_weights(monkeypatch, tmp_path / "run", init=str(digits))
    preset = package.DiffusionModel.from_preset(digits)
    for found in weights:
        for one, other in zip(found, preset.ema_network.get_weights()):
            np.testing.assert_array_equal(one, other)
    assert (model.widths, model.block_depth, model.prediction_type) == ((4, 8), 1, "velocity")
    assert int(model.ema_steps) == 0
    images = package.data.load("digits", 8, limit=200)[0].images
    mean = float(np.asarray(model.normalizer.adapt_mean)[0])
    assert mean == pytest.approx(images.mean(), abs=1e-4)
    assert mean != pytest.approx(float(np.asarray(preset.normalizer.adapt_mean)[0]), abs=0.05)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["init"] == {"model": str(digits), "digest": digest_of(digits / "weights.npz")}
    assert config["training"]["widths"] == [4, 8]
    assert config["training"]["init"] == str(digits)


@pytest.mark.parametrize("index", [0, 1], ids=["run", "preset"])
def test_a_network_with_options_is_built_again_from_settings(tmp_path, monkeypatch, attentive, index):  # fmt: skip
    init = attentive[index]
    model, weights, _ = first_weights(monkeypatch, tmp_path / "run", init=str(init))
    expected = package.DiffusionModel.from_preset(init).network.get_weights()
    for one, other in zip(weights, expected):
        np.testing.assert_array_equal(one, other)
    assert model.has_custom_network


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--widths", "8,16"), "Expected widths 4,8, as of {} (init). Received: widths 8,16."),
        (("--block-depth", 2), "Expected block_depth 1, as of {} (init). Received: block_depth 2."),
        (("--image-size", 16), "Expected image_size 8x8, as of {} (init). Received: image_size 16"),
        (("--prediction-type", "noise"), "Received: prediction_type noise"),
        (("--normalization", "group"), "Expected normalization batch"),
        (("--init", "nowhere/x"), "nowhere/x"),
    ],
)
def test_an_option_that_contradicts_is_named_with_the_preset(
    tmp_path, capsys, digits, arguments, message
):
    common = ("train", "digits", "--init", digits, "-o", tmp_path / "run")
    assert kddim(*common, *arguments) == 2
    error = capsys.readouterr().err
    assert message.format(digits) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_settings_that_contradict_in_python_are_refused(tmp_path, digits):
    config = TrainingConfig("digits", init=str(digits), widths=(8, 16))
    with pytest.raises(ValueError, match=r"Expected widths 4,8.*Received: widths 8,16"):
        starting.take_over(config)
    same = starting.take_over(TrainingConfig("digits", init=str(digits), widths=(4, 8), image_size=8))  # fmt: skip
    assert (same.block_depth, same.channels, same.prediction_type) == (1, 1, "velocity")


def test_a_dry_run_says_what_comes_from_the_preset(capsys, digits):
    options = ("--limit", 40, "--batch-size", 8, "--kid-encoder", "none", "--block-depth", 1)
    assert kddim("train", "digits", "--init", digits, *options, "--dry-run") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["widths:", "4,8", "(init", f"{digits})"] in lines
    assert ["block_depth:", "1"] in lines


def test_networks_that_no_settings_describe_are_refused(tmp_path):
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    network = package.networks.residual_unet(8, (4, 8), 1, channels=1, embedding_dims=8)
    make_model(images, network=network).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="a network of its own and no settings beside it"):
        starting.network_settings(tmp_path / "m.keras")
    schedule = package.schedules.CosineSchedule(0.1, 0.9)
    make_model(images, widths=(4, 8), schedule=schedule).save(tmp_path / "n.keras")
    with pytest.raises(ValueError, match="Expected a model with a schedule that kddim train has"):
        starting.network_settings(tmp_path / "n.keras")


def test_weights_of_another_network_are_refused(digits):
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    with pytest.raises(ValueError, match=r"do not fit the run. Expected a weight of shape"):
        starting.initialise(make_model(images, widths=(4, 6)), digits)


@pytest.mark.backend
def test_a_run_that_started_from_a_preset_is_resumed_without_it(tmp_path, stop, digits):  # noqa: F811
    copy = shutil.copytree(digits, tmp_path / "copy")
    options = {"init": str(copy), "widths": None, "epochs": 2, "kid_encoder": "none"}
    whole = result(train(tmp_path / "whole", **options))
    stop(6)
    with pytest.raises(Stop):
        train(tmp_path / "run", **options)
    assert checkpoints.newest(tmp_path / "run" / "checkpoints").steps
    shutil.rmtree(copy)
    package.training.resume(tmp_path / "run", verbose=0)
    assert result(tmp_path / "run")["weights"] == whole["weights"]


def test_a_run_that_is_resumed_before_its_first_checkpoint_starts_from_the_preset(
    tmp_path, monkeypatch, digits, caplog
):
    first_weights(monkeypatch, tmp_path / "run", init=str(digits))
    shutil.rmtree(tmp_path / "run" / "checkpoints", ignore_errors=True)
    package.training.resume(tmp_path / "run", verbose=0)
    train(tmp_path / "whole", **(FEW | {"init": str(digits)}))
    for one, other in zip(
        runs.load_model(tmp_path / "run").get_weights(), runs.load_model(tmp_path / "whole").get_weights()
    ):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    assert "changed since" not in caplog.text


def test_a_preset_is_no_run_to_resume_or_to_replace(tmp_path, capsys, digits):
    before = sorted(digits.iterdir())
    assert kddim("train", "--resume", digits) == 2
    assert "Expected a run folder" in capsys.readouterr().err
    assert kddim("train", "digits", "-o", digits, "--overwrite") == 2
    assert "Expected a run folder to overwrite" in capsys.readouterr().err
    assert sorted(digits.iterdir()) == before
