"""Hugging Face diffusers as an independent oracle: inversion, DPM-Solver++ and Heun."""

import dataclasses

import numpy as np
import pytest
from diffusers_oracle import (
    ALPHA_BARS,
    NOISE,
    SCHEDULE,
    TIMESTEPS,
    exact_flow,
    gaussian_noise,
    grid,
    make,
    mixture_noise,
    ours,
    rates_at,
    theirs,
    theirs_along_sigmas,
    torch,
)

from kddim import samplers

IMAGES = 0.5 * NOISE  # of the Gaussian data


def sigma_at(timestep):
    return np.divide(*rates_at(timestep))


def error(found, exact):
    return np.abs(found - exact).max()


# Inversion


def inverse_grid(scheduler):
    return (*(scheduler.timesteps.numpy()[::-1] + 1.0) / TIMESTEPS, 0.0)


def their_steps_at_our_rates(scheduler, images):
    """`DDIMInverseScheduler` with the network asked at the level that the sample has."""
    sample, seen, level = torch.from_numpy(images), [], 0
    for timestep in scheduler.timesteps:
        predicted = torch.from_numpy(mixture_noise(sample.numpy(), *rates_at(level)))
        sample = scheduler.step(predicted, timestep, sample).prev_sample
        seen.append(sample.numpy())
        level = timestep
    return np.stack(seen)


@pytest.mark.parametrize(
    ("spacing", "steps", "equal"),
    [
        ("leading", 10, True),
        ("leading", 50, True),
        ("leading", 7, True),
        ("leading", 300, True),
        ("trailing", 10, True),
        ("trailing", 50, True),
        ("trailing", 7, False),
        ("trailing", 30, False),
        ("trailing", 300, False),
    ],
)
def test_the_steps_of_inversion_are_those_of_diffusers(spacing, steps, equal):
    """Given the same predictions, but for the stride.

    `DDIMInverseScheduler.step(t)` goes from `t - T // S` to `t`, so that on "trailing"
    timesteps with S not dividing T it starts from a level that the sample does not have.
    It refuses "linspace".
    """
    scheduler = make("DDIMInverseScheduler", steps, timestep_spacing=spacing)
    expected = their_steps_at_our_rates(scheduler, IMAGES)
    actual = ours(samplers.DDIMInverse(times=inverse_grid(scheduler)), IMAGES, steps)
    assert error(actual, expected) < 1e-12 if equal else error(actual, expected) > 1e-3


def test_inversion_clips_in_diffusers_by_default():
    """`clip_sample=True`: images beyond [-1, 1] are lost on the way."""
    scheduler = make("DDIMInverseScheduler", 20, clip_sample=True)
    actual = ours(samplers.DDIMInverse(times=inverse_grid(scheduler)), IMAGES, 20)
    assert np.abs(IMAGES).max() > 1.0
    assert error(actual, their_steps_at_our_rates(scheduler, IMAGES)) > 1.0


def test_pipelines_ask_the_network_at_the_level_that_a_step_of_inversion_leads_to():
    """Theirs pass `t`, the next level, with a sample of the level before (issue 10695).

    We ask at the level that the sample has, as the explicit Euler method does. On
    "leading" timesteps the first step is the same, since for a clean sample we ask at
    time 1/T as well. Both converge to the exact latents at first order or better; on
    this Gaussian their errors are the smaller ones (S=100: 0.004 for 0.08), and so are
    those of a round trip (0.04 for 0.08).
    """
    errors = []
    for steps in (20, 50, 100, 250):
        scheduler = make("DDIMInverseScheduler", steps)
        times = inverse_grid(scheduler)
        runs = (
            ours(samplers.DDIMInverse(times=times), IMAGES, steps, gaussian_noise),
            theirs(scheduler, IMAGES, gaussian_noise),
        )
        np.testing.assert_allclose(runs[0][0], runs[1][0], atol=1e-12)
        exact = exact_flow(IMAGES, 0.0, sigma_at(scheduler.timesteps[-1]))
        back = [ours(samplers.DDIM(times=times), r[-1], steps, gaussian_noise)[-1] for r in runs]
        errors.append([error(r[-1], exact) for r in runs] + [error(b, IMAGES) for b in back])
    our_latents, their_latents, our_round_trips, their_round_trips = np.transpose(errors)
    for falling in (our_latents, our_round_trips, their_round_trips):
        order = -np.polyfit(np.log([20, 50, 100, 250]), np.log(falling), 1)[0]
        assert 0.9 < order < 1.1
    assert np.all(np.diff(their_latents) < 0)
    assert np.all(their_latents < our_latents)
    assert np.all(their_round_trips < our_round_trips)


# DPM-Solver++


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [7, 20])
def test_dpm_solver_pp_is_that_of_diffusers(order, spacing, steps):
    """2M with `solver_type="midpoint"`; it reads its grid, so every spacing agrees.

    It computes in float32. A last step to a clean image is of first order in both; for
    one to timestep 0 ("sigma_min"), `lower_order_final` has to be off.
    """
    for final, last, lower in (("zero", 0.0, True), ("sigma_min", 1 / TIMESTEPS, False)):
        options = {"final_sigmas_type": final, "lower_order_final": lower}
        scheduler = make(
            "DPMSolverMultistepScheduler",
            steps,
            solver_order=order,
            timestep_spacing=spacing,
            **options,
        )
        sampler = samplers.DPMSolverPP(order, times=grid(scheduler, last))
        np.testing.assert_allclose(ours(sampler, NOISE, steps), theirs(scheduler, NOISE), atol=1e-5)


@dataclasses.dataclass(frozen=True)
class TaylorOfDiffusers(samplers.DPMSolverPP):
    """Our method with the weights of diffusers for order 3, and for 2 with "heun".

    The prediction is a polynomial in `s = lambda - lambda_now`, integrated against
    `exp(s - h)`. The quadratic through the last three is
    `p + (p[0,1] + h1 p[0,1,2]) s + p[0,1,2] s**2`, with divided differences; diffusers
    takes `p[0,1,2] s**2 / 2` for its last term, as if the divided difference were the
    second derivative, which is twice that.
    """

    def weights(self, rates):
        weights = super().weights(rates)
        lambdas = np.log(rates.signal / rates.noise)
        for step in range(self.order - 1, len(lambdas) - 1):
            h, before = lambdas[step + 1] - lambdas[step], np.diff(lambdas[step::-1])
            newest = np.eye(self.order)[0] - np.eye(self.order)[1]
            first, second = newest / -before[0], np.zeros(self.order)
            if self.order == 3:
                older = np.array([0.0, 1.0, -1.0]) / -before[1]
                second = (first - older) / -(before[0] + before[1])
                first = first - before[0] * second
            total = 1.0 - np.exp(-h)
            moments = h - total, h**2 - 2.0 * (h - total)
            weights[step] = np.eye(self.order)[0]
            weights[step] += (moments[0] * first + 0.5 * moments[1] * second) / total
        return weights


@pytest.mark.parametrize("order", [2, 3])
def test_where_dpm_solver_pp_differs_it_is_by_these_weights(order):
    """ "heun" is another second-order method; order 3 has half of a term (see above).

    `lower_order_final` would also make the last but one of fewer than 15 steps second
    order: off here.
    """
    for steps in (10, 30):
        scheduler = make(
            "DPMSolverMultistepScheduler",
            steps,
            solver_order=order,
            solver_type="heun" if order == 2 else "midpoint",
            lower_order_final=False,
        )
        expected = theirs(scheduler, NOISE)
        times = grid(scheduler)
        actual = ours(TaylorOfDiffusers(order, times=times), NOISE, steps)
        np.testing.assert_allclose(actual, expected, atol=1e-5)
        assert error(ours(samplers.DPMSolverPP(order, times=times), NOISE, steps), expected) > 5e-3


def test_only_ours_is_of_third_order():
    """On Gaussian data and equal steps of lambda, which `use_lu_lambdas` gives diffusers.

    With 128 steps our error is 2.5e-6, theirs 1.7e-4.
    """
    steps, errors = np.array([32, 64, 128]), []
    for number in steps:
        scheduler = make(
            "DPMSolverMultistepScheduler", number + 1, solver_order=3, use_lu_lambdas=True
        )
        sigmas = scheduler.sigmas.double().numpy()[:-1]
        expected = exact_flow(NOISE, sigmas[0], sigmas[-1])
        found = theirs_along_sigmas(scheduler, NOISE, gaussian_noise)[-2]
        sampler = samplers.DPMSolverPP(3, times=SCHEDULE.time_at_log_snr(-2.0 * np.log(sigmas)))
        actual = ours(sampler, NOISE, number, gaussian_noise)[-1]
        errors.append([error(actual, expected), error(found, expected)])
    our_order, their_order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert our_order > 2.8
    assert 1.7 < their_order < 2.3
    assert errors[-1][0] < 0.1 * errors[-1][1]


# Heun


def their_heun(scheduler, predict):
    """The noisy images after each whole step; its samples are `noisy / signal_rate`."""
    sigmas = scheduler.sigmas.double().numpy()
    start = NOISE * np.sqrt(1.0 + sigmas[0] ** 2)
    samples = theirs_along_sigmas(scheduler, start, predict)
    whole = np.append(np.arange(1, len(samples), 2), len(samples) - 1)  # the last has one call
    return samples[whole] / np.sqrt(1.0 + sigmas[whole + 1].reshape(-1, 1, 1, 1, 1) ** 2)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [7, 20, 50])
def test_heun_is_heun_but_for_the_step_to_clean_images(spacing, steps):
    """That one is Euler's in diffusers, as in Karras et al., and the midpoint method here.

    "linspace" has fractional timesteps, where diffusers interpolates sigma, and we
    `log(alpha_bar)`.
    """
    scheduler = make("HeunDiscreteScheduler", steps, timestep_spacing=spacing)
    expected = their_heun(scheduler, mixture_noise)
    actual = ours(samplers.Heun(variable="sigma", times=grid(scheduler)), NOISE, steps)
    np.testing.assert_allclose(actual[:-1], expected[:-1], atol=1e-5)
    noise_rate, signal_rate = rates_at(scheduler.timesteps[-1])
    pred_noise = mixture_noise(actual[-2], noise_rate, signal_rate)
    euler = (actual[-2] - noise_rate * pred_noise) / signal_rate
    np.testing.assert_allclose(expected[-1], euler, atol=1e-5)
    assert error(actual[-1], expected[-1]) > 1e-3


def test_the_last_step_of_heun_is_nearer_to_the_exact_flow_here():
    exact = exact_flow(NOISE, np.sqrt(1.0 / ALPHA_BARS[-1] - 1.0), 0.0)
    for steps in (10, 20, 40):
        scheduler = make("HeunDiscreteScheduler", steps, timestep_spacing="trailing")
        actual = ours(
            samplers.Heun(variable="sigma", times=grid(scheduler)), NOISE, steps, gaussian_noise
        )[-1]
        assert error(actual, exact) < 0.5 * error(their_heun(scheduler, gaussian_noise)[-1], exact)


# iPNDM

IPNDM_TIMES = (0.98, 0.9, 0.75, 0.6, 0.4, 0.25, 0.1, 0.05)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_ipndm_takes_the_steps_of_diffusers(steps):
    """diffusers has one schedule for it, whose first signal rate is 0. It gets our rates.

    Its networks predict a velocity of another sign: it computes the noises as
    `noise_rate * noisy + signal_rate * output`.
    """
    times = (*IPNDM_TIMES[-steps:], 0.0)
    noise_rates, signal_rates = (torch.from_numpy(rates) for rates in SCHEDULE(np.array(times)))
    scheduler = torch_scheduler(steps, noise_rates, signal_rates)
    sample, seen = torch.from_numpy(NOISE), []
    for step, timestep in enumerate(scheduler.timesteps):
        noise_rate, signal_rate = noise_rates[step].item(), signal_rates[step].item()
        noises = mixture_noise(sample.numpy(), noise_rate, signal_rate)
        velocity = (torch.from_numpy(noises) - noise_rate * sample) / signal_rate
        sample = scheduler.step(velocity, timestep, sample).prev_sample
        seen.append(sample.numpy())
    found = ours(samplers.IPNDM(times=times), NOISE, steps)
    np.testing.assert_allclose(found, np.stack(seen), atol=1e-9)


def torch_scheduler(steps, noise_rates, signal_rates):
    import diffusers

    scheduler = diffusers.IPNDMScheduler()
    scheduler.set_timesteps(steps)
    scheduler.betas, scheduler.alphas = noise_rates, signal_rates
    return scheduler
