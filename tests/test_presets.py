"""Presets: recipes of settings, and models packed in half precision."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import reference_example
from conftest import make_model
from test_cli import NO_KERAS, kddim

import kddim as package
from kddim import names, presets, runs, training
from kddim.cli import train as train_verb
from kddim.data import ImageDataset
from kddim.presets import catalogue, hub, packing, places
from kddim.presets.weights import Weights, read_weights
from kddim.settings import Settings, validate
from kddim.training import TrainingConfig, build

ROOT = Path(__file__).parents[1]
NETWORKS = {
    "default": lambda: None,
    "custom": lambda: package.networks.residual_unet(
        16, (8, 16), 1, attention_levels=(1,), normalization="group"
    ),
}


@pytest.fixture(params=NETWORKS)
def trained(request, images):
    """A model whose average differs from its network, as after training."""
    model = make_model(images, network=NETWORKS[request.param]())
    random = np.random.default_rng(3)
    for weight in model.ema_network.weights:
        weight.assign(weight + 0.01 * np.abs(random.standard_normal(weight.shape)))
    return model


@pytest.fixture(scope="module")
def tulips(tmp_path_factory):
    """The folder of a preset."""
    images = np.random.default_rng(0).random((8, 16, 16, 3)).astype("float32")
    figure = {"kid": 0.01234, "kid_std": 0.001, "protocol": {"encoder": "mobilenet"}}
    card = presets.Card("Some tulips", "CC0", "kddim train tulips -o x", "1 hour", [figure], ["Blurs."])  # fmt: skip
    folder = tmp_path_factory.mktemp("presets") / "tulips"
    return presets.pack(make_model(images, widths=(4, 8)), folder, card, num_images=1, diffusion_steps=1)  # fmt: skip


@pytest.fixture
def in_package(tulips, tmp_path, monkeypatch):
    """A package that holds one preset, named tulips, and a working directory without models."""
    folder = shutil.copytree(tulips, tmp_path / "package" / "tulips")
    monkeypatch.setattr(catalogue, "ROOT", folder.parent)
    monkeypatch.setattr(places, "ROOT", folder.parent)
    monkeypatch.setattr("kddim.presets.table.ROOT", folder.parent)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


# Recipes


def test_the_example_is_the_example():
    """Its numbers, written again from the keras.io example."""
    assert presets.recipe("example") == {
        "image_size": 64, "widths": (32, 64, 96, 128), "block_depth": 2, "patch_size": 1,
        "attention_levels": (), "normalization": "batch", "batch_size": 64, "epochs": 50, "repeats": 5,
        "optimizer": "adamw", "learning_rate": 0.001, "learning_rate_decay": 0.0, "loss": "mean_absolute_error",
        "training_times": "uniform", "weighting": "constant", "weight_decay": 0.0001, "ema": 0.999, "schedule": "cosine",
        "prediction_type": "noise", "loss_type": "noise", "flip": False, "validation_split": 0.2,
        "kid_steps": 5, "every": 1,
    }  # fmt: skip


def test_the_example_builds_the_network_and_the_optimiser_of_the_example():
    config = TrainingConfig("oxford_flowers102", channels=3, **presets.recipe("example"))
    model = build.build_model(config.resolved(), ImageDataset(np.zeros((2, 64, 64, 3), "uint8"), 2))
    example = reference_example.network(64, (32, 64, 96, 128), 2)
    assert [w.shape for w in model.network.weights] == [w.shape for w in example.weights]
    assert model.network.count_params() == 1_953_507
    assert type(model.optimizer) is keras.optimizers.AdamW
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    assert model.optimizer.weight_decay == pytest.approx(1e-4)
    assert "absolute" in str(getattr(model.loss, "__name__", model.loss)).lower()


@pytest.mark.parametrize("name", presets.recipe_names())
def test_every_recipe_holds_settings_of_a_run(name):
    recipe = presets.recipe(name)
    assert validate(Settings, recipe) == recipe
    assert "source" not in recipe
    config = TrainingConfig("digits", **recipe)
    assert all(getattr(config, key) == value for key, value in recipe.items())
    recipe["flip"] = "changed"
    assert presets.recipe(name) != recipe
    assert name in next(p.help for p in train_verb.params if p.name == "preset")


def test_an_unknown_recipe_is_told():
    with pytest.raises(ValueError, match=r"expected one of 'example', 'fast'. Received: 'slow'"):
        presets.recipe("slow")
    assert presets.recipe_names() == tuple(names.RECIPES)


SMALL = ("--widths", "4,8", "--image-size", 8, "--block-depth", 1, "--kid-encoder", "none", "--limit", 40,
         "--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 8)  # fmt: skip


def test_options_win_over_the_file_over_the_preset_over_the_defaults(tmp_path, capsys, monkeypatch):  # fmt: skip
    (tmp_path / "run.toml").write_text('preset = "example"\nema = 0.5\nlearning_rate = 0.1\n')
    common = ("train", "digits", *SMALL, "--config", tmp_path / "run.toml", "--learning-rate", 0.2)
    assert kddim(*common, "--dry-run") == 0
    lines = dict(re.findall(r"^(\w+): +(.*)$", capsys.readouterr().out, re.M))
    assert lines["preset"] == "example"
    assert lines["learning_rate"] == "0.2"  # the option
    assert lines["ema"] == "0.5"  # the file
    assert lines["repeats"] == "5  (preset example)"  # digits: 1
    assert lines["kid_images"] == "1000"  # the default

    assert kddim(*common, "-o", tmp_path / "run") == 0
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert (recorded["preset"], recorded["ema"], recorded["repeats"]) == ("example", 0.5, 5)
    found = {}
    monkeypatch.setattr(training, "train", lambda config, *args, **rest: found.update(rest, config=config))  # fmt: skip
    again = ("train", "--config", tmp_path / "run" / "config.json", "--preset", "fast")
    assert kddim(*again, "-o", tmp_path / "again") == 0
    assert found["preset"] == "fast"
    assert found["config"].flip is False  # of the run that is repeated
    assert found["config"].repeats == 5


def settings_of(capsys, *arguments):
    """The settings that a dry run prints."""
    assert kddim("train", *arguments, "--dry-run") == 0
    return dict(re.findall(r"^(\w+): +(.*)$", capsys.readouterr().out, re.M))


def test_a_run_takes_the_fast_recipe_unless_it_has_settings_of_its_own(images, tulips, tmp_path, capsys):  # fmt: skip
    np.save(tmp_path / "x.npy", np.concatenate([images, images]))
    few = ("--kid-encoder", "none", "--epochs", 1, "--steps-per-epoch", 1)
    small = (*few, "--image-size", 8)
    found = settings_of(capsys, tmp_path / "x.npy", *small, "--loss", "mean_squared_error")
    fast = presets.recipe("fast")
    assert found["preset"] == "fast"
    assert found["batch_size"] == f"{fast['batch_size']}  (preset fast)"
    assert found["loss"] == "mean_squared_error"
    for arguments in (
        ("digits", *small),
        (tmp_path / "x.npy", *few, "--image-size", 16, "--init", tulips),
        (tmp_path / "x.npy", *small, "--preset", "example"),
    ):
        found = settings_of(capsys, *arguments)
        assert "preset fast" not in str(found)
        assert found["loss"].startswith("mean_absolute_error")
    (tmp_path / "run.toml").write_text("epochs = 1\n")
    assert settings_of(capsys, tmp_path / "x.npy", "--config", tmp_path / "run.toml", *small)["preset"] == "fast"  # fmt: skip
    # A run is repeated as it was.
    old = ("--preset", "example", "--widths", "4,8", "--block-depth", 1, "-o", tmp_path / "old")
    assert kddim("train", tmp_path / "x.npy", *small, *old) == 0
    capsys.readouterr()
    again = settings_of(capsys, "--config", tmp_path / "old" / "config.json")
    assert (again["batch_size"], again["preset"]) == ("64", "example")


def test_an_unknown_preset_is_one_line(tmp_path, capsys):
    assert kddim("train", "digits", "--preset", "exampel", "-o", tmp_path / "x") == 2
    assert "Did you mean example?" in capsys.readouterr().err


# Packing and loading


@pytest.mark.backend
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_packed_model_comes_back(trained, images, tmp_path, dtype):
    folder = presets.pack(trained, tmp_path / "tiny", num_images=2, diffusion_steps=2)
    model = package.DiffusionModel.from_preset(folder, dtype=dtype)
    inner = [layer for layer in model.network.layers if layer.name.startswith("conv2d")]
    assert {layer.compute_dtype for layer in inner} == {"float32", dtype.removeprefix("mixed_")}
    weights = trained.ema_network.get_weights()
    rounded = [w if w.ndim < 2 else w.astype("float16").astype("float32") for w in weights]
    for network in (model.network, model.ema_network):
        for one, other in zip(rounded, network.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    mean = keras.ops.convert_to_numpy(model.normalizer.adapt_mean)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-5)
    trained.ema_network.set_weights(rounded)
    difference = np.abs(model.generate(2, 3, seed=0) - trained.generate(2, 3, seed=0))
    assert difference.mean() < (1e-4 if dtype == "float32" else 0.05)
    history = model.fit(images[:16], batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_all_of_the_model_is_kept(images, tmp_path):
    options = {
        "schedule": package.schedules.CosineSchedule(0.1, 0.9), "prediction_type": "velocity",
        "loss_type": "image", "ema": 0.9,
    }  # fmt: skip
    model = make_model(images, **options)
    folder = presets.pack(model, tmp_path / "tiny", num_images=2, diffusion_steps=2)
    loaded = package.DiffusionModel.from_preset(folder, seed=3, ema=0.95)
    for name in ("schedule", "prediction_type", "loss_type", "widths", "block_depth"):
        assert getattr(loaded, name) == getattr(model, name)
    assert (loaded.seed, loaded.ema) == (3, 0.95)
    with pytest.raises(ValueError, match=r"Expected options among ema.*Received: 'widths'"):
        package.DiffusionModel.from_preset(folder, widths=(1,))


def test_the_files_of_a_preset_are_few_small_and_the_same_each_time(trained, tmp_path):
    one, other = (
        presets.pack(trained, tmp_path / name / "tiny", num_images=2, diffusion_steps=2)
        for name in "ab"
    )
    expected = {"config.json", "weights.npz", "card.md"}
    expected |= {"network.json"} if trained.has_custom_network else set()
    assert {path.name for path in one.iterdir()} == expected
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
    kernels = sum(w.size for w in trained.network.get_weights() if w.ndim > 1)
    rest = trained.network.count_params() - kernels
    assert (one / "weights.npz").stat().st_size < 2 * kernels + 4 * rest + 400 * len(trained.network.weights)  # fmt: skip
    config = json.loads((one / "config.json").read_text())
    assert config["digest"] == catalogue.digest_of(one / "weights.npz")
    assert config["parameters"] == trained.network.count_params()


def test_the_error_of_half_precision_is_measured(images, tmp_path):
    """Weights that float16 holds exactly make no error; the measure of others is the difference."""
    model = make_model(images)
    folder = presets.pack(model, tmp_path / "a", num_images=2, diffusion_steps=2)
    error = json.loads((folder / "config.json").read_text())["half_precision"]
    exact = package.DiffusionModel.from_preset(folder)
    difference = np.abs(exact.generate(2, 2, seed=0) - model.generate(2, 2, seed=0))
    assert error["mean_pixel_error"] == pytest.approx(float(difference.mean()), abs=1e-6)
    assert 1e-6 < error["weight_error"] < 2**-11
    assert "differ by" in (folder / "card.md").read_text()
    folder = presets.pack(exact, tmp_path / "b", num_images=2, diffusion_steps=2)
    again = json.loads((folder / "config.json").read_text())["half_precision"]
    assert again["largest_pixel_error"] == again["weight_error"] == 0.0


def test_values_beyond_half_precision_stay_in_full_precision(tmp_path):
    large, small = np.full((2, 2), 1e6, "float32"), np.full((2, 2), 0.1, "float32")
    weights = Weights([large, small, small[0]], np.zeros(1), np.ones(1))
    weights.write(tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        kinds = [str(file[f"network/000{i}"].dtype) for i in range(3)]
    assert kinds == ["float32", "float16", "float32"]
    np.testing.assert_array_equal(read_weights(tmp_path / "w.npz").network[0], large)


def test_a_preset_above_the_limit_is_refused_and_leaves_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="Expected a preset of at most 10 kB"):
        presets.pack(make_model(images), tmp_path / "tiny", num_images=2, diffusion_steps=1)
    assert not list(tmp_path.iterdir())
    assert packing.MOST_BYTES < 5_000_001


def test_packing_replaces_presets_only_and_only_if_asked(images, tmp_path):
    model, options = make_model(images, widths=(4, 8)), {"num_images": 2, "diffusion_steps": 1}
    folder = presets.pack(model, tmp_path / "tiny", **options)
    with pytest.raises(ValueError, match="--overwrite"):
        presets.pack(model, folder, **options)
    presets.pack(model, folder, presets.Card(data="other"), overwrite=True, **options)
    assert "other" in (folder / "card.md").read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="Expected a preset to overwrite"):
        presets.pack(model, mine, overwrite=True, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "tiny"]


def test_a_failed_write_leaves_the_earlier_preset(images, tmp_path, monkeypatch):
    model, options = make_model(images, widths=(4, 8)), {"num_images": 2, "diffusion_steps": 1}
    folder = presets.pack(model, tmp_path / "tiny", **options)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args):
        raise OSError("no room")

    monkeypatch.setattr(packing, "card_text", fail)
    with pytest.raises(OSError, match="no room"):
        presets.pack(model, folder, overwrite=True, **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_models_that_a_preset_cannot_hold_are_refused(images, tmp_path):
    model = make_model(images, widths=(4, 8))
    model.denoise = lambda *args, **options: None
    with pytest.raises(ValueError, match="built-in `denoise`"):
        presets.pack(model, tmp_path / "tiny")
    model = make_model(images, widths=(4, 8))
    model.ema_network.weights[0].assign(np.full(model.ema_network.weights[0].shape, np.nan))
    with pytest.raises(ValueError, match="Expected finite weights"):
        presets.pack(model, tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


@pytest.mark.backend
def test_runs_and_files_start_from_their_average(trained, images, tmp_path):
    trained.save(tmp_path / "m.keras")
    model = package.DiffusionModel.from_preset(tmp_path / "m.keras", dtype="mixed_bfloat16")
    for one, other in zip(trained.ema_network.get_weights(), model.network.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert "bfloat16" in {layer.compute_dtype for layer in model.network.layers}
    assert model.generate(1, 1, seed=0).shape == (1, 16, 16, 3)
    model.fit(images[:8], batch_size=8, verbose=0)


# Damage


def damage(folder, name):
    """Damage a preset in a way, and return what its error says."""
    config = json.loads((folder / "config.json").read_text())
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    first = "network/0000"

    def claim(**change):
        config["model"] |= change
        (folder / "config.json").write_text(json.dumps(config))

    def write(**change):
        np.savez(folder / "weights.npz", **(arrays | change))

    if name == "no table":
        (folder / "config.json").write_text("[1]")
    elif name == "cut":
        whole = (folder / "weights.npz").read_bytes()
        (folder / "weights.npz").write_bytes(whole[: len(whole) // 2])
    elif name == "pickle":
        write(**{first: np.array([print], dtype=object)})
    elif name == "nan":
        write(**{first: np.full_like(arrays[first], np.nan)})
    elif name == "variance":
        write(**{"normalizer/variance": np.full(3, -1.0, "float32")})
    elif name == "shape":
        write(**{first: arrays[first][..., :1]})
    elif name == "one more":
        write(more=np.ones(3, "float32"))
    elif name == "missing":
        arrays.pop(f"network/{len(arrays) - 3:04d}")
        write()
    elif name == "widths":
        claim(widths=[4000, 8000])
    elif name == "absurd":
        claim(widths=[10**9])
    elif name == "channels":
        claim(channels=4)
    elif name == "schedule":
        claim(schedule={"module": "os", "class_name": "system", "config": {}})
    elif name == "network":
        layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}}
        (folder / "network.json").write_text(json.dumps(layer))
    elif name == "large network":
        layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10**9}}
        (folder / "network.json").write_text(json.dumps(layer))


@pytest.mark.parametrize(
    "name",
    ["no table", "cut", "pickle", "nan", "variance", "shape", "one more", "missing", "widths",
     "absurd", "channels", "schedule", "network", "large network"],
)  # fmt: skip
def test_damaged_presets_are_refused_in_one_line(tulips, tmp_path, capsys, name):
    folder = shutil.copytree(tulips, tmp_path / "tiny")
    damage(folder, name)
    assert kddim("generate", folder, "-o", tmp_path / "x.png") == 2
    error = capsys.readouterr().err
    assert error.startswith("kddim: error: Expected ")
    assert str(folder) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


# Names, paths and addresses


def test_names_lists_folders_with_weights(in_package):
    assert presets.names() == ("tulips",)
    assert package.DiffusionModel.from_preset("tulips").image_shape == (16, 16, 3)


def test_a_name_stands_wherever_a_model_stands(in_package, capsys, caplog):
    steps = ("--diffusion-steps", 1, "-n", 4)
    assert kddim("generate", "tulips", *steps) == 0
    assert "4 images: tulips.png" in capsys.readouterr().out
    assert kddim("generate", "tulips", *steps) == 2  # is there already
    assert kddim("generate", "tulips", *steps, "--overwrite") == 0
    assert kddim("generate", "tulips", *steps, "--animate") == 0
    assert Path("tulips.gif").is_file()
    common = ("interpolate", "tulips", "--num-pairs", 1, "--grid-size", 2, "-n", 2)
    assert kddim(*common, "--diffusion-steps", 1) == 0
    assert Path("tulips_interpolation/grid.png").is_file()
    np.save("some.npy", np.random.default_rng(0).random((40, 16, 16, 3)).astype("float32"))
    scored = ("evaluate", "tulips", "some.npy", "--encoder", "random_conv", *steps)
    capsys.readouterr()
    assert kddim(*scored) == 0
    assert "KID" in capsys.readouterr().out
    assert kddim("info", "tulips") == 0
    printed = capsys.readouterr().out
    for words in ("Some tulips", "CC0", "1 hour", "KID 0.0123 +- 0.001", "Blurs.", "residual UNet"):
        assert words in printed
    assert not list((Path.cwd().parent / "package" / "tulips").glob("*_*"))


def test_the_table_tells_all(in_package, capsys):
    assert kddim("presets") == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("tulips "))
    count = f"{json.loads((in_package / 'config.json').read_text())['parameters']:,}"
    for words in ("Some tulips", "16x16x3", count, "0.0123 +- 0.001", "kB"):
        assert words in row
    assert "tulips: KID by encoder mobilenet" in printed
    assert "tulips: made by kddim train tulips -o x" in printed
    assert "recipe example: image_size 64" in printed


def test_a_local_model_wins_over_a_preset_and_says_so(in_package, images, caplog):
    caplog.set_level("INFO", "kddim")
    Path("tulips").mkdir()
    assert package.DiffusionModel.from_preset("tulips").image_shape == (16, 16, 3)
    assert "the local tulips holds no model: this is the preset" in caplog.text
    caplog.clear()
    make_model(images[:, :8, :8], widths=(4, 8)).save("tulips/model.keras")
    assert package.DiffusionModel.from_preset("tulips").image_shape == (8, 8, 3)
    assert "tulips is the local path here" in caplog.text


@pytest.mark.parametrize("text", ["tulip", "TULIPS", "x" * 5000])
def test_an_unknown_name_is_one_line_with_the_nearest(in_package, capsys, text):
    assert kddim("info", text) == 2
    error = capsys.readouterr().err
    assert "the name of a preset (tulips)" in error
    assert ("Did you mean tulips?" in error) == (text == "tulip")
    assert len(error) < 500


def test_the_hub_gives_a_folder(in_package, tmp_path, monkeypatch, capsys):
    asked = []

    def snapshot_download(repo, revision, allow_patterns):
        asked.append((repo, revision))
        assert "weights.npz" in allow_patterns
        return str(tmp_path / "package" / "tulips")

    module = type(sys)("huggingface_hub")
    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    hub.download.cache_clear()
    model = package.DiffusionModel.from_preset("hf://someone/flowers@v1")
    assert model.image_shape == (16, 16, 3)
    assert asked == [("someone/flowers", "v1")]
    assert kddim("generate", "hf://someone/flowers", "-n", 2, "--diffusion-steps", 1) == 0
    assert Path("flowers.png").is_file()
    with pytest.raises(ValueError, match="Expected an address such as hf://user/repo"):
        package.DiffusionModel.from_preset("hf://flowers")

    def fail(*args, **options):
        raise OSError("no network in this test")

    module.snapshot_download = fail
    with pytest.raises(ValueError, match=r"Received: hf://a/b \(no network in this test\)"):
        package.DiffusionModel.from_preset("hf://a/b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"Install kddim\[hub\]"):
        package.DiffusionModel.from_preset("hf://c/d")
    hub.download.cache_clear()


@pytest.mark.parametrize("arguments", [["presets"], ["train", "--help"], ["generate", "--help"]])
def test_presets_answer_without_keras(arguments):
    answer = subprocess.run(
        [sys.executable, "-m", "kddim", *arguments],
        capture_output=True, text=True, timeout=60, env=NO_KERAS | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "example" in answer.stdout or arguments[0] == "generate"


def test_presets_of_the_package_load_and_are_small():
    """Whatever presets there are: their size, their card, and their pictures."""
    for name in presets.names():
        folder = catalogue.ROOT / name
        assert catalogue.size_of(folder) <= packing.MOST_BYTES
        config = catalogue.read_config(folder)
        assert config["digest"] == catalogue.digest_of(folder / "weights.npz")
        for key in ("data", "licence", "command", "cost", "figures", "weaknesses"):
            assert config["card"][key], f"{name}: {key}"
        assert package.DiffusionModel.from_preset(name).generate(2, 2, seed=0).std() > 0.05


def test_the_wheel_and_the_sdist_hold_the_weights(tulips, tmp_path):
    hatch = pytest.importorskip("hatchling.builders.wheel")
    from hatchling.builders.sdist import SdistBuilder

    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "kddim").mkdir()
    shutil.copy(ROOT / "kddim" / "__init__.py", tmp_path / "kddim")
    shutil.copytree(tulips, tmp_path / "kddim" / "presets" / "tiny")
    for builder in (hatch.WheelBuilder(str(tmp_path)), SdistBuilder(str(tmp_path))):
        held = {
            file.relative_path.replace(os.sep, "/") for file in builder.recurse_included_files()
        }
        for path in tulips.iterdir():
            assert f"kddim/presets/tiny/{path.name}" in held


def test_a_packed_run_keeps_its_settings_and_no_paths(tmp_path, monkeypatch):
    config = TrainingConfig(
        "digits", widths=(4, 8), block_depth=1, epochs=1, steps_per_epoch=1, kid_encoder="none", limit=40,
        batch_size=8,
    )  # fmt: skip
    command = f"kddim train {tmp_path}/pictures --output={tmp_path}/run --widths 4,8"
    run = training.train(config, tmp_path / "run", verbose=0, command=command)
    folder = presets.pack(run, tmp_path / "tiny", num_images=2, diffusion_steps=1)
    found = json.loads((folder / "config.json").read_text())
    assert found["card"]["command"] == "kddim train pictures --output=run --widths 4,8"
    assert found["training"]["widths"] == [4, 8]
    assert "source" not in found["training"]
    assert str(tmp_path) not in "".join(p.read_text() for p in folder.glob("*.*") if p.suffix != ".npz")  # fmt: skip
    assert runs.load_model(run).image_shape == (8, 8, 1)
    again = presets.pack(folder, tmp_path / "again", num_images=2, diffusion_steps=1)
    assert json.loads((again / "config.json").read_text())["training"] == found["training"]


def test_texts_lose_the_paths_of_a_machine_and_keep_addresses():
    found = packing._without_paths(
        {"real": "validation of /data/mine/flowers, seed 0", "of": ["(~/a/b.npz)", 3, None],
         "command": "kddim train hf://a/b docs/x --output=/tmp/r/ 1/2"}
    )  # fmt: skip
    assert found == {
        "real": "validation of flowers, seed 0", "of": ["(b.npz)", 3, None],
        "command": "kddim train hf://a/b docs/x --output=r 1/2",
    }  # fmt: skip


@pytest.mark.slow
def test_the_benchmark_measures_and_packs(tmp_path):
    options = TrainingConfig("digits", widths=(4, 8), block_depth=1, epochs=1, steps_per_epoch=1,
                             kid_encoder="none", limit=80, batch_size=8)  # fmt: skip
    run = training.train(options, tmp_path / "run", verbose=0, command="kddim train digits")
    facts = ("--data", "Digits", "--licence", "CC BY 4.0", "--cost", "1 s", "--weakness", "All noise.")  # fmt: skip
    answer = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "presets.py", run, "digits", "--output", tmp_path / "tiny",
         "--sheet", tmp_path / "sheet.png", "--encoder", "random_conv", "--num-images", "16", "--steps", "1", "2", *facts],
        capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    card = (tmp_path / "tiny" / "card.md").read_text()
    assert card in answer.stdout
    for words in ("KID", "FID", "precision", "recall", "copy ratio", "diffusion steps 1", "diffusion steps 2", "All noise."):  # fmt: skip
        assert words in card
    assert str(tmp_path) not in (tmp_path / "tiny" / "config.json").read_text()
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    figures = json.loads((tmp_path / "tiny" / "config.json").read_text())["card"]["figures"]
    assert [figure["protocol"]["diffusion_steps"] for figure in figures] == [1, 2]
