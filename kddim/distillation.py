"""Distillation of a trained model: an objective that teaches a network to sample in few steps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import predictions
from kddim.backend import rows_of_replica, to_numpy
from kddim.checks import check_count
from kddim.generation import Condition, FoldedDenoiser, Generation
from kddim.guidance import Labelled
from kddim.labels import NO_LABEL
from kddim.latents import initial_noise
from kddim.networks.adopt import copy_network
from kddim.objective import Regression
from kddim.recipe import Recipe
from kddim.samplers import DDIM, GaussianStart

MOST_STEPS = 64
TEACHER_STEPS = 16  # of a whole path, at least
USES = 6  # of a stored step, on average
_MOST_BYTES = 2**29  # of the stored steps


@keras.saving.register_keras_serializable(package="kddim")
class PathDistillation(keras.layers.Layer):
    """Training objective that teaches a model to sample in few steps.

    A student learns to do in one step of DDIM what a trained teacher does in several: it predicts
    the image with which its step leads where the teacher's steps lead (Luhman and Luhman, arXiv
    2101.02388, with the targets of Salimans and Ho, ICLR 2022, arXiv 2202.00512, Appendix G). The
    last step leads to the images that the teacher predicts in its own last step, because these are
    the images that sampling returns.

    At the beginning of each epoch, the teacher follows new paths from noise. The steps of the epoch
    learn from these paths alone, and not from the training images. The paths depend only on the
    teacher, the seed and the number of the epoch.

    The teacher of a model with classes follows paths of random labels. As many of them have no label
    as the dropout of the student hides, so that the student can be guided, too.

    The teacher is a weight of the objective, so that checkpoints hold it. Files of the model do not.

    Args:
        model: The `DiffusionModel` that is taught. Its prediction type must not be "noise", which
            cannot be sampled in one step: the image would be a quotient by the signal rate.
        diffusion_steps: Number of steps, 1 to 64, of the sampler `DDIM` with uniform times that
            the model is taught for.
        teacher_type: Prediction type of the teacher.
        num_paths: Number of paths of an epoch, at least 1.
        seed: Seed of the noises from which the paths begin.
        start: Time in (0, 1] at which all steps begin. Below 1, the Gaussian of the model leads
            there from the noises, and the model is taught for the sampler `GaussianStart(start=start)`.

    Attributes:
        teacher: Network whose weights are to be those of the teacher when training begins.
        substeps: Number of steps that the teacher takes in one of the student.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        model: Any,
        diffusion_steps: int,
        teacher_type: str,
        num_paths: int = 1024,
        seed: int = 0,
        start: float = 1.0,
    ):
        super().__init__(name="distillation", dtype="float32", trainable=False)
        if model.prediction_type == "noise":
            raise ValueError(
                "Expected a model that predicts another quantity than the noise, such as "
                "velocity. Received: prediction_type='noise'"
            )
        self.diffusion_steps = check_count("diffusion_steps", diffusion_steps, 1, MOST_STEPS)
        self.substeps = substeps_of(self.diffusion_steps)
        self.teacher_type = predictions.check(teacher_type, "teacher_type")
        self.num_paths, self.seed = check_count("num_paths", num_paths), seed
        self.for_files = Regression(model.loss_type)
        if not 0.0 < start <= 1.0:
            raise ValueError(f"Expected `start` above 0 and at most 1. Received: {start}")
        self.start, self._begin = start, None
        if start < 1.0:
            self._begin = GaussianStart(start=start).for_model(model, 1).begin
        self.schedule, self.image_shape = model.schedule, model.image_shape
        self.num_classes, self.label_dropout = model.num_classes, model.label_dropout
        labelled = self.num_classes is not None
        self.teacher = copy_network(model.network, model.image_shape, labelled)
        self.teacher.trainable = False
        self._denoiser: FoldedDenoiser | None = None
        self._starts = self._stored("starts", self.image_shape)
        self._targets = self._stored("targets", self.image_shape)
        self._labels = self._stored("labels", (), "int32") if labelled else None
        self.built = True

    def _stored(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """Return a variable with a row for each step of each path, one step after the other."""
        return self.add_weight(
            name=name, shape=(self.diffusion_steps * self.num_paths, *shape), dtype=dtype,
            initializer="zeros", trainable=False,
        )  # fmt: skip

    @property
    def unsaved_variables(self) -> list[Any]:
        """Variables that `begin_epoch` computes, and that checkpoints therefore leave out."""
        found = [self._starts, self._targets, self._labels]
        return [variable for variable in found if variable is not None]

    def begin_epoch(self, epoch: int) -> None:
        """Follow the teacher along the paths of an epoch. `fit` calls it.

        Args:
            epoch: Number of the epoch, from 0.
        """
        labels = None
        if self._labels is not None:
            labels = self._draw_labels(epoch)
            self._labels.assign(np.tile(labels, self.diffusion_steps))
        states = self._follow(epoch, labels)
        self._starts.assign(states[:-1].reshape(self._starts.shape))
        self._targets.assign(self._images_of(states).reshape(self._targets.shape))

    def _draw_labels(self, epoch: int) -> np.ndarray:
        """Return the label of each path, negative where it is hidden."""
        random = np.random.default_rng([self.seed % 2**64, epoch])
        labels = random.integers(0, self.num_classes, self.num_paths)
        hidden = random.random(self.num_paths) < self.label_dropout
        return np.where(hidden, NO_LABEL, labels).astype("int32")

    def _follow(self, epoch: int, labels: np.ndarray | None) -> np.ndarray:
        """Return the noisy images of the teacher where steps of the student begin and end.

        The last ones are the images that it predicts in its last step. The shape is
        `(diffusion_steps + 1, paths, height, width, channels)`.
        """
        if self._denoiser is None:
            known = labels is not None
            self._denoiser = FoldedDenoiser(self.teacher, self.teacher_type, labelled=known)
        self._denoiser.refresh()
        recipe = Recipe(DDIM(), self.diffusion_steps * self.substeps)
        recipe = recipe.shortened(self.start, self.schedule)
        conditions = () if labels is None else (Condition(_with_labels, {"labels": labels}),)
        generation = Generation(self._denoiser, self.schedule, recipe, conditions)
        states = np.empty((self.diffusion_steps + 1, self.num_paths, *self.image_shape), "float32")
        reached: dict[int, Any] = {}

        def keep(step: int, noisy_images: Any, pred_images: Any) -> None:
            """Keep what a batch has reached at the end of a step of the student."""
            reached[step + 1] = noisy_images

        def noise_of(first: int, size: int) -> np.ndarray:
            """Return the noise of a batch. Each epoch has its own."""
            start = epoch * self.num_paths + first
            noise = initial_noise(size, self.image_shape, self.seed, start)
            if self._begin is not None:
                noise = self._begin(self.schedule, ops.convert_to_tensor(noise))
            reached[0] = noise
            return noise

        for rows, _, images in generation.batches(self.num_paths, noise_of, callback=keep):
            number = rows.stop - rows.start
            for step in range(self.diffusion_steps):
                states[step, rows] = to_numpy(reached[step * self.substeps])[:number]
            states[-1, rows] = to_numpy(images)[:number]
        return states

    def _images_of(self, states: np.ndarray) -> np.ndarray:
        """Return the images with which one step of DDIM leads from one state to the next."""
        images = states[1:].copy()
        for step in range(self.diffusion_steps - 1):
            times = self.start * (1.0 - np.array([step, step + 1]) / self.diffusion_steps)
            noise, signal = (to_numpy(r).astype("float64") for r in self.schedule(times))
            ratio = noise[1] / noise[0]
            images[step] = (states[step + 1] - ratio * states[step]) / (
                signal[1] - ratio * signal[0]
            )
        return images

    def draw(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw rows of the stored steps, and return them with the times of their beginnings.

        Args:
            images: Images of the batch, of which only the number counts.
            schedule: Schedule of the model.
            seed_generator: Keras' generator of seeds.

        Returns:
            Integers `(batch,)`, and diffusion times `(batch, 1, 1, 1)`.
        """

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw rows, and find their times."""
            rows = keras.random.randint(
                (number,), 0, self.diffusion_steps * self.num_paths, seed=seed_generator
            )
            step = ops.cast(rows // self.num_paths, "float32")
            times = self.start * (1.0 - step / self.diffusion_steps)
            return rows, ops.reshape(times, (number, 1, 1, 1))

        return rows_of_replica(draw, ops.shape(images)[0])

    def draw_validation(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises and times as `Regression` does."""
        return self.for_files.draw_validation(images, schedule, seed_generator)

    def examples(
        self, denoise: Any, schedule: Any, images: Any, noises: Any, times: Any
    ) -> dict[str, Any]:
        """Denoise the beginnings of stored steps, and compare with the images to be predicted.

        Args:
            denoise: As for `Regression`.
            schedule: As for `Regression`.
            images: Normalised images. Only validation looks at them.
            noises: Rows of `draw`. In validation, noises of the shape of the images.
            times: Diffusion times `(batch, 1, 1, 1)`.

        Returns:
            Tensors by name, as of `Regression.examples`.
        """
        if len(noises.shape) > 1:
            return self.for_files.examples(denoise, schedule, images, noises, times)
        if self._labels is not None:
            denoise = dataclasses.replace(denoise, labels=ops.take(self._labels, noises, axis=0))
        starts, targets = (ops.take(one, noises, axis=0) for one in (self._starts, self._targets))
        rates = schedule(times)
        pairs = denoise(starts, *rates), ((starts - rates[1] * targets) / rates[0], targets)
        prediction, target = (predictions.quantity("velocity", pair, *rates) for pair in pairs)
        (pred_noises, pred_images), (target_noises, _) = pairs
        return {
            "images": targets, "noises": target_noises, "pred_noises": pred_noises,
            "pred_images": pred_images, "prediction": prediction, "target": target,
        }  # fmt: skip

    def loss(self, examples: dict[str, Any], pixel_loss: Any) -> Any:
        """Return the loss of a batch, a scalar: that of the velocities."""
        return self.for_files.loss(examples, pixel_loss)


def _with_labels(denoise: Callable, values: dict[str, Any]) -> Callable:
    return Labelled(denoise, values["labels"])


def substeps_of(diffusion_steps: int) -> int:
    """Return the number of steps that a teacher takes in one of a student, at least 2."""
    return max(2, TEACHER_STEPS // diffusion_steps)


def paths_of_epoch(num_images: int, diffusion_steps: int, image_shape: tuple[int, ...]) -> int:
    """Return the number of paths of an epoch, at least 1.

    Each stored step is used six times on average, or more often if the steps would take more than
    half a gibibyte.

    Args:
        num_images: Number of images in the training steps of an epoch.
        diffusion_steps: Number of steps of the student.
        image_shape: `(height, width, channels)`.
    """
    most = _MOST_BYTES // (2 * 4 * math.prod(image_shape) * diffusion_steps)
    return max(1, min(most, math.ceil(num_images / (USES * diffusion_steps))))
