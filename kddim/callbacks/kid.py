"""KID while training."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from kddim import hosts
from kddim.batches import take_images, take_labels
from kddim.callbacks.epochs import EpochCallback
from kddim.checks import check_count
from kddim.metrics import encoders
from kddim.metrics.estimators import Unbiased
from kddim.metrics.feature_set import FeatureSet
from kddim.plots import plot_kid
from kddim.progress import duration, tell
from kddim.recipe import Recipe


class KIDCallback(EpochCallback):
    """Add `val_kid`, the kernel inception distance, to the logs of the epochs it measures.

    Put it before the callbacks that read `val_kid`:
    `callbacks=[KIDCallback(validation), ModelCheckpoint(..., monitor="val_kid", mode="min")]`.
    A model with classes generates images with the labels of the validation images, so that every
    class has the share that it has there. Every epoch is measured with the same noises and the same real images, so that the values of
    a run compare. The real images are encoded once.

    With `every` above 1, some epochs have no `val_kid`. Keras' `EarlyStopping` ignores them, so
    that its patience counts measurements. Keras' `ModelCheckpoint` saves the model in them:
    set `carry=True`, or use `BestModelCallback`.

    Args:
        validation_data: Real images in [0, 1]: an array, or a finite data set.
        encoder: Name of an encoder ("inception_v3", "mobilenet", "random_conv", "auto", ...), a
            Keras model on images in [0, 1], a callable from such images to features
            `(batch, d)`, or a `kddim.metrics.Encoder`.
        num_images: Number of images to generate per measurement, at least 2, and largest number
            of real images.
        diffusion_steps: Number of steps of sampling. The 5 of the keras.io example keep
            measurements cheap.
        every: Number of epochs from one measurement to the next. The last epoch is measured too.
        carry: If true, the logs of epochs without a measurement repeat the last `val_kid`, or
            hold infinity before the first. Patience then counts epochs.
        max_seconds: Largest time of a measurement in seconds. Before the first epoch, the time
            of one batch is measured and `num_images` lowered to the number that fits. None sets
            no limit.
        image_size: Side in pixels that a named network sees. None is the network's own: 75 for
            "inception_v3", as in the keras.io example, and 128 for "mobilenet".
        weights: Local file of weights for a named network. None is the weights that Keras
            downloads.
        sampler: Name of a sampler, or a `kddim.samplers.Sampler`.
        batch_size: Number of images that are generated and encoded at once.
        seed: Seed of the noises.
        verbose: 1 tells the protocol when training begins, and the time of the first two
            measurements. They are logged if the log is shown, and else printed. 0 tells neither.

    Attributes:
        history: List of pairs `(epoch, kid)`. Epochs are counted from 1 over several `fit`
            calls. Assign the history of an earlier process to continue it.
        seconds: Time of each measurement, in seconds.
        share: Share of the epoch's time that the last measurement took, in [0, 1].

    Raises:
        ValueError: If an option is unknown or out of range, or weights are not available.

    Example:
        >>> kid = kddim.callbacks.KIDCallback(validation, max_seconds=20)
        >>> model.fit(train, validation_data=validation, epochs=50, callbacks=[kid])
        >>> kid.plot("kid.png")
    """

    kept = (*EpochCallback.kept, "history", "seconds", "num_images", "_fitted")

    def __init__(
        self,
        validation_data: Any,
        encoder: Any = "inception_v3",
        num_images: int = 1000,
        diffusion_steps: int = 5,
        every: int = 1,
        *,
        carry: bool = False,
        max_seconds: float | None = None,
        image_size: int | None = None,
        weights: str | os.PathLike | None = None,
        sampler: Any = "ddim",
        batch_size: int = 64,
        seed: int = 0,
        verbose: int = 1,
    ):
        super().__init__(every)
        if max_seconds is not None and not max_seconds > 0:
            raise ValueError(f"Expected `max_seconds` above 0. Received: {max_seconds}")
        self.recipe = Recipe(sampler, diffusion_steps, None, seed, batch_size)
        self.num_images = check_count("num_images", num_images, 2)
        self.encoder = encoders.get(encoder, image_size, weights)
        self.validation_data = validation_data
        self.carry = carry
        self.max_seconds = max_seconds
        self.verbose = verbose
        self.history: list[tuple[int, float]] = []
        self.seconds: list[float] = []
        self.share: float | None = None
        self._real: FeatureSet | None = None
        self._labels: np.ndarray | None = None
        self._fitted = max_seconds is None

    @property
    def diffusion_steps(self) -> int:
        """Number of steps of sampling."""
        return self.recipe.diffusion_steps

    def prepare(self, image_shape: tuple[int, int, int]) -> None:
        """Encode the real images, unless that was done before. Training calls it.

        Args:
            image_shape: Shape `(height, width, channels)` of the images of the model.

        Raises:
            ValueError: If the images have another shape or range, or are fewer than two.
        """
        image_size = f"{image_shape[0]}x{image_shape[1]}"
        if self._real is not None and self._real.image_size == image_size:
            return
        images = take_images(self.validation_data, self.num_images, image_shape)
        if len(images) < 2:
            raise ValueError(
                f"Expected at least 2 validation images to measure KID. Received: {len(images)}"
            )
        self._real = FeatureSet(self._encode(images), image_size=image_size)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the state that `get_state` returned in another process."""
        super().set_state(state)
        self.history = [(epoch, value) for epoch, value in self.history]

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Encode the real images, take their labels, and say what is measured."""
        super().on_train_begin(logs)
        self.prepare(self.model.image_shape)
        if self.model.num_classes is not None:
            self._labels = take_labels(self.validation_data, self.num_images)
        if not self._fitted:
            self._fit_to_limit()
        self.epochs = max([self.epochs, *(epoch for epoch, _ in self.history)])
        if self.verbose:
            words = (f"{key.replace('_', ' ')} {value}" for key, value in self.protocol.items())
            tell(f"val_kid: {', '.join(words)}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measure KID if the epoch is due, and put `val_kid` into the logs. Keras calls it."""
        number = self.count(epoch)
        if not self.is_due(epoch):
            if self.carry and logs is not None:
                logs["val_kid"] = self.history[-1][1] if self.history else float("inf")
            return
        start = time.perf_counter()
        value = self.measure()
        self._note_cost(start, time.perf_counter())
        self.history.append((number, value))
        if logs is not None:
            logs["val_kid"] = value

    def _note_cost(self, start: float, end: float) -> None:
        self.seconds.append(end - start)
        self.share = (end - start) / max(end - self.epoch_start, 1e-9)
        if self.verbose and len(self.seconds) <= 2:  # the first one includes compilation
            tell(
                f"val_kid: a measurement of {self.num_images:,} images took {end - start:.3g} s, "
                f"{100 * self.share:.0f} % of its epoch's time"
            )

    def measure(self) -> float:
        """Return the KID of the model as it is now, or NaN if it generates NaN."""
        images = self._generate(self.num_images)
        if self._real is None or not np.isfinite(images).all():
            return float("nan")
        return Unbiased(self._real, FeatureSet(self._encode(images))).kid

    def _generate(self, num_images: int) -> np.ndarray:
        labels = self._labels
        if labels is not None:
            labels = np.resize(labels, num_images)
        return self.model.generate(num_images, labels=labels, **self.recipe.options)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        return self.encoder(images, self.recipe.batch_size)

    def _fit_to_limit(self) -> None:
        """Lower `num_images` to what `max_seconds` allows, in whole batches if possible."""
        batch = min(self.recipe.batch_size, self.num_images)
        each = hosts.agree(self._seconds_of_batch(batch) / batch)
        wanted, limit = each * self.num_images, float(self.max_seconds or 0.0)
        if wanted > limit:
            fits = int(limit / each)
            fits = fits // batch * batch if fits >= batch else max(2, fits)
            asked, self.num_images = self.num_images, fits
            tell(
                f"val_kid: {asked:,} images would take about {duration(wanted)} per measurement; "
                f"it takes {fits:,} images, always the same, to stay within {limit:g} s"
            )
        self._fitted = True

    def _seconds_of_batch(self, batch: int) -> float:
        """Return the time of generating and encoding one batch, without compilation."""
        for _ in range(2):
            start = time.perf_counter()
            images = self._generate(batch)
            self._encode(np.nan_to_num(images))
        return max(time.perf_counter() - start, 1e-6)

    def plot(self, path: str | os.PathLike) -> Path:
        """Draw `history` as a curve.

        Args:
            path: PNG file to write.

        Returns:
            The path of the file.
        """
        return plot_kid(self.history, path, f"KID: {self.encoder.description}")

    @property
    def protocol(self) -> dict[str, Any]:
        """Encoder, estimator, numbers of images and recipe, without which a value means nothing."""
        sampling = self.recipe.describe(None)
        return {
            "metric": "KID",
            "encoder": self.encoder.description,
            "image_size": self._real and self._real.image_size,
            "protocol": Unbiased.name,
            "estimator": Unbiased.words,
            "real_images": self._real and self._real.count,
            "generated_images": self.num_images,
        } | {key: sampling[key] for key in ("sampler", "diffusion_steps", "seed")}
