"""Training objective: what one step draws, mixes and compares."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kddim import predictions, training_times, weightings
from kddim.backend import rows_of_replica
from kddim.registry import Configurable

# Continuous schedules have no noise at time 0: nothing can be predicted there, and some
# predictions divide by the noise rate.
_LEAST_TIME = 1e-6
# Successive multiples of this number, modulo 1, fill the unit interval evenly.
_GOLDEN_RATIO = 0.6180339887

Denoise = Callable[[Any, Any, Any], tuple[Any, Any]]
PixelLoss = Callable[[Any, Any], Any]


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class Regression(Configurable):
    """Regression of the noise, the image, the velocity or the flow in a noisy image.

    The simple objective of DDPM (Ho, Jain and Abbeel, arXiv 2006.11239, Eq. 14), which is the
    DDIM paper's Eq. 5 with all weights equal to one. `DiffusionModel.compile(objective=...)`
    replaces it. An objective is any object with the four methods below. An objective that
    holds weights, such as the teacher of a distillation, must also be a `keras.layers.Layer`,
    so that Keras tracks the weights. `fit` calls `begin_epoch(epoch)` of an objective that has this
    method, and checkpoints leave out the variables in its attribute `unsaved_variables`.

    Args:
        loss_type: Quantity that the loss compares: "noise", "image", "velocity" or "flow". A
            prediction of another type is converted first. This changes the weight of each time:
            an error `e` of the noise is `e * noise_rate / signal_rate` in the image and
            `e / signal_rate` in the velocity.
        times: Distribution of the diffusion times: "uniform", "log_normal", or a
            `kddim.training_times.TimeDistribution`.
        weighting: Weights of the times: "constant", "min_snr", "sigmoid", or a
            `kddim.weightings.Weighting`.

    Raises:
        ValueError: If an argument is unknown.

    Example:
        >>> model.compile(objective=kddim.objective.Regression("velocity"), loss="mse")
    """

    loss_type: str = "noise"
    times: Any = "uniform"
    weighting: Any = "constant"

    def __post_init__(self):
        predictions.check(self.loss_type, "loss_type")
        object.__setattr__(self, "times", training_times.get(self.times))
        object.__setattr__(self, "weighting", weightings.get(self.weighting))

    def draw(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw the noises and times of one training step.

        Args:
            images: Normalised images, `(batch, height, width, channels)`.
            schedule: The `Schedule` of the model.
            seed_generator: A `keras.random.SeedGenerator`.

        Returns:
            Standard normal noises of the shape of the images, and diffusion times
            `(batch, 1, 1, 1)` in (0, 1] of the distribution `times`, unless the schedule has
            training times of its own.
        """

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw noises and times for a number of images."""
            noises = keras.random.normal((number, *images.shape[1:]), seed=seed_generator)
            uniform = keras.random.uniform((number, 1, 1, 1), seed=seed_generator)
            return noises, self._times(uniform, schedule)

        return rows_of_replica(draw, ops.shape(images)[0])

    def _times(self, uniform: Any, schedule: Any) -> Any:
        """Return the times of numbers that are uniform in [0, 1)."""
        times = self.times.times(ops.maximum(uniform, _LEAST_TIME), schedule)
        return schedule.training_times(ops.maximum(times, _LEAST_TIME))

    def draw_validation(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises, and times that are stratified over the schedule.

        The unit interval is divided into `n` equal parts for the `n` images of a batch, and
        each image has its time in another part. The times are shifted from batch to batch. The
        same state of the seed generator gives the same draws, so that the losses of different
        epochs are comparable.

        Args:
            images: As in `draw`.
            schedule: As in `draw`.
            seed_generator: A `keras.random.SeedGenerator`, reset before each evaluation.

        Returns:
            As in `draw`.
        """

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw noises, and times at equal distances from a start that moves at each draw."""
            draws = ops.cast(seed_generator.state.value[1], "float32")
            noises = keras.random.normal((number, *images.shape[1:]), seed=seed_generator)
            start = ops.mod(draws * _GOLDEN_RATIO + 0.5, 1.0)
            times = (ops.cast(ops.arange(number), "float32") + start) / ops.cast(number, "float32")
            return noises, self._times(ops.reshape(times, (number, 1, 1, 1)), schedule)

        return rows_of_replica(draw, ops.shape(images)[0])

    def examples(
        self, denoise: Denoise, schedule: Callable, images: Any, noises: Any, times: Any
    ) -> dict[str, Any]:
        """Mix images with noises, and denoise them.

        Args:
            denoise: `(noisy_images, noise_rates, signal_rates) -> (pred_noises, pred_images)`.
                In `fit` its attribute `labels` holds the labels that the network sees, or None.
            schedule: Diffusion times to `(noise_rates, signal_rates)`.
            images: Normalised images, `(batch, height, width, channels)`.
            noises: Noises of the same shape.
            times: Diffusion times `(batch, 1, 1, 1)`.

        Returns:
            Tensors of the shape of the images, by name: `images`, `noises`, `pred_images`,
            `pred_noises`, and the quantities that the loss compares: `target` and
            `prediction`. Unless the weighting is constant, the dictionary also has `weights`,
            `(batch, 1, 1, 1)`.
        """
        noise_rates, signal_rates = schedule(times)
        noisy_images = signal_rates * images + noise_rates * noises
        predicted = denoise(noisy_images, noise_rates, signal_rates)
        prediction, target = (
            predictions.quantity(self.loss_type, pair, noise_rates, signal_rates)
            for pair in (predicted, (noises, images))
        )
        pred_noises, pred_images = predicted
        found = {
            "images": images,
            "noises": noises,
            "pred_images": pred_images,
            "pred_noises": pred_noises,
            "prediction": prediction,
            "target": target,
        }
        if self.weighting != weightings.ConstantWeighting():
            weights = self.weighting.weights(noise_rates, signal_rates, self.loss_type)
            found["weights"] = weights
        return found

    def loss(self, examples: dict[str, Any], pixel_loss: PixelLoss) -> Any:
        """Return the loss of a batch, a scalar.

        Args:
            examples: Tensors that `examples` returned.
            pixel_loss: Keras loss function `(target, prediction) -> values per pixel`, the
                `loss` argument of `DiffusionModel.compile`.
        """
        losses = pixel_loss(examples["target"], examples["prediction"])
        if "weights" in examples:
            losses = losses * ops.squeeze(examples["weights"], axis=-1)
        return ops.mean(losses)
