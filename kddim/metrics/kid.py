"""Kernel inception distance on images."""

import sys
from typing import Any

import numpy as np

from kddim.metrics import estimators
from kddim.metrics.feature_checks import check_features
from kddim.metrics.image_metric import ImageMetric


class KID(ImageMetric):
    """Kernel inception distance (Binkowski et al., ICLR 2018, arXiv 1801.01401).

    The squared maximum mean discrepancy, with a polynomial kernel, between the features of real
    and of generated images. Lower is better. The estimate is unbiased and can be negative.
    Values compare only if their protocols are equal: report `kid.protocol` with every value.

    KID is a metric for plain loops and callbacks. It keeps features in the memory of the host,
    does not run inside a compiled training step, and its encoder is saved in no checkpoint.

    Args:
        encoder: Name of an encoder ("inception_v3", "mobilenet", "random_conv", "auto", ...), a
            Keras model on images in [0, 1], a callable from such images to features
            `(batch, d)`, or an `Encoder`.
        image_size: Side in pixels that a named network sees. None is 299 for "inception_v3"
            with the protocol "standard", and the network's own size (75) otherwise.
        protocol: "unbiased" is the unbiased estimate over all images since the last reset.
            "example" is the mean of the estimates of single `update_state` calls. With batches
            of 64 images at 75 pixels, it has the scale of the keras.io example. "standard" is
            the estimate of the literature: 299 pixels, resized with antialiasing, and the mean
            over 100 random subsets of 1,000 images, or of half of the images if there are fewer
            than 1,000. Use 10,000 images per side, or all there are.
        degree: Degree of the kernel.
        gamma: Scale of the kernel. None is one over the number of features.
        coef: Constant term of the kernel.
        name: Name of the metric.

    Raises:
        ValueError: If the encoder or the protocol is unknown, or weights are not available.

    Example:
        >>> kid = kddim.metrics.KID()
        >>> kid.update_state(real_images, model.generate(1000, 5, seed=0))
        >>> print(kid.result(), kid.deviation(), kid.protocol)
    """

    _kept = sys.maxsize

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
        kernel: dict[str, Any] = {"degree": degree, "gamma": gamma, "coef": coef}
        config = {"encoder": encoder, "image_size": image_size, "protocol": protocol}
        super().__init__(estimators.get(protocol), config | kernel | {"name": name}, **kernel)

    def _check(self, features: list[np.ndarray]) -> None:
        if self._config["protocol"] == "example":
            if len(features) < 2:
                raise ValueError('Expected both sets of images with the protocol "example".')
            check_features(features[0], features[1])

    def result(self) -> float:
        """Return the estimate, or NaN if there are too few images.

        "unbiased" and "example" need two images per side, "standard" needs four. Logs a warning
        once if all images are alike, if they are dark as if divided by 255 twice, or if there
        are fewer images than the protocol asks for.
        """
        self._warn(self._figures.kid_remarks)
        return self._figures.kid

    def deviation(self) -> float:
        """Return the standard deviation of the estimates over parts of the images.

        The parts are the batches with "example", and otherwise 100 random subsets of 1,000
        images, or of half of the images if there are fewer than 2,000 ("standard": than 1,000).
        NaN if there are too few images.
        """
        return self._figures.kid_parts[1]

    @property
    def protocol(self) -> dict[str, Any]:
        """Encoder, estimator and numbers of images, without which a value has no meaning."""
        found = self._describe("KID", self._figures.words)
        if self._config["protocol"] == "standard":
            found["subsets"] = self._figures.describe_parts(self._figures.smaller)
        return found
