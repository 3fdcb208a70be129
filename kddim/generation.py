"""Generation: noise to images through any denoise callable, compiled and in batches."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend, predictions
from kddim.labels import NO_LABEL
from kddim.networks.folding import FoldedNetwork
from kddim.recipe import Recipe
from kddim.samplers import Sampler
from kddim.schedules import Schedule

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True, eq=False)
class Condition:
    """Condition of generation, such as labels, with a part for each image.

    Args:
        wrap: Function `(denoise, values) -> denoise`, such as those of `kddim.guidance`. Objects
            that are equal share compiled steps.
        images: Arrays with one row per image, by name.
        numbers: Numbers for all images, by name.
        variables: Keras variables that the wrapped denoiser reads besides.
    """

    wrap: Callable[[Callable, dict[str, Any]], Callable]
    images: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    variables: Sequence[Any] = ()

    def values(self, first: int, size: int) -> dict[str, Any]:
        """Return the tensors of a batch by name. Rows beyond the last image repeat it.

        Args:
            first: Index of the first image of the batch.
            size: Number of images of the batch.
        """
        rows = np.arange(first, first + size)
        found: dict[str, Any] = {
            name: array[np.minimum(rows, len(array) - 1)] for name, array in self.images.items()
        }
        found |= {name: np.float32(number) for name, number in self.numbers.items()}
        return {name: ops.convert_to_tensor(value) for name, value in found.items()}


class CompiledDenoiser:
    """A denoise callable with its compiled sampling steps.

    Args:
        denoise: `(noisy_images, noise_rates, signal_rates) -> (pred_noises, pred_images)`, as
            samplers call it. Guidance that wraps such a callable is one, too.
        variables: Keras variables that `denoise` reads.
    """

    def __init__(self, denoise: Callable, variables: Sequence[Any] = ()):
        self.denoise = denoise
        self.variables = list({id(v): v for v in variables}.values())
        self.steps: dict[Any, Callable] = {}

    def refresh(self) -> bool:
        """Prepare for sampling with the current weights, and return False if that fails.

        After False, make a new object.
        """
        return True

    def compile_step(self, sampler: Sampler, conditions: Sequence[Condition] = ()) -> Callable:
        """Return a step, compiled once per `compile_key` of a sampler and kind of conditions.

        Args:
            sampler: Sampler of the step.
            conditions: Conditions, the innermost first.

        Returns:
            Function of the values of the conditions and of the arguments of `Sampler.step_of`.
        """
        return self.compile(sampler.compile_key, _StepOf(sampler), conditions)

    def compile(
        self, key: Any, function: Callable, conditions: Sequence[Condition] = ()
    ) -> Callable:
        """Return a function of a denoiser, compiled once per key and kind of conditions.

        Args:
            key: Hashable value. Functions of one key must be the same.
            function: Function of a denoiser and of tensors.
            conditions: Conditions, the innermost first.

        Returns:
            Function of the values of the conditions and of the tensors.
        """
        wraps = tuple(condition.wrap for condition in conditions)
        place = key, wraps, backend.sampling_devices()
        if place not in self.steps:
            variables = [v for condition in conditions for v in condition.variables]
            conditioned = functools.partial(_conditioned, function, self.denoise, wraps)
            compiled = backend.compile_batch_step(conditioned, [*self.variables, *variables])
            self.steps[place] = compiled
        return self.steps[place]


@dataclasses.dataclass(frozen=True)
class _StepOf:
    """Function that computes a step of a sampler with a denoiser."""

    sampler: Sampler

    def __call__(self, denoise: Callable, *args: Any) -> Any:
        return self.sampler.step_of(denoise)(*args)


def _conditioned(
    function: Callable, denoise: Callable, wraps: tuple[Callable, ...], values: Any, *args: Any
) -> Any:
    for wrap, value in zip(wraps, values):
        denoise = wrap(denoise, value)
    return function(denoise, *args)


class FoldedDenoiser(CompiledDenoiser):
    """A network that is folded for sampling. The object is itself the denoise callable.

    Args:
        network: Keras model `[noisy_images, noise_variances] -> prediction`.
        prediction_type: Quantity that the network predicts: "noise", "image", "velocity" or "flow".
        labelled: True if the network has a third input, the labels.
    """

    # All images of a batch have the same rates in sampling: the embedding of the noise level
    # is computed once per step, not once per image.
    shares_rates = True

    def __init__(self, network: keras.Model, prediction_type: str, labelled: bool = False):
        self.folded = FoldedNetwork(network, backend.compile_step)
        self.prediction_type = prediction_type
        self.labelled = labelled
        super().__init__(self, self.folded.variables)

    def refresh(self) -> bool:
        """Compute the folded weights, and return False if the network has other variables."""
        self.folded.refresh()
        return self.folded.represents(self.folded.original)

    def __call__(
        self, noisy_images: Any, noise_rates: Any, signal_rates: Any, labels: Any = None
    ) -> tuple[Any, Any]:
        inputs = [noisy_images, noise_rates**2]
        if self.labelled:
            inputs.append(labels_or_none(labels, ops.shape(noisy_images)[0]))
        prediction = ops.cast(self.folded(inputs), "float32")
        return predictions.split(
            self.prediction_type, prediction, noisy_images, noise_rates, signal_rates
        )


def labels_or_none(labels: Any, batch: Any) -> Any:
    """Return int32 labels `(batch,)`, which stand for no label if they are None."""
    if labels is None:
        return ops.full((batch,), NO_LABEL, dtype="int32")
    return ops.cast(labels, "int32")


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """One denoiser that turns noise into images by one recipe.

    Args:
        denoiser: A `CompiledDenoiser`.
        schedule: Schedule to sample on, unless the recipe has one.
        recipe: Sampler, number of steps, schedule, seed and batch size.
        conditions: Conditions such as labels, the innermost first.
    """

    denoiser: CompiledDenoiser
    schedule: Schedule
    recipe: Recipe
    conditions: tuple[Condition, ...] = ()

    @property
    def sampling_schedule(self) -> Schedule:
        """Schedule that is sampled on."""
        return self.recipe.schedule or self.schedule

    def run(
        self,
        initial_noise: Any,
        *,
        start: int = 0,
        first: int = 0,
        callback: Callable | None = None,
    ) -> tuple[Any, Any]:
        """Follow one batch through all steps.

        Args:
            initial_noise: Standard normal noise, `(batch, height, width, channels)`.
            start: Index of the first image within the seed.
            first: Index of the first image within the conditions.
            callback: `callback(step, noisy_images, pred_images)`, called after each step.
                Sampling stops if it returns `True`.

        Returns:
            `(noisy_images, pred_images)` of the last step, float32 tensors of the shape of
            the noise: the noisy images at the last time of the grid, and the prediction.
        """
        sampler = self.recipe.sampler
        step = self.denoiser.compile_step(sampler, self.conditions)
        values = self.values(first, len(initial_noise))
        return sampler.run(
            self.denoiser.denoise,
            self.sampling_schedule,
            backend.divided(ops.convert_to_tensor(initial_noise, "float32")),
            self.recipe.diffusion_steps,
            seed=self.recipe.seed,
            start=start,
            callback=callback,
            compile_step=lambda _: functools.partial(step, values),
        )

    def values(self, first: int, size: int) -> list[dict[str, Any]]:
        """Return the values of the conditions for a batch that begins with image `first`."""
        return [condition.values(first, size) for condition in self.conditions]

    def compile_function(self, function: Callable) -> Callable:
        """Return a function of the denoiser and of tensors, compiled under the conditions."""
        return self.denoiser.compile(function, function, self.conditions)

    def batches(
        self,
        num_images: int,
        noise_of: Callable[[int, int], Any],
        *,
        start: int = 0,
        callback: Callable | None = None,
    ) -> Iterator[tuple[slice, Any, Any]]:
        """Follow many images, one batch at a time.

        All batches have the same size, so that the step is compiled once. The last one may
        hold images beyond `num_images`, and each one images that only make it divisible among
        several devices.

        Args:
            num_images: Number of images, at least 1.
            noise_of: `noise_of(first, batch_size)` returns the noise of images `first` to
                `first + batch_size - 1`.
            start: Index of the first image within the seed.
            callback: As in `run`; it sees each batch in turn.

        Yields:
            `(rows, noisy_images, pred_images)`: the indices of the batch's images as a slice,
            and the result of `run`.
        """
        size = min(self.recipe.batch_size, num_images)
        for first in range(0, num_images, size):
            noise = noise_of(first, backend.divisible(size))
            result = self.run(noise, start=start + first, first=first, callback=callback)
            yield slice(first, min(first + size, num_images)), *result


def with_progress_bar(callback: Callable | None, recipe: Recipe, num_images: int) -> Callable:
    """Return a callback that also moves Keras' progress bar, once per step and batch."""
    batches = -(-num_images // min(recipe.batch_size, num_images))
    bar = keras.utils.Progbar(batches * recipe.diffusion_steps, unit_name="step")

    def after_step(step: int, noisy_images: Any, pred_images: Any) -> Any:
        """Move the bar, and call the callback that was given."""
        bar.add(1)
        return callback(step, noisy_images, pred_images) if callback else None

    return after_step


def warn_of_unseen_rates(trained: Schedule, recipe: Recipe) -> None:
    """Log a warning if a recipe's schedule has noise levels beyond those of training.

    Args:
        trained: Schedule of training.
        recipe: Recipe with a schedule of its own.
    """
    asked = recipe.sampler.rates(recipe.schedule, recipe.diffusion_steps)
    levels = _log_snr(asked.noise, asked.signal)
    ends = trained.training_times(np.array([0.0, np.nextafter(1.0, 0.0)]))
    clean, noisy = _log_snr(*trained(ends))
    if levels.max() > clean + 1.0 or levels.min() < noisy - 1.0:
        log.warning(
            "the schedule asks for log-SNRs of %.1f to %.1f, and the network was trained on %.1f "
            "to %.1f: images suffer. A grid `times` that begins and ends within them avoids it",
            *(levels.min(), levels.max(), noisy, clean),
        )


def _log_snr(noise_rates: np.ndarray, signal_rates: np.ndarray) -> np.ndarray:
    tiny = 1e-12
    return 2.0 * (np.log(np.maximum(signal_rates, tiny)) - np.log(np.maximum(noise_rates, tiny)))
