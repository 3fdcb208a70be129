"""Distillation of a trained model: an objective that teaches a network to sample in few steps."""

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
TEACHER_STEPS = 16  # of a whole path, at most


@keras.saving.register_keras_serializable(package="kddim")
class TrajectoryDistillation(keras.layers.Layer):
    """Training objective that teaches a model to sample in few steps.

    A student learns to do in one step of DDIM what a trained teacher does in several: it predicts the
    image with which its step leads where the teacher's steps lead (the targets of Luhman and Luhman,
    arXiv 2101.02388, from noisy training images as in Salimans and Ho, ICLR 2022, arXiv 2202.00512).
    The last step leads to the images that the teacher predicts in its own last step, because these
    are the images that sampling returns.

    The teacher of a model with classes sees the labels that the student sees. Where the dropout
    hides one, both denoise without it, so that the student can be guided, too.

    The teacher is a weight of the objective, so that checkpoints hold it. Files of the model do not.

    Args:
        model: The `DiffusionModel` that is taught. Its prediction type must not be "noise", which
            cannot be sampled in one step: the image would be a quotient by the signal rate.
        diffusion_steps: Number of steps, 1 to 64, of the sampler `DDIM` with uniform times that
            the model is taught for.
        teacher_type: Prediction type of the teacher.

    Attributes:
        teacher: Network whose weights are to be those of the teacher when training begins.
        substeps: Number of steps that the teacher takes in one of the student.

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
        self.substeps = substeps_of(self.diffusion_steps)
        self.teacher_type = predictions.check(teacher_type, "teacher_type")
        self.for_files = Regression(model.loss_type)
        self.labelled = model.num_classes is not None
        self.teacher = copy_network(model.network, model.image_shape, self.labelled)
        self.teacher.trainable = False
        self.built = True

    def draw(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises, and times at which a step of the student begins."""

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw noises, and times at which steps of the student begin."""
            noises = keras.random.normal((number, *images.shape[1:]), seed=seed_generator)
            uniform = keras.random.uniform((number, 1, 1, 1), seed=seed_generator)
            step = ops.floor(uniform * self.diffusion_steps)
            step = ops.minimum(step, self.diffusion_steps - 1.0)
            return noises, 1.0 - step / self.diffusion_steps

        return rows_of_replica(draw, ops.shape(images)[0])

    def draw_validation(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises and times as `Regression` does."""
        return self.for_files.draw_validation(images, schedule, seed_generator)

    def examples(
        self, denoise: Any, schedule: Any, images: Any, noises: Any, times: Any
    ) -> dict[str, Any]:
        """Follow the teacher for one step of the student, and denoise as the student must."""
        length = 1.0 / self.diffusion_steps
        times = ops.maximum(times, length)  # validation has times between those of the steps
        rates, end_times = schedule(times), times - length
        noisy_images = rates[1] * images + rates[0] * noises
        labels = getattr(denoise, "labels", None)
        reached, teacher_images = self._follow(labels, schedule, noisy_images, times)
        end_rates = schedule(ops.maximum(end_times, 0.0))
        # The image with which one step of DDIM leads to the same place (Salimans and Ho, App. G).
        ratio = end_rates[0] / rates[0]
        target_images = (reached - ratio * noisy_images) / (end_rates[1] - ratio * rates[1])
        target_images = ops.where(end_times <= 1e-6, teacher_images, target_images)
        target_images = ops.stop_gradient(target_images)
        target_noises = (noisy_images - rates[1] * target_images) / rates[0]
        pair = denoise(noisy_images, *rates)
        found = [predictions.quantity("velocity", p, *rates) for p in (pair, (target_noises, target_images))]  # fmt: skip
        return {
            "images": target_images, "noises": target_noises, "pred_noises": pair[0],
            "pred_images": pair[1], "prediction": found[0], "target": found[1],
        }  # fmt: skip

    def _follow(self, labels: Any, schedule: Any, noisy_images: Any, times: Any) -> Any:
        """Return the noisy images where the teacher's steps end, and its last predicted images."""
        length = 1.0 / (self.diffusion_steps * self.substeps)

        def step(index: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
            """Take one step of the teacher. A loop is compiled once, whatever its length."""
            begin = times - ops.cast(index, "float32") * length
            noises, images = self._teach(labels, found[0], *schedule(begin))
            noise_rates, signal_rates = schedule(ops.maximum(begin - length, 0.0))
            return signal_rates * images + noise_rates * noises, images

        return ops.fori_loop(0, self.substeps, step, (noisy_images, noisy_images))

    def _teach(
        self, labels: Any, noisy_images: Any, noise_rates: Any, signal_rates: Any
    ) -> tuple[Any, Any]:
        inputs = [noisy_images, noise_rates**2]
        if self.labelled:
            inputs.append(labels_or_none(labels, ops.shape(noisy_images)[0]))
        output = ops.cast(self.teacher(inputs, training=False), "float32")
        return predictions.split(self.teacher_type, output, noisy_images, noise_rates, signal_rates)

    def loss(self, examples: dict[str, Any], pixel_loss: Any) -> Any:
        """Return the loss of a batch, a scalar: that of the velocities."""
        return self.for_files.loss(examples, pixel_loss)


def substeps_of(diffusion_steps: int) -> int:
    """Return the number of steps that a teacher takes in one of a student, at least 2."""
    return max(2, TEACHER_STEPS // diffusion_steps)
