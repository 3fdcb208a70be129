"""The base class of multistep samplers, which combine the predictions of several steps."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
from keras import ops

from kddim import predictions
from kddim.samplers.base import Clip, Rates, Sampler, check_signal
from kddim.samplers.times import Times


@dataclasses.dataclass(frozen=True)
class Multistep(Sampler):
    """Linear multistep method on the predicted noises or on the predicted images.

    Each step is a deterministic step of DDIM,
    `next_noisy = next_signal_rate * pred_image + next_noise_rate * pred_noise`, with a weighted
    sum of the last `order` predictions in place of the latest one. The weights sum to one. The
    first steps know fewer predictions and have a lower order.

    A subclass is a frozen dataclass. It defines `weights` and two constants, `highest_order` and
    `combined`. The latter is the prediction type that is combined, "noise" or "image". The other
    one follows from it.

    Args:
        order: Order of the method, 1 to `highest_order`: the number of predictions combined.
        times: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1` decreasing
            times.
        clip: Limits `(low, high)` of the predicted normalised images, or None for no limits.

    Raises:
        ValueError: If `order`, `times` or `clip` is invalid.
    """

    order: int = 2
    times: Times = "uniform"
    clip: Clip = None

    highest_order: ClassVar[int]
    combined: ClassVar[str]
    # First step that combines noises and so divides by the signal rate.
    first_division: ClassVar[int] = 0

    host_options: ClassVar[tuple[str, ...]] = ("times",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.order, bool) or self.order not in range(1, self.highest_order + 1):
            raise ValueError(
                f"Expected `order` of 1 to {self.highest_order}. Received: {self.order!r}"
            )

    @abc.abstractmethod
    def weights(self, rates: Rates) -> np.ndarray:
        """Return the weights of the predictions in each step.

        Args:
            rates: Rates along the time grid.

        Returns:
            Float64 array `(diffusion_steps, order)`. Column 0 has the weights of the latest
            prediction, column 1 those of the one before it, and so on. Predictions that do not
            exist yet have weight zero.
        """

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the rates of each step and the weights of its predictions.

        Raises:
            ValueError: If the noises are combined and a signal rate is zero.
        """
        if self.combined == "noise":
            check_signal(self, rates.signal[self.first_division :])
        weights = self.weights(rates)
        return rates.by_name | {f"weight_{age}": weights[:, age] for age in range(self.order)}

    def initial_state(self, initial_noise: Any) -> tuple:
        """Return zeros in place of the predictions before the first step."""
        return tuple(ops.zeros_like(initial_noise) for _ in range(self.order - 1))

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute one step; `state` holds the predictions of the last `order - 1` steps."""
        c = coefficients
        rates = c["noise_rate"], c["signal_rate"]
        pair = denoise(noisy_images, *rates)
        latest = predictions.quantity(self.combined, pair, *rates)
        history = (latest, *state)
        mean = sum(c[f"weight_{age}"] * past for age, past in enumerate(history))
        if self.combined == "noise":
            # A step that only knows the latest noises then needs no signal.
            pred_noises = mean
            pred_images = pair[1] + c["noise_rate"] / c["signal_rate"] * (latest - mean)
        else:
            pred_noises, pred_images = predictions.split("image", mean, noisy_images, *rates)
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, history[: self.order - 1]
