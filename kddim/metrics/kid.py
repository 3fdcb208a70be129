"""Kernel inception distance on images."""

from typing import Any

import keras
import numpy as np

from kddim.metrics.image_sets import ImagePair
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.protocols import (
    KID_PROTOCOLS,
    SUBSETS,
    check_protocol,
    encoder_of,
)
from kddim.metrics.remarks import kid_remarks, subset_size

PROTOCOLS = KID_PROTOCOLS


class KID(keras.metrics.Metric):
    """Kernel inception distance (Binkowski et al., ICLR 2018, arXiv 1801.01401).

    The squared maximum mean discrepancy, with a cubic kernel, between the features of
    real and of generated images. Lower is better; it is unbiased and can be negative.
    Values compare only under one protocol: say `kid.protocol` beside every number.

    A metric for plain loops and callbacks. It keeps features on the host, its encoder
    is in no checkpoint, and it does not run inside a compiled training step.

    Args:
        encoder: see `kddim.metrics.encoders.get`.
        image_size: that a named network sees. None is 299 for "inception_v3" under the
            protocol "standard", and the network's own size (75) otherwise.
        protocol: "unbiased" is the unbiased estimator over all images given since the
            last reset. "example" averages the estimates of single `update_state`
            calls: with batches of 64 at 75 pixels, the scale of the keras.io example.
            "standard" is that of the literature: 299 pixels, resized with antialiasing,
            the mean over 100 random subsets of 1,000 (of half of the images where there
            are fewer than 1,000); use 10,000 images a side, or all there are.
        degree: of the kernel.
        gamma: of the kernel; None is one over the number of features.
        coef: of the kernel.
        name: of the metric.

    Example:
        >>> kid = kddim.metrics.KID()
        >>> kid.update_state(real_images, model.generate(1000, 5, seed=0))
        >>> print(kid.result(), kid.deviation(), kid.protocol)
    """

    def __init__(
        self,
        encoder: Any = "inception_v3",
        image_size: int | None = None,
        *,
        protocol: str = "unbiased",
        degree: int = 3,
        gamma: float | None = None,
        coef: float = 1.0,
        name: str = "kid",
    ):
        super().__init__(name=name)
        self._estimator = check_protocol(protocol, PROTOCOLS)
        self._config = {
            "encoder": encoder,
            "image_size": image_size,
            "protocol": protocol,
            "degree": degree,
            "gamma": gamma,
            "coef": coef,
            "name": name,
        }
        self._kernel: dict[str, Any] = {"degree": degree, "gamma": gamma, "coef": coef}
        self._encoder = encoder_of(encoder, image_size, protocol)
        self._seen = _Seen(self._encoder)

    def update_state(
        self, real_images: Any, generated_images: Any, sample_weight: Any = None
    ) -> None:
        """Adds images; the two sets need not be of one size.

        Args:
            real_images: `(n, height, width, channels)` in [0, 1]; or None for none,
                except with "example".
            generated_images: likewise.
            sample_weight: must be None.

        Raises:
            ValueError: images of another shape or range; with "example", fewer than two.
        """
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        if self._estimator == "example":
            self._seen.estimates.append(self._mmd_of_batch(real_images, generated_images))
        else:
            self._seen.add(real_images, generated_images)

    def _mmd_of_batch(self, real_images: Any, generated_images: Any) -> float:
        if real_images is None or generated_images is None:
            raise ValueError('Expected both sets of images with the protocol "example".')
        real, generated = self._seen.images.encode(real_images, generated_images)
        return polynomial_mmd(real, generated, **self._kernel)

    def result(self) -> float:
        """The estimate; NaN while fewer than two images a side (four: "standard") are known.

        Says in the log, once, where images are all alike, dark as if divided twice, or
        fewer than the protocol's subsets.
        """
        self._seen.images.warn(*kid_remarks(self._estimator, self._seen.smaller))
        if self._estimator == "example":
            return float(np.mean(self._seen.estimates)) if self._seen.estimates else float("nan")
        if self._estimator == "standard":
            return self._mean_and_deviation()[0]
        if self._seen.smaller < 2:
            return float("nan")
        real, generated = self._seen.pooled()
        return polynomial_mmd(real, generated, **self._kernel)

    def deviation(self) -> float:
        """How far estimates of parts spread: a standard deviation.

        Over the batches with "example", else over 100 random subsets of 1,000, or of half
        of the images where that is fewer ("standard": where there are fewer than 1,000).
        NaN where there are too few images.
        """
        if self._estimator == "example":
            return float(np.std(self._seen.estimates)) if self._seen.estimates else float("nan")
        return self._mean_and_deviation()[1]

    def _mean_and_deviation(self) -> tuple[float, float]:
        if self._seen.smaller < 4:
            return float("nan"), float("nan")
        if self._seen.subsets is None:
            sizes = {
                "subsets": SUBSETS,
                "subset_size": subset_size(self._seen.smaller, self._estimator),
            }
            real, generated = self._seen.pooled()
            self._seen.subsets = kernel_distance(real, generated, **sizes, **self._kernel)
        return self._seen.subsets

    def reset_state(self) -> None:
        """Forgets all images."""
        self._seen = _Seen(self._encoder)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments.

        Raises:
            ValueError: the encoder has no name to be found again by.
        """
        return config_of(self._config)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a value of this metric means: encoder, estimator, numbers of images."""
        protocol = {
            "metric": "KID",
            "estimator": PROTOCOLS[self._estimator],
            **self._seen.images.protocol,
        }
        if self._estimator == "standard":
            protocol["subsets"] = f"{SUBSETS} of {subset_size(self._seen.smaller, self._estimator)}"
        return protocol


def config_of(config: dict[str, Any]) -> dict[str, Any]:
    """A copy, once the encoder is seen to be a name."""
    if not isinstance(config["encoder"], str):
        raise ValueError(
            "Expected an encoder given by name, to describe the metric. "
            f"Received: {config['encoder']!r}"
        )
    return dict(config)


class _Seen:
    """State on the host, in an object that Keras neither tracks nor saves."""

    def __init__(self, encoder: Any):
        self.images = ImagePair(encoder)
        self.features: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self.estimates: list[float] = []
        self.subsets: tuple[float, float] | None = None

    def add(self, *images: Any) -> None:
        encoded = self.images.encode(*images)
        self.subsets = None
        for known, features in zip(self.features, encoded):
            if features is not None:
                known.append(features)

    def pooled(self) -> list[np.ndarray]:
        return [np.concatenate(features) for features in self.features]

    @property
    def smaller(self) -> int:
        return min(sum(map(len, features)) for features in self.features)
