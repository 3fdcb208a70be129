"""KID while training."""

import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import samplers
from kddim.callbacks.due import is_due
from kddim.images import take_images
from kddim.metrics import encoders
from kddim.metrics.kernel_distance import polynomial_mmd
from kddim.metrics.kid import PROTOCOLS
from kddim.plots import plot_kid
from kddim.progress import duration


class KIDCallback(keras.callbacks.Callback):
    """Adds `val_kid` to the logs of every epoch that it measures.

    Put it before the callbacks that read `val_kid`:
    `callbacks=[KIDCallback(validation), ModelCheckpoint(..., monitor="val_kid", mode="min")]`.
    The same noises and the same real images serve every epoch, so that epochs compare;
    the features of the real images are computed once. Keras' `EarlyStopping` passes
    over epochs without a measurement: with `every` above 1, its patience counts
    measurements. Keras' `ModelCheckpoint` saves in such epochs, whatever the best is:
    with `every` above 1, set `carry`, or take `BestModelCallback`.

    Args:
        validation_data: real images in [0, 1]: an array, or a data set that ends.
        encoder: see `kddim.metrics.encoders.get`.
        num_images: images generated an epoch, and at most so many real ones.
        diffusion_steps: of generation; the example's 5 keep it cheap.
        every: measures each so many epochs, and after the last one.
        carry: repeats the last `val_kid` in the logs of epochs without a measurement, and
            infinity before the first; patience then counts epochs.
        max_seconds: that a measurement may take. When training first begins, the cost of
            a batch is measured, and `num_images` lowered to what fits; None has no limit.
        image_size: that a named network sees. None is the network's own: 75 for
            "inception_v3", as in the keras.io example, 128 for "mobilenet".
        sampler: of generation.
        batch_size: of generation and encoding.
        seed: of the noises.
        verbose: 1 prints the protocol when training begins, and the cost of the first
            measurement; 0 does not.

    Attributes:
        history: `(epoch, kid)` pairs, epochs counted from 1, on over several `fit` calls.
            Assign that of an earlier process to go on with it.
        seconds: what each measurement took.
        share: of the epoch's time that the last measurement took, in [0, 1].
        protocol: what the values mean.

    Example:
        >>> kid = kddim.callbacks.KIDCallback(validation, max_seconds=20)
        >>> model.fit(train, validation_data=validation, epochs=50, callbacks=[kid])
        >>> kid.plot("kid.png")
    """

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
        sampler: Any = "ddim",
        batch_size: int = 64,
        seed: int = 0,
        verbose: int = 1,
    ):
        super().__init__()
        if min(every, diffusion_steps) < 1 or num_images < 2:
            raise ValueError(
                "Expected `every` and `diffusion_steps` of at least 1 and `num_images` of at "
                f"least 2. Received: every={every}, diffusion_steps={diffusion_steps}, "
                f"num_images={num_images}"
            )
        if max_seconds is not None and not max_seconds > 0:
            raise ValueError(f"Expected `max_seconds` above 0. Received: {max_seconds}")
        self.validation_data = validation_data
        self.encoder = encoders.get(encoder, image_size)
        self.num_images = num_images
        self.diffusion_steps = diffusion_steps
        self.every = every
        self.carry = carry
        self.max_seconds = max_seconds
        self.sampler = samplers.get(sampler)
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self.history: list[tuple[int, float]] = []
        self.seconds: list[float] = []
        self.share: float | None = None
        self._real_features: np.ndarray | None = None
        self._image_size: str | None = None
        self._fitted = max_seconds is None
        self._epochs = 0  # that have ended, in all fits
        self._offset: int | None = None
        self._epoch_start = 0.0

    def prepare(self, image_shape: tuple[int, int, int]) -> None:
        """Encodes the real images, once; otherwise done when training begins.

        Args:
            image_shape: `(height, width, channels)` of the model.

        Raises:
            ValueError: images of another shape or range, or fewer than two.
        """
        image_size = f"{image_shape[0]}x{image_shape[1]}"
        if self._real_features is not None and self._image_size == image_size:
            return
        real = take_images(self.validation_data, self.num_images, image_shape)
        if len(real) < 2:
            raise ValueError(
                f"Expected at least 2 validation images to measure KID. Received: {len(real)}"
            )
        self._real_features = self.encoder(real, self.batch_size)
        self._image_size = image_size

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.prepare(self.model.image_shape)
        if not self._fitted:
            self._fit_to_limit()
        self._offset = None
        self._epochs = max([self._epochs, *(epoch for epoch, _ in self.history)])
        if self.verbose:
            print(f"val_kid: {describe(self.protocol)}")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._offset is None:  # a fit that begins to count anew, or goes on
            self._offset = max(0, self._epochs - epoch)
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measures where it is due, and puts `val_kid` into the logs; Keras calls it."""
        number = epoch + 1 + (self._offset or 0)
        self._epochs = max(self._epochs, number)
        if not is_due(self, epoch, self.every):
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
        self.share = (end - start) / max(end - self._epoch_start, 1e-9)
        if self.verbose and len(self.seconds) <= 2:  # the first one compiles
            print(
                f"val_kid: a measurement of {self.num_images:,} images took {end - start:.3g} s, "
                f"{100 * self.share:.0f} % of its epoch's time"
            )

    def measure(self) -> float:
        """KID of the model as it is now; NaN where it generates NaN."""
        generated = self._generate(self.num_images)
        if not np.isfinite(generated).all():
            return float("nan")
        return polynomial_mmd(self._real_features, self.encoder(generated, self.batch_size))

    def _generate(self, num_images: int) -> np.ndarray:
        return self.model.generate(
            num_images,
            self.diffusion_steps,
            self.sampler,
            seed=self.seed,
            batch_size=self.batch_size,
        )

    def _fit_to_limit(self) -> None:
        """Lowers `num_images` to what `max_seconds` allow, in whole batches where that can be."""
        batch = min(self.batch_size, self.num_images)
        each = self._seconds_of_a_batch(batch) / batch
        wanted, limit = each * self.num_images, float(self.max_seconds or 0.0)
        if wanted > limit:
            fits = int(limit / each)
            fits = fits // batch * batch if fits >= batch else max(2, fits)
            asked, self.num_images = self.num_images, fits
            print(
                f"val_kid: {asked:,} images would take about {duration(wanted)} a measurement; "
                f"it takes {fits:,} images, always the same, to stay within {limit:g} s"
            )
        self._fitted = True

    def _seconds_of_a_batch(self, batch: int) -> float:
        """Of generating and encoding, once both are compiled."""
        for _ in range(2):
            start = time.perf_counter()
            images = np.nan_to_num(self._generate(batch))
            self.encoder(images, self.batch_size)
        return max(time.perf_counter() - start, 1e-6)

    def plot(self, path: str | os.PathLike) -> Path:
        """Draws the history.

        Args:
            path: PNG file to write.
        """
        return plot_kid(self.history, path, f"KID: {self.encoder.description}")

    @property
    def protocol(self) -> dict[str, Any]:
        """What a value means: encoder, estimator, numbers of images, sampler, steps."""
        real = self._real_features
        return {
            "metric": "KID",
            "encoder": self.encoder.description,
            "image_size": self._image_size,
            "protocol": "unbiased",
            "estimator": PROTOCOLS["unbiased"],
            "real_images": None if real is None else len(real),
            "generated_images": self.num_images,
            "sampler": repr(self.sampler),
            "diffusion_steps": self.diffusion_steps,
            "seed": self.seed,
        }


def describe(protocol: dict[str, Any]) -> str:
    """A protocol in one line."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in protocol.items())
