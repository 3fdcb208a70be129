"""Distillation of a trained model: an objective that teaches a network to sample in few steps."""

import math
from typing import Any

import keras
from keras import ops

from kddim import predictions
from kddim.backend import rows_of_replica
from kddim.checks import check_count
from kddim.generation import labels_or_none
from kddim.networks.adopt import copy_network
from kddim.objective import Regression

MOST_STEPS = 64
FIRST_STEPS = 8  # of the first student, at least


@keras.saving.register_keras_serializable(package="kddim")
class ProgressiveDistillation(keras.layers.Layer):
    """Training objective of progressive distillation.

    A student learns to do in one step of DDIM what its teacher does in two (Salimans and Ho, ICLR
    2022, arXiv 2202.00512, Algorithm 2). Then it becomes the teacher, and the number of steps is
    halved, until it is `diffusion_steps`. All stages are equally long. The last step leads to the
    images that the teacher predicts in its own last step, because these are the images that
    sampling returns.

    The teacher of a model with classes sees the labels that the student sees. Where the dropout
    hides one, both denoise without it, so that the student can be guided, too.

    `StagesCallback` begins the stages. The stage and the teacher are weights of the objective, so
    that checkpoints hold them. Files of the model do not.

    Args:
        model: The `DiffusionModel` that is taught. Its prediction type must not be "noise", which
            cannot be sampled in one step: the image would be a quotient by the signal rate.
        diffusion_steps: Number of steps, 1 to 64, of the sampler `DDIM` with uniform times that
            the model is taught for.
        teacher_type: Prediction type of the first teacher.

    Attributes:
        teacher: Network whose weights are to be those of the first teacher when training begins.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, model: Any, diffusion_steps: int, teacher_type: str):
        super().__init__(name="distillation", dtype="float32", trainable=False)
        if model.prediction_type == "noise":
            raise ValueError(
                "Expected a model that predicts another quantity than the noise, such as "
                "velocity. Received: prediction_type='noise'"
            )
        self.diffusion_steps = check_count("diffusion_steps", diffusion_steps, 1, MOST_STEPS)
        self.prediction_type = model.prediction_type
        self.teacher_type = predictions.check(teacher_type, "teacher_type")
        self.for_files = Regression(model.loss_type)
        self.num_stages = num_stages(self.diffusion_steps)
        self.stage = self.add_weight(
            name="stage", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.labelled = model.num_classes is not None
        self.teacher = copy_network(model.network, model.image_shape, self.labelled)
        self.teacher.trainable = False
        self.built = True

    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        """Go to the stage of an epoch, unless this is its stage already.

        Args:
            model: The model that is taught.
            epoch: Index of the epoch that begins.
            epochs: Number of epochs of the whole training.
        """
        wanted = min(self.num_stages - 1, epoch * self.num_stages // epochs)
        if int(self.stage) < wanted:
            self.teacher.set_weights(model.ema_network.get_weights())
            self.stage.assign(wanted)

    def _steps(self) -> Any:
        """Return the number of steps of the present student, a float32 tensor."""
        halvings = ops.cast(self.num_stages - 1 - self.stage, "float32")
        return self.diffusion_steps * ops.power(2.0, halvings)

    def draw(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises, and times at which a step of the student begins."""
        steps = self._steps()

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw noises, and times at which steps of the student begin."""
            noises = keras.random.normal((number, *images.shape[1:]), seed=seed_generator)
            step = ops.floor(keras.random.uniform((number, 1, 1, 1), seed=seed_generator) * steps)
            return noises, 1.0 - ops.minimum(step, steps - 1.0) / steps

        return rows_of_replica(draw, ops.shape(images)[0])

    def draw_validation(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises and times as `Regression` does."""
        return self.for_files.draw_validation(images, schedule, seed_generator)

    def examples(
        self, denoise: Any, schedule: Any, images: Any, noises: Any, times: Any
    ) -> dict[str, Any]:
        """Take two steps of the teacher, and denoise as the student must to do them in one."""
        steps = self._steps()
        # Validation has times between those of the steps.
        times = ops.maximum(times, 1.0 / steps)
        middle, end = times - 0.5 / steps, ops.maximum(times - 1.0 / steps, 0.0)
        rates, middle_rates, end_rates = (schedule(t) for t in (times, middle, end))
        noisy_images = rates[1] * images + rates[0] * noises
        labels = getattr(denoise, "labels", None)
        teacher_noises, teacher_images = self._teach(labels, noisy_images, *rates)
        between = middle_rates[1] * teacher_images + middle_rates[0] * teacher_noises
        teacher_noises, teacher_images = self._teach(labels, between, *middle_rates)
        reached = end_rates[1] * teacher_images + end_rates[0] * teacher_noises
        # The image with which one step of DDIM leads to the same place (Appendix G).
        ratio = end_rates[0] / rates[0]
        target_images = (reached - ratio * noisy_images) / (end_rates[1] - ratio * rates[1])
        target_images = ops.where(end <= 1e-6, teacher_images, target_images)
        target_images = ops.stop_gradient(target_images)
        target_noises = (noisy_images - rates[1] * target_images) / rates[0]
        pair = denoise(noisy_images, *rates)
        found = [predictions.quantity("velocity", p, *rates) for p in (pair, (target_noises, target_images))]  # fmt: skip
        return {
            "images": target_images, "noises": target_noises, "pred_noises": pair[0],
            "pred_images": pair[1], "prediction": found[0], "target": found[1],
        }  # fmt: skip

    def _teach(
        self, labels: Any, noisy_images: Any, noise_rates: Any, signal_rates: Any
    ) -> tuple[Any, Any]:
        inputs = [noisy_images, noise_rates**2]
        if self.labelled:
            inputs.append(labels_or_none(labels, ops.shape(noisy_images)[0]))
        output = self.teacher(inputs, training=False)
        output = ops.cast(output, "float32")
        arguments = output, noisy_images, noise_rates, signal_rates
        pair = predictions.split(self.prediction_type, *arguments)
        if self.teacher_type == self.prediction_type:
            return tuple(pair)
        # Only the first teacher predicts another quantity.
        first = predictions.split(self.teacher_type, *arguments)
        return tuple(ops.where(self.stage == 0, one, other) for one, other in zip(first, pair))

    def loss(self, examples: dict[str, Any], pixel_loss: Any) -> Any:
        """Return the loss of a batch, a scalar: that of the velocities."""
        return self.for_files.loss(examples, pixel_loss)


def num_stages(diffusion_steps: int) -> int:
    """Return the number of stages of a distillation: students of 8, 4, 2 and 1 steps for 1."""
    return 1 + max(0, math.ceil(math.log2(FIRST_STEPS / diffusion_steps)))


class StagesCallback(keras.callbacks.Callback):
    """Callback that begins the stages of a distillation."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Go to the stage of the epoch."""
        self.model.objective.begin_epoch(self.model, epoch, self.params["epochs"])
