"""Both libraries on one denoiser: helpers of the tests with diffusers as oracle.

The denoiser is the best one for a mixture of Gaussians, nonlinear, written in NumPy
float64 as a function of the rates. Both get the same one, and the same fresh noise.

Timestep `t` of diffusers, 0 to T - 1, has `alpha_bar_{t+1}`: that is our time
`(t + 1) / T`. The step after its last timestep leads to `final_alpha_cumprod` = 1, our
time 0. Its timesteps, so translated, and a 0 are our grid.

diffusers keeps `alphas_cumprod` in float32, where `1 - alpha_bar` has lost half of its
digits near the clean end. `make` puts the same table in float64 into its schedulers, so
that the comparison is one of algorithms.
"""

import keras
import numpy as np
import pytest
from keras import ops

from kddim import latents, predictions, schedules
from kddim.backend import to_numpy

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
if keras.backend.backend() == "jax":
    pytest.skip("JAX computes in float32 unless told otherwise", allow_module_level=True)

TIMESTEPS = 1000
ALPHA_BARS = np.cumprod(1.0 - np.linspace(1e-4, 0.02, TIMESTEPS))
SCHEDULE = schedules.LinearBetaSchedule(TIMESTEPS)
NOISE = latents.initial_noise(8, (4, 4, 1), seed=0).astype("float64")
SEED = 5
DEVIATION = 0.5  # of the Gaussian data, where a closed form of the flow is needed


def mixture_noise(noisy, noise_rate, signal_rate):
    """The posterior mean of the noise, for pixels of three Gaussians."""
    weights, means = np.array([0.3, 0.5, 0.2]), np.array([-1.0, 0.2, 1.4])
    noisy, noise_rate, signal_rate = (
        np.asarray(v)[..., None] for v in (noisy, noise_rate, signal_rate)
    )
    variance = (signal_rate * np.array([0.15, 0.3, 0.1])) ** 2 + noise_rate**2
    residual = noisy - signal_rate * means
    logits = np.log(weights) - 0.5 * np.log(variance) - 0.5 * residual**2 / variance
    posterior = np.exp(logits - logits.max(-1, keepdims=True))
    posterior /= posterior.sum(-1, keepdims=True)
    return noise_rate[..., 0] * np.sum(posterior * residual / variance, -1)


def gaussian_noise(noisy, noise_rate, signal_rate):
    """The same for images of N(0, DEVIATION**2)."""
    return noise_rate / (signal_rate**2 * DEVIATION**2 + noise_rate**2) * noisy


def exact_flow(noisy, sigma, next_sigma):
    """The probability flow of that Gaussian between two `noise_rate / signal_rate`."""

    def deviation(s):
        return np.sqrt((DEVIATION**2 + s**2) / (1.0 + s**2))

    return noisy * deviation(next_sigma) / deviation(sigma)


def ours(sampler, start, steps, predict=mixture_noise, prediction_type="noise", seed=SEED):
    """The noisy images after each step of one of our samplers."""
    seen = []

    def denoise(noisy, noise_rates, signal_rates):
        noisy, noise_rates, signal_rates = map(to_numpy, (noisy, noise_rates, signal_rates))
        predicted = predict(noisy, noise_rates, signal_rates)
        pair = predictions.split(prediction_type, predicted, noisy, noise_rates, signal_rates)
        return tuple(ops.convert_to_tensor(p) for p in pair)

    def callback(step, noisy, pred_images):
        seen.append(to_numpy(noisy))

    sampler.sample(denoise, SCHEDULE, start, steps, seed=seed, callback=callback)
    return np.stack(seen)


def make(name, steps, exact=True, **config):
    """A scheduler of diffusers with its timesteps set, without clipping where it clips."""
    cls = getattr(diffusers, name)
    if "DDIM" in name or "DDPM" in name:
        config = {"clip_sample": False} | config
    scheduler = cls(TIMESTEPS, 1e-4, 0.02, "linear", **config)
    if exact:
        scheduler.alphas_cumprod = torch.from_numpy(ALPHA_BARS.copy())
    scheduler.set_timesteps(steps)
    return scheduler


def rates_at(timestep):
    alpha_bar = ALPHA_BARS[int(timestep)]
    return np.sqrt(1.0 - alpha_bar), np.sqrt(alpha_bar)


def theirs(scheduler, start, predict=mixture_noise, **options):
    """The samples after each step of diffusers, as its pipelines run it.

    Options that are functions give the option's value for a step.
    """
    sample, seen = torch.from_numpy(start), []
    for step, timestep in enumerate(scheduler.timesteps):
        predicted = torch.from_numpy(predict(sample.numpy(), *rates_at(timestep)))
        given = {k: v(step) if callable(v) else v for k, v in options.items()}
        sample = scheduler.step(predicted, timestep, sample, **given).prev_sample
        seen.append(sample.numpy())
    return np.stack(seen)


def theirs_along_sigmas(scheduler, start, predict=mixture_noise):
    """The samples after each call of the network, asked at the scheduler's own sigmas.

    For schedulers whose sigmas are between timesteps, or whose samples are
    `noisy / signal_rate`; `scale_model_input` turns those into noisy images.
    """
    scheduler.set_begin_index(0)
    sample, seen = torch.from_numpy(start), []
    for sigma, timestep in zip(scheduler.sigmas.double().numpy(), scheduler.timesteps):
        signal_rate = 1.0 / np.sqrt(1.0 + sigma**2)
        noisy = scheduler.scale_model_input(sample, timestep).numpy()
        predicted = torch.from_numpy(predict(noisy, sigma * signal_rate, signal_rate))
        sample = scheduler.step(predicted, timestep, sample).prev_sample
        seen.append(sample.numpy())
    return np.stack(seen)


def grid(scheduler, last=0.0):
    """The times of a scheduler's timesteps, without repetitions, and the last time."""
    timesteps = np.unique(scheduler.timesteps.numpy())[::-1]
    return (*(timesteps + 1.0) / TIMESTEPS, last)


def fresh_noise(step):
    """What our samplers add in a step."""
    noise = latents.noise(len(NOISE), NOISE.shape[1:], SEED, draw=step + 1)
    return torch.from_numpy(noise.astype("float64"))
