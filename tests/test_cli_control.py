"""Labels, guidance and editing on the command line."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from test_cli import kddim

import kddim as package
from kddim import data, runs

TRAIN = (
    "--widths", "4,8", "--block-depth", 1, "--epochs", 1, "--steps-per-epoch", 2,
    "--kid-encoder", "random_conv", "--kid-images", 8, "--kid-steps", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """A folder of two classes of 20 pictures each, of 8x8 pixels."""
    folder, random = tmp_path_factory.mktemp("data") / "flowers", np.random.default_rng(0)
    for level, name in ((40, "rose"), (160, "sunflower")):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(level, level + 60, (8, 8, 3), "uint8")
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(flowers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "labelled"
    options = ("--labels", "--image-size", 8, "--batch-size", 16, "--output", folder)
    assert kddim("train", flowers, *options, *TRAIN) == 0
    return folder


def test_a_run_with_labels_keeps_the_names_of_its_classes(run, flowers, tmp_path, capsys):
    model = runs.load_model(run)
    assert model.class_names == ("rose", "sunflower")
    assert kddim("info", run) == 0
    assert "2: rose, sunflower" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["training"]["labels"] is True
    again = ("--config", run / "config.json", "--output", tmp_path / "again")
    assert kddim("train", *again) == 0
    assert runs.load_model(tmp_path / "again").class_names == ("rose", "sunflower")
    further = ("--init", run, "--image-size", 8, "--batch-size", 16, "--output", tmp_path / "more")
    assert kddim("train", flowers, *further, *TRAIN[4:]) == 0
    assert runs.load_model(tmp_path / "more").num_classes == 2


def test_classes_share_the_images_and_name_the_rows_of_the_grid(run, tmp_path):
    output = tmp_path / "images"
    options = ("-n", 6, "--diffusion-steps", 2, "--batch-size", 4, "--guidance-scale", 2)
    assert kddim("generate", run, "--label", "sunflower,0", *options, "-o", output) == 0
    model = runs.load_model(run)
    labels = [1, 1, 1, 0, 0, 0]
    expected = model.generate(6, 2, labels=labels, guidance_scale=2.0, seed=0)
    found = [np.asarray(Image.open(output / f"0000{i}.png")) for i in range(6)]
    np.testing.assert_allclose(np.array(found) / 255, expected, atol=0.01)
    plain = tmp_path / "plain.png"
    assert kddim("generate", run, *options[:4], "-o", plain) == 0
    # Two rows of three with a caption each, instead of two rows without.
    heights = [Image.open(path).size[1] for path in (output / "grid.png", plain)]
    assert heights[0] == heights[1] + 2 * 20


def test_an_animation_of_a_class(run, tmp_path):
    options = ("--label", "rose", "-n", 2, "--diffusion-steps", 2, "--animate")
    assert kddim("generate", run, *options, "-o", tmp_path / "a.gif") == 0
    assert Image.open(tmp_path / "a.gif").n_frames == 2


def test_evaluation_with_labels_scores_each_class(run, flowers, tmp_path, capsys):
    options = ("-n", 16, "--diffusion-steps", 1, "--split", "all", "--encoder", "random_conv")
    report = tmp_path / "report.json"
    assert kddim("evaluate", run, flowers, "--labels", *options, "--no-floor", "-o", report) == 0
    rows = json.loads(report.read_text())["classes"]
    assert [row["class"] for row in rows] == ["rose", "sunflower"]
    assert [row["real"] for row in rows] == [row["generated"] for row in rows]
    assert sum(row["real"] for row in rows) == 16
    assert "sunflower" in capsys.readouterr().out


def test_a_sweep_over_guidance_draws_its_scores(run, flowers, tmp_path):
    options = ("-n", 8, "--steps", 2, "--split", "all", "--encoder", "random_conv")
    output = tmp_path / "sweep"
    scales = ("--guidance", "1,2.5", "--metric", "kid,prdc")
    assert kddim("sweep", run, flowers, *scales, *options, "-o", output) == 0
    rows = list(csv.DictReader((output / "guidance.csv").open()))
    assert [float(row["guidance_scale"]) for row in rows] == [1.0, 2.5]
    assert {"kid", "precision", "recall"} <= set(rows[0])
    assert (output / "guidance.png").stat().st_size > 1000
    assert "| 2.5" in (output / "guidance.md").read_text()


def test_a_weaker_model_guides(run, flowers, tmp_path):
    options = ("-n", 2, "--diffusion-steps", 2)
    guide = ("--guide", run, "--guidance-scale", 3)
    assert kddim("generate", run, *options, *guide, "-o", tmp_path / "a.npz") == 0
    assert kddim("generate", run, *options, "-o", tmp_path / "b.npz") == 0
    one, other = (np.load(tmp_path / name)["images"].astype(int) for name in ("a.npz", "b.npz"))
    assert np.abs(one - other).max() <= 1  # a model does not guide itself anywhere


@pytest.fixture
def mask(tmp_path):
    pixels = np.zeros((16, 16), "uint8")
    pixels[4:12, 4:12] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_a_picture_is_filled_in_where_the_mask_is_white(run, flowers, mask, tmp_path):
    picture = flowers / "rose" / "0.png"
    output = tmp_path / "filled"
    options = ("-n", 3, "--diffusion-steps", 2, "--batch-size", 2, "--label", "rose")
    assert kddim("inpaint", run, picture, mask, *options, "-o", output) == 0
    assert sorted(path.name for path in output.iterdir()) == ["00000.png", "00001.png", "00002.png", "grid.png"]  # fmt: skip
    before = np.asarray(Image.open(picture))
    for number in range(3):
        after = np.asarray(Image.open(output / f"0000{number}.png"))
        same = (after == before).all(axis=-1)
        assert same[:2].all()
        assert same[:, -2:].all()
        assert not same[2:6, 2:6].all()


def test_a_folder_of_pictures_is_varied_less_with_less_strength(run, flowers, tmp_path):
    original = data.single.read_pictures(flowers / "rose", (8, 8, 3))
    found = []
    for strength in (0.05, 0.9):
        output = tmp_path / f"{strength}.npz"
        options = ("--strength", strength, "--diffusion-steps", 2, "-o", output)
        assert kddim("image-to-image", run, flowers / "rose", *options) == 0
        images = np.load(output)["images"] / 255
        assert images.shape == (20, 8, 8, 3)
        found.append(np.abs(images - original).mean())
    assert found[0] < found[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "{run}", "--label", "oak"), "Expected labels as ints in [0, 2), or a name such as 'rose'"),
        (("generate", "{run}", "--guidance-scale", "2"), "Expected labels, or a weaker model"),
        (("generate", "{run}", "--label", "0", "--guidance-interval", "1"), "expected two numbers separated by a comma"),
        (("generate", "{run}", "--guide", "{run}"), "Expected a guidance_scale other than 1"),
        (("generate", "{run}", "--guide", "nowhere", "--guidance-scale", "2"), "nowhere"),
        (("inpaint", "{run}", "nowhere.png", "{mask}"), "Expected a picture file"),
        (("inpaint", "{run}", "{mask}", "nowhere.png"), "Expected a picture file"),
        (("image-to-image", "{run}", "{mask}", "--strength", "2"), "Expected `strength` in (0, 1]"),
        (("train", "{plain}", "--labels"), "one subfolder per class"),
        (("sweep", "{run}", "digits", "--guide", "{run}"), "Expected --guidance SCALES"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(
    run, flowers, mask, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    places = {"run": run, "mask": mask, "plain": flowers / "rose"}
    output = ("--output", "new") if arguments[0] == "train" else ("--output", "new.png")
    if arguments[0] == "sweep":
        output = ("--output", "new")
    before = sorted(tmp_path.iterdir())
    assert kddim(*(argument.format(**places) for argument in arguments), *output) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("kddim: error: ")
    assert message in errors[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_a_black_mask_is_refused(run, flowers, tmp_path, capsys):
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    arguments = (flowers / "rose" / "0.png", tmp_path / "black.png", "-o", tmp_path / "a.png")
    assert kddim("inpaint", run, *arguments) == 2
    assert "has no white pixel" in capsys.readouterr().err


def test_a_labelled_model_becomes_a_preset(run, tmp_path):
    model = runs.load_model(run)
    package.presets.pack(model, tmp_path / "preset")
    loaded = package.DiffusionModel.from_preset(tmp_path / "preset")
    assert loaded.class_names == ("rose", "sunflower")
    found, expected = (m.generate(2, 2, labels="rose", seed=0) for m in (loaded, model))
    np.testing.assert_allclose(found, expected, atol=0.02)  # weights in half precision
