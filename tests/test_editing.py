"""Tests of filling in, of variations, of scores and of likelihoods."""

import math

import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import samplers, schedules
from kddim.backend import to_numpy
from kddim.experiments import Inpainting, Variation
from kddim.images import to_uint8

pytestmark = pytest.mark.backend

SIZE = 8
MEAN, DEVIATION = 0.4, 0.1


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return np.clip(random.normal(MEAN, DEVIATION, (64, SIZE, SIZE, 1)), 0, 1).astype("float32")


@pytest.fixture(scope="module")
def model(pictures):
    return make_model(pictures)


def gaussian_model(schedule="geometric", **options):
    """A model that knows that the pixels are independent and N(MEAN, DEVIATION**2)."""

    class Gaussian(kddim.DiffusionModel):
        def denoise(self, noisy_images, noise_rates, signal_rates, training=False):
            return noise_rates * noisy_images, signal_rates * noisy_images

    found = Gaussian(SIZE, (4, 8), 1, channels=1, schedule=schedule, **options)
    random = np.random.default_rng(1)
    found.normalizer.adapt(random.normal(MEAN, DEVIATION, (20_000, SIZE, SIZE, 1)).clip(0, 1))
    return found


MASK = np.zeros((SIZE, SIZE))
MASK[2:6, 2:6] = 1


@pytest.mark.parametrize("sampler", [*samplers.NAMES, "repaint:resamplings=2"])
def test_known_pixels_come_back_exactly_with_every_sampler(model, pictures, sampler):
    sampler = {
        "annealed_langevin": samplers.AnnealedLangevin(langevin_steps=2),
        "repaint:resamplings=2": samplers.RePaint(resamplings=2),
    }.get(sampler, sampler)
    found = model.inpaint(pictures[:3], MASK, 4, sampler, seed=0)
    known = MASK == 0
    np.testing.assert_array_equal(found[:, known], pictures[:3][:, known])
    assert np.abs(found - pictures[:3])[:, ~known].mean() > 0.01


def test_masks_of_every_shape_and_batches_of_every_size_give_the_same_images(model, pictures):
    options = {"diffusion_steps": 3, "sampler": "ddpm", "seed": 0}
    expected = model.inpaint(pictures[:4], MASK, batch_size=4, **options)
    for mask in (MASK[..., None], MASK[None, ..., None], np.repeat(MASK[None, ..., None], 4, 0)):
        found = model.inpaint(pictures[:4], mask.astype(bool), batch_size=3, **options)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    later = model.inpaint(pictures[2:4], MASK, start=2, **options)
    np.testing.assert_allclose(later, expected[2:], atol=1e-4)


def test_nothing_known_is_generation_and_all_known_is_the_picture(model, pictures):
    everything = model.inpaint(pictures[:2], np.ones((SIZE, SIZE)), 5, seed=3)
    np.testing.assert_allclose(everything, model.generate(2, 5, seed=3), atol=1e-4)
    nothing = model.inpaint(pictures[:2], np.zeros((SIZE, SIZE)), 5, seed=3)
    np.testing.assert_array_equal(nothing, pictures[:2])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((SIZE, SIZE + 1)), r"mask of shape \(2, 8, 8, 1\) or \(8, 8\)"),
        (np.ones((3, SIZE, SIZE, 1)), r"mask of shape \(2, 8, 8, 1\)"),
        (np.full((SIZE, SIZE), 0.5), r"values 0 \(known\) and 1"),
        (np.full((SIZE, SIZE), 255), r"values 0 \(known\) and 1.*from 255 to 255"),
        (np.full((SIZE, SIZE), "1"), r"values 0 \(known\) and 1.*Received: <U1"),
    ],
)
def test_masks_that_are_none_are_refused(model, pictures, mask, message):
    with pytest.raises(ValueError, match=message):
        model.inpaint(pictures[:2], mask)


def test_variations_are_nearer_with_less_strength(pictures):
    exact = gaussian_model()
    found = [
        np.abs(exact.image_to_image(pictures[:8], strength, 10, seed=0) - pictures[:8]).mean()
        for strength in (0.2, 0.5, 0.8)
    ]
    assert found[0] < 0.5 * found[1] < found[1] < found[2]


def test_the_full_strength_of_pure_noise_is_generation(pictures):
    exact = gaussian_model(schedules.GeometricSchedule(sigma_max=1e5))
    found = exact.image_to_image(pictures[:4], 1.0, 10, seed=0)
    np.testing.assert_allclose(found, exact.generate(4, 10, seed=0), atol=1e-3)


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, "0.5", None, True])
def test_strengths_out_of_range_are_refused(model, pictures, strength):
    with pytest.raises(ValueError, match=r"Expected `strength` in \(0, 1\]"):
        model.image_to_image(pictures[:2], strength)


def test_numbers_of_numpy_are_numbers(model, pictures):
    found = model.image_to_image(pictures[:2], np.float32(0.5), 2, seed=0)
    np.testing.assert_array_equal(found, model.image_to_image(pictures[:2], 0.5, 2, seed=0))


@pytest.mark.parametrize("start", [-1, 0.5])
def test_images_of_a_seed_are_counted_from_zero(model, pictures, start):
    calls = (
        lambda: model.inpaint(pictures[:2], MASK, 2, start=start),
        lambda: model.image_to_image(pictures[:2], 0.5, 2, start=start),
        lambda: model.reverse_diffusion(pictures[:2], 2, "ddpm", start=start),
    )
    for call in calls:
        with pytest.raises(ValueError, match=f"`start` to be an int of at least 0.*{start}"):
            call()


def test_each_picture_of_an_experiment_has_its_own_mask(model, pictures, tmp_path):
    masks = np.stack([MASK, 1 - MASK])
    options = {"diffusion_steps": 2, "num_images": 4, "batch_size": 3}
    edits = Inpainting(model=model, images=pictures[:2], mask=masks, **options)
    edits.run(tmp_path / "found.npz")
    found = np.load(tmp_path / "found.npz")["images"]
    expected = to_uint8(np.tile(pictures[:2], (2, 1, 1, 1)))
    known = np.tile(masks, (2, 1, 1)) == 0
    np.testing.assert_array_equal(found[known], expected[known])
    assert (found != expected)[~known].mean() > 0.5


def test_strengths_of_an_experiment_are_recorded_as_floats(model, pictures, tmp_path):
    edits = Variation(model=model, images=pictures[:1], strength=np.float32(0.5), num_images=1)
    edits.run(tmp_path / "found.png")
    assert edits.settings()["strength"] == 0.5
    assert type(edits.settings()["strength"]) is float


def test_tuned_samplers_start_from_noise_only(model, pictures):
    model.tuned_samplers = {3: samplers.DDIM(times=(1.0, 0.6, 0.2, 0.0))}
    with pytest.raises(ValueError, match="Expected a sampler that can start anywhere"):
        model.image_to_image(pictures[:2], 0.5, 3, "tuned")


# Scores and likelihoods


def test_the_score_is_the_gradient_of_the_log_density():
    """For unit variance, noisy images are standard normal: the gradient is minus the image."""
    exact = gaussian_model()
    noisy = np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 1)).astype("float32")
    rates = np.full((3, 1, 1, 1), 0.6, "float32"), np.full((3, 1, 1, 1), 0.8, "float32")
    np.testing.assert_allclose(to_numpy(exact.score(noisy, *rates)), -noisy, atol=1e-5)


def closed_form(images):
    densities = -0.5 * ((images - MEAN) / DEVIATION) ** 2 - math.log(
        DEVIATION * math.sqrt(2 * math.pi)
    )
    return -densities.mean(axis=(1, 2, 3)) / math.log(2) + 8


@pytest.mark.parametrize("schedule", ["geometric", "linear_beta", "log_snr_linear"])
def test_the_likelihood_of_a_gaussian_is_the_closed_form(pictures, schedule):
    if schedule == "log_snr_linear":
        schedule = schedules.LogSNRLinearSchedule(14.0, -10.0)
    found = gaussian_model(schedule).log_likelihood(pictures[:6], 100, seed=0)
    assert found.shape == (6,)
    np.testing.assert_allclose(found, closed_form(pictures[:6].astype("float64")), atol=1e-3)


class Narrow(kddim.DiffusionModel):
    """A model that believes that the normalised pixels are N(0.5, 0.7**2)."""

    def denoise(self, noisy_images, noise_rates, signal_rates, training=False):
        variance = signal_rates**2 * 0.49 + noise_rates**2
        residual = noisy_images - 0.5 * signal_rates
        return noise_rates / variance * residual, 0.5 + 0.49 * signal_rates / variance * residual


def test_the_likelihood_follows_a_flow_that_moves(pictures):
    # With less noise at time 1, the mean of 0.5 would still show there.
    schedule = schedules.GeometricSchedule(0.01, 5000.0)
    exact = Narrow(SIZE, (4, 8), 1, channels=1, schedule=schedule)
    exact.normalizer.adapt(pictures)
    normalised = to_numpy(exact.normalizer(pictures[:4])).astype("float64")
    deviation = np.sqrt(to_numpy(exact.normalizer.adapt_variance)).item()
    densities = -0.5 * ((normalised - 0.5) / 0.7) ** 2 - math.log(0.7 * math.sqrt(2 * math.pi))
    expected = (math.log(deviation) - densities.mean(axis=(1, 2, 3))) / math.log(2) + 8
    found = exact.log_likelihood(pictures[:4], 400)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_likelihood_depends_on_the_seed_alone(model, pictures):
    found = model.log_likelihood(pictures[:5], 5, seed=1, batch_size=5)
    again = model.log_likelihood(pictures[:5], 5, seed=1, batch_size=2)
    np.testing.assert_allclose(found, again, atol=1e-3)
    other = model.log_likelihood(pictures[:5], 5, seed=2)
    assert np.abs(found - other).max() > 1e-3
    noisier = model.log_likelihood(pictures[:5], 5, seed=-1, dequantize=True)
    assert np.abs(found - noisier).max() > 0


def test_the_likelihood_of_constant_pictures_is_finite():
    """The normaliser divides by a small number there, and the density takes the same one."""
    constant = np.full((2, SIZE, SIZE, 1), 0.5, "float32")
    assert np.isfinite(make_model(constant).log_likelihood(constant, 2)).all()
