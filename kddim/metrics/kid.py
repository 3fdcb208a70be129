"""Kernel inception distance on images."""

import functools
from typing import Any

import keras
import numpy as np

from kddim.images import check_images
from kddim.metrics import encoders
from kddim.metrics.kernel_distance import polynomial_mmd

PROTOCOLS = {
    "unbiased": "unbiased estimate over all images",
    "example": "mean of the estimates of single batches, as in the keras.io example",
}


class KID(keras.metrics.Metric):
    """Kernel inception distance (Binkowski et al., ICLR 2018, arXiv 1801.01401).

    The squared maximum mean discrepancy, with a cubic kernel, between the features of
    real and of generated images. Lower is better; it is unbiased and can be negative.
    Values compare only under one protocol: say `kid.protocol` beside every number.

    A metric for plain loops and callbacks. It keeps features on the host, its encoder
    is in no checkpoint, and it does not run inside a compiled training step.

    Args:
        encoder: see `kddim.metrics.encoders.get`.
        image_size: that Inception sees.
        protocol: "unbiased" is the unbiased estimator over all images given since the
            last reset. "example" averages the estimates of single `update_state`
            calls: with batches of 64 at 75 pixels, the scale of the keras.io example.
        degree: of the kernel.
        gamma: of the kernel; None is one over the number of features.
        coef: of the kernel.
        name: of the metric.

    Example:
        >>> kid = kddim.metrics.KID()
        >>> kid.update_state(real_images, model.generate(1000, 5, seed=0))
        >>> print(kid.result(), kid.protocol)
    """

    def __init__(
        self,
        encoder: Any = "inception_v3",
        image_size: int = 75,
        *,
        protocol: str = "unbiased",
        degree: int = 3,
        gamma: float | None = None,
        coef: float = 1.0,
        name: str = "kid",
    ):
        super().__init__(name=name)
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"Unknown protocol: expected one of {', '.join(map(repr, PROTOCOLS))}. "
                f"Received: {protocol!r}"
            )
        self._estimator = protocol
        self._config = {
            "encoder": encoder,
            "image_size": image_size,
            "protocol": protocol,
            "degree": degree,
            "gamma": gamma,
            "coef": coef,
            "name": name,
        }
        self._mmd = functools.partial(polynomial_mmd, degree=degree, gamma=gamma, coef=coef)
        self._features = _Features(encoders.get(encoder, image_size))

    def update_state(
        self, real_images: Any, generated_images: Any, sample_weight: Any = None
    ) -> None:
        """Adds images; the two sets need not be of one size.

        Args:
            real_images: `(n, height, width, channels)` in [0, 1].
            generated_images: likewise.
            sample_weight: must be None.

        Raises:
            ValueError: images of another shape or range; with "example", fewer than two.
        """
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        real, generated = (
            self._features.encode(real_images),
            self._features.encode(generated_images),
        )
        if self._estimator == "example":
            self._features.estimates.append(self._mmd(real, generated))
        else:
            self._features.real.append(real)
            self._features.generated.append(generated)
        self._features.counts += (len(real), len(generated))

    def result(self) -> float:
        """The estimate; NaN while fewer than two images a side are known."""
        if self._estimator == "example":
            return (
                float(np.mean(self._features.estimates))
                if self._features.estimates
                else float("nan")
            )
        if self._features.counts.min() < 2:
            return float("nan")
        real, generated = (
            np.concatenate(f) for f in (self._features.real, self._features.generated)
        )
        return self._mmd(real, generated)

    def reset_state(self) -> None:
        """Forgets all images."""
        self._features.clear()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments.

        Raises:
            ValueError: the encoder has no name to be found again by.
        """
        if not isinstance(self._config["encoder"], str):
            raise ValueError(
                "Expected an encoder given by name, to describe the metric. "
                f"Received: {self._config['encoder']!r}"
            )
        return dict(self._config)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a value of this metric means: encoder, estimator, numbers of images."""
        real, generated = self._features.counts
        return {
            "metric": "KID",
            "encoder": self._features.encoder.description,
            "image_size": self._features.image_size,
            "estimator": PROTOCOLS[self._estimator],
            "real_images": int(real),
            "generated_images": int(generated),
        }


class _Features:
    """State on the host, in an object that Keras neither tracks nor saves."""

    def __init__(self, encoder: encoders.Encoder):
        self.encoder = encoder
        self.clear()

    def clear(self) -> None:
        self.real: list[np.ndarray] = []
        self.generated: list[np.ndarray] = []
        self.estimates: list[float] = []
        self.counts = np.zeros(2, "int64")
        self.image_size: str | None = None

    def encode(self, images: Any) -> np.ndarray:
        images = check_images(images)
        self.image_size = f"{images.shape[1]}x{images.shape[2]}"
        return self.encoder(images)
