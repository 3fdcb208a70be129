"""Tests of all samplers, with a closed-form Gaussian denoiser as the oracle.

For Gaussian data with mean m and standard deviation s, the noisy image at rates (n, a) is
Gaussian too, and the best prediction of the image is linear in it. The exact solution of the
probability flow ODE from noise to the noisy image at the last time is known.
"""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from kddim import latents, predictions, samplers, schedules
from kddim.backend import to_numpy
from kddim.samplers import times as time_grids

pytestmark = pytest.mark.backend

MEAN, DEVIATION = 0.3, 0.5
SCHEDULES = [schedules.CosineSchedule(), schedules.LinearBetaSchedule()]
# Langevin dynamics take 100 steps at each time by default, which would be a minute of this module.
FEWER = {samplers.AnnealedLangevin: {"langevin_steps": 5}}
each_sampler = pytest.mark.parametrize(
    "sampler",
    [cls(**FEWER.get(cls, {})) for cls in samplers.NAMES.values()] + [samplers.DDIM(1.0)],
    ids=repr,
)


def gaussian_denoiser(noisy_images, noise_rates, signal_rates):
    """Return the posterior means of noise and image for images from N(MEAN, DEVIATION**2)."""
    variance = signal_rates**2 * DEVIATION**2 + noise_rates**2
    residual = noisy_images - signal_rates * MEAN
    return (
        noise_rates / variance * residual,
        MEAN + signal_rates * DEVIATION**2 / variance * residual,
    )


def exact_flow(schedule, noise, start=1.0, end=0.0):
    """Return the solution of the probability flow ODE at time `end`, from noise at `start`."""

    def moments(time):
        noise_rate, signal_rate = schedule(np.array([time]))
        return signal_rate * MEAN, np.sqrt(signal_rate**2 * DEVIATION**2 + noise_rate**2)

    (start_mean, start_deviation), (end_mean, end_deviation) = moments(start), moments(end)
    return end_mean + end_deviation * (noise - start_mean) / start_deviation


def last_noisy_images(sampler, schedule, noise, steps, denoise=gaussian_denoiser, **options):
    found = {}
    sampler.sample(
        denoise,
        schedule,
        noise,
        steps,
        callback=lambda step, noisy, pred: found.update(last=to_numpy(noisy)),
        **options,
    )
    return found["last"]


def float64_noise(number=16):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float32 unless told otherwise")
    return np.random.default_rng(0).standard_normal((number, 2, 2, 1))


@each_sampler
def test_callback_sees_every_step_and_the_last_prediction(sampler):
    noise = latents.initial_noise(3, (4, 4, 2), seed=0)
    seen = []
    result = sampler.sample(
        gaussian_denoiser, SCHEDULES[0], noise, 7, seed=0, callback=lambda *a: seen.append(a)
    )
    assert [step for step, _, _ in seen] == list(range(7))
    assert tuple(result.shape) == noise.shape
    np.testing.assert_array_equal(to_numpy(seen[-1][2]), to_numpy(result))


@each_sampler
def test_callback_stops_early(sampler):
    noise = latents.initial_noise(1, (4, 4, 1), seed=0)
    seen = []

    def callback(step, noisy_images, pred_images):
        seen.append(step)
        return step == 2

    sampler.sample(gaussian_denoiser, SCHEDULES[0], noise, 7, seed=0, callback=callback)
    assert seen == [0, 1, 2]


@each_sampler
def test_batches_of_a_seed_are_parts_of_the_whole(sampler):
    noise = latents.initial_noise(6, (4, 4, 1), seed=5)
    whole = to_numpy(sampler.sample(gaussian_denoiser, SCHEDULES[0], noise, 5, seed=5))
    part = sampler.sample(gaussian_denoiser, SCHEDULES[0], noise[4:], 5, seed=5, start=4)
    np.testing.assert_allclose(to_numpy(part), whole[4:], atol=1e-6)


@each_sampler
def test_denoiser_is_called_as_often_as_stated_with_rates_of_the_batch(sampler):
    shapes = []

    def denoise(noisy_images, noise_rates, signal_rates):
        shapes.append((tuple(noise_rates.shape), tuple(signal_rates.shape)))
        return gaussian_denoiser(noisy_images, noise_rates, signal_rates)

    sampler.sample(denoise, SCHEDULES[0], latents.initial_noise(3, (4, 4, 1), 0), 4, seed=0)
    assert len(shapes) == sampler.num_evaluations(4)
    assert set(shapes) == {((3, 1, 1, 1), (3, 1, 1, 1))}


@each_sampler
def test_samplers_are_immutable_values_with_a_configuration(sampler):
    with pytest.raises(AttributeError):
        sampler.times = "quadratic"
    config = keras.saving.serialize_keras_object(sampler)
    assert samplers.get(config) == sampler
    assert hash(samplers.get(config)) == hash(sampler)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("times", ["uniform", "quadratic", "log_snr"])
def test_ddim_converges_to_the_exact_flow_at_first_order(schedule, times):
    noise = float64_noise()
    exact = exact_flow(schedule, noise)
    steps = np.array([64, 128, 256, 512])
    errors = [
        np.abs(last_noisy_images(samplers.DDIM(times=times), schedule, noise, s) - exact).max()
        for s in steps
    ]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.85 < order < 1.25
    assert errors[-1] < 2e-2


def test_the_example_loop_is_ddim_with_eta_0():
    noise = float64_noise()
    schedule = schedules.CosineSchedule()
    actual = samplers.DDIM().sample(gaussian_denoiser, schedule, noise, 10)
    noisy = noise
    for step in range(10):
        noise_rate, signal_rate = schedule(1.0 - step / 10)
        pred_noises, pred_images = gaussian_denoiser(noisy, noise_rate, signal_rate)
        next_noise_rate, next_signal_rate = schedule(1.0 - (step + 1) / 10)
        noisy = next_signal_rate * pred_images + next_noise_rate * pred_noises
    np.testing.assert_allclose(to_numpy(actual), pred_images, atol=1e-12)


def test_eta_1_is_the_posterior_of_ddpm():
    """Compare with Ho et al., Eq. 7: mean and variance of q(x_{t-1} | x_t, x_0)."""
    schedule = schedules.LinearBetaSchedule(50, 1e-3, 0.2)
    sampler = samplers.DDIM(eta=1.0)
    coefficients = sampler.coefficients(sampler.rates(schedule, 50))
    betas = np.linspace(1e-3, 0.2, 50)[::-1]
    alpha_bars = np.append(1.0, np.cumprod(1.0 - betas[::-1]))[::-1]
    now, after = alpha_bars[:-1], alpha_bars[1:]
    variance = (1 - after) / (1 - now) * betas
    np.testing.assert_allclose(coefficients["sigma"] ** 2, variance, atol=1e-12)
    # The mean is linear in image and noise. Two pairs of them decide it.
    for image, noise in ((1.0, 0.0), (0.0, 1.0)):
        noisy = np.sqrt(now) * image + np.sqrt(1 - now) * noise
        posterior = (
            np.sqrt(after) * betas / (1 - now) * image
            + np.sqrt(1 - betas) * (1 - after) / (1 - now) * noisy
        )
        mean = coefficients["next_signal_rate"] * image + coefficients["pred_noise_scale"] * noise
        np.testing.assert_allclose(mean, posterior, atol=1e-12)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_stochastic_sampling_reaches_the_exact_moments(eta):
    schedule = schedules.LinearBetaSchedule()
    noise = latents.initial_noise(2000, (2, 2, 1), seed=0)
    samples = last_noisy_images(samplers.DDIM(eta=eta), schedule, noise, 200, seed=1)
    assert abs(samples.mean() - MEAN) < 0.02
    assert abs(samples.std() - DEVIATION) < 0.02


def test_sigma_is_linear_in_eta():
    rates = samplers.DDIM().rates(SCHEDULES[0], 10)
    full = samplers.DDIM(eta=1.0).coefficients(rates)["sigma"]
    np.testing.assert_allclose(samplers.DDIM(eta=0.3).coefficients(rates)["sigma"], 0.3 * full)


def test_clipping_bounds_predictions_and_keeps_the_mix():
    noise = latents.initial_noise(4, (4, 4, 1), seed=0)
    sampler = samplers.DDIM(clip=(0.1, 0.4))
    seen = []
    sampler.sample(
        gaussian_denoiser, SCHEDULES[0], noise, 3, callback=lambda *a: seen.append(a[1:])
    )
    for _, pred_images in seen:
        values = to_numpy(pred_images)
        assert values.min() >= 0.1 - 1e-6
        assert values.max() <= 0.4 + 1e-6
    rates = sampler.rates(SCHEDULES[0], 3)
    pred = np.clip(to_numpy(gaussian_denoiser(noise, rates.noise[0], rates.signal[0])[1]), 0.1, 0.4)
    pred_noises = (noise - rates.signal[0] * pred) / rates.noise[0]
    expected = rates.next_signal[0] * pred + rates.next_noise[0] * pred_noises
    np.testing.assert_allclose(to_numpy(seen[0][0]), expected, atol=1e-5)


def test_grids():
    schedule = SCHEDULES[0]
    np.testing.assert_allclose(time_grids.grid("uniform", schedule, 4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(
        time_grids.grid("quadratic", schedule, 4), [1, 0.5625, 0.25, 0.0625, 0]
    )
    np.testing.assert_allclose(
        np.diff(schedule.log_snr(time_grids.grid("log_snr", schedule, 8)), 2), 0, atol=1e-8
    )
    np.testing.assert_allclose(time_grids.grid([0.9, 0.2, 0.1], schedule, 2), [0.9, 0.2, 0.1])
    for times in time_grids.GRIDS:
        for steps in (1, 3, 1000):
            grid = time_grids.grid(times, SCHEDULES[1], steps)
            assert len(grid) == steps + 1
            assert (grid[0], grid[-1]) == (1.0, 0.0)
            assert np.all(np.diff(grid) < 0)


def test_given_times_are_followed():
    noise = float64_noise()
    times = (1.0, 0.8, 0.35, 0.2)
    actual = last_noisy_images(samplers.DDIM(times=times), SCHEDULES[0], noise, 3)
    noisy = noise
    for time, after in itertools.pairwise(times):
        pred_noises, pred_images = gaussian_denoiser(noisy, *SCHEDULES[0](time))
        next_noise_rate, next_signal_rate = SCHEDULES[0](after)
        noisy = next_signal_rate * pred_images + next_noise_rate * pred_noises
    np.testing.assert_allclose(actual, noisy, atol=1e-12)


def test_one_compiled_step_serves_every_number_of_steps():
    compiled = []

    def compile_step(step):
        compiled.append(step)
        return step

    noise = ops.convert_to_tensor(latents.initial_noise(1, (4, 4, 1), 0))
    samplers.DDIM().sample(gaussian_denoiser, SCHEDULES[0], noise, 9, compile_step=compile_step)
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: samplers.get("ddimm"), "Unknown sampler.*Received: 'ddimm'"),
        (lambda: samplers.DDIM(eta=-0.1), "`eta` of at least 0.*-0.1"),
        (lambda: samplers.DDIM(eta=float("nan")), "`eta`"),
        (lambda: samplers.DDIM(times="linear"), "Unknown times.*'linear'"),
        (lambda: samplers.DDIM(times=[0.0, 1.0]), "decreasing"),
        (lambda: samplers.DDIM(times=[1.0, 0.5, 0.5, 0.0]), "decreasing.*0.5, 0.5"),
        (lambda: samplers.DDIM(times=[1.0, float("nan"), 0.0]), "decreasing.*nan"),
        (lambda: samplers.DDIM(times=[1.2, 0.0]), r"in \[0, 1\]"),
        (lambda: samplers.DDIM(times=[1.0, -0.1]), r"in \[0, 1\].*-0.1"),
        (lambda: samplers.DDIM(times=[1.0]), "at least two"),
        (lambda: samplers.DDIM(clip=(1, -1)), "low < high"),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("sampler", "steps", "match"),
    [
        (samplers.DDIM(), 0, "at least 1"),
        (samplers.DDIM(), 2.5, "to be an int"),
        (samplers.DDIM(times=[1.0, 0.5, 0.0]), 3, "Expected 4 times.*Received: 3"),
        (samplers.DDIM(eta=3.0), 10, "eta=3.0 asks for more fresh noise"),
    ],
)
def test_bad_steps_are_refused(sampler, steps, match):
    with pytest.raises(ValueError, match=match):
        sampler.sample(gaussian_denoiser, SCHEDULES[0], np.zeros((1, 2, 2, 1), "float32"), steps)


def test_a_schedule_whose_signal_grows_with_time_is_refused():
    def backwards(times):
        noise_rates, signal_rates = SCHEDULES[0](times)
        return signal_rates, noise_rates

    noise = latents.initial_noise(1, (4, 4, 1), seed=0)
    with pytest.raises(ValueError, match=r"signal-to-noise ratio falls.*at time 0 and"):
        samplers.DDIM().sample(gaussian_denoiser, backwards, noise, 3)


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (samplers.DDIM(times="log_snr"), 1),
        (samplers.Heun(times="log_snr"), 2),
        (samplers.Heun(alpha=2 / 3, times="log_snr"), 2),
        (samplers.Heun(variable="sigma", times="log_snr"), 2),
        (samplers.AdamsBashforth(1, times="log_snr"), 1),
        (samplers.AdamsBashforth(2, times="log_snr"), 2),
        (samplers.AdamsBashforth(3, times="log_snr"), 3),
        (samplers.AdamsBashforth(4, times="log_snr"), 4),
        (samplers.DPMSolverPP(1, times="log_snr"), 1),
        (samplers.DPMSolverPP(2, times="log_snr"), 2),
        (samplers.DPMSolverPP(3, times="log_snr"), 3),
    ],
    ids=repr,
)
def test_solvers_converge_to_the_exact_flow_at_their_order(sampler, order):
    """Measure orders on equal steps of log-SNR, where the first steps hardly matter."""
    noise, schedule = float64_noise(), SCHEDULES[0]
    exact = exact_flow(schedule, noise)
    steps = np.array([16, 32, 64, 128])
    errors = [np.abs(last_noisy_images(sampler, schedule, noise, s) - exact).max() for s in steps]
    found = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order - 0.25 < found < order + 0.6


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(
    ("sampler", "same"),
    [
        (samplers.AdamsBashforth(1), samplers.DDIM()),
        (samplers.DPMSolverPP(1), samplers.DDIM()),
        (samplers.IPNDM(1), samplers.DDIM()),
        (samplers.LinearMultistep(table=[[1.0]] * 9), samplers.DDIM()),
        (samplers.LinearMultistep(table=[[1.0]] + [[1.5, -0.5]] * 8), samplers.IPNDM(2)),
        (samplers.DDPM(), samplers.DDIM(1.0)),
    ],
    ids=repr,
)
def test_identities(schedule, sampler, same):
    noise = float64_noise()
    one = sampler.sample(gaussian_denoiser, schedule, noise, 9, seed=3)
    other = same.sample(gaussian_denoiser, schedule, noise, 9, seed=3)
    np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-10)


@each_sampler
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("prediction_type", ["image", "velocity"])
def test_every_prediction_of_a_denoiser_gives_one_trajectory(sampler, schedule, prediction_type):
    def denoise(noisy_images, *rates):
        predicted = predictions.target(
            prediction_type, *gaussian_denoiser(noisy_images, *rates), *rates
        )
        return predictions.split(prediction_type, predicted, noisy_images, *rates)

    noise = float64_noise()
    expected = last_noisy_images(sampler, schedule, noise, 9, seed=3)
    actual = last_noisy_images(sampler, schedule, noise, 9, seed=3, denoise=denoise)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


@each_sampler
@pytest.mark.parametrize("times", ["uniform", "log_snr"])
@pytest.mark.parametrize("name", ["nichol_dhariwal", "sigmoid"])
def test_schedules_that_end_in_almost_pure_noise(sampler, name, times):
    noise, schedule = latents.initial_noise(4, (2, 2, 1), seed=0), schedules.get(name)
    sampler = dataclasses.replace(sampler, times=times)
    found = last_noisy_images(sampler, schedule, noise, 50, seed=1)
    assert np.all(np.isfinite(found))
    if not sampler.stochastic:
        np.testing.assert_allclose(found, exact_flow(schedule, noise), atol=0.1)


def test_the_log_snr_grid_of_schedules_that_end_in_pure_noise():
    schedule = schedules.SigmoidSchedule(min_signal_rate=0.0)
    grid = time_grids.grid("log_snr", schedule, 10)
    assert (grid[0], grid[-1]) == (1.0, 0.0)
    np.testing.assert_allclose(np.diff(schedule.log_snr(grid[1:-1]), 2), 0.0, atol=1e-6)
    found = last_noisy_images(samplers.DDIM(times="log_snr"), schedule, float64_noise(), 200)
    np.testing.assert_allclose(found, exact_flow(schedule, float64_noise()), atol=0.05)


def test_large_variance_reaches_the_exact_moments_with_all_steps():
    noise = latents.initial_noise(2000, (2, 2, 1), seed=0)
    schedule = schedules.LinearBetaSchedule(250, 4e-4, 0.08)
    samples = last_noisy_images(samplers.DDPM("large"), schedule, noise, 250, seed=1)
    assert abs(samples.mean() - MEAN) < 0.02
    assert abs(samples.std() - DEVIATION) < 0.03


def test_large_variance_is_sigma_hat_but_for_the_clean_end():
    schedule = schedules.LinearBetaSchedule()
    sampler = samplers.DDPM("large")
    sigma = sampler.coefficients(sampler.rates(schedule, 10))["sigma"]
    _, signal = schedule(1.0 - np.arange(11) / 10)
    np.testing.assert_allclose(sigma[:-1] ** 2, 1 - signal[:-2] ** 2 / signal[1:-1] ** 2)
    assert sigma[-1] == 0.0
    small = samplers.DDPM()
    assert np.all(sigma[:-1] > small.coefficients(small.rates(schedule, 10))["sigma"][:-1])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: samplers.DDPM("medium"), "'small', 'large'.*'medium'"),
        (lambda: samplers.Heun(0.0), r"`alpha` in \(0, 1\]"),
        (lambda: samplers.AdamsBashforth(5), "`order` of 1 to 4.*5"),
        (lambda: samplers.IPNDM(0), "`order` of 1 to 4.*0"),
        (lambda: samplers.LinearMultistep(table=[]), "finite weights for each step"),
        (lambda: samplers.LinearMultistep(table=[[0.5, 0.5]]), "one for the first step"),
        (lambda: samplers.LinearMultistep(table=[[1.0], [np.nan]]), "finite weights"),
        (lambda: samplers.DPMSolverPP(0), "`order` of 1 to 3.*0"),
    ],
)
def test_bad_solver_options_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_inversion_is_undone_by_ddim_as_steps_grow(schedule):
    images = MEAN + DEVIATION * float64_noise()
    errors = []
    for steps in (25, 100, 400):
        encoded = last_noisy_images(samplers.DDIMInverse(), schedule, images, steps)
        decoded = last_noisy_images(samplers.DDIM(), schedule, encoded, steps)
        errors.append(np.abs(decoded - images).max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    exact = exact_flow(schedule, images, start=0.0, end=1.0)
    np.testing.assert_allclose(encoded, exact, atol=0.03)


def test_a_sampler_that_is_no_dataclass_is_told_how_to_become_one():
    class Bare(samplers.Sampler):
        def coefficients(self, rates):
            return {"noise_rate": rates.noise}

        def step(self, denoise, noisy_images, state, coefficients, noises):
            return noisy_images, noisy_images, state

    match = (
        r"Expected a frozen dataclass\. Received: .*Bare.*@dataclasses\.dataclass\(frozen=True\)"
    )
    for ask in (Bare.get_config, lambda bare: bare.compile_key):
        with pytest.raises(ValueError, match=match):
            ask(Bare())


def test_options_of_a_subclass_reach_its_compiled_step(model):
    """Samplers that differ in an option of `step` must not share a compiled step."""

    @dataclasses.dataclass(frozen=True)
    class Scaled(samplers.DDIM):
        scale: float = 1.0

        def step(self, *args):
            noisy_images, pred_images, state = super().step(*args)
            return noisy_images, self.scale * pred_images, state

    plain, scaled = (model.generate(2, 2, Scaled(scale=s), seed=0) for s in (1.0, 0.0))
    assert np.abs(plain - scaled).max() > 0.05


def test_a_table_of_weights_has_a_number_of_steps():
    sampler = samplers.LinearMultistep(table=[[1.0], [1.5, -0.5]])
    assert sampler.order == 2
    assert samplers.get(keras.saving.serialize_keras_object(sampler)) == sampler
    with pytest.raises(ValueError, match=r"diffusion_steps=2.*table. Received: 3"):
        last_noisy_images(sampler, SCHEDULES[0], latents.initial_noise(1, (2, 2, 1), 0), 3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_karras_grid_has_equal_steps_of_a_power_of_sigma(schedule):
    """The clean end of a schedule without noise at time 0 is that of time 1/1000."""
    times = time_grids.grid("karras", schedule, 12)
    noise, signal = schedule(
        np.append(times[:-1], times[-1] or 1e-3 * (schedule.log_snr(0.0) > 27))
    )
    roots = (noise / signal) ** (1 / 7)
    assert (times[0], times[-1]) == (1.0, 0.0)
    np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / 12, rtol=1e-4)


@pytest.mark.parametrize("steps", [20, 60])
@each_sampler
def test_the_log_snr_grid_of_an_angle_schedule_without_terminal_signal(sampler, steps):
    """The signal rate at time 1 is 6e-17 because of rounding."""
    noise, schedule = latents.initial_noise(4, (2, 2, 1), seed=0), schedules.CosineSchedule(0.0)
    sampler = dataclasses.replace(sampler, times="log_snr")
    if isinstance(sampler, (samplers.Heun, samplers.AdamsBashforth)):
        with pytest.raises(ValueError, match="expects a signal rate above zero"):
            last_noisy_images(sampler, schedule, noise, steps, seed=1)
    else:
        assert np.all(np.isfinite(last_noisy_images(sampler, schedule, noise, steps, seed=1)))


# Samplers that repeat their steps


LEVELS = schedules.GeometricSchedule(0.02, 20.0)


@pytest.mark.parametrize(
    ("sampler", "steps", "tolerance"),
    [
        (samplers.AnnealedLangevin(step_size=0.2, langevin_steps=100), 15, 0.03),
        (samplers.PredictorCorrector(snr=0.1, corrector_steps=2, times="log_snr"), 100, 0.03),
        (samplers.RePaint(resamplings=3, times="log_snr"), 60, 0.03),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repeated_steps_reach_mean_and_deviation(sampler, steps, tolerance):
    # The norms of the corrector are only steady with many pixels.
    noise = latents.initial_noise(64, (8, 8, 1), seed=0)
    found = to_numpy(sampler.sample(gaussian_denoiser, LEVELS, noise, steps, seed=1))
    assert found.mean() == pytest.approx(MEAN, abs=tolerance)
    assert found.std() == pytest.approx(DEVIATION, rel=2 * tolerance)


def test_langevin_steps_are_those_of_the_paper():
    """One level with two steps, in the paper's variance-exploding form (Algorithm 1)."""
    sampler = samplers.AnnealedLangevin(step_size=0.3, langevin_steps=2, times=(0.7, 0.3))
    noise = latents.initial_noise(3, (2, 2, 1), seed=0)
    found = last_noisy_images(sampler, LEVELS, noise, 1, seed=5)
    (noise_rate, _), (signal_rate, next_signal_rate) = LEVELS(np.array([0.7, 0.3]))
    sigma = noise_rate / signal_rate
    x = noise / signal_rate
    for call in (0, 1):
        score = -(x - MEAN) / (DEVIATION**2 + sigma**2)
        fresh = latents.noise(3, (2, 2, 1), 5, 0, draw=call + 1)
        x = x + 0.5 * 0.3 * sigma**2 * score + np.sqrt(0.3) * sigma * fresh
    np.testing.assert_allclose(found, next_signal_rate * x, atol=2e-4)


def test_corrector_steps_are_those_of_the_paper():
    """One corrector step, in variance-exploding form (Algorithm 4), then DDPM."""
    times = (0.7, 0.3)
    sampler = samplers.PredictorCorrector(snr=0.2, times=times)
    noise = latents.initial_noise(3, (2, 2, 1), seed=0)
    seen = []

    def denoise(*args):
        seen.append(to_numpy(args[0]))
        return gaussian_denoiser(*args)

    sampler.sample(denoise, LEVELS, noise, 1, seed=5)
    noise_rate, signal_rate = (rate[0] for rate in LEVELS(np.array([0.7])))
    sigma, x = noise_rate / signal_rate, noise / signal_rate
    score = -(x - MEAN) / (DEVIATION**2 + sigma**2)
    fresh = latents.noise(3, (2, 2, 1), 5, 0, draw=1)
    norms = [np.sqrt((a**2).sum(axis=(1, 2, 3), keepdims=True)) for a in (fresh, score)]
    size = 2.0 * (0.2 * norms[0] / norms[1]) ** 2
    x = x + size * score + np.sqrt(2.0 * size) * fresh
    np.testing.assert_allclose(seen[1], signal_rate * x, atol=2e-4)


@pytest.mark.parametrize("sampler", [samplers.RePaint(1, eta=0.5), samplers.RePaint(1, eta=1.0)])
def test_one_resampling_is_ddim(sampler):
    noise = latents.initial_noise(3, (2, 2, 1), seed=0)
    for cls, options in ((type(sampler), {}), (samplers.DDIM, {"eta": sampler.eta})):
        other = cls(1, eta=sampler.eta) if cls is samplers.RePaint else cls(**options)
        found = to_numpy(other.sample(gaussian_denoiser, LEVELS, noise, 5, seed=2))
        expected = to_numpy(sampler.sample(gaussian_denoiser, LEVELS, noise, 5, seed=2))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: samplers.RePaint(resamplings=0), "`resamplings` to be an int of at least 1"),
        (lambda: samplers.AnnealedLangevin(step_size=2.0), r"`step_size` in \(0, 2\)"),
        (lambda: samplers.AnnealedLangevin(langevin_steps=0), "`langevin_steps` to be an int"),
        (lambda: samplers.PredictorCorrector(snr=0.0), r"`snr` in \(0, 1\)"),
        (lambda: samplers.PredictorCorrector(corrector_steps=0), "`corrector_steps` to be an int"),
    ],
)
def test_numbers_of_repeated_steps_are_checked(build, message):
    with pytest.raises(ValueError, match=message):
        build()
