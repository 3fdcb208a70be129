"""What multistep methods share: remixing with a combination of the last predictions."""

import abc
from typing import Any, ClassVar

import numpy as np
from keras import ops

from kddim.samplers.base import Rates, Sampler, check_signal


class Multistep(Sampler):
    """A linear multistep method on one of the two predictions.

    Each step is DDIM's deterministic remix, with the prediction replaced by a
    combination, of weights that sum to one, of itself and those of the steps before.
    The first steps know fewer predictions, and are of lower order.
    """

    order: int

    highest_order: ClassVar[int]
    combines_noises: ClassVar[bool]

    host_options = ("times",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.order, bool) or self.order not in range(1, self.highest_order + 1):
            raise ValueError(
                f"Expected `order` of 1 to {self.highest_order}. Received: {self.order!r}"
            )

    @abc.abstractmethod
    def weights(self, rates: Rates) -> np.ndarray:
        """`(diffusion_steps, order)`: of the latest prediction, the one before, ...

        Weights of predictions that do not exist yet are zero.
        """

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """The rates of each step, and the weights of the predictions that it combines."""
        if self.combines_noises:
            check_signal(self, rates)
        weights = self.weights(rates)
        return {
            "noise_rate": rates.noise,
            "signal_rate": rates.signal,
            "next_noise_rate": rates.next_noise,
            "next_signal_rate": rates.next_signal,
        } | {f"weight_{age}": weights[:, age] for age in range(self.order)}

    def initial_state(self, initial_noise: Any) -> tuple:
        return tuple(ops.zeros_like(initial_noise) for _ in range(self.order - 1))

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Remixes with the combined prediction; `state` holds the last `order - 1`."""
        c = coefficients
        pred_noises, pred_images = denoise(noisy_images, c["noise_rate"], c["signal_rate"])
        history = (pred_noises if self.combines_noises else pred_images, *state)
        combined = sum(c[f"weight_{age}"] * past for age, past in enumerate(history))
        if self.combines_noises:
            pred_noises = combined
            pred_images = (noisy_images - c["noise_rate"] * combined) / c["signal_rate"]
        else:
            pred_images = combined
            pred_noises = (noisy_images - c["signal_rate"] * combined) / c["noise_rate"]
        next_noisy_images = c["next_signal_rate"] * pred_images + c["next_noise_rate"] * pred_noises
        return next_noisy_images, pred_images, history[: self.order - 1]
