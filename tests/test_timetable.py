"""Timetables: what is measured, how it is extrapolated, their rows, files and command."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import cli, evaluation
from kddim.experiments import Timetable
from kddim.experiments.ledger import precision
from kddim.experiments.timing import Stopwatch, extrapolate
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import FeatureSet
from kddim.networks.dcgan import count_parameters, dcgan_generator, dcgan_of_size, nearest_width
from kddim.presets.loading import in_precision
from kddim.samplers import DDIM


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).random((40, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def model(pixels):
    return make_model(pixels, widths=(8, 16))


@pytest.fixture(scope="module")
def reference(pixels):
    encoder = Encoder("pixels", lambda images: images.reshape(len(images), -1)[:, :8])
    description = {"image_size": "8x8", "real_images": 40, "real": "noise"}
    return evaluation.Reference(encoder, FeatureSet(encoder(pixels)), description)


def make(model, **options):
    small = {"steps": (3,), "dtypes": ("float32",), "batch_size": 8, "repeats": 1}
    return Timetable(model=model, **small | {"measured_steps": 2} | options)


class Machine:
    """A batch of `diffusion_steps` on a clock of its own, whose first run compiles for 100 s."""

    def __init__(self, diffusion_steps):
        self.now, self.left, self.steps, self.taken = 0.0, 100.0, diffusion_steps, []

    def clock(self):
        return self.now

    def run(self, callback):
        self.now, self.left = self.now + 5.0 + self.left, 0.0
        for step in range(self.steps):
            self.now += 2.0 if step else 7.0
            self.taken.append(step)
            if callback(step, np.zeros(3), np.zeros(3)):
                break
        self.now += 3.0


def test_further_steps_are_extrapolated_from_the_measured_ones():
    """Beginning, first step and end are paid once per batch, and only the others per step."""
    machine = Machine(1000)
    seconds = Stopwatch(4, 2, machine.clock).seconds(machine.run, 1000)
    assert seconds == [5.0 + 7.0 + 999 * 2.0 + 3.0] * 2
    assert machine.taken == [0, 1, 2, 3] * 3  # the first time compiles
    machine = Machine(3)
    calls = []
    seconds = Stopwatch(4, 1, machine.clock).seconds(machine.run, 3, lambda *args: calls.append(1))
    assert seconds == [5.0 + 7.0 + 2 * 2.0 + 3.0]
    assert len(calls) == 6


@pytest.mark.parametrize("options", [{"measured_steps": 1}, {"repeats": 0}])
def test_a_stopwatch_that_measures_nothing_is_refused(options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}` to be an int of at"):
        Stopwatch(**options)


def test_batches_are_extrapolated_as_they_are_generated():
    assert extrapolate(2.0, 64, 128) == 4.0
    assert extrapolate(2.0, 64, 129) == 6.0  # the last batch is padded
    assert extrapolate(2.0, 64, 1) == 2.0


@pytest.mark.parametrize(
    ("shape", "number", "off"),
    [
        ((64, 64, 3), 2_089_251, 0.01),
        ((32, 32, 3), 300_000, 0.01),
        ((8, 8, 1), 700_000, 0.01),
        ((100, 64, 3), 50_000, 0.05),
        ((28, 28, 1), 9_000_000, 0.01),
    ],
)
def test_a_gan_has_as_many_parameters_as_asked(shape, number, off):
    generator = dcgan_of_size(shape, number)
    assert generator.count_params() == pytest.approx(number, rel=off)
    width = nearest_width(shape, number)
    counts = [count_parameters(shape, w) for w in (width - 1, width, width + 1)]
    assert counts[1] == generator.count_params()
    assert min(abs(count - number) for count in counts) == abs(counts[1] - number)
    assert generator.output_shape == (None, *shape)


def test_the_gan_is_that_of_its_paper():
    """Fig. 1 of arXiv 1511.06434: 4x4x1024, 8x8x512, 16x16x256, 32x32x128, 64x64x3."""
    generator = dcgan_generator((64, 64, 3))
    kinds = [type(layer).__name__ for layer in generator.layers]
    block = ["BatchNormalization", "ReLU", "Conv2DTranspose"]
    assert kinds == ["InputLayer", "Dense", "Reshape", *block * 4, "Activation"]
    shapes = [layer.output.shape[1:] for layer in generator.layers if "ReLU" in str(type(layer))]
    assert shapes == [(4, 4, 1024), (8, 8, 512), (16, 16, 256), (32, 32, 128)]
    images = np.asarray(keras.ops.convert_to_numpy(generator(np.ones((2, 100), "float32"))))
    assert images.shape == (2, 64, 64, 3)
    assert np.abs(images).max() <= 1.0
    with pytest.raises(ValueError, match="Expected `width` to be an int of at least 1"):
        dcgan_generator((64, 64, 3), 0)


@pytest.mark.backend
def test_a_timetable_has_a_row_per_method_and_precision(model, tmp_path):
    distilled = make_model(np.zeros((4, 8, 8, 1), "float32"), widths=(4, 8))
    model.tuned_samplers = {3: DDIM(times=(1.0, 0.8, 0.3, 0.0)), 5: DDIM()}
    try:
        options = {"distilled": {1: distilled, 2: distilled}, "dtypes": ("float32", "mixed_bfloat16")}  # fmt: skip
        experiment = make(model, sample_size=1001, **options)
        rows = experiment.run(tmp_path / "out")
    finally:
        model.tuned_samplers = {}
    ways = [("DDPM", 1000), ("DDIM", 3), ("tuned", 5), ("tuned", 3), ("distilled", 2), ("distilled", 1), ("GAN", 1)]  # fmt: skip
    found = [(r["dtype"], r["method"], r["diffusion_steps"]) for r in rows]
    assert found == [(dtype, *way) for dtype in ("float32", "mixed_bfloat16") for way in ways]
    for row in rows:
        assert row["seconds"] == pytest.approx(126 * row["seconds_per_batch"])  # of 8 images
        assert row["times_as_fast"] == pytest.approx(rows[0]["seconds"] / row["seconds"])
        assert row["measured_steps"] == min(2, row["diffusion_steps"])
        assert 0 < row["fastest"] <= row["seconds_per_batch"] <= row["slowest"]
    assert rows[1]["times_as_fast"] > 50  # 1,000 steps against 3
    kept = list(csv.DictReader((tmp_path / "out" / "timetable.csv").open()))
    assert [float(r["seconds"]) for r in kept] == [r["seconds"] for r in rows]
    page = (tmp_path / "out" / "timetable.md").read_text()
    assert "time for 1,001 images" in page
    assert "2 of 1,000 steps of 8 images" in page
    assert "all steps of 8 images" in page
    assert "## mixed_bfloat16" in page
    assert "kddim tune" not in page
    assert "kddim distill" not in page
    assert "Add SOURCE" in page


def test_what_is_missing_is_told(model, reference, tmp_path):
    experiment = make(model, reference=reference, num_images=16)
    rows = experiment.run(tmp_path / "out")
    assert [row["method"] for row in rows] == ["DDPM", "DDIM", "GAN"]
    assert [row.get("kid_images") for row in rows] == [None, 16, None]
    images = model.generate(16, 3, seed=0, batch_size=8)
    assert rows[1]["kid"] == pytest.approx(reference.score(images)["kid"], rel=1e-3)
    page = (tmp_path / "out" / "timetable.md").read_text()
    for words in ("kddim tune MODEL --diffusion-steps 5", "kddim distill MODEL", "--ddpm-images"):
        assert words in page
    assert "± " in page
    assert "(16 images)" in page
    assert "Add SOURCE" not in page


def test_a_model_that_is_tuned_later_has_more_rows(model, tmp_path, caplog):
    before = make(model).run(tmp_path / "out")
    caplog.set_level("INFO", "kddim")
    try:
        for number, sampler in enumerate((DDIM(), DDIM(times="quadratic"))):
            model.tuned_samplers = {2: sampler}
            rows = make(model).run(tmp_path / "out")
            assert caplog.text.count("1 of 4 parts to do") == number + 1
    finally:
        model.tuned_samplers = {}
    assert [row["method"] for row in rows] == ["DDPM", "DDIM", "tuned", "GAN"]
    assert rows[0]["seconds"] == before[0]["seconds"]


def test_kid_can_be_added_later(model, reference, tmp_path, caplog):
    before = make(model).run(tmp_path / "out")
    caplog.set_level("INFO", "kddim")
    rows = make(model, reference=reference, num_images=8).run(tmp_path / "out")
    assert "1 of 3 parts to do" in caplog.text
    assert ["kid" in row for row in rows] == [False, True, False]
    assert rows[0]["seconds"] == before[0]["seconds"]
    make(model, reference=reference, num_images=9).run(tmp_path / "out")
    assert caplog.text.count("1 of 3 parts to do") == 2  # another protocol
    assert "kid" not in make(model).run(tmp_path / "out")[1]


def test_the_kid_of_ddpm_has_its_own_number_of_images(model, reference, tmp_path):
    options = {"reference": reference, "num_images": 8, "ddpm_images": 4, "ddpm_steps": 6}
    rows = make(model, **options).run(tmp_path / "out")
    assert [row.get("kid_images") for row in rows] == [4, 8, None]
    direct = reference.score(model.generate(4, 6, "ddpm", seed=0, batch_size=8))
    assert rows[0]["kid"] == pytest.approx(direct["kid"], rel=1e-3)
    assert "--ddpm-images" not in (tmp_path / "out" / "timetable.md").read_text()


def test_a_stopped_timetable_goes_on_and_takes_more_rows(model, tmp_path, monkeypatch, caplog):
    compute, done = Timetable.compute, []

    def stop_after_one(self, key, *args):
        if done:
            raise KeyboardInterrupt
        done.append(key)
        return compute(self, key, *args)

    monkeypatch.setattr(Timetable, "compute", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        make(model).run(tmp_path / "out")
    monkeypatch.setattr(Timetable, "compute", compute)
    before = json.loads((tmp_path / "out" / "record.json").read_text())["cells"]
    assert len(before) == 1
    caplog.set_level("INFO", "kddim")
    rows = make(model).run(tmp_path / "out")
    assert "2 of 3 parts to do" in caplog.text
    assert rows[0]["seconds_per_batch"] == next(iter(before.values()))["seconds_per_batch"]
    # Other numbers of images are only arithmetic, and other precisions only more rows.
    again = make(model, sample_size=500, dtypes=("float32", "mixed_bfloat16")).run(tmp_path / "out")
    assert "3 of 6 parts to do" in caplog.text
    assert again[0]["seconds"] == pytest.approx(63 * rows[0]["seconds_per_batch"])
    with pytest.raises(ValueError, match=r"other settings \(measured_steps 2, now 3\)"):
        make(model, measured_steps=3).run(tmp_path / "out")


@pytest.mark.backend
def test_the_bar_counts_every_evaluation(model, reference, tmp_path):
    experiment, calls = make(model, reference=reference, num_images=9), []
    cells = experiment.cells()
    for key, cell in cells.items():
        calls.clear()
        experiment.compute(key, cell, lambda *args: calls.append(1))
        assert len(calls) == cell.num_evaluations, key


@pytest.mark.backend
def test_a_copy_in_another_precision_makes_the_same_images(model, pixels):
    other = in_precision(model, "mixed_bfloat16")
    assert "mixed_bfloat16" in precision(other)
    assert precision(model) == "float32"
    images = [m.generate(4, 3, seed=0) for m in (model, other)]
    assert 0 < np.abs(images[0] - images[1]).mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtypes": ("float8",)}, "Unknown dtype: expected one of 'float32'"),
        ({"dtypes": ()}, "Expected at least one dtype"),
        ({"steps": (5, 5)}, "Expected `steps` as different ints"),
        ({"sample_size": 0}, "Expected `sample_size` to be an int of at least 1"),
        ({"measured_steps": 1}, "Expected `measured_steps` to be an int of at least 2"),
        ({"repeats": 0}, "Expected `repeats` to be an int of at least 1"),
        ({"num_images": 3}, "Expected `num_images` to be an int of at least 4"),
        ({"ddpm_images": 3}, "Expected `ddpm_images` to be an int of at least 4"),
        ({"ddpm_images": 0}, "Expected `ddpm_images` to be an int of at least 4"),
        ({"distilled": {0: None}}, "at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        make(model, **options)


def test_a_distilled_model_of_other_images_is_refused(model):
    other = make_model(np.zeros((4, 4, 4, 1), "float32"), widths=(4, 8))
    with pytest.raises(ValueError, match=r"Expected a distilled model of images \(8, 8, 1\)"):
        make(model, distilled={2: other})


@pytest.fixture
def run(model, tmp_path):
    """A run folder whose settings say that its model was distilled to two steps."""
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    settings = {"training": {"distill_steps": 2, "validation_split": 0.2}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    return tmp_path / "run"


def command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


SMALL = ("--steps", 2, "--batch-size", 8, "--measured-steps", 2, "--repeats", 1)


def test_the_command(run, tmp_path, capsys):
    words = (*SMALL, "--dtypes", "float32", "--distilled", run)
    quality = ("-n", 8, "--encoder", "random_conv", "--no-cache")
    assert command("timetable", run, "digits", *words, *quality) == 0
    printed = capsys.readouterr().out
    assert "time for 50,000 images" in printed
    assert "note: Times are extrapolated" in printed
    assert "| distilled | 2 " in printed
    assert "(8 images)" in printed
    assert (run / "timetable" / "timetable.md").is_file()
    assert command("timetable", run, *words, "-o", tmp_path / "t.csv", "--sample-size", 9) == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["method"] for row in rows] == ["DDPM", "DDIM", "distilled", "GAN"]
    assert {row["sample_size"] for row in rows} == {"9"}
    assert "kid" not in rows[0]
    assert not (tmp_path / ".t.csv.unfinished").exists()


def test_the_help_says_what_is_measured(capsys):
    assert command("timetable", "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("--sample-size", "--distilled", "--dtypes", "DCGAN", "[default: 50000]"):
        assert words in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dtypes", "float32,float8"], "Unknown dtype"),
        (["--distilled", "PLAIN"], "whose settings have no distill_steps"),
        (["--distilled", "RUN", "--distilled", "RUN"], "two for 2"),
        (["--distilled", "nowhere"], "Expected a .keras file"),
        (["--measured-steps", "1"], "at least 2"),
        (["-o", "new.png"], "Expected a folder, or a file ending .csv or .md"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run / "model.keras", tmp_path / "plain.keras")
    before = sorted(tmp_path.rglob("*"))
    names = {"RUN": run, "PLAIN": tmp_path / "plain.keras"}
    assert command("timetable", run, *(names.get(word, word) for word in words)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_custom_network_is_converted_as_well(pixels, tmp_path):
    network = kddim.networks.residual_unet(8, (4, 8), 1, channels=1, patch_size=2)
    model = kddim.DiffusionModel(8, channels=1, network=network)
    model.normalizer.adapt(pixels)
    rows = make(model, dtypes=("mixed_bfloat16",)).run(tmp_path / "out")
    assert {row["dtype"] for row in rows} == {"mixed_bfloat16"}
    assert "mixed_bfloat16" in precision(in_precision(model, "mixed_bfloat16"))


def test_a_model_that_trains_on_is_converted_again(pixels, reference, tmp_path):
    model = make_model(pixels, widths=(8, 16))
    options = {"dtypes": ("mixed_bfloat16",), "reference": reference, "num_images": 4}
    before = make(model, **options).run(tmp_path / "before")
    for variable in model.ema_network.trainable_variables or model.ema_network.variables:
        variable.assign(variable * 1.5 + 0.5)
    after = make(model, **options).run(tmp_path / "after")
    ddim = [next(r for r in rows if r["method"] == "DDIM")["kid"] for rows in (before, after)]
    assert ddim[0] != ddim[1]
