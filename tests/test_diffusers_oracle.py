"""Hugging Face diffusers as an independent oracle: DDIM, DDPM and their time grids."""

import numpy as np
import pytest
from diffusers_oracle import (
    NOISE,
    TIMESTEPS,
    diffusers,
    exact_flow,
    fresh_noise,
    gaussian_noise,
    grid,
    make,
    mixture_noise,
    ours,
    rates_at,
    theirs,
)

from kddim import samplers


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [10, 20, 50, 7, 30, 300])
def test_ddim_is_ddim_on_leading_timesteps(steps, eta):
    """Also where S does not divide T: the grid's own stride is `T // S` there."""
    for exact, tolerance in ((True, 1e-12), (False, 5e-5)):
        scheduler = make("DDIMScheduler", steps, exact)
        expected = theirs(scheduler, NOISE, eta=eta, variance_noise=fresh_noise)
        actual = ours(samplers.DDIM(eta=eta, times=grid(scheduler)), NOISE, steps)
        np.testing.assert_allclose(actual, expected, atol=tolerance if eta or exact else 1e-5)


def test_ddim_with_the_offset_of_stable_diffusion():
    """`steps_offset=1`; without `set_alpha_to_one` it ends at timestep 0, our time 1/T."""
    scheduler = make("DDIMScheduler", 20, steps_offset=1)
    actual = ours(samplers.DDIM(times=grid(scheduler)), NOISE, 20)
    np.testing.assert_allclose(actual, theirs(scheduler, NOISE), atol=1e-12)
    scheduler = make("DDIMScheduler", 20, steps_offset=1, set_alpha_to_one=False)
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    actual = ours(samplers.DDIM(times=grid(scheduler, 1 / TIMESTEPS)), NOISE, 20)
    np.testing.assert_allclose(actual, theirs(scheduler, NOISE), atol=1e-12)


@pytest.mark.parametrize("prediction_type", ["image", "velocity"])
def test_ddim_from_other_predictions(prediction_type):
    def predict(noisy, noise_rate, signal_rate):
        pred_noise = mixture_noise(noisy, noise_rate, signal_rate)
        pred_image = (noisy - noise_rate * pred_noise) / signal_rate
        velocity = signal_rate * pred_noise - noise_rate * pred_image
        return {"image": pred_image, "velocity": velocity}[prediction_type]

    their_type = {"image": "sample", "velocity": "v_prediction"}[prediction_type]
    scheduler = make("DDIMScheduler", 20, prediction_type=their_type)
    expected = theirs(scheduler, NOISE, predict, eta=0.3, variance_noise=fresh_noise)
    sampler = samplers.DDIM(eta=0.3, times=grid(scheduler))
    actual = ours(sampler, NOISE, 20, predict, prediction_type)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    np.testing.assert_allclose(actual, ours(sampler, NOISE, 20), atol=1e-12)


def test_clipping_is_that_of_use_clipped_model_output():
    """By default diffusers clips the image, and goes on with the noise of the unclipped."""
    scheduler = make("DDIMScheduler", 20, clip_sample=True, clip_sample_range=0.8)
    actual = ours(samplers.DDIM(times=grid(scheduler), clip=(-0.8, 0.8)), NOISE, 20)
    expected = theirs(scheduler, NOISE, use_clipped_model_output=True)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
    assert np.abs(actual - theirs(scheduler, NOISE)).max() > 0.1


@pytest.mark.parametrize(
    ("spacing", "steps", "missed"),
    [
        ("leading", 7, 0),
        ("leading", 300, 0),
        ("trailing", 50, 0),
        ("trailing", 7, 6),
        ("trailing", 30, 10),
        ("trailing", 300, 100),
        ("linspace", 10, 9),
        ("linspace", 50, 19),
        ("linspace", 300, 102),
    ],
)
def test_the_stride_of_diffusers_misses_its_own_next_timestep(spacing, steps, missed):
    """`DDIMScheduler.step` goes to `t - T // S`, and the network is then asked elsewhere.

    huggingface/diffusers, issues 9261 ("trailing"), 11347 and 12633 ("linspace"). "leading"
    always lands, "trailing" where S divides T, and "linspace" hardly ever.
    """
    scheduler = make("DDIMScheduler", steps, timestep_spacing=spacing)
    timesteps = scheduler.timesteps.numpy()
    landed = np.maximum(timesteps - TIMESTEPS // steps, -1)
    assert np.sum(landed != np.append(timesteps[1:], -1)) == missed
    actual = ours(samplers.DDIM(times=grid(scheduler)), NOISE, steps)
    difference = np.abs(actual - theirs(scheduler, NOISE)).max()
    assert difference > 5e-3 if missed else difference < 1e-12


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_ours_converges_where_the_stride_of_diffusers_does_not(spacing):
    """To the exact flow of Gaussian data, at first order.

    A stride that is too short by a fixed share leaves that share of the noise in: with
    S=300 it is 3 for 3.33, with S=600 it is 1 for 1.67. With few steps the error of the
    stride and that of the method, of opposite signs, may cancel.
    """
    exact = exact_flow(NOISE, np.divide(*rates_at(TIMESTEPS - 1)), 0.0)
    steps = (120, 240, 300, 480, 600)
    errors = []
    for number in steps:
        scheduler = make("DDIMScheduler", number, timestep_spacing=spacing)
        sampler = samplers.DDIM(times=grid(scheduler))
        runs = (
            ours(sampler, NOISE, number, gaussian_noise),
            theirs(scheduler, NOISE, gaussian_noise),
        )
        errors.append([np.abs(run[-1] - exact).max() for run in runs])
    our_errors, their_errors = np.transpose(errors)
    order = -np.polyfit(np.log(steps), np.log(our_errors), 1)[0]
    assert 0.9 < order < 1.1
    assert np.all(our_errors[2:] < 0.4 * their_errors[2:])
    assert their_errors[-1] > 50 * our_errors[-1]
    assert their_errors[-1] > 10 * their_errors[0]


# DDPM


@pytest.fixture
def draws(monkeypatch):
    """Gives `DDPMScheduler`, which takes no noise, ours; counts its draws."""
    drawn = []

    def randn_tensor(shape, **kwargs):
        drawn.append(shape)
        return fresh_noise(len(drawn) - 1)

    monkeypatch.setattr(diffusers.schedulers.scheduling_ddpm, "randn_tensor", randn_tensor)
    return drawn


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [pytest.param(1000, marks=pytest.mark.slow), 30])
def test_ddpm_is_ddpm(draws, variance, steps):
    """It reads its grid, and adds no noise in the step from timestep 0; nor do we."""
    scheduler = make("DDPMScheduler", steps, variance_type=f"fixed_{variance}")
    expected = theirs(scheduler, NOISE)
    assert len(draws) == steps - 1
    assert scheduler.timesteps[-1] == 0
    times = grid(scheduler)
    actual = ours(samplers.DDPM(variance, times=times), NOISE, steps)
    np.testing.assert_allclose(actual, expected, atol=1e-11)
    if variance == "small":
        same = ours(samplers.DDIM(eta=1.0, times=times), NOISE, steps)
        np.testing.assert_allclose(same, expected, atol=1e-11)


def test_ddpm_on_trailing_timesteps_ends_in_noise_there(draws):
    """Where the last timestep is not 0, diffusers draws noise for the clean image.

    Of standard deviation 1e-10 with the small variance, which it clamps; with the large
    one of `noise_rate` at the last timestep, here 0.12, in the final image. We add none.
    """
    for variance, least, most in (("small", 0.0, 1e-9), ("large", 0.2, 1.0)):
        draws.clear()
        options = {"variance_type": f"fixed_{variance}", "timestep_spacing": "trailing"}
        scheduler = make("DDPMScheduler", 30, **options)
        expected = theirs(scheduler, NOISE)
        assert len(draws) == 30
        actual = ours(samplers.DDPM(variance, times=grid(scheduler)), NOISE, 30)
        np.testing.assert_allclose(actual[:-1], expected[:-1], atol=1e-12)
        assert least <= np.abs(actual[-1] - expected[-1]).max() < most
