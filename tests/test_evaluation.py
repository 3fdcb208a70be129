"""Scores with their references, files, caches, floors and neighbours; and the commands."""

import json
import logging
import os
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from kddim import cache, cli, data, evaluation, metrics
from kddim.evaluation import floors
from kddim.evaluation.floors import floor_of
from kddim.evaluation.neighbours import copying
from kddim.metrics import encoders, feature_set
from kddim.metrics.encoders import Encoder
from kddim.metrics.encoders.resizing import Resize
from kddim.metrics.scores import scores
from kddim.progress import show_batches

SHAPE = (8, 8, 1)


def flat(images):
    """Eight features of an image: means of columns."""
    return np.asarray(images)[..., 0].mean(1)


class Painter:
    """Stands in for a model: image `i` of a seed is noise of `(seed, i)`."""

    image_shape = SHAPE
    schedule = "none"

    def __init__(self, paint=lambda random: random.random(SHAPE) ** 2):
        self.paint = paint

    def generate(self, number, *, seed, start, **_):
        rows = [self.paint(np.random.default_rng((seed, start + i))) for i in range(number)]
        return np.array(rows, "float32")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "kddim")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def quiet():
    """No budget is measured: a painter has no network."""
    logging.getLogger("kddim").setLevel(logging.WARNING)
    yield
    logging.getLogger("kddim").setLevel(logging.NOTSET)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDDIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_npz(path, number=60, seed=0, scale=1.0):
    pixels = np.random.default_rng(seed).random((number, 8, 8, 1)) * scale
    np.savez(path, images=(pixels * 255).astype("uint8"))
    return path


def write_folder(folder, number=12, seed=0):
    """Pictures of several modes and sizes."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(number):
        size = [(40, 30), (33, 47), (40, 30), (64, 64)][index % 4]
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), "uint8")).resize(size)
        mode = ["RGB", "L", "P", "RGBA"][index % 4]
        coarse.convert(mode).save(folder / f"{index:02d}.png")
    return folder


def evaluate(source, model=None, **options):
    options = {"num_images": 40, "encoder": flat, "diffusion_steps": 2, **options}
    return evaluation.evaluate(model or Painter(), source, **options)


# Figures


def test_figures_are_those_of_the_library(tmp_path, quiet):
    source = write_npz(tmp_path / "a.npz", 100)
    found = evaluate(source, metrics=("kid", "fid", "prdc"), split="all")
    real = flat(evaluation.real_images(source, SHAPE, split="all", num_images=40))
    generated = flat(Painter().generate(40, seed=0, start=0))
    assert found["kid"] == pytest.approx(metrics.polynomial_mmd(real, generated), rel=1e-6)
    assert found["fid"] == pytest.approx(metrics.frechet_distance(real, generated), rel=1e-6)
    assert found["fid_std"] == pytest.approx(metrics.frechet_deviation(real, generated), rel=1e-4)
    assert (found["precision"], found["recall"]) == metrics.precision_recall(real, generated)
    wanted = metrics.kernel_distance(real, generated, subset_size=20)
    assert (found["kid_subsets_mean"], found["kid_subsets_std"]) == pytest.approx(wanted, rel=1e-6)


def test_a_result_says_how_it_was_estimated(tmp_path, quiet):
    source = write_npz(tmp_path / "a.npz", 200)
    for protocol, parts in (
        ("unbiased", "100 of 75"), ("standard", "100 of 75"), ("example", "2 batches of 64"),
    ):  # fmt: skip
        found = evaluate(source, num_images=150, split="all", protocol=protocol, floor=False)
        assert found["protocol"]["protocol"] == protocol
        assert found["protocol"]["subsets"] == parts


def test_a_result_says_all_that_decides_it(tmp_path, quiet):
    found = evaluate(write_npz(tmp_path / "a.npz"), metrics=("kid", "fid"), split="all", seed=5)
    wanted = {
        "encoder": "flat", "image_size": "8x8", "real_images": 40, "generated_images": 40,
        "diffusion_steps": 2, "seed": 5, "protocol": "unbiased", "subsets": "100 of 20",
    }  # fmt: skip
    assert wanted.items() <= found["protocol"].items()
    assert found["protocol"]["sampler"].startswith("DDIM(")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_the_error_of_kid_is_how_far_other_samples_score(shift):
    random = np.random.default_rng(0)
    draws = [
        metrics.mmd_with_error(random.normal(size=(80, 4)), random.normal(shift, 1, (60, 4)))
        for _ in range(60)
    ]
    spread = np.std([value for value, _ in draws])
    assert np.median([error for _, error in draws]) == pytest.approx(spread, rel=0.35)
    x, y = random.normal(size=(50, 4)), random.normal(size=(31, 4))
    assert metrics.mmd_with_error(x, y)[0] == pytest.approx(metrics.polynomial_mmd(x, y), rel=1e-9)
    assert np.isnan(metrics.mmd_with_error(x[:3], y)[1])


def test_remarks_stand_beside_the_figures(tmp_path, quiet):
    model = Painter(lambda random: np.full(SHAPE, 0.001))
    remarks = evaluate(write_npz(tmp_path / "a.npz"), model, metrics=("fid",))["remarks"]
    assert "all 40 generated images are alike" in remarks
    assert any("divided by 255 twice" in remark for remark in remarks)
    assert any(remark.startswith("FID of 12 images is biased upwards") for remark in remarks)


# Streaming


def test_of_many_images_the_statistics_are_kept_and_the_first_features(monkeypatch):
    monkeypatch.setattr(feature_set, "KEPT", 25)
    images = np.random.default_rng(0).random((90, *SHAPE), "float32")
    batches = [images[start : start + 20] for start in range(0, 90, 20)]
    found = feature_set.collect_features(Encoder("flat", flat), batches, "real")
    assert np.array_equal(found.features, flat(images[:25]))
    assert found.count == found.statistics.count == 90
    assert np.allclose(found.statistics.covariance, np.cov(flat(images).T), rtol=1e-5)
    other = feature_set.FeatureSet(flat(images**2))
    wanted = metrics.frechet_distance(flat(images), flat(images**2))
    assert scores(found, other, ("fid",))["fid"] == pytest.approx(wanted, rel=1e-5)
    whole = feature_set.FeatureSet(flat(images))
    errors = [scores(other, one, ("fid",))["fid_std"] for one in (found, whole)]
    assert 0.3 < errors[0] / errors[1] < 3


def test_generated_images_come_in_parts(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("kddim.evaluation.generated._CHUNK", 16)
    parts = []

    class Counting(Painter):
        def generate(self, number, *, start, **options):
            parts.append((start, number))
            return super().generate(number, start=start, **options)

    source = write_npz(tmp_path / "a.npz")
    whole = evaluate(source, batch_size=64)
    in_parts = evaluate(source, Counting(), batch_size=7)
    assert parts == [(0, 14), (14, 14), (28, 14)]
    assert in_parts["kid"] == pytest.approx(whole["kid"], rel=1e-6)


def test_the_budget_is_told_after_two_batches(lines):
    with show_batches("encoding 60 images", 60, 0) as advance:
        advance(20)
        assert not lines()
        advance(20)
        assert lines()[0].startswith("encoding 60 images: about 1 s (")
        advance(20)
    assert len(lines()) == 1


def test_the_budget_is_told_again_every_minute(lines, monkeypatch):
    times = iter([0.0, 10.0, 30.0, 75.0, 90.0])
    monkeypatch.setattr("kddim.progress.time.perf_counter", lambda: next(times))
    with show_batches("decoding 500 images", 500, 0) as advance:
        for _ in range(5):
            advance(100)
    assert lines() == [
        "decoding 500 images: about 30 s (10 images per second)",
        "decoding 500 images: 400 are done, about 25 s (4 images per second)",
    ]


# Files


def reference(source, **options):
    options = {"num_images": None, "split": "all", "encoder": "random_conv", **options}
    return evaluation.make_reference(source, SHAPE, **options)


@pytest.mark.parametrize("kept", [10_000, 30])
def test_a_file_of_statistics_scores_as_its_source(tmp_path, monkeypatch, quiet, kept):
    monkeypatch.setattr(feature_set, "KEPT", kept)
    source = write_npz(tmp_path / "a.npz")
    options = {"num_images": None, "encoder": Encoder("flat", flat), "split": "all"}
    made = reference(source, **options, protocol="standard")
    path = metrics.save_reference(made, tmp_path / "stats.npz")
    loaded = metrics.load_reference(path, Encoder("flat", flat))
    assert (loaded.count, loaded.estimator.name) == (60, "standard")
    assert loaded.description == made.description
    assert loaded.feature_set.fingerprint == made.feature_set.fingerprint
    asked = {"metrics": ("kid", "fid", "prdc"), "encoder": Encoder("flat", flat), "floor": False}
    direct, read = evaluate(made, **asked), evaluate(path, **asked)
    for key, value in direct.items():
        assert read[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    with np.load(path) as content:
        assert np.allclose(
            content["mu"],
            loaded.feature_set.statistics.mean if kept == 30 else made.features.mean(0),
        )


def test_a_file_brings_its_encoder(tmp_path, quiet):
    path = metrics.save_reference(reference("digits", num_images=40), tmp_path / "s.npz")
    loaded = metrics.load_reference(path)
    assert loaded.encoder.description == "random_conv"
    assert evaluate(path, encoder=None)["protocol"]["encoder"] == "random_conv"
    assert evaluation.make_reference(path, SHAPE, encoder="random_conv").count == 40


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    network = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3), pooling="avg"
    )
    # Random weights would let signals fade: features all but equal for all images.
    network.set_weights([w * 6 if w.ndim == 4 else w for w in network.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "m.weights.h5"
    network.save_weights(path)
    return path


def test_weights_are_found_again_by_their_hash(tmp_path, mobilenet_file, own_cache):
    made = encoders.get("mobilenet", 32, mobilenet_file)
    again = encoders.rebuild(made.options, made.description)
    images = np.random.default_rng(0).random((2, 9, 9, 3), "float32")
    assert np.allclose(made(images), again(images), atol=1e-6)
    assert encoders.same_encoder(made, again)
    assert not encoders.same_encoder(made, encoders.get("mobilenet", 64, mobilenet_file))
    for path in own_cache.rglob("*.json"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"Expected the weights of mobilenet.*no file.*--encoder-w"
    ):
        encoders.rebuild(made.options, made.description)
    other = tmp_path / "other.h5"
    other.write_bytes(mobilenet_file.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"Expected the weights of mobilenet.*other\.h5"):
        encoders.rebuild(made.options, made.description, other)
    with pytest.raises(ValueError, match="has no name to be built again by"):
        encoders.rebuild(None, "flat")


def test_files_that_cannot_serve_are_refused(tmp_path):
    path = metrics.save_reference(reference("digits", num_images=20), tmp_path / "s.npz")
    message = r"statistics made with the encoder flat\. Received: .*s\.npz, made with random_conv"
    with pytest.raises(ValueError, match=message):
        metrics.load_reference(path, Encoder("flat", flat))
    with pytest.raises(ValueError, match=r"of the protocol 'standard'.*of the protocol 'unbiased'"):
        metrics.load_reference(path, protocol="standard")
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        metrics.save_reference(metrics.load_reference(path), tmp_path / "s.txt")
    short = tmp_path / "short.npz"
    for length in (20, path.stat().st_size // 2, path.stat().st_size - 20):
        short.write_bytes(path.read_bytes()[:length])
        for read in (metrics.load_reference, lambda path: evaluation.make_reference(path, SHAPE)):
            with pytest.raises(
                ValueError, match=r"statistics or of images\. Received: .*short\.npz"
            ):
                read(short)
    with pytest.raises(ValueError, match="missing, damaged"):
        metrics.load_reference(write_npz(tmp_path / "images.npz"))
    with pytest.raises(ValueError, match="no such file"):
        metrics.load_reference(tmp_path / "nowhere.npz")
    with np.load(path) as content:
        arrays = dict(content)
    about = json.loads(str(arrays["kddim_reference"]))
    np.savez(short, **arrays | {"kddim_reference": json.dumps(about | {"version": 9})})
    with pytest.raises(ValueError, match=r"of version 1\. Received: version 9"):
        metrics.load_reference(short)
    np.savez(short, **arrays | {"features": arrays["features"][:7]})
    with pytest.raises(
        ValueError, match=r"the features of 20 images\. Received: .*damaged and has those of 7"
    ):
        metrics.load_reference(short)


# Cache


def test_features_are_computed_once(tmp_path, own_cache, lines):
    source = write_npz(tmp_path / "a.npz")
    first = reference(source)
    second = reference(source)
    (kept, used) = [line for line in lines() if "features of" in line]
    assert "written to" in kept
    assert "read from the cache" in used
    assert np.array_equal(first.features, second.features)
    assert first.protocol(9, ("kid",)) == second.protocol(9, ("kid",))
    write_npz(source, seed=1)
    assert not np.array_equal(reference(source).features, first.features)
    for options in (
        {"num_images": 30},
        {"protocol": "standard"},
        {"split": "train"},
        {"limit": 40},
    ):
        reference(source, **options)
    assert len(list(own_cache.rglob("*.npz"))) == 6


def test_a_cache_is_not_used_where_it_is_not_wanted_or_cannot_be(tmp_path, own_cache, lines):
    source = write_npz(tmp_path / "a.npz")
    reference(source, use_cache=False)
    reference(source, encoder=flat)
    assert not own_cache.exists()
    reference(source)
    (file,) = own_cache.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    reference(source)
    assert any(
        line.startswith("a file of the cache cannot be used and is made anew") for line in lines()
    )
    own_cache.rename(tmp_path / "away")
    own_cache.write_text("a file in its place")
    assert reference(source).count == 60
    assert lines()[-1].startswith("nothing is cached")


def test_a_source_without_files_is_known_by_its_pixels(tmp_path, own_cache, monkeypatch):
    source = write_npz(tmp_path / "a.npz")
    monkeypatch.setattr("kddim.data.fingerprint", lambda source: None)
    reference(source)
    reference(source)
    assert len(list(own_cache.rglob("*.npz"))) == 1


def test_a_folder_is_known_by_its_files(tmp_path):
    folder = write_folder(tmp_path / "a", 3)
    before = data.fingerprint(folder)
    assert before == data.fingerprint(str(folder))
    (folder / "00.png").write_bytes(b"other")
    assert data.fingerprint(folder) != before
    assert data.fingerprint("no_such_dataset") is None


def test_the_cache_is_where_the_platform_has_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("KDDIM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    found = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        found[platform] = cache.cache_folder().relative_to(tmp_path).as_posix()
    wanted = {"linux": "xdg/kddim", "darwin": "Library/Caches/kddim", "win32": "local/kddim"}
    assert found == wanted


# Images of any sizes


def test_pictures_are_read_as_they_are(tmp_path, lines):
    folder = write_folder(tmp_path / "a", 8)
    (folder / "broken.png").write_text("no picture")
    images = [image for batch in data.NativeImages(folder, batch_size=3) for image in batch]
    assert sorted(image.shape for image in images) == [
        (30, 40, 3), (30, 40, 3), (30, 40, 3), (30, 40, 3),
        (47, 33, 3), (47, 33, 3), (64, 64, 3), (64, 64, 3),
    ]  # fmt: skip
    wanted = np.asarray(Image.open(folder / "00.png").convert("RGB"), "float32") / 255.0
    assert any(i.shape == wanted.shape and np.allclose(i, wanted, atol=1e-6) for i in images)
    assert any("skipped 1 unreadable" in line and "broken.png" in line for line in lines())
    some = [[i.sum() for b in data.NativeImages(folder, 5) for i in b] for _ in range(2)]
    assert some[0] == some[1]


def test_sources_without_images_of_their_own_sizes_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, match in (
        (tmp_path / "empty", "none in"), ("oxford_flowers102", "need an image size"),
        (tmp_path / "no.npz", "no such file"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            data.NativeImages(source)
    (tmp_path / "empty" / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"Received: 1 files, none of which can be decoded"):
        list(data.NativeImages(tmp_path / "empty"))
    with pytest.raises(ValueError, match="the split 'all' for images at their own sizes"):
        evaluation.RealImages("digits", None, "train")


@pytest.mark.backend
def test_images_of_differing_sizes_are_encoded_as_alone():
    random = np.random.default_rng(0)
    images = [random.random((*size, 3), "float32") for size in ((40, 30), (33, 33), (40, 30))]
    inputs = keras.Input((None, None, 3))
    seen = keras.layers.Identity(name="seen")(Resize(12)(inputs))
    features = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(seen))
    staged = encoders.from_model(keras.Model(inputs, features), "staged")
    assert staged.stages
    for encoder in (staged, Encoder("plain", lambda x: np.asarray(x).mean((1, 2)))):
        wanted = np.concatenate([encoder(image[None]) for image in images])
        found = encoder.of_any_sizes(images, batch_size=2)
        assert np.allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_named_encoders_take_images_of_differing_sizes(mobilenet_file):
    images = [np.random.default_rng(0).random((9, size, 3), "float32") for size in (9, 11)]
    encoder = encoders.get("mobilenet", 32, mobilenet_file)
    wanted = np.concatenate([encoder(image[None]) for image in images])
    found = encoder.of_any_sizes(images)
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-2 * np.abs(wanted).max()


# Two sets


def test_a_folder_beside_itself_scores_nothing(tmp_path, mobilenet_file):
    folder = write_folder(tmp_path / "a", 16)
    encoder = encoders.get("mobilenet", 32, mobilenet_file)
    found = evaluation.compare(folder, folder, encoder=encoder)
    other = evaluation.compare(folder, write_folder(tmp_path / "b", 16, 1), encoder=encoder)
    assert found["fid"] == pytest.approx(0.0, abs=1e-6 * other["fid"])
    # Below zero: the estimator takes the pairs of an image with itself for independent ones.
    assert -5 * found["kid_std"] < found["kid"] < 0
    assert (found["precision"], found["recall"], found["coverage"]) == (1.0, 1.0, 1.0)
    assert any("are the same images" in remark for remark in found["remarks"])
    assert found["protocol"]["image_size"] == "30x33 to 64x64"
    assert found["protocol"]["protocol"] == "standard"


def test_files_of_images_and_of_statistics_compare_as_folders(tmp_path):
    sets = {}
    for seed, name in enumerate("ab"):
        pixels = np.random.default_rng(seed).integers(0, 200 + 50 * seed, (24, 8, 8, 3), "uint8")
        np.savez(tmp_path / f"{name}.npz", images=pixels)
        (tmp_path / name).mkdir()
        for index, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / name / f"{index:02d}.png")
        made = evaluation.make_reference(
            tmp_path / name, None, split="all", encoder="random_conv", protocol="standard"
        )
        sets[name] = metrics.save_reference(made, tmp_path / f"{name}_stats.npz")
    options = {"metrics": ("kid", "fid"), "encoder": "random_conv"}
    wanted = evaluation.compare(tmp_path / "a", tmp_path / "b", **options)
    assert wanted["fid"] > 1
    for pair in ((tmp_path / "a.npz", tmp_path / "b"), (tmp_path / "a", sets["b"]), sets.values()):
        found = evaluation.compare(*pair, metrics=("kid", "fid"), encoder=None if sets["b"] in pair else "random_conv")  # fmt: skip
        assert found["fid"] == pytest.approx(wanted["fid"], rel=1e-4)
        assert found["kid"] == pytest.approx(wanted["kid"], rel=1e-4)
    np.savez(tmp_path / "same.npz", images=np.full((9, 8, 8, 3), 90, "uint8"))
    found = evaluation.compare(tmp_path / "a", tmp_path / "same.npz", **options)
    assert "all 9 second set's images are alike" in found["remarks"]


# The floor, and copies


def test_the_floor_is_near_nothing(tmp_path, own_cache, quiet, monkeypatch):
    source = write_npz(tmp_path / "a.npz", 300)
    found = evaluate(source, num_images=60, metrics=("kid", "fid"))
    floor = found["floor"]
    assert floor["of"] == "60 real images (train of " + str(source) + ")"
    assert abs(floor["kid"]) < 3 * floor["kid_std"]
    assert floor["kid"] < 0.1 * found["kid"]
    assert 0 < floor["fid"] < found["fid"]
    halves = evaluate(reference(source, num_images=60))["floor"]
    assert halves["of"] == "two halves of the real images, 30 each"
    assert "floor" not in evaluate(source, floor=False)
    few = write_npz(tmp_path / "few.npz", 20)
    assert evaluate(few, split="train")["floor"]["of"].endswith("8 each")
    assert evaluate(few, split="validation", num_images=4)["floor"] == {}
    monkeypatch.setattr(floors, "scores", lambda *_: pytest.fail("not cached"))
    others = reference(source, num_images=60, encoder=flat, split="train")
    real = reference(source, num_images=60, encoder=flat, split="validation")
    assert floor_of(real, others, ("kid", "fid")) | {"of": ""} == floor | {"of": ""}
    with pytest.raises(pytest.fail.Exception, match="not cached"):
        floor_of(real, others, ("kid", "fid"), use_cache=False)


def test_a_model_that_copies_is_seen_to(tmp_path, quiet):
    source = write_npz(tmp_path / "a.npz", 120)
    training = evaluation.real_images(source, SHAPE, split="train", num_images=96)
    copies = Painter(lambda random: training[random.integers(96)])
    sheet = tmp_path / "new" / "sheet.png"
    found = evaluate(source, copies, neighbours=sheet)
    assert found["copy_ratio"] == pytest.approx(0.0, abs=1e-3)
    assert found["copy_share"] == 1.0
    assert Image.open(sheet).size[0] > 600
    honest = evaluate(source, Painter(lambda r: r.random(SHAPE)), neighbours=tmp_path / "b.png")
    assert 0.8 < honest["copy_ratio"] < 1.25
    assert honest["copy_share"] < 0.2
    assert {*honest} >= {"neighbour_distance", "neighbour_distance_real"}
    with pytest.raises(ValueError, match="Expected a source with a training part"):
        evaluate(reference(source), neighbours=sheet)


def test_copying_is_measured_against_real_images():
    training, held_out = np.arange(20.0)[:, None] * 10, np.arange(20.0)[:, None] * 10 + 2
    found = copying(training + 1, held_out, training)
    assert found == pytest.approx(
        {"neighbour_distance": 1, "neighbour_distance_real": 2, "copy_ratio": 0.5, "copy_share": 1}
    )


# Commands


def command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


@pytest.fixture
def saved(tmp_path):
    from conftest import make_model

    images = np.random.default_rng(0).random((16, *SHAPE), "float32")
    make_model(images, widths=(4, 8)).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def test_the_commands_of_figures(saved, tmp_path, capsys):
    file, result = tmp_path / "digits.npz", tmp_path / "new" / "score.json"
    arguments = ("digits", "-o", file, "--image-size", 8, "-n", 60, "--encoder", "random_conv")
    assert command("stats", *arguments) == 0
    assert f"60 images, random_conv: {file}" in capsys.readouterr().out
    assert command("stats", *arguments) == 2
    short = ("-n", 20, "--diffusion-steps", 1)
    assert command("evaluate", saved, file, *short, "-o", result) == 0
    printed = capsys.readouterr().out
    assert "protocol: unbiased" in printed
    assert "floor: two halves of the real images, 30 each" in printed
    found = json.loads(result.read_text())
    assert f"KID {found['kid']:.6g} +- {found['kid_std']:.2g} (standard error); floor" in printed
    sheet = ("--neighbours", tmp_path / "sheet.png", "--encoder", "random_conv")
    assert command("evaluate", saved, "digits", *short, *sheet, "--protocol", "standard") == 0
    printed = capsys.readouterr().out
    assert "nearest training image: at" in printed
    assert "note: KID by the standard protocol wants at least 1,000 images" in printed
    assert (tmp_path / "sheet.png").is_file()


def test_compare_as_a_command(tmp_path, capsys):
    a, b = (write_folder(tmp_path / name, 8, seed) for seed, name in enumerate("ab"))
    result = tmp_path / "c.json"
    arguments = ("compare", a, b, "--encoder", "random_conv", "--metric", "kid,fid", "-o", result)
    assert command(*arguments) == 0
    printed = capsys.readouterr().out
    assert "KID" in printed
    assert "image size: 30x33 to 64x64" in printed
    found = json.loads(result.read_text())
    assert found["protocol"]["real_images"] == found["protocol"]["generated_images"] == 8
    assert found["fid"] > 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["compare", "nowhere", "digits"], "a folder of pictures, or a .npy or .npz file"),
        (["compare", "digits", "digits", "--metric", "fod"], "Expected metrics among"),
        (["compare", "digits", "digits", "--encoder", "x"], "Unknown encoder"),
        (["stats", "digits", "-o", "a.txt"], "ends in .npz"),
        (["stats", "digits", "-o", "a.npz", "--split", "train"], "the split 'all'"),
        (["stats", "digits", "-o", "a.npz", "-n", "3"], "num_images of at least 4"),
        (["stats", "digits", "-o", "a.npz", "--image-size", "big"], "expected a size"),
        (["evaluate", "MODEL", "digits", "--neighbours", "a.jpg"], "a .png file"),
        (["evaluate", "MODEL", "digits", "--protocol", "x"], "'x' is not one of"),
    ],
)
def test_bad_input_is_one_line(saved, arguments, match, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert command(*[saved if a == "MODEL" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.splitlines()[-1].startswith("kddim: error: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_floors_of_references_without_fingerprint_are_not_shared(tmp_path, monkeypatch):
    """Made by hand from features, they say nothing of what they hold."""
    monkeypatch.setenv("KDDIM_CACHE", str(tmp_path))
    random = np.random.default_rng(0)
    encoder = encoders.get("random_conv")
    described = {"image_size": "8x8", "real_images": 40, "real": "numbers"}
    found = [
        floor_of(evaluation.Reference(encoder, features, described), None, ["fid"])["fid"]
        for features in (feature_set.FeatureSet(s * random.random((40, 6))) for s in (1.0, 100.0))
    ]
    assert found[1] > 100 * found[0]


def test_a_single_file_is_known_by_its_content(tmp_path):
    from kddim.data.fingerprints import fingerprint

    for name, value in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "images.npy", np.full((4, 8, 8, 3), value, "uint8"))
        os.utime(tmp_path / name / "images.npy", (0, 0))
    one, other = (fingerprint(tmp_path / name / "images.npy") for name in "ab")
    assert one != other


def test_weights_beside_an_encoder_that_had_none_are_refused(tmp_path):
    options = {"identifier": "mobilenet", "image_size": 128, "antialias": False}
    with pytest.raises(ValueError, match="Expected no file of weights for mobilenet"):
        encoders.rebuild(options, "mobilenet", tmp_path / "w.h5")


def test_damaged_weights_of_the_inception_of_2015_are_refused(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ValueError, match="Expected weights that convert_pt_inception wrote"):
        encoders.pt_inception(tmp_path / "w.npz")
