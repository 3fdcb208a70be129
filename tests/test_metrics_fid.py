"""FID on images, the named protocols, and the remarks that users read."""

import logging

import keras
import numpy as np
import pytest

from kddim.metrics import (
    FID,
    KID,
    FeatureStatistics,
    frechet_deviation,
    frechet_distance,
    kernel_distance,
)
from kddim.metrics import estimators as known
from kddim.metrics import feature_set as module

REAL = np.random.default_rng(0).random((60, 8, 8, 3), "float32")
FAKE = np.random.default_rng(1).random((50, 8, 8, 3), "float32") * 0.7


def statistics(images):
    """Mean and deviation of every channel: a cheap encoder."""
    images = np.asarray(images)
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=-1)


def score(metric, real=REAL, generated=FAKE):
    metric.update_state(real, generated)
    return metric.result()


@pytest.fixture
def remarks(caplog):
    """The sentences in the log so far."""
    caplog.set_level(logging.WARNING, "kddim")
    return lambda: [record.getMessage() for record in caplog.records]


# FID


def test_fid_is_the_distance_of_the_features():
    value = score(FID(statistics))
    assert isinstance(value, float)
    assert value == pytest.approx(frechet_distance(statistics(REAL), statistics(FAKE)), rel=1e-6)


@pytest.mark.parametrize("kept", [0, 10, 45, 4096])
def test_updates_of_any_size_give_the_distance_of_all(kept, monkeypatch):
    monkeypatch.setattr(module, "KEPT", kept)
    fid = FID(statistics)
    fid.update_state(REAL[:7], FAKE[:20])
    fid.update_state(REAL[7:8], None)
    fid.update_state(None, FAKE[20:])
    fid.update_state(REAL[8:], None)
    assert fid.result() == pytest.approx(score(FID(statistics)), rel=1e-6)
    assert (fid.protocol["real_images"], fid.protocol["generated_images"]) == (60, 50)
    fid.update_state(None, FAKE[:5])
    more = np.concatenate([FAKE, FAKE[:5]])
    assert fid.result() == pytest.approx(score(FID(statistics), REAL, more), rel=1e-6)


@pytest.mark.parametrize("kept", [20, 4096])
def test_the_deviation_is_the_jackknife_over_generated_images(kept, monkeypatch):
    monkeypatch.setattr(module, "KEPT", kept)
    fid = FID(statistics, groups=5)
    fid.update_state(REAL, FAKE)
    wanted = frechet_deviation(statistics(REAL), statistics(FAKE[:kept]), 5)
    scale = np.sqrt(min(kept, 50) / 50)  # of images beyond those whose features are kept
    assert fid.deviation() == pytest.approx(wanted * scale, rel=1e-4)


def test_a_deviation_wants_groups_and_images():
    assert np.isnan(FID(statistics).deviation())
    fid = FID(statistics, groups=1)
    fid.update_state(REAL, FAKE)
    assert np.isnan(fid.deviation())
    fid = FID(statistics, groups=30)
    fid.update_state(REAL, FAKE)
    assert np.isnan(fid.deviation())


def test_fewer_images_than_features_are_exact():
    fid = FID(keras.layers.Flatten())
    flat = [images.reshape(len(images), -1) for images in (REAL, FAKE)]
    assert score(fid) == pytest.approx(frechet_distance(*flat), rel=1e-6)
    assert fid.deviation() == pytest.approx(frechet_deviation(*flat), rel=1e-4)


@pytest.mark.parametrize("kept", [10, 4096])
def test_real_images_can_be_known_by_their_statistics_alone(kept, monkeypatch, remarks):
    monkeypatch.setattr(module, "KEPT", kept)
    first = FID(statistics)
    first.update_state(REAL, FAKE[:3])
    second = FID(statistics)
    second.add_real_statistics(first.real_statistics)
    second.update_state(None, FAKE)
    assert first.real_statistics.count == 60
    assert second.result() == pytest.approx(score(FID(statistics)), rel=1e-6)
    assert second.protocol["real_images"] == 60
    second.add_real_statistics(FeatureStatistics(statistics(REAL[:9])))
    assert second.protocol["real_images"] == 69
    assert not [remark for remark in remarks() if "alike" in remark]


def test_fid_is_nan_until_two_images_a_side_are_known():
    fid = FID(statistics)
    assert np.isnan(fid.result())
    fid.update_state(REAL[:3], FAKE[:1])
    assert np.isnan(fid.result())
    fid.update_state(None, FAKE[1:2])
    assert np.isfinite(fid.result())


def test_a_reset_forgets_everything():
    fid = FID(statistics)
    fid.update_state(REAL, REAL)
    assert fid.result() == pytest.approx(0.0, abs=1e-10)
    fid.reset_state()
    assert np.isnan(fid.result())
    assert fid.protocol["real_images"] == 0
    assert score(fid) == pytest.approx(score(FID(statistics)), rel=1e-9)


def test_fid_is_a_metric_with_nothing_to_save():
    fid = FID("random_conv", name="distance")
    assert isinstance(fid, keras.metrics.Metric)
    assert (fid.name, fid.variables) == ("distance", [])
    assert FID.from_config(fid.get_config()).get_config() == fid.get_config()
    with pytest.raises(ValueError, match="Expected an encoder given by name"):
        FID(statistics).get_config()


def test_images_that_are_refused_are_not_counted():
    for metric in (FID(statistics), KID(statistics)):
        with pytest.raises(ValueError, match=r"Expected pixel values in \[0, 1\]"):
            metric.update_state(REAL, FAKE * 255)
        with pytest.raises(ValueError, match="every image weighs the same"):
            metric.update_state(REAL, FAKE, sample_weight=np.ones(60))
        assert metric.protocol["real_images"] == 0
        metric.update_state(REAL[:4], FAKE[:4])
        assert metric.protocol["real_images"] == 4


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected one of 'example', 'standard'\. Rec.*'biased'"):
        FID(statistics, protocol="biased")
    with pytest.raises(ValueError, match=r"`groups` of at least 1\. Received: 0"):
        FID(statistics, groups=0)


@pytest.mark.backend
def test_both_metrics_run_in_plain_loops_on_every_backend():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.Constant(0.1))(images)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    flat = lambda batch: batch.mean((1, 2)).sum(-1, keepdims=True) * np.ones(4)  # noqa: E731
    for metric in (FID, KID):
        whole = metric(model)
        for start in range(0, 48, 16):
            batch = [keras.ops.convert_to_tensor(x[start : start + 16]) for x in (REAL, FAKE)]
            whole.update_state(*batch)
        assert whole.result() == pytest.approx(score(metric(model), REAL[:48], FAKE[:48]), rel=1e-3)
        assert whole.result() > 0.1 * score(metric(flat), REAL[:48], FAKE[:48]) > 0


# Protocols


@pytest.fixture
def fake_inception(monkeypatch):
    """Stands in for Keras' InceptionV3."""

    def build(**options):
        images = keras.Input(options["input_shape"])
        return keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))

    monkeypatch.setattr(keras.applications, "InceptionV3", build)


def test_protocols_choose_what_inception_sees(fake_inception):
    encoders = {
        name: known.get(name).encoder("inception_v3").description
        for name in ("unbiased", "example", "standard")
    }
    assert encoders == {
        "unbiased": "inception_v3 (imagenet, 75x75)",
        "example": "inception_v3 (imagenet, 75x75)",
        "standard": "inception_v3 (imagenet, 299x299, antialiased)",
    }
    assert FID().protocol["encoder"] == encoders["standard"]
    assert FID(protocol="example").protocol["encoder"] == encoders["example"]
    small = KID(image_size=128, protocol="standard").protocol["encoder"]
    assert small == "inception_v3 (imagenet, 128x128, antialiased)"


def test_the_standard_kid_is_the_mean_over_subsets():
    images = np.random.default_rng(2).random((1100, 2, 2, 3), "float32")
    real, generated = images, images[:1050] ** 1.3
    kid = KID(statistics, protocol="standard")
    value = score(kid, real, generated)
    wanted = kernel_distance(statistics(real), statistics(generated))
    assert (value, kid.deviation()) == pytest.approx(wanted, rel=1e-5)
    assert kid.protocol["subsets"] == "100 of 1000"
    assert kid.protocol["estimator"] == "mean over 100 random subsets of 1,000 images"


def test_the_standard_kid_of_few_images_takes_halves_and_says_so(remarks):
    kid = KID(statistics, protocol="standard")
    wanted = kernel_distance(statistics(REAL), statistics(FAKE), subset_size=25)
    assert (score(kid), kid.deviation()) == pytest.approx(wanted, rel=1e-5)
    assert kid.protocol["subsets"] == "100 of 25"
    kid.result()
    (remark,) = remarks()
    assert remark == (
        "KID by the standard protocol wants at least 1,000 images a side; of 50 it takes "
        "subsets of 25"
    )
    kid.reset_state()
    assert np.isnan(score(kid, REAL[:3], FAKE))
    assert np.isnan(kid.deviation())


def test_a_deviation_stands_beside_every_kid():
    kid = KID(statistics)
    kid.update_state(REAL, FAKE)
    wanted = kernel_distance(statistics(REAL), statistics(FAKE), subset_size=25)[1]
    assert kid.deviation() == pytest.approx(wanted, rel=1e-5)
    batches = KID(statistics, protocol="example")
    assert np.isnan(batches.deviation())
    values = []
    for rows in (slice(0, 20), slice(20, 50)):
        batches.update_state(REAL[rows], FAKE[rows])
        values.append(score(KID(statistics), REAL[rows], FAKE[rows]))
    assert batches.deviation() == pytest.approx(np.std(values), rel=1e-5)


def test_kid_takes_one_side_at_a_time():
    kid = KID(statistics)
    kid.update_state(REAL, None)
    kid.update_state(None, FAKE)
    assert kid.result() == pytest.approx(score(KID(statistics)), rel=1e-6)
    with pytest.raises(ValueError, match="Expected both sets of images"):
        KID(statistics, protocol="example").update_state(REAL, None)


# Remarks


def test_fid_of_few_images_says_so_once(remarks):
    fid = FID(statistics)
    score(fid), fid.result()
    assert remarks() == [
        "FID of 50 images is biased upwards: take at least 2,048 a side, or KID, and compare "
        "only values of equally many images"
    ]


def test_fid_wants_as_many_images_as_features(remarks):
    wide = lambda images: np.repeat(statistics(images), 500, axis=-1)  # noqa: E731
    score(FID(wide), REAL[:5], FAKE[:5])
    (remark,) = remarks()
    assert "FID of 5 images" in remark
    assert "at least 3,000 a side" in remark


@pytest.mark.parametrize("metric", [FID, KID])
def test_images_all_alike_are_remarked_on(metric, remarks):
    same = np.repeat(FAKE[:1], 20, axis=0)
    same[3:] += 1e-4  # less than a level of 256
    kid = metric(statistics)
    kid.update_state(REAL, same[:10])
    score(kid, REAL, same[10:])
    assert "all 20 generated images are alike" in remarks()
    assert not [remark for remark in remarks() if "real images are alike" in remark]
    same[4, 2, 2] += 0.01
    score(kid := metric(statistics), REAL, same)
    assert len([remark for remark in remarks() if "alike" in remark]) == 1


def test_images_divided_twice_are_remarked_on(remarks):
    score(KID(statistics), REAL / 255, FAKE)
    (remark,) = remarks()
    assert remark.startswith("no pixel of the real images exceeds 0.0039 of [0, 1]")


def test_ordinary_images_are_no_matter_for_remarks(remarks):
    score(KID(statistics))
    assert remarks() == []
