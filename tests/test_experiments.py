"""Experiments: their results, their files, and how an interrupted run is resumed."""

import contextlib
import csv
import json

import keras
import numpy as np
import pytest
from conftest import stopped_after
from keras import ops
from PIL import Image

import kddim
from kddim import cli, evaluation, experiments
from kddim.experiments import Consistency, Generation, Interpolation, Reconstruction, Sweep
from kddim.experiments.ledger import Ledger, fingerprint
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import FeatureSet
from kddim.progress import Progress, duration


@pytest.fixture(scope="module")
def model():
    """A model with the optimal denoiser of standard normal images, which is quick and known."""
    noisy, variances = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    network = keras.Model([noisy, variances], noisy * ops.sqrt(variances))
    model = kddim.DiffusionModel(8, channels=1, network=network)
    model.normalizer.adapt(real_images(64))
    return model


def real_images(number):
    noise = np.random.default_rng(0).standard_normal((number, 8, 8, 1))
    return np.clip(0.5 + 0.1 * noise, 0, 1).astype("float32")


@pytest.fixture
def reference():
    encoder = Encoder("pixels", lambda images: images.reshape(len(images), -1)[:, :8])
    real = real_images(40)
    description = {"image_size": "8x8", "real_images": 40, "real": "noise"}
    return evaluation.Reference(encoder, FeatureSet(encoder(real)), description)


def make_sweep(model, reference, **options):
    options = {"steps": (2, 4), "num_images": 20, "batch_size": 8, **options}
    samplers = options.pop("samplers", None) or experiments.samplers_of_etas([0, "large"])
    return Sweep(model=model, reference=reference, samplers=samplers, **options)


@pytest.mark.backend
def test_sweep_leaves_tables_and_a_plot(model, reference, tmp_path):
    sweep = make_sweep(model, reference, steps=(2, 4, 8), metrics=("kid", "fid"))
    rows = sweep.run(tmp_path / "sweep")
    assert [(r["sampler"], r["diffusion_steps"]) for r in rows] == [
        (name, steps) for name in ("eta=0", "sigma-hat") for steps in (2, 4, 8)
    ]
    found = list(csv.DictReader((tmp_path / "sweep" / "sweep.csv").open()))
    assert [float(r["kid"]) for r in found] == [r["kid"] for r in rows]
    page = (tmp_path / "sweep" / "sweep.md").read_text()
    assert "| eta=0     |" in page
    assert "encoder: pixels" in page
    assert "r² of a straight line: eta=0 " in page
    assert Image.open(tmp_path / "sweep" / "sweep.png").size[0] > 1000

    images = model.generate(20, 4, seed=0)
    scores = reference.score(images, ("kid", "fid"))
    assert rows[1]["kid"] == pytest.approx(scores["kid"], rel=1e-3)
    assert rows[1]["fid"] == pytest.approx(scores["fid"], rel=1e-3)
    assert rows[1]["fid_std"] > 0


def test_a_stopped_sweep_goes_on_where_it_was(model, reference, tmp_path, monkeypatch):
    class Stopped(KeyboardInterrupt):
        pass

    sweep, generate, calls = make_sweep(model, reference), Sweep.generate, []

    def stop_in_the_third(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 5:  # each cell compiles, then generates
            raise Stopped
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(Sweep, "generate", stop_in_the_third)
    with pytest.raises(Stopped):
        sweep.run(tmp_path / "out")
    begun = json.loads((tmp_path / "out" / "record.json").read_text())["cells"]
    assert len(begun) == 2
    assert len(list(csv.DictReader((tmp_path / "out" / "sweep.csv").open()))) == 2

    calls.clear()
    calls += [None] * 5
    rows = sweep.run(tmp_path / "out")
    assert len(calls) == 5 + 4  # the two missing cells
    assert [row["kid"] for row in rows[:2]] == [cell["kid"] for cell in begun.values()]
    fresh = make_sweep(model, reference).run(tmp_path / "fresh")
    assert [row["kid"] for row in rows] == [row["kid"] for row in fresh]


def test_a_sweep_takes_more_steps_and_samplers_but_no_other_seed(
    model, reference, tmp_path, caplog
):
    make_sweep(model, reference).run(tmp_path / "out")
    caplog.set_level("INFO", "kddim")
    more = make_sweep(model, reference, steps=(2, 4, 6), samplers={"ddim": "ddim", "heun": "heun"})
    assert len(more.run(tmp_path / "out")) == 6
    assert "4 of 6 parts to do" in caplog.text  # DDIM with 2 and 4 steps is known
    with pytest.raises(ValueError, match=r"other settings \(seed 0, now 1\)"):
        make_sweep(model, reference, seed=1).run(tmp_path / "out")
    make_sweep(model, reference, seed=1).run(tmp_path / "out", overwrite=True)


@pytest.mark.backend
def test_other_weights_are_another_experiment(model, reference, tmp_path):
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert fingerprint(loaded) == fingerprint(model)
    loaded.normalizer.adapt(real_images(63))
    assert fingerprint(loaded) != fingerprint(model)


def test_one_product_alone(model, reference, tmp_path):
    make_sweep(model, reference).run(tmp_path / "table.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    with pytest.raises(ValueError, match=r"Expected a folder, or a file ending \.csv or \.md"):
        make_sweep(model, reference).run(tmp_path / "table.xlsx")
    with pytest.raises(ValueError, match="Expected an output that does not exist yet"):
        make_sweep(model, reference).run(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ()}, "Expected `steps` as different ints of at least 1"),
        ({"steps": (5, 5)}, "Expected `steps` as different ints of at least 1"),
        ({"steps": (0,)}, "Expected `steps` as different ints of at least 1"),
        ({"metrics": ("kid", "fod")}, "Expected metrics among 'kid', 'fid'"),
        ({"num_images": 3}, "Expected `num_images` to be an int of at least 4"),
        ({"samplers": {"x": "y"}}, "Unknown sampler"),
    ],
)
def test_sweep_says_what_it_cannot_do(model, reference, options, message):
    with pytest.raises(ValueError, match=message):
        make_sweep(model, reference, **options)


def test_what_a_sampler_refuses_is_refused_before_the_start(model, reference, tmp_path):
    sweep = make_sweep(model, reference, samplers={"too much": kddim.samplers.DDIM(eta=50.0)})
    with pytest.raises(ValueError, match="asks for more fresh noise"):
        sweep.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_consistency_measures_likeness(model, tmp_path):
    Consistency(model=model, steps=(20, 2, 5), num_images=4).run(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "consistency.csv").open()))
    same = [float(row["correlation_same_noise"]) for row in rows]
    assert [row["diffusion_steps"] for row in rows] == ["2", "5", "20"]
    assert same[0] <= same[1] <= same[2] == pytest.approx(1.0)
    assert same[0] > 0.8  # this denoiser scales noises, whatever the steps
    assert all(float(row["correlation_other_noise"]) < 0.3 for row in rows)
    assert Image.open(tmp_path / "out" / "consistency.png").size[1] > 3 * 64


def test_likeness_of_unrelated_images_is_none():
    random = np.random.default_rng(0)
    a, b = random.random((2, 30, 8, 8, 1))
    found = experiments.consistency.likeness(a, b)
    assert abs(found["correlation_same_noise"]) < 0.1
    assert experiments.consistency.likeness(a, a)["correlation_same_noise"] == pytest.approx(1.0)


@pytest.mark.backend
def test_reconstruction_is_table_2(model, tmp_path):
    images = real_images(6)
    options = {"model": model, "images": images, "batch_size": 4}
    rows = Reconstruction(**options, steps=(5, 20, 80)).run(tmp_path / "out")
    errors = [row["mean_squared_error"] for row in rows]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    direct = np.mean((model.reconstruct(images, 20) - images) ** 2)
    assert errors[1] == pytest.approx(direct, rel=1e-3)
    assert "|  S" not in (page := (tmp_path / "out" / "reconstruction.md").read_text())
    assert f"{errors[1]:.2g}" in page
    with pytest.raises(ValueError, match="Expected a deterministic sampler"):
        Reconstruction(**options, sampler="ddpm")


@pytest.mark.backend
def test_interpolation_ends_are_the_images_of_the_noises(model, tmp_path):
    options = {"num_pairs": 2, "num_images": 3, "grid_size": 2, "diffusion_steps": 4}
    Interpolation(model=model, **options).run(tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"strips.png", "grid.png", "animation.gif", "animation.webp"} <= names
    strips = np.load(tmp_path / "out" / "arrays" / "strips.npy")
    ends = model.generate(4, 4, seed=0)
    np.testing.assert_allclose(strips[[0, 2, 3, 5]], ends, atol=1e-5)
    corners = np.load(tmp_path / "out" / "arrays" / "grid.npy")
    np.testing.assert_allclose(corners, model.generate(4, 4, seed=0, start=4), atol=1e-5)
    assert Image.open(tmp_path / "out" / "animation.gif").n_frames == 4  # there and back


def test_generation_goes_on_and_leaves_nothing_behind(model, tmp_path, caplog):
    options = {"model": model, "num_images": 10, "diffusion_steps": 3, "batch_size": 4}
    caplog.set_level("INFO", "kddim")
    with stopped_after(Generation, 2):
        Generation(**options, sampler="ddpm").run(tmp_path / "a.npz")
    assert "run the same command again to continue" in caplog.text
    assert not (tmp_path / "a.npz").exists()
    Generation(**options, sampler="ddpm").run(tmp_path / "a.npz")
    assert "1 of 3 parts to do" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    images = np.load(tmp_path / "a.npz")["images"]
    np.testing.assert_array_equal(
        images, kddim.images.to_uint8(model.generate(10, 3, "ddpm", seed=0))
    )


def test_an_unfinished_generation_with_other_settings_is_dropped(model, tmp_path, caplog):
    caplog.set_level("INFO", "kddim")
    folder = tmp_path / ".a.png.unfinished"
    Ledger(folder, {"other": 1}).record("from 0", {}, np.zeros(3))
    Generation(model=model, num_images=2, diffusion_steps=2).run(tmp_path / "a.png")
    assert "an unfinished run has other settings and is discarded" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.backend
def test_animation_shows_every_step(model, tmp_path):
    animation = experiments.Animation(model=model, num_images=3, diffusion_steps=5)
    animation.run(tmp_path / "a.gif")
    picture = Image.open(tmp_path / "a.gif")
    assert picture.n_frames == 5
    picture.seek(4)
    last = np.asarray(picture.convert("L"))
    expected = kddim.images.grid(model.generate(3, 5, seed=0), 3)[..., 0]
    np.testing.assert_allclose(last[-expected.shape[0] :], expected, atol=2)
    animation.run(tmp_path / "a.webp")
    assert Image.open(tmp_path / "a.webp").n_frames == 5


def test_a_long_animation_leaves_frames_out(model):
    recorder = kddim.animations.Recorder(model.denormalize, 2, 251)
    model.generate(6, 251, batch_size=2, callback=recorder)
    assert len(recorder.frames) == 84 + 1  # every third, and the last


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (80, "80 s"), (600, "10 min"), (12000, "3 h 20 min")]
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words


def test_the_budget_is_told_before_the_start(model, tmp_path, caplog):
    caplog.set_level("INFO", "kddim")
    Generation(model=model, num_images=6, diffusion_steps=7, batch_size=3).run(tmp_path / "a.png")
    assert "2 of 2 parts to do, 14 network evaluations of 3 images, about 1 s (0.0" in caplog.text


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


def test_commands_of_the_experiments(saved, tmp_path, capsys):
    common = ("--batch-size", 16)
    assert command(
        "sweep", saved, "digits", "--steps", "2,4", "--eta", "0,1,large", "-n", 16,
        "--sampler", "heun:alpha=0.5", "--encoder", "random_conv", "--metric", "kid,fid", *common,
    ) == 0  # fmt: skip
    assert "| heun:alpha=0.5 |" in (printed := capsys.readouterr().out)
    assert "| sigma-hat      |" in printed
    assert (tmp_path / "m_sweep" / "sweep.md").exists()
    assert command("consistency", saved, "--steps", "2,4", "-n", 3, *common) == 0
    assert (tmp_path / "m_consistency" / "consistency.png").exists()
    small = ("--num-pairs", 1, "-n", 3, "--grid-size", 2, "--diffusion-steps", 2, *common)
    assert command("interpolate", saved, *small, "-o", tmp_path / "walk.gif") == 0
    assert Image.open(tmp_path / "walk.gif").n_frames == 4
    arguments = ("reconstruct", saved, "digits", "--steps", "2,10", "-n", 5, *common)
    assert command(*arguments, "-o", tmp_path / "table") == 0
    assert "S=10    error " in capsys.readouterr().out
    assert command("generate", saved, "-n", 3, "--animate", "-o", tmp_path / "images") == 0
    assert (tmp_path / "images" / "animation.gif").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "MODEL", "digits", "--eta", "0,x"], "expected numbers (or the word large)"),
        (["sweep", "MODEL", "digits", "--steps", "a"], "expected integers separated by commas"),
        (["sweep", "MODEL", "digits", "--sampler", "heun:beta=1"], "Expected options of heun among"),
        (["sweep", "MODEL", "digits", "--metric", "fod"], "Expected metrics among"),
        (["sweep", "MODEL", "digits", "--sampler", "heun:alpha=abc"], "Expected options of heun such"),
        (["sweep", "MODEL", "digits", "--sampler", "ddim:eta"], "as name:option=value"),
        (["generate", "MODEL", "--sampler", "ddim:clip=1", "-o", "x.png"], "Expected options of ddim"),
        (["consistency", "MODEL", "--batch-size", "0"], "'--batch-size'"),
        (["sweep", "MODEL", "digits", "--eta", "-1"], "Expected `eta` of at least 0"),
        (["reconstruct", "MODEL", "digits", "--sampler", "ddpm"], "Expected a deterministic sampler"),
        (["generate", "MODEL", "--animate", "-o", "x.png"], "a .gif or a .webp file"),
        (["generate", "MODEL", "--schedule", "x", "-o", "x.png"], "Unknown schedule"),
        (["interpolate", "MODEL", "-o", "x.txt"], "Expected a folder, or a file ending"),
        (["consistency", "nowhere.keras"], "Expected a .keras file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(saved, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {p.name for p in tmp_path.iterdir()}
    arguments = [saved if a == "MODEL" else a for a in arguments]
    assert command(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error.split("kddim: error: ")[-1]
    assert {p.name for p in tmp_path.iterdir()} == before


def test_the_progress_counts_every_evaluation(model, tmp_path, monkeypatch):
    """A step of Heun takes two evaluations, and the bar must still end full."""
    from kddim.experiments import base

    counted = []

    @contextlib.contextmanager
    def show(model, what, evaluations, batch_size, verbose):
        yield Progress(counted.append, lambda line: None)
        assert sum(counted) == evaluations

    monkeypatch.setattr(base, "show_progress", show)
    Generation(model=model, num_images=5, batch_size=2, sampler="heun").run(tmp_path / "a.png")
    assert sum(counted) == 3 * 40


def test_an_animated_folder_goes_on_in_its_second_half(model, tmp_path, monkeypatch):
    experiment = Generation(model=model, num_images=3, diffusion_steps=2, animate=True)
    frames = Generation.frames

    def stop(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "frames", stop)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(Generation, "frames", frames)
    experiment.run(tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png", "animation.gif", "grid.png"]


def test_an_animation_shows_all_its_images_whatever_the_batch_size(model):
    animation = experiments.Animation(model=model, num_images=5, batch_size=2)
    assert animation.batch_size == 5


def test_rows_that_share_a_sampler_are_both_there(model, reference, tmp_path):
    rows = make_sweep(model, reference, samplers={"a": "ddim", "b": "ddim"}).run(tmp_path / "out")
    assert [row["sampler"] for row in rows] == ["a", "a", "b", "b"]
    assert rows[0]["kid"] == rows[2]["kid"]
    assert len(experiments.samplers_of_etas([1e-7, 1.1e-7])) == 2


def test_a_damaged_record_is_refused_and_a_damaged_array_computed_again(model, tmp_path, caplog):
    consistency = Consistency(model=model, steps=(2, 3), num_images=2)
    consistency.run(tmp_path / "out")
    (tmp_path / "out" / "arrays" / "2 steps.npy").write_bytes(b"")
    caplog.set_level("INFO", "kddim")
    consistency.run(tmp_path / "out")
    assert "1 of 2 parts to do" in caplog.text
    for content in ("{", '{"cells": {}}', '{"settings": {}, "cells": [], "arrays": []}'):
        (tmp_path / "out" / "record.json").write_text(content)
        with pytest.raises(ValueError, match="which is damaged"):
            consistency.run(tmp_path / "out")
    consistency.run(tmp_path / "out", overwrite=True)


def test_another_precision_is_another_experiment(model, tmp_path):
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    small = kddim.DiffusionModel(8, (4, 8), 1, channels=1)
    small.normalizer.adapt(images)
    small.save(tmp_path / "m.keras")
    Consistency(model=small, steps=(2,), num_images=2).run(tmp_path / "out")
    keras.config.set_dtype_policy("mixed_bfloat16")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="dtype 'float32', now"):
        Consistency(model=loaded, steps=(2,), num_images=2).run(tmp_path / "out")


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_any_number_of_channels_are_drawn_as_panels(channels, tmp_path):
    noisy, variances = keras.Input((8, 8, channels)), keras.Input((1, 1, 1))
    network = keras.Model([noisy, variances], noisy * ops.sqrt(variances))
    model = kddim.DiffusionModel(8, channels=channels, network=network)
    model.normalizer.adapt(np.random.default_rng(0).random((9, 8, 8, channels)))
    Interpolation(model=model, num_pairs=1, num_images=2, grid_size=2, diffusion_steps=2).run(
        tmp_path / "a"
    )
    Consistency(model=model, steps=(2,), num_images=2).run(tmp_path / "b")
    strips = Image.open(tmp_path / "a" / "strips.png").size
    assert Image.open(tmp_path / "a" / "animation.gif").size[0] == 72 * channels
    assert Image.open(tmp_path / "b" / "consistency.png").size[0] >= strips[0]


def test_dots_in_names(model, tmp_path, monkeypatch):
    model.save(tmp_path / "m.best.keras")
    monkeypatch.chdir(tmp_path)
    assert command("consistency", "m.best.keras", "--steps", "2", "-n", 2) == 0
    assert (tmp_path / "m_best_consistency" / "consistency.png").exists()
    assert command("consistency", "m.best.keras", "--steps", "2", "-n", 2, "-o", "v1.0") == 0
    assert (tmp_path / "v1.0" / "consistency.png").exists()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert command("generate", "../m.best.keras", "-n", 2, "--diffusion-steps", 1, "-o", ".") == 0
    assert (tmp_path / "empty" / "00001.png").exists()


def test_records_keep_their_settings(model, reference, tmp_path):
    """Runs of earlier versions resume only if the settings in their records stay the same."""
    ddim = "DDIM(eta=0.0, times='uniform', clip=None)"
    one = {"diffusion_steps": 2, "sampler": ddim}
    grid = {"num_pairs": 1, "num_images": 2, "grid_size": 2}
    expected = {
        Consistency(model=model, num_images=2): {"num_images": 2, "sampler": ddim},
        Interpolation(model=model, diffusion_steps=2, **grid): grid | one,
        experiments.Animation(model=model, num_images=3, diffusion_steps=2): {"num_images": 3} | one,
        Generation(model=model, num_images=3, diffusion_steps=2): (
            {"num_images": 3} | one | {"batch_size": 3, "animate": False}
        ),
    }  # fmt: skip
    for experiment, settings in expected.items():
        recorded = Ledger(tmp_path, experiment.settings()).settings
        shared = {
            "experiment": experiment.name,
            "model": fingerprint(model),
            "schedule": str(model.schedule),
            "seed": 0,
            "dtype": "float32",
        }
        assert recorded == shared | settings
    cells = make_sweep(model, reference, samplers={"a": "ddim"}).cells()
    assert list(cells) == [f"{ddim}, 2 steps", f"{ddim}, 4 steps"]
    assert list(Consistency(model=model, steps=(5, 2)).cells()) == ["2 steps", "5 steps"]
    animated = Generation(model=model, num_images=5, batch_size=4, animate=True)
    assert list(animated.cells()) == ["from 0", "from 4", "frames"]
