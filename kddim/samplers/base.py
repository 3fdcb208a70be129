"""The loop that every sampler shares."""

import abc
import dataclasses
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
    """The rates along a time grid, each `(diffusion_steps,)` float64.

    `noise` and `signal` belong to the time a step starts from, `next_noise` and
    `next_signal` to the one it leads to. `at(time)` gives `(noise, signal)` elsewhere.
    """

    noise: np.ndarray
    signal: np.ndarray
    next_noise: np.ndarray
    next_signal: np.ndarray
    schedule: Schedule

    def at(self, times: Any) -> tuple[np.ndarray, np.ndarray]:
        noise, signal = (to_numpy(r).astype("float64") for r in self.schedule(np.asarray(times)))
        return noise, signal


class Sampler(registry.Configurable, abc.ABC):
    """Turns noise into images, step by step.

    A sampler is immutable. What it computes falls into two parts, so that one compiled
    step serves every step of every grid:

    - `coefficients` runs once, on the host in float64: from the rates along the grid
      to the numbers that each step needs;
    - `step` runs `diffusion_steps` times, compiled: from the noisy images, the state
      and this step's numbers to the next noisy images.

    A subclass is a frozen dataclass that lists its options, `times` and `clip` last;
    docs/extending.md adds one in one file.

    Args:
        times: "uniform", "quadratic", "log_snr", or `diffusion_steps + 1` decreasing
            times in [0, 1].
        clip: `(low, high)`, to which predicted (normalised) images are clipped, the
            predicted noises being recomputed from them; None does not clip.
    """

    # Defaults for subclasses that do not list these two among their fields.
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

    # What a subclass defines.

    @property
    def stochastic(self) -> bool:
        """Whether steps add fresh noise; then `step` is given some."""
        return False

    # Options that `coefficients` alone reads: samplers that differ in them share a step.
    host_options: ClassVar[tuple[str, ...]] = ()

    @property
    def compile_key(self) -> Hashable:
        """Samplers of one key share a compiled step: all options but `host_options`."""
        names = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        static = tuple((n, getattr(self, n)) for n in names if n not in self.host_options)
        return type(self), self.stochastic, static

    @abc.abstractmethod
    def coefficients(self, rates: Rates) -> dict[str, np.ndarray]:
        """The numbers that each step needs, each `(diffusion_steps,)`, by name."""

    def initial_state(self, initial_noise: Any) -> tuple:
        """What the first step receives as state (a multistep method's history)."""
        return ()

    @abc.abstractmethod
    def step(
        self, denoise: Denoiser, noisy_images: Any, state: tuple, coefficients: dict, noises: Any
    ) -> tuple[Any, Any, tuple]:
        """One step.

        Args:
            denoise: `(noisy_images, noise_rate, signal_rate) -> (pred_noises,
                pred_images)`, here with scalar rates; clipping is done already.
            noisy_images: tensor `(batch, ...)`.
            state: what the last step returned, of the structure of `initial_state`.
            coefficients: this step's scalars, by name.
            noises: standard normal, like `noisy_images`; None if not `stochastic`.

        Returns:
            `(next_noisy_images, pred_images, next_state)`.
        """

    # What all samplers share.

    def num_evaluations(self, diffusion_steps: int) -> int:
        """How often the network is called (NFE) for so many steps."""
        return time_grids.check_steps(diffusion_steps)

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
                rates have shape `(1, 1, 1, 1)`, since all images share them.
            schedule: As in `sample`.
            initial_noise: As in `sample`.
            diffusion_steps: As in `sample`.
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

        Raises:
            ValueError: As in `sample`.
        """
        coefficients = self.coefficients(self.rates(schedule, diffusion_steps))
        seed = latents.resolve_seed(seed) if self.stochastic else 0
        noisy_images = pred_images = ops.convert_to_tensor(initial_noise)
        state = self.initial_state(noisy_images)

        def one_step(noisy_images, state, scalars, noises):
            return self.step(self._wrap(denoise), noisy_images, state, scalars, noises)

        one_step = compile_step(one_step) if compile_step else one_step
        for step in range(diffusion_steps):
            scalars = {
                name: ops.convert_to_tensor(np.asarray(values[step], _dtype(noisy_images)))
                for name, values in coefficients.items()
            }
            noises = self._fresh_noise(noisy_images, seed, start, step)
            noisy_images, pred_images, state = one_step(noisy_images, state, scalars, noises)
            if callback is not None and callback(step, noisy_images, pred_images) is True:
                break
        return noisy_images, pred_images

    def _fresh_noise(self, noisy_images: Any, seed: int, start: int, step: int) -> Any:
        if not self.stochastic:
            return None
        number, *shape = noisy_images.shape
        drawn = latents.noise(number, shape, seed, start, draw=step + 1)
        return ops.convert_to_tensor(drawn.astype(_dtype(noisy_images)))

    def rates(self, schedule: Schedule, diffusion_steps: int) -> Rates:
        """The rates along this sampler's grid."""
        times = time_grids.grid(self.times, schedule, diffusion_steps)
        noise, signal = (to_numpy(r).astype("float64") for r in schedule(times))
        return Rates(noise[:-1], signal[:-1], noise[1:], signal[1:], schedule)

    def _wrap(self, denoise: Denoiser) -> Denoiser:
        """Return `denoise` for scalar rates, with clipped predictions of the images' type."""

        def wrapped(noisy_images, noise_rate, signal_rate):
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


def _dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)


def check_signal(sampler: Sampler, rates: Rates) -> None:
    """Refuses rates without signal, for methods that divide by it.

    Raises:
        ValueError: a signal rate is 0.
    """
    if rates.signal.min() < 1e-6:
        raise ValueError(
            f"{type(sampler).__name__} expects a signal rate above zero at every step, since it "
            f"divides by it. Received: {rates.signal.min():.1e}. Use another schedule, or the "
            "samplers ddim or dpm_solver_pp."
        )
