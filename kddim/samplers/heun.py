"""Heun's method and all other Runge-Kutta methods of second order with two stages."""

import dataclasses

import keras
import numpy as np

from kddim.checks import check_choice
from kddim.samplers.base import Clip, Rates, Sampler, check_signal
from kddim.samplers.times import Times


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class Heun(Sampler):
    """Runge-Kutta method of second order with two network calls per step.

    With `y = noisy / signal_rate` and `sigma = noise_rate / signal_rate`, the process is the
    differential equation `dy = pred_noise dsigma` (DDIM paper, Eq. 14). A trial step covers the
    fraction `alpha` of the step. The step itself uses a weighted mean of the noises that are
    predicted at its start and at the end of the trial step. `alpha=1` is Heun's method, 1/2 is the
    midpoint method, and 2/3 is Ralston's method.

    `variable` decides how fractions and weights are measured. With "sigma" the weights are
    `1 - 1 / (2 * alpha)` and `1 / (2 * alpha)`, as in Karras, Aittala, Aila and Laine (NeurIPS
    2022, arXiv 2206.00364, Algorithms 1 and 3). Steps that cover most of the range of sigma are
    then inaccurate, such as the first one of a few uniform times. With "angle" the two predictions
    are interpolated linearly in `phi = atan(sigma)` and integrated with respect to sigma. The
    order is the same, and long steps are no problem.

    If the next image is clean (noise rate 0) and `alpha` is 1, the trial step covers half of the
    step, because predictions without any noise would divide by zero. Karras et al. use a step of
    first order there.

    Args:
        alpha: Fraction of the step that the trial step covers, in (0, 1].
        variable: "angle" or "sigma".
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `alpha`, `variable`, `times` or `clip` is invalid.
    """

    alpha: float = 1.0
    variable: str = "angle"
    times: Times = "uniform"
    clip: Clip = None

    def __post_init__(self):
        super().__post_init__()
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"Expected `alpha` in (0, 1]. Received: {self.alpha}")
        check_choice("variable", self.variable, ("angle", "sigma"))

    host_options = ("times", "alpha", "variable")

    def num_evaluations(self, diffusion_steps: int) -> int:
        """Return the number of network calls: two per step."""
        return 2 * super().num_evaluations(diffusion_steps)

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the rates of each step and its trial step, and the weight of the trial's noises.

        Raises:
            ValueError: If a signal rate is zero. The method divides by it.
        """
        check_signal(self, rates.signal)
        to_clean = (rates.next_noise == 0.0) & (self.alpha == 1.0)
        alpha = np.where(to_clean, 0.5, self.alpha)
        trial = self._trial_in_sigma if self.variable == "sigma" else self._trial_in_angle
        trial_angles, weights = trial(rates, alpha)
        return rates.by_name | {
            "trial_noise_rate": np.sin(trial_angles),
            "trial_signal_rate": np.cos(trial_angles),
            "trial_weight": weights,
        }

    def _trial_in_sigma(self, rates: Rates, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the angles at the end of each trial step, and the weights of its noises."""
        sigma, next_sigma = rates.noise / rates.signal, rates.next_noise / rates.next_signal
        return np.arctan(sigma + alpha * (next_sigma - sigma)), 0.5 / alpha

    def _trial_in_angle(self, rates: Rates, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the angles at the end of each trial step, and the weights of its noises.

        The weight is the integral of `(phi - angle) / (trial_angle - angle)` over the step with
        respect to sigma, divided by the range of sigma.
        """
        angles = np.arctan2(rates.noise, rates.signal)
        steps = np.arctan2(rates.next_noise, rates.next_signal) - angles
        sigma, next_sigma = rates.noise / rates.signal, rates.next_noise / rates.next_signal
        integrals = steps * next_sigma + np.log(rates.next_signal / rates.signal)
        return angles + alpha * steps, integrals / (alpha * steps * (next_sigma - sigma))

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Predict noises at both ends of the trial step, and take the step with their mean."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        trial = c["trial_signal_rate"] * pred_images + c["trial_noise_rate"] * pred_noises
        trial_noises, _ = denoise(trial, c["trial_noise_rate"], c["trial_signal_rate"])
        weight = c["trial_weight"]
        pred_noises = (1.0 - weight) * pred_noises + weight * trial_noises
        pred_images = (noisy_images - c["noise_rate"] * pred_noises) / c["signal_rate"]
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, state
