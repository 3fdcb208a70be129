"""Base class of samplers, with the loop that all of them share."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kddim import latents, registry
from kddim.backend import to_numpy
from kddim.samplers import times as time_grids
from kddim.schedules import Schedule

Denoiser = Callable[[Any, Any, Any], tuple[Any, Any]]
Callback = Callable[[int, Any, Any], Any]
Clip = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates along a time grid, each `(diffusion_steps,)` float64.

    Attributes:
        noise: Noise rates at the time that each step starts from.
        signal: Signal rates at that time.
        next_noise: Noise rates at the time that each step leads to.
        next_signal: Signal rates at that time.
        schedule: Schedule of the rates.
    """

    noise: np.ndarray
    signal: np.ndarray
    next_noise: np.ndarray
    next_signal: np.ndarray
    schedule: Schedule

    @property
    def by_name(self) -> dict[str, np.ndarray]:
        """Rates as the coefficients of a step, such as `next_noise_rate`."""
        names = ("noise", "signal", "next_noise", "next_signal")
        return {f"{name}_rate": getattr(self, name) for name in names}

    def at(self, times: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 `(noise_rates, signal_rates)` at other times in [0, 1]."""
        noise, signal = (to_numpy(r).astype("float64") for r in self.schedule(np.asarray(times)))
        return noise, signal


class Sampler(registry.Configurable, abc.ABC):
    """Iterative method that turns noise into images.

    A sampler is immutable. Its computation has two parts, so that one compiled step serves
    every step of every grid:

    - `coefficients` runs once, on the host in float64. It turns the rates along the grid into
      the numbers that each step needs.
    - `step` runs `diffusion_steps` times, compiled. It turns the noisy images, the state and
      the numbers of the step into the next noisy images.

    A subclass is a frozen dataclass whose fields are its options, `times` and `clip` last.
    docs/extending.md adds one in one file.

    Args:
        times: Time grid: "uniform", "quadratic", "log_snr", "karras", or `diffusion_steps + 1`
            decreasing times in [0, 1].
        clip: Range `(low, high)` to which predicted normalised images are clipped. The
            predicted noises are recomputed from the clipped images. None does not clip.
    """

    # Defaults for subclasses that do not have these two among their fields.
    times: time_grids.Times = "uniform"
    clip: Clip = None

    def __post_init__(self):
        object.__setattr__(self, "times", time_grids.check(self.times))
        if self.clip is not None:
            clip = tuple(float(v) for v in self.clip)
            if len(clip) != 2 or not clip[0] < clip[1]:
                raise ValueError(
                    f"Expected `clip` as (low, high), low < high. Received: {self.clip}"
                )
            object.__setattr__(self, "clip", clip)

    # A subclass defines the following.

    @property
    def calls_per_step(self) -> int:
        """Number of calls of `step` between two times of the grid."""
        return 1

    @property
    def stochastic(self) -> bool:
        """True if steps add fresh noise, which `step` then receives."""
        return False

    # Options that only `coefficients` reads. Samplers that differ only in them share a step.
    host_options: ClassVar[tuple[str, ...]] = ()

    @property
    def compile_key(self) -> Hashable:
        """Key under which samplers share a compiled step: the options not in `host_options`."""
        names = set(registry.field_names(self)) - set(self.host_options)
        return type(self), self.stochastic, tuple((n, getattr(self, n)) for n in sorted(names))

    @abc.abstractmethod
    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """Return the numbers that each step needs, by name, each `(diffusion_steps,)`.

        With several `calls_per_step`, the arrays have one entry per call of `step`.

        Args:
            rates: Rates along the grid.
        """

    def begin(self, schedule: Schedule, initial_noise: Any) -> Any:
        """Return the noisy images at the first time of the grid: the noise as it is.

        Args:
            schedule: Schedule of the rates.
            initial_noise: Standard normal noise.
        """
        return initial_noise

    def initial_state(self, initial_noise: Any) -> tuple:
        """Return the state that the first step receives, such as an empty history."""
        return ()

    @abc.abstractmethod
    def step(
        self, denoise: Denoiser, noisy_images: Any, state: tuple, coefficients: dict, noises: Any
    ) -> tuple[Any, Any, tuple]:
        """Compute one step.

        Args:
            denoise: `(noisy_images, noise_rate, signal_rate) -> (pred_noises, pred_images)`,
                with scalar rates. Its predictions are clipped already.
            noisy_images: Tensor `(batch, height, width, channels)`.
            state: State that the previous step returned, of the structure of `initial_state`.
            coefficients: Scalars of this step, by name.
            noises: Standard normal noise like `noisy_images`; None if not `stochastic`.

        Returns:
            `(next_noisy_images, pred_images, next_state)`.
        """

    # All samplers share the following.

    def num_evaluations(self, diffusion_steps: int) -> int:
        """Return the number of network calls (NFE) in `diffusion_steps` steps."""
        return time_grids.check_steps(diffusion_steps) * self.calls_per_step

    def sample(
        self,
        denoise: Denoiser,
        schedule: Schedule,
        initial_noise: Any,
        diffusion_steps: int,
        **options: Any,
    ) -> Any:
        """Sample images.

        Args:
            denoise: `(noisy_images, noise_rates, signal_rates) -> (pred_noises,
                pred_images)`, with rates of shape `(batch, 1, 1, 1)`.
            schedule: `Schedule` from diffusion times to rates.
            initial_noise: Standard normal noise, `(batch, height, width, channels)`. Its
                floating-point type is the type of the computation.
            diffusion_steps: Number of steps S, at least 1.
            **options: `seed`, `start`, `callback` and `compile_step`, as in `run`.

        Returns:
            `pred_images` of the last step, a backend tensor.

        Raises:
            ValueError: If there is no step, or the times do not fit the number of steps.
        """
        return self.run(denoise, schedule, initial_noise, diffusion_steps, **options)[1]

    def run(
        self,
        denoise: Denoiser,
        schedule: Schedule,
        initial_noise: Any,
        diffusion_steps: int,
        *,
        seed: int | None = None,
        start: int = 0,
        callback: Callback | None = None,
        compile_step: Callable[[Callable], Callable] | None = None,
    ) -> tuple[Any, Any]:
        """Follow noise through all steps, to both results of the last one.

        Args:
            denoise: As in `sample`. If it has an attribute `shares_rates` that is true, its
                rates have shape `(1, 1, 1, 1)`, since all images of a batch share them.
            schedule: As in `sample`, like the arguments below.
            initial_noise: Standard normal noise.
            diffusion_steps: Number of steps.
            seed: Seed of the noise that stochastic samplers add. None draws a fresh one.
            start: Index of the first image, to sample one seed in several batches.
            callback: `callback(step, noisy_images, pred_images)`, called after each step with
                the noisy images at the next time of that step. Sampling stops if it returns
                `True`.
            compile_step: Function that compiles the step, a function of `(noisy_images,
                state, coefficients, noises)`. None runs the step as it is.

        Returns:
            `(noisy_images, pred_images)`: the noisy images at the last time of the grid, and
            the prediction of the last step.
        """
        coefficients = self.coefficients(self.rates(schedule, diffusion_steps))
        seed = latents.resolve_seed(seed) if self.stochastic else 0
        initial_noise = ops.convert_to_tensor(initial_noise)
        noisy_images = pred_images = self.begin(schedule, initial_noise)
        state = self.initial_state(noisy_images)
        one_step = self.step_of(denoise)
        one_step = compile_step(one_step) if compile_step else one_step
        dtype = keras.backend.standardize_dtype(noisy_images.dtype)
        for step in range(diffusion_steps):
            for call in range(step * self.calls_per_step, (step + 1) * self.calls_per_step):
                scalars = {
                    name: ops.convert_to_tensor(np.asarray(values[call], dtype))
                    for name, values in coefficients.items()
                }
                noises = self._fresh_noise(noisy_images, seed, start, call)
                noisy_images, pred_images, state = one_step(noisy_images, state, scalars, noises)
            if callback is not None and callback(step, noisy_images, pred_images) is True:
                break
        return noisy_images, pred_images

    def _fresh_noise(self, noisy_images: Any, seed: int, start: int, call: int) -> Any:
        if not self.stochastic:
            return None
        number, *shape = noisy_images.shape
        drawn = latents.noise(number, shape, seed, start, draw=call + 1)
        return ops.cast(drawn, noisy_images.dtype)

    def rates(self, schedule: Schedule, diffusion_steps: int) -> Rates:
        """Return the rates along the grid of this sampler."""
        times = time_grids.grid(self.times, schedule, diffusion_steps)
        noise, signal = (to_numpy(r).astype("float64") for r in schedule(times))
        return Rates(noise[:-1], signal[:-1], noise[1:], signal[1:], schedule)

    def for_model(self, model: Any, diffusion_steps: int) -> "Sampler":
        """Return the sampler that generates with a model: this one.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.
        """
        return self

    def step_of(self, denoise: Denoiser) -> Callable:
        """Return `step` with a denoiser that takes rates `(batch, 1, 1, 1)`.

        Args:
            denoise: As in `run`.

        Returns:
            Function of `(noisy_images, state, coefficients, noises)`.
        """
        return functools.partial(self.step, self.with_scalar_rates(denoise))

    def with_scalar_rates(self, denoise: Denoiser) -> Denoiser:
        """Return `denoise` for scalar rates, with clipped predictions of the images' type."""

        def wrapped(noisy_images, noise_rate, signal_rate):
            """Denoise with scalar rates. The predictions fit each other after clipping, too."""
            number = 1 if getattr(denoise, "shares_rates", False) else noisy_images.shape[0]
            shape = (number,) + (1,) * (len(noisy_images.shape) - 1)
            rates = (ops.broadcast_to(rate, shape) for rate in (noise_rate, signal_rate))
            predictions = denoise(noisy_images, *rates)
            pred_noises, pred_images = (ops.cast(p, noisy_images.dtype) for p in predictions)
            if self.clip is not None:
                pred_images = ops.clip(pred_images, *self.clip)
                pred_noises = (noisy_images - signal_rate * pred_images) / noise_rate
            return pred_noises, pred_images

        return wrapped


def check_signal(sampler: Sampler, signal_rates: np.ndarray) -> None:
    """Raise if there is a step without signal, for methods that divide by the signal rate.

    Args:
        sampler: Sampler, for the error message.
        signal_rates: Signal rates of the steps that divide by them.

    Raises:
        ValueError: If a signal rate is zero.
    """
    lowest = signal_rates.min(initial=1.0)
    if lowest < 1e-6:
        raise ValueError(
            f"{type(sampler).__name__} expects a signal rate above zero at every step, since it "
            f"divides by it. Received: {lowest:.1e}. Use another schedule, or the "
            "samplers ddim or dpm_solver_pp."
        )
