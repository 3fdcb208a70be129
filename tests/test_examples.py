"""Every example runs as a script, at toy size, and writes the files that it names."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kddim

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL_KID = ("--kid-encoder", "random_conv", "--kid-images", "8")


def run(name, *arguments, folder):
    """Run an example in a folder and return its standard output."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    process = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def spread(path):
    """Return the standard deviation of the pixels of an image file; a blank image has 0."""
    with Image.open(path) as image:
        return float(np.asarray(image).std())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run `own_pictures.py` on nested folders of colour pictures; return its output folder."""
    folder = tmp_path_factory.mktemp("own_pictures")
    random = np.random.default_rng(0)
    for index in range(24):
        coarse = random.integers(0, 256, (4, 4, 3), dtype="uint8")
        picture = Image.fromarray(coarse).resize((20 + index, 24))
        path = folder / "pictures" / str(index % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    options = ("--image-size", 8, "--epochs", 2, "--batch-size", 8, "--repeats", 1)
    printed = run("own_pictures.py", "pictures", *options, *SMALL_KID, folder=folder)
    assert "19 pictures to train on, 5 to validate on" in printed
    return folder / "runs" / "own_pictures"


def test_the_keras_io_example_trains_and_keeps_its_best_weights(tmp_path):
    options = ("--image-size", 8, "--epochs", 1, "--limit", 20, "--batch-size", 16)
    printed = run("keras_io_ddim.py", "--source", "digits", *options, *SMALL_KID, folder=tmp_path)
    assert (tmp_path / "checkpoints" / "diffusion_model.weights.h5").is_file()
    assert spread(tmp_path / "checkpoints" / "generated.png") > 0
    assert "val_kid" in printed


def test_own_pictures_leaves_a_model_and_a_grid_an_epoch(trained):
    assert (trained / "model.keras").is_file()
    assert sorted(path.name for path in (trained / "samples").iterdir()) == [
        "epoch_0001.png",
        "epoch_0002.png",
    ]
    assert spread(trained / "samples" / "epoch_0002.png") > 0


def test_a_saved_model_generates_a_grid_for_every_number_of_steps(trained, tmp_path):
    options = ("--num-images", 4, "--steps", 2, 3, "--seed", 1)
    run("generate_from_saved.py", trained / "model.keras", *options, folder=tmp_path)
    names = [f"{kind}_00{steps}_steps.png" for kind in ("ddim", "eta_1") for steps in (2, 3)]
    assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == names

    model = keras.saving.load_model(trained / "model.keras")
    for name, steps, eta in zip(names, (2, 3, 2, 3), (0.0, 0.0, 1.0, 1.0)):
        images = model.generate(4, steps, kddim.samplers.DDIM(eta), seed=1)
        with Image.open(tmp_path / "generated" / name) as grid:
            drawn = np.asarray(grid).astype(int)
        # Rounding to pixels may differ by one between two processes.
        assert np.abs(drawn - kddim.images.grid(images, num_cols=6)).max() <= 1


def test_between_pictures_walks_from_one_to_another(trained):
    options = ("--rows", 2, "--num-images", 3, "--steps", 4, "--output", "walk.png")
    printed = run(
        "between_pictures.py",
        trained / "model.keras",
        "pictures",
        *options,
        folder=trained.parents[1],
    )
    assert "latents: mean" in printed
    assert spread(trained.parents[1] / "walk.png") > 10


def test_a_model_trained_as_ddpm_samples_with_every_sampler(tmp_path):
    options = ("--epochs", 1, "--num-images", 8, "--steps", 2, 5, "--output", "out")
    printed = run("ddpm_without_retraining.py", *options, folder=tmp_path)
    assert printed.count("steps, KID ") == 8
    assert "nan" not in printed.lower()
    assert (tmp_path / "out" / "model.keras").is_file()
