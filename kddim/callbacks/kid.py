"""KID while training."""

from typing import Any

import keras
import numpy as np

from kddim import samplers
from kddim.callbacks.due import is_due
from kddim.images import take_images
from kddim.metrics import encoders
from kddim.metrics.kernel_distance import polynomial_mmd
from kddim.metrics.kid import PROTOCOLS


class KIDCallback(keras.callbacks.Callback):
    """Adds `val_kid` to the logs of every epoch that it measures.

    Put it before the callbacks that read `val_kid`:
    `callbacks=[KIDCallback(validation), ModelCheckpoint(..., monitor="val_kid", mode="min")]`.
    The same noises and the same real images serve every epoch, so that epochs compare;
    the features of the real images are computed once.

    Args:
        validation_data: real images in [0, 1]: an array, or a data set that ends.
        encoder: see `kddim.metrics.encoders.get`.
        num_images: images generated an epoch, and at most so many real ones.
        diffusion_steps: of generation; the example's 5 keep it cheap.
        every: measures each so many epochs, and after the last one.
        image_size: that Inception sees.
        sampler: of generation.
        batch_size: of generation and encoding.
        seed: of the noises.
        verbose: 1 prints the protocol when training begins, 0 does not.

    Attributes:
        history: `(epoch, kid)` pairs, epochs counted from 1.
        protocol: what the values mean.

    Example:
        >>> model.fit(train, validation_data=validation, epochs=50,
        ...           callbacks=[kddim.callbacks.KIDCallback(validation)])
    """

    def __init__(
        self,
        validation_data: Any,
        encoder: Any = "inception_v3",
        num_images: int = 1000,
        diffusion_steps: int = 5,
        every: int = 1,
        *,
        image_size: int = 75,
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
        self.validation_data = validation_data
        self.encoder = encoders.get(encoder, image_size)
        self.num_images = num_images
        self.diffusion_steps = diffusion_steps
        self.every = every
        self.sampler = samplers.get(sampler)
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self.history: list[tuple[int, float]] = []
        self._real_features: np.ndarray | None = None
        self._image_size: str | None = None

    def prepare(self, image_shape: tuple[int, int, int]) -> None:
        """Encodes the real images, once; otherwise done when training begins.

        Args:
            image_shape: `(height, width, channels)` of the model.

        Raises:
            ValueError: images of another shape or range, or fewer than two.
        """
        if self._real_features is not None:
            return
        real = take_images(self.validation_data, self.num_images, image_shape)
        if len(real) < 2:
            raise ValueError(
                f"Expected at least 2 validation images to measure KID. Received: {len(real)}"
            )
        self._real_features = self.encoder(real, self.batch_size)
        self._image_size = f"{image_shape[0]}x{image_shape[1]}"

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.prepare(self.model.image_shape)
        if self.verbose:
            print(f"val_kid: {describe(self.protocol)}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not is_due(self, epoch, self.every):
            return
        value = self.measure()
        self.history.append((epoch + 1, value))
        if logs is not None:
            logs["val_kid"] = value

    def measure(self) -> float:
        """KID of the model as it is now; NaN where it generates NaN."""
        generated = self.model.generate(
            self.num_images,
            self.diffusion_steps,
            self.sampler,
            seed=self.seed,
            batch_size=self.batch_size,
        )
        if not np.isfinite(generated).all():
            return float("nan")
        return polynomial_mmd(self._real_features, self.encoder(generated, self.batch_size))

    @property
    def protocol(self) -> dict[str, Any]:
        """What a value means: encoder, estimator, numbers of images, sampler, steps."""
        real = self._real_features
        return {
            "metric": "KID",
            "encoder": self.encoder.description,
            "image_size": self._image_size,
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
