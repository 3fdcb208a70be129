"""Settings of training: Python, files, the command line, `config.json` and dry runs."""

import dataclasses
import json
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kddim import cli, runs, training
from kddim.networks import residual_unet
from kddim.presets import recipe
from kddim.settings import (
    RunSettings,
    Settings,
    annotations_of,
    default_words,
    description_of,
    read_settings,
    validate,
)
from kddim.training import TrainingConfig
from kddim.training.estimate import network_cost, training_memory

ROOT = Path(__file__).parents[1]
SMALL = {
    "widths": [8, 16], "block_depth": 1, "epochs": 1, "steps_per_epoch": 2, "batch_size": 16,
    "limit": 60, "kid_encoder": "none",
}  # fmt: skip


def kddim(*arguments):
    """Run the command in this process, and return its exit status."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


@pytest.fixture
def captured(monkeypatch):
    """What the command line would have trained: `{"config": ..., "output": ...}`."""
    found = {}

    def train(config, output, **options):
        found.update(options, config=config, output=output, dtype=keras.config.dtype_policy().name)
        return Path(output)

    monkeypatch.setattr(training, "train", train)
    return found


def write(path, text):
    path.write_text(text)
    return path


# Python


def test_settings_are_taken_in_the_forms_that_people_write():
    config = TrainingConfig(
        Path("pictures"), "64x48", widths=[np.int64(32), 64], learning_rate=np.float32(0.5), ema=0
    )
    assert (config.source, config.image_size, config.widths) == ("pictures", (64, 48), (32, 64))
    assert {type(value) for value in (*config.widths, config.learning_rate)} == {int, float}
    assert TrainingConfig(image_size=[64, 48]).image_size == (64, 48)
    assert TrainingConfig(image_size="64") == TrainingConfig(image_size=64)
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ema = 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", "64", "Expected batch_size as an integer. Received: '64' (text)"),
        ("batch_size", True, "Expected batch_size as an integer. Received: True (true or false)"),
        ("batch_size", 0.5, "Expected batch_size as an integer. Received: 0.5 (a number)"),
        ("batch_size", 64.0, "Expected batch_size as an integer. Received: 64.0 (a number)"),
        ("batch_size", None, "Expected batch_size as an integer. Received: None (nothing)"),
        ("learning_rate", [1], "Expected learning_rate as a number. Received: [1] (a list)"),
        ("learning_rate", "1e-3", "Expected learning_rate as a number. Received: '1e-3' (text)"),
        ("learning_rate", math.nan, "Expected learning_rate as a finite number. Received: nan"),
        ("weight_decay", -1, "Expected weight_decay of at least 0. Received: -1"),
        ("ema", 1.0, "Expected `ema` in [0, 1). Received: 1.0"),
        ("validation_split", 1, "Expected `validation_split` in (0, 1). Received: 1"),
        ("flip", 1, "Expected flip as true or false. Received: 1 (an integer)"),
        ("widths", "32,64", "Expected widths as a list of integers such as [1, 2]. Received"),
        ("widths", [32, "64"], "Expected widths as a list of integers such as [1, 2]. Received"),
        ("widths", [32, 0], "Expected widths of at least 1. Received: [32, 0]"),
        ("image_size", "64x", "Expected image_size as an integer, a list [height, width], or text"),
        ("image_size", [1, 2, 3], "Expected image_size as an integer, a list [height, width]"),
        ("image_size", -8, "Expected image_size of at least 1. Received: -8"),
        ("source", 3, "Expected source as text. Received: 3 (an integer)"),
        ("schedule", "cosin", "Received: 'cosin'. Did you mean cosine?"),
        ("track", "tensorboard", "Unknown track: expected one of 'wandb', 'trackio'. Received"),
        ("checkpoint_minutes", 0, "Expected checkpoint_minutes above 0. Received: 0"),
        ("checkpoint_steps", 0, "Expected checkpoint_steps of at least 1. Received: 0"),
        ("seed", 10**30, "Expected seed of at most"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TrainingConfig(**{name: value})
    with pytest.raises(ValueError, match=re.escape(name)):
        dataclasses.replace(TrainingConfig("digits").resolved(), **{name: value})


def test_an_integer_that_python_cannot_write_is_refused():
    with pytest.raises(ValueError, match="Received: an integer of thousands of digits"):
        TrainingConfig(seed=10**5000)


def test_all_wrong_settings_are_told_together():
    with pytest.raises(ValueError, match=r"Unknown setting 'x'.*epochs of at least 1.*ema") as told:
        validate(Settings, {"epochs": 0, "ema": 2, "x": 1}, "run.toml")
    assert "\n" not in str(told.value)


# Absurd sizes


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 1_000_000},
        {"image_size": 16384},
        {"block_depth": 100_000},
        {"widths": (100_000_000,)},
        {"widths": (65536, 65536), "image_size": 64},
        {"channels": 100_000},
        {"batch_size": 10**9},
        {"batch_size": 10**6, "image_size": 64},
        {"kid_images": 10**9},
        {"steps_per_epoch": 10**9},
    ],
)
def test_absurd_settings_are_refused_before_anything_is_built(options, monkeypatch):
    monkeypatch.setenv("KDDIM_MEMORY", str(8 * 10**9))
    monkeypatch.setattr(keras, "Input", None)
    with pytest.raises(ValueError, match=r"of at most|to fit in the free memory"):
        TrainingConfig(**options).resolved()


def test_usual_settings_fit_in_a_small_machine(monkeypatch):
    monkeypatch.setenv("KDDIM_MEMORY", str(10**9))
    assert TrainingConfig("pictures").resolved().batch_size == 64
    assert TrainingConfig("digits").resolved().batch_size == 64


@pytest.mark.parametrize(
    "options",
    [
        {"source": "pictures"},
        {"block_depth": 1, "image_size": (16, 8), "channels": 1, "attention_levels": (1, 2)},
        {"widths": (130,), "attention_levels": (0,), "normalization": "group"},
        {"widths": (32, 64, 32), "block_depth": 3},
        {"widths": (8, 16), "image_size": (16, 8), "patch_size": 2},
    ],
)
def test_the_estimate_counts_what_keras_builds(options):
    config = TrainingConfig(**options).resolved()
    cost = network_cost(config)
    network = residual_unet(**config.arguments_of(residual_unet) | {"channels": config.channels or 3})  # fmt: skip
    multiply_adds = 0
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Conv2DTranspose):
            multiply_adds += math.prod(layer.input.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.Conv2D):
            multiply_adds += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        elif type(layer).__name__ == "SpatialAttention":
            height, width, channels = layer.output.shape[1:]
            multiply_adds += 2 * (height * width) ** 2 * channels
    assert cost.parameters == network.count_params()
    assert cost.multiply_adds == multiply_adds


def test_memory_grows_with_the_batch_and_falls_with_remat_and_half_precision():
    config = TrainingConfig("pictures").resolved()
    full = training_memory(config)
    assert full["weights"] == 4 * 1_953_507
    assert full["optimiser"] == 2 * full["weights"]
    assert training_memory(dataclasses.replace(config, batch_size=128))["activations"] == (
        2 * full["activations"]
    )
    assert training_memory(config, "mixed_bfloat16")["activations"] * 2 == full["activations"]
    assert training_memory(dataclasses.replace(config, remat=True))["activations"] < (
        0.5 * full["activations"]
    )


# Files

TOML = """
source = "pictures"
image_size = "64x48"
widths = [32, 64]
learning_rate = 1e-3
flip = true
output = "runs/a"
backend = "jax"
"""
YAML = """
source: pictures
image_size: 64x48
widths: [32, 64]
learning_rate: 1e-3
flip: true
output: runs/a
backend: jax
"""
VALUES = {
    "source": "pictures", "image_size": (64, 48), "widths": (32, 64), "learning_rate": 1e-3,
    "flip": True, "output": "runs/a", "backend": "jax",
}  # fmt: skip


def test_toml_yaml_and_json_say_the_same(tmp_path):
    files = {
        "a.toml": TOML,
        "b.toml": TOML.replace("source", "[training]\nsource", 1),
        "c.yaml": YAML,
        "d.yml": "\ufefftraining:\n" + YAML.replace("\n", "\n  ") + "\n",
        "e.json": json.dumps(VALUES),
    }
    for name, text in files.items():
        assert read_settings(write(tmp_path / name, text)).values == VALUES
    assert read_settings(write(tmp_path / "empty.yaml", "# nothing")).values == {}


def test_yaml_is_that_of_version_1_2(tmp_path):
    text = "learning_rate: 1e-4\nema: .5\nmax_minutes: +3\nseed: -012\nsource: 1:30\nlimit: null"
    found = read_settings(write(tmp_path / "a.yaml", text)).values
    assert found == {
        "learning_rate": 1e-4, "ema": 0.5, "max_minutes": 3.0, "seed": -12, "source": "1:30",
        "limit": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"flip as true or false.*'yes'"):
        read_settings(write(tmp_path / "b.yaml", "flip: yes"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.toml", "batchsize = 3", "Unknown setting 'batchsize' in {}. Did you mean batch_size"),
        ("run.toml", "batch-size = 3", "Unknown setting 'batch-size' in {}. Did you mean batch_siz"),
        ("run.yaml", "lr: 0.1", "Unknown setting 'lr' in {}. Did you mean learning_rate?"),
        ("run.yaml", "1: 2", "Unknown setting 1 in {}"),
        ("run.yaml", "epochs: '64'", "Expected epochs as an integer in {}. Received: '64' (text)"),
        ("run.toml", "epochs = 0", "Expected epochs of at least 1 in {}. Received: 0"),
        ("run.toml", 'schedule = "x"', "Unknown schedule (schedule in {}): expected one of"),
        ("run.toml", "overwrite = true", "Unknown setting 'overwrite' in {}"),
        ("run.toml", "epochs = ", "Expected a valid .toml file. Received: {} (Invalid value"),
        ("run.toml", "ema = 1\nema = 2", "Expected a valid .toml file. Received: {} ("),
        ("run.yaml", "epochs: 1\nepochs: 2", "({}: 'epochs' stands there twice)"),
        ("run.json", '{"epochs": 1, "epochs": 2}', "('epochs' stands there twice)"),
        ("run.yaml", "epochs: [1", "Expected a valid .yaml file. Received: {} ("),
        ("run.yaml", "a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("run.json", "[1, 2]", "Expected the content as a table of settings in {}. Received: [1, 2]"),
        ("run.json", "[" * 50_000, "Expected"),
        ("run.yaml", "a: &a [x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]", "Unknown setting 'a'"),
        ("run.yaml", "source: &a [*a]", "Expected source as text"),
        ("run.toml", "[training]\nepochs = 1\n[training.epochs]", "Expected a valid .toml file"),
        ("run.json", '{"training": 3}', "Expected training as a table of settings in {}"),
        ("run.json", '{"seed": 1, "training": {"seed": 2}}', "'seed' twice in {}"),
        ("run.txt", "epochs = 1", "Expected settings in a .toml, .yaml or .json file. Received: {}"),
        ("run.toml", "#" * 1_000_001, "at most 1,000,000 bytes. Received: {}, which is larger"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path, capsys, name, text, message):
    path = write(tmp_path / name, text)
    assert kddim("train", "--config", path, "-o", tmp_path / "new") == 2
    error = capsys.readouterr().err
    assert message.replace("{}: ", "").format(path) in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.toml, where there is nothing"):
        read_settings(tmp_path / "a.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ValueError, match="where there is no regular file"):
        read_settings(tmp_path / "pipe.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"Expected a valid \.toml file"):
        read_settings(tmp_path / "b.toml")


# The command line


def test_every_setting_has_an_option_and_a_line_in_the_docs():
    options = {option.name: option for option in cli.train.params}
    table = dict(re.findall(r"^\| `(\w+)` (\|.*)$", (ROOT / "docs/settings.md").read_text(), re.M))
    assert set(table) == {field.name for field in dataclasses.fields(RunSettings)}
    for field in dataclasses.fields(RunSettings):
        option = options[field.name]
        flag = "SOURCE" if field.name == "source" else f"`--{field.name.replace('_', '-')}`"
        assert flag == "SOURCE" or flag.strip("`") in option.opts
        kind = description_of(annotations_of(RunSettings)[field.name])
        cells = (flag, kind, default_words(field).replace("`", ""), field.metadata["help"])
        assert table[field.name] == f"| {' | '.join(cells)} |"


def test_the_help_shows_defaults_and_needs_no_keras():
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kddim", "train", "--help"],
        capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "KERAS_BACKEND": "none", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    text = " ".join(answer.stdout.split())
    for words in (
        "-o, --output PATH Run folder to create. [required]",
        "by 8 with four levels. [default: 64; digits: 8]",
        "with --preset fast, else 32,64,96,128; digits: 32,64,96]",
        "--kid-encoder, --encoder TEXT",
        "Number of images per step. [default: 16 with --preset fast, else 64]",
        "[default: --repeats passes over the data]",
        "--track [wandb|trackio]",
        "The same seed gives the same run. [default: 0]",
        "--flip / --no-flip Mirror",
    ):
        assert words in text
    imported = {line.split("|")[-1].strip() for line in answer.stderr.splitlines()}
    assert not imported & {"keras", "numpy", "pydantic", "yaml", "matplotlib"}


def test_flags_win_over_files_and_files_over_defaults(tmp_path, captured):
    path = write(tmp_path / "run.toml", 'source = "a.npz"\nepochs = 7\nflip = true\nseed = 3')
    assert kddim("train", "--config", path, "--epochs", 64, "-o", "out", "--no-flip") == 0
    config = captured["config"]
    assert (config.source, config.epochs, config.flip, config.seed) == ("a.npz", 64, False, 3)
    fast = recipe("fast")
    assert captured["output"] == "out"
    assert (config.batch_size, config.widths) == (fast["batch_size"], fast["widths"])
    assert captured["command"].startswith(f"kddim train --config {path} --epochs 64")
    # A flag counts as given even if its value is the default.
    assert kddim("train", "digits", "--config", path, "--seed", 0, "-o", "out") == 0
    assert (captured["config"].source, captured["config"].seed) == ("digits", 0)
    assert captured["config"].flip is True


def test_a_file_may_hold_the_output_and_the_dtype(tmp_path, captured):
    path = write(tmp_path / "run.yaml", "output: out\ndtype: mixed_bfloat16\nepochs: 2")
    assert kddim("train", "--config", path) == 0
    assert (captured["output"], captured["dtype"]) == ("out", "mixed_bfloat16")
    assert kddim("train", "--config", path, "--dtype", "float32", "-o", "b") == 0
    assert (captured["output"], captured["dtype"]) == ("b", "float32")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["train"], "Missing option '--output' / '-o'"),
        (["train", "-o", "new", "--weight-decay", "-1"], "weight_decay of at least 0"),
        (["train", "-o", "new", "--learning-rate", "nan"], "learning_rate as a finite number"),
        (["train", "-o", "new", "--image-size", "1000000"], "image_size of at most"),
        (["train", "-o", "new", "--block-depth", "100000"], "block_depth of at most"),
        (["train", "-o", "new", "--channels", "100000"], "channels of at most"),
        (["train", "-o", "new", "--widths", "100000000"], "widths of at most"),
        (["train", "-o", "new", "--batch-size", str(10**9)], "batch_size of at most"),
        (["train", "-o", "new", "--track", "mlflow"], "'mlflow' is not one of"),
        (["train", "--resume", "nowhere"], "Expected a run folder, which holds config.json"),
        (["train", "--resume", ""], "Expected a run folder, which holds config.json"),
        (["train", "--resume", "run", "--ema", "0.5", "digits"], "Received: --ema, SOURCE"),
        (["train", "--resume", "run", "--epochs", "0"], "epochs of at least 1"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, match):
    monkeypatch.chdir(tmp_path)
    assert kddim(*arguments) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_a_run_folder_and_little_else(tmp_path, monkeypatch, capsys):
    backend = keras.backend.backend()
    record = {"training": {"source": "digits"}, "versions": {"backend": backend}}
    write(tmp_path / "config.json", json.dumps(record))
    called = []
    monkeypatch.setattr(
        training, "resume", lambda folder, **k: called.append((folder, k)) or folder, raising=False
    )
    assert kddim("train", "--resume", tmp_path) == 0
    assert kddim("train", "--resume", tmp_path, "--epochs", 9, "--max-minutes", 2) == 0
    assert called == [
        (tmp_path, {"epochs": None, "max_minutes": None}),
        (tmp_path, {"epochs": 9, "max_minutes": 2.0}),
    ]
    assert f"run folder: {tmp_path}" in capsys.readouterr().out


# config.json


@pytest.mark.backend
def test_a_run_is_repeated_from_its_config(tmp_path, capsys, caplog):
    settings = write(tmp_path / "run.json", json.dumps(SMALL | {"seed": 5}))
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert kddim("train", "--config", settings, "-o", first, "--dtype", "mixed_bfloat16") == 0
    assert kddim("train", "--config", first / "config.json", "-o", second) == 0
    assert kddim("train", "--config", first, "--seed", 6, "-o", third) == 0
    assert "note" not in caplog.text
    records = [json.loads((f / "config.json").read_text()) for f in (first, second, third)]
    for name in ("training", "data", "versions", "parameters", "best_epoch"):
        assert records[0][name] == records[1][name]
    assert records[0]["training"]["dtype"] == "mixed_bfloat16"
    assert records[0]["command"] == f"kddim train --config {settings} -o {first} --dtype mixed_bfloat16"  # fmt: skip
    assert {"backend", "python", "keras", "numpy", "kddim", "pillow"} <= set(records[0]["versions"])
    data = [record["data"] for record in records]
    assert data[0]["fingerprint"] == "digits"
    assert (data[0]["training_images"], data[0]["validation_images"]) == (48, 12)
    assert len(data[0]["digest"]) == 64
    assert data[2]["digest"] != data[0]["digest"]  # another split
    weights = [runs.load_model(folder).get_weights() for folder in (first, second)]
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)


def test_a_run_from_python_has_no_command(tmp_path):
    folder = training.train(TrainingConfig(**SMALL), tmp_path / "run", verbose=0)
    record = json.loads((folder / "config.json").read_text())
    assert record["command"] is None
    config = TrainingConfig.from_file(folder)
    assert (config.epochs, config.widths) == (1, (8, 16))


# As it was written before settings were validated.
OLD = {
    "training": {
        "source": "digits", "image_size": 8, "channels": 1, "widths": [8, 16], "block_depth": 1,
        "attention_levels": [], "epochs": 1, "limit": 60, "kid_encoder": "none", "seed": 0,
        "dtype": "float32",
    },
    "parameters": 10121, "kid": None, "best_epoch": 1, "versions": {"python": "3.11.7"},
}  # fmt: skip


def test_an_old_config_is_read(tmp_path, captured):
    path = write(tmp_path / "config.json", json.dumps(OLD))
    assert kddim("train", "--config", path, "-o", "out") == 0
    assert captured["config"].widths == (8, 16)


def test_what_differs_from_an_earlier_run_is_told(tmp_path, captured, caplog):
    now = keras.backend.backend()
    other = "jax" if now != "jax" else "torch"
    record = json.loads(json.dumps(OLD))
    record["training"]["added_later"] = 1
    record["versions"] |= {"backend": other, "keras": "3.0.0"}
    record["data"] = {"fingerprint": "of other files"}
    path = write(tmp_path / "config.json", json.dumps(record))
    assert kddim("train", "--config", path, "-o", "out") == 0
    assert f"was computed with {other}, and this run is with {now}" in caplog.text
    assert f"keras {keras.__version__} (was 3.0.0)" in caplog.text
    assert "the files of digits are not those of" in caplog.text
    assert "Unknown setting 'added_later'" in caplog.text


@pytest.mark.parametrize("training", [None, [1], 3, "x"])
def test_a_damaged_config_is_refused(tmp_path, training):
    path = write(tmp_path / "config.json", json.dumps(OLD | {"training": training}))
    with pytest.raises(ValueError, match="Expected training as a table of settings in"):
        read_settings(path)


# Dry runs


@pytest.mark.backend
def test_a_dry_run_tells_size_and_time_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "run.json", json.dumps(SMALL | {"epochs": 3, "kid_images": 20}))
    assert kddim("train", "--config", path, "--kid-encoder", "random_conv", "--dry-run") == 0
    assert list(tmp_path.iterdir()) == [path]
    lines = dict(re.findall(r"^([^:]+): +(.*)$", capsys.readouterr().out, re.M))
    assert lines["batch_size"] == "16"
    assert lines["training images"] == "48 of 8x8x1"
    assert lines["parameters"] == "10,121"
    assert lines["operations per image"].startswith("459,776 multiply-adds")
    assert lines["steps"] == "2 per epoch, 3 epochs"
    assert "activations" in lines["memory of a step"]
    assert re.match(r"[\d.e-]+ s, the mean of 2 steps", lines["time per step"])
    assert lines["time per KID"].endswith(" s")
    assert lines["total time"].startswith("about ")


def test_the_times_of_a_dry_run_add_up():
    config = TrainingConfig(**SMALL | {"epochs": 6, "every": 4, "kid_encoder": "random_conv"})
    found = training.describe_run(config)
    seconds = found["seconds"]
    expected = seconds["compilation"] + 6 * 2 * seconds["step"] + 6 * seconds["validation_step"]
    expected += 2 * seconds["kid"] + 3 * seconds["grid"]  # epochs 4 and 6; and the grid of 1
    assert seconds["total"] == pytest.approx(expected)
    assert json.loads(json.dumps(found))["steps_per_epoch"] == 2


def test_a_dry_run_that_would_not_fit_is_not_timed(monkeypatch):
    config = TrainingConfig(**SMALL)
    monkeypatch.setattr(training.dry_run, "free_memory", lambda: 1000)
    monkeypatch.setattr(training.dry_run, "_on_accelerator", lambda model: False)
    found = training.describe_run(config)
    assert found["seconds"] is None
    assert "more than the free memory" in training.lines_of(found)["time"]


def test_a_dry_run_says_if_the_output_exists(tmp_path, capsys):
    write(tmp_path / "mine.txt", "mine")
    assert kddim("train", "--limit", 60, "-o", tmp_path, "--dry-run") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_backend_of_a_file_that_replaces_the_environment_is_told(tmp_path, monkeypatch, capsys):
    from kddim.cli.repeat import choose_backend

    file = read_settings(write(tmp_path / "run.toml", 'backend = "torch"'))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert choose_backend(None, {}) is None
    assert choose_backend(file, {}) == "torch"
    assert "note: backend torch, as in" in capsys.readouterr().err
    assert choose_backend(file, {"backend": "jax"}) == "jax"
    record = {"training": {}, "versions": {"backend": "torch"}}
    run = read_settings(write(tmp_path / "config.json", json.dumps(record)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend(run, {}) is None
    assert capsys.readouterr().err == ""
