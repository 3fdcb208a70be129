"""Heun's method, and every other two-stage method of second order."""

import dataclasses

import keras
import numpy as np

from kddim.samplers import times as time_grids
from kddim.samplers.base import Clip, Rates, Sampler
from kddim.samplers.times import Times


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class Heun(Sampler):
    """The general second-order Runge-Kutta method, two network calls a step.

    With `y = noisy / signal_rate` and `sigma = noise_rate / signal_rate` the process is
    `dy = pred_noise dsigma` (DDIM paper, Eq. 14). A trial step goes the fraction `alpha`
    of the way to the next sigma; the noises predicted at both ends are averaged with
    weights `1 - 1 / (2 alpha)` and `1 / (2 alpha)`. `alpha=1` is Heun's method (Karras
    et al., NeurIPS 2022, arXiv 2206.00364, Algorithm 1), 1/2 the midpoint method, 2/3
    Ralston's.

    Where the next image is clean (noise rate 0) and `alpha` is 1, the trial step goes
    half of the way: predictions at no noise at all would divide by it. Karras et al.
    fall back to first order there.

    The slope is averaged over sigma, and a step that spans almost all of it is inaccurate:
    from a schedule that ends near pure noise ("nichol_dhariwal", "sigmoid"), sample with
    `times="log_snr"`.

    Args:
        alpha: in (0, 1].
        times: see `Sampler`.
        clip: see `Sampler`.
    """

    alpha: float = 1.0
    times: Times = "uniform"
    clip: Clip = None

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"Expected `alpha` in (0, 1]. Received: {self.alpha}")

    @property
    def compile_key(self):
        return type(self).step, self.clip

    def num_evaluations(self, diffusion_steps: int) -> int:
        return 2 * time_grids.check_steps(diffusion_steps)

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """The rates of the trial step, and the weight of what is predicted there.

        Raises:
            ValueError: a signal rate of 0, by which the method divides.
        """
        if rates.signal.min() < 1e-6:
            raise ValueError(
                "Heun expects a signal rate above zero at every step, since it divides by it. "
                f"Received: {rates.signal.min():.1e}. Use another schedule, or the samplers "
                "ddim or dpm_solver_pp."
            )
        to_clean = (rates.next_noise == 0.0) & (self.alpha == 1.0)
        alpha = np.where(to_clean, 0.5, self.alpha)
        sigma, next_sigma = rates.noise / rates.signal, rates.next_noise / rates.next_signal
        trial_sigma = sigma + alpha * (next_sigma - sigma)
        trial_signal = 1.0 / np.sqrt(1.0 + trial_sigma**2)
        return {
            "noise_rate": rates.noise,
            "signal_rate": rates.signal,
            "trial_noise_rate": trial_sigma * trial_signal,
            "trial_signal_rate": trial_signal,
            "trial_weight": 0.5 / alpha,
            "next_noise_rate": rates.next_noise,
            "next_signal_rate": rates.next_signal,
        }

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Predicts at both ends of the trial step, and remixes with the average noise."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        trial = c["trial_signal_rate"] * pred_images + c["trial_noise_rate"] * pred_noises
        trial_noises, _ = denoise(trial, c["trial_noise_rate"], c["trial_signal_rate"])
        weight = c["trial_weight"]
        pred_noises = (1.0 - weight) * pred_noises + weight * trial_noises
        pred_images = (noisy_images - c["noise_rate"] * pred_noises) / c["signal_rate"]
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, state
