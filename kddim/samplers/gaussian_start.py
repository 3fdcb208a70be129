"""A start from the exact flow of a Gaussian, in place of the first steps of a sampler."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kddim import names, registry
from kddim.backend import to_numpy
from kddim.samplers import times as time_grids
from kddim.samplers.base import Rates, Sampler
from kddim.samplers.of_model import SamplerOfModel


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class GaussianStart(SamplerOfModel):
    """Another sampler that begins below the highest noise, where a Gaussian leads.

    At high noise the best prediction is that of a Gaussian with the mean and the covariance of the
    data, and the flow of this Gaussian has an exact solution, which needs no network: "analytical
    teleportation" (Wang and Vastola, arXiv 2412.09726). It leads from the initial noise, as images
    without any signal, to the noise level of time `start`. From there, all steps are those of
    `sampler`, with the times of its grid multiplied by `start`.

    A network that predicts noises is least accurate at the highest noise, because an error of the
    noise is divided by the signal rate. This start avoids these noise levels, and leaves all
    evaluations to the others.

    The model must have the Gaussian of its data, `model.gaussian`. A run of `kddim train` has it;
    otherwise call `model.fit_gaussian(data)`. Labels and guidance act from `start` on.

    Args:
        sampler: Name or `kddim.samplers.Sampler` of the steps.
        start: Diffusion time in (0, 1) at which they begin.

    Raises:
        ValueError: If the sampler is unknown or is itself such a start, or `start` is out of range.

    Example:
        >>> model.generate(16, 5, GaussianStart(start=0.9), seed=0)
    """

    sampler: Any = "ddim"
    start: float = 0.9

    def __post_init__(self):
        kinds = registry.load_table(names.SAMPLERS)
        sampler = registry.resolve(self.sampler, "sampler", Sampler, kinds)
        object.__setattr__(self, "sampler", sampler)
        if isinstance(sampler, (SamplerOfModel, Started)):
            raise ValueError(f"Expected a sampler without a start. Received: {sampler}")
        start = self.start
        if isinstance(start, bool) or not isinstance(start, (int, float)) or not 0.0 < start < 1.0:
            raise ValueError(f"Expected `start` in (0, 1). Received: {start!r}")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain Python values."""
        return {
            "sampler": keras.saving.serialize_keras_object(self.sampler),
            "start": self.start,
        }

    def for_model(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler that begins with the Gaussian of a model.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.

        Raises:
            ValueError: If the model has no Gaussian.
        """
        if model.gaussian is None:
            raise ValueError(
                "Expected a model with the Gaussian of its data, for the sampler gaussian_start. "
                "Received: a model without. Call model.fit_gaussian(data) first; kddim train does."
            )
        return Started(self, model.gaussian)


class Started(Sampler):
    """A `GaussianStart` with the Gaussian of a model.

    Args:
        options: The `GaussianStart`.
        gaussian: A `kddim.gaussian.GaussianImages`.
    """

    def __init__(self, options: GaussianStart, gaussian: Any):
        self.options, self.gaussian, self.sampler = options, gaussian, options.sampler

    def __repr__(self) -> str:
        return repr(self.options)

    @property
    def calls_per_step(self) -> int:
        """Number of calls of the other sampler's step."""
        return self.sampler.calls_per_step

    @property
    def stochastic(self) -> bool:
        """True if the other sampler adds noise."""
        return self.sampler.stochastic

    @property
    def compile_key(self) -> Any:
        """Key of the other sampler, whose compiled steps it shares."""
        return self.sampler.compile_key

    def begin(self, schedule: Any, initial_noise: Any) -> Any:
        """Return where the flow of the Gaussian leads."""
        reached = tuple(float(to_numpy(rate)) for rate in schedule(np.float32(self.options.start)))
        # Noise holds no signal. At time 1 most schedules do: at the example's signal rate of 0.02,
        # the brightness of photographs of 64x64 pixels still has 1.7 times the variance of noise.
        return self.gaussian.follow(initial_noise, (1.0, 0.0), reached)

    def rates(self, schedule: Any, diffusion_steps: int) -> Rates:
        """Return the rates along the other sampler's grid, from `start` on."""
        times = time_grids.grid(self.sampler.times, schedule, diffusion_steps)
        shortened = dataclasses.replace(self.sampler, times=tuple(self.options.start * times))
        return shortened.rates(schedule, diffusion_steps)

    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the numbers that each step of the other sampler needs."""
        return self.sampler.coefficients(rates)

    def initial_state(self, initial_noise: Any) -> tuple:
        """Return the state that the first step receives."""
        return self.sampler.initial_state(initial_noise)

    def step_of(self, denoise: Any) -> Callable:
        """Return the step of the other sampler."""
        return self.sampler.step_of(denoise)

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Compute a step of the other sampler."""
        return self.sampler.step(denoise, noisy_images, state, coefficients, noises)
