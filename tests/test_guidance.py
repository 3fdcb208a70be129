"""Tests of guidance and known pixels, with Gaussian data in closed form."""

import numpy as np
import pytest
from keras import ops

from kddim import samplers, schedules
from kddim.backend import to_numpy
from kddim.guidance import Autoguidance, ClassifierFree, KnownPixels, check_interval, check_scale
from kddim.latents import initial_noise

pytestmark = pytest.mark.backend

SCHEDULE = schedules.GeometricSchedule()
DEVIATION = 0.5
MEANS = {0: 1.0, 1: -0.6, -1: 0.2}  # by label; -1 is no label


def gaussian(noisy_images, noise_rates, signal_rates, mean):
    """Posterior means of noise and image, for images from N(mean, DEVIATION**2)."""
    variance = signal_rates**2 * DEVIATION**2 + noise_rates**2
    residual = noisy_images - signal_rates * mean
    images = mean + signal_rates * DEVIATION**2 / variance * residual
    return noise_rates / variance * residual, images


def labelled(noisy_images, noise_rates, signal_rates, labels):
    labels = ops.convert_to_tensor(labels)[:, None, None, None]
    mean = sum(ops.where(labels == label, value, 0.0) for label, value in MEANS.items())
    return gaussian(noisy_images, noise_rates, signal_rates, mean)


def sample(denoise, noise, steps=200, sampler=None):
    sampler = sampler or samplers.DPMSolverPP(order=2, times="log_snr")
    return to_numpy(sampler.sample(denoise, SCHEDULE, noise, steps, seed=0))


def noises(number, shape=(1, 1, 1)):
    return initial_noise(number, shape, seed=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_samples_the_tilted_distribution_of_gaussians_of_one_variance(scale):
    """`p(x | label)**scale * p(x)**(1 - scale)` is normal, with the extrapolated mean.

    With other variances the guided field is that of no distribution, and there is nothing exact
    to compare with.
    """
    labels = np.arange(2000) % 2
    found = sample(ClassifierFree(labelled, labels, scale), noises(2000))[:, 0, 0, 0]
    for label in (0, 1):
        part = found[labels == label]
        assert part.mean() == pytest.approx(
            MEANS[-1] + scale * (MEANS[label] - MEANS[-1]), abs=0.05
        )
        assert part.std() == pytest.approx(DEVIATION, abs=0.03)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
def test_autoguidance_leads_away_from_the_weaker_model(scale):
    def model(*args):
        return gaussian(*args, 0.4)

    def weaker(*args):
        return gaussian(*args, 0.1)

    found = sample(Autoguidance(model, weaker, scale), noises(2000))
    assert found.mean() == pytest.approx(0.1 + scale * 0.3, abs=0.05)
    assert found.std() == pytest.approx(DEVIATION, abs=0.03)


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm_solver_pp", "ipndm", "ddpm"])
def test_a_scale_of_one_is_the_label_and_of_zero_none(sampler):
    labels, noise = np.array([0, 1, 1, 0]), noises(4, (2, 2, 1))
    sampler = samplers.get(sampler)
    for scale, wanted in ((1.0, labels), (0.0, np.full(4, -1))):
        expected = sample(lambda *a, wanted=wanted: labelled(*a, wanted), noise, 10, sampler)
        found = sample(ClassifierFree(labelled, labels, scale), noise, 10, sampler)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_guidance_leaves_noise_and_image_consistent():
    rates = np.full((3, 1, 1, 1), 0.6, "float32"), np.full((3, 1, 1, 1), 0.8, "float32")
    noisy = noises(3, (4, 4, 1))
    pred_noises, pred_images = ClassifierFree(labelled, np.array([0, 1, 0]), 3.0)(noisy, *rates)
    np.testing.assert_allclose(
        rates[1] * to_numpy(pred_images) + rates[0] * to_numpy(pred_noises), noisy, atol=1e-5
    )


def test_guidance_outside_of_its_interval_is_the_label():
    labels = np.array([0, 1])
    plain = ClassifierFree(labelled, labels, 3.0)
    bounded = ClassifierFree(labelled, labels, 3.0, (0.5, 2.0))
    noisy = ops.convert_to_tensor(noises(2))
    for sigma, inside in ((0.4, False), (0.6, True), (1.9, True), (2.1, False)):
        values = (v / np.hypot(sigma, 1.0) for v in (sigma, 1.0))
        rates = [ops.convert_to_tensor(np.full((2, 1, 1, 1), v, "float32")) for v in values]
        expected = plain(noisy, *rates) if inside else labelled(noisy, *rates, labels)
        for found, wanted in zip(bounded(noisy, *rates), expected):
            np.testing.assert_allclose(to_numpy(found), to_numpy(wanted), atol=1e-6)


COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.0]])


def correlated(noisy_images, noise_rates, signal_rates):
    """Posterior means for images of two pixels with a correlation of 0.8."""
    rate = to_numpy(noise_rates).ravel()[0].astype("float64")
    signal = to_numpy(signal_rates).ravel()[0].astype("float64")
    matrix = signal * COVARIANCE @ np.linalg.inv(signal**2 * COVARIANCE + rate**2 * np.eye(2))
    noisy = to_numpy(noisy_images).astype("float64").reshape(-1, 2)
    images = (noisy @ matrix.T).reshape(-1, 1, 2, 1)
    images = images.astype("float32")
    return (to_numpy(noisy_images) - np.float32(signal) * images) / np.float32(rate), images


def filled(sampler, steps):
    known = np.full((3000, 1, 2, 1), 1.5, "float32")
    mask = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    found = sample(KnownPixels(correlated, known, mask), noises(3000, (1, 2, 1)), steps, sampler)
    assert (found[:, 0, 0, 0] == 1.5).all()
    return found[:, 0, 1, 0]


@pytest.mark.slow
def test_known_pixels_and_resampling_reach_the_conditional_distribution():
    """Given the first pixel, the second is N(0.8 * 1.5, 1 - 0.8**2)."""
    resampled = filled(samplers.RePaint(resamplings=20, times="log_snr"), 40)
    assert resampled.mean() == pytest.approx(1.2, abs=0.1)
    assert resampled.std() == pytest.approx(0.6, abs=0.1)
    # Replacement alone, of any sampler, is only close.
    replaced = filled(samplers.DDIM(times="log_snr"), 100)
    assert abs(replaced.mean() - 1.2) > abs(resampled.mean() - 1.2)
    assert 0.5 < replaced.mean() < 1.3


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "2", None, True])
def test_scales_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="Expected `guidance_scale` as a number of at least 0"):
        check_scale(value)


@pytest.mark.parametrize("value", [(1.0,), (2.0, 1.0), (-1.0, 1.0), 3.0, "ab", (0.0, float("nan"))])
def test_intervals_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="Expected `guidance_interval` as two noise levels"):
        check_interval(value)
