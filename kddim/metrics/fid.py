"""Fréchet inception distance on images."""

from typing import Any

from kddim.metrics import estimators
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.image_metric import ImageMetric


class FID(ImageMetric):
    """Fréchet inception distance (Heusel et al., NeurIPS 2017, arXiv 1706.08500).

    The Fréchet distance between two Gaussians with the means and covariances of the features of
    real and of generated images, as `frechet_distance` computes it. Lower is better. The
    estimate is biased: it falls as the number of images grows. Compare only values of equally
    many images (papers take 50,000 generated images and all training images) and equal
    protocols. Published values use the encoder "pt_inception".

    FID is a metric for plain loops and callbacks. It keeps the features of the first 10,000
    images per side, and mean and covariance of all, in the memory of the host. It does not run
    inside a compiled training step, and its encoder is saved in no checkpoint.

    Args:
        encoder: Name of an encoder ("inception_v3", "mobilenet", "random_conv", "auto", ...), a
            Keras model on images in [0, 1], a callable from such images to features
            `(batch, d)`, or an `Encoder`.
        image_size: Side in pixels that a named network sees. None is 299 for "inception_v3"
            with the protocol "standard", and the network's own size otherwise.
        protocol: "standard" resizes images with antialiasing to 299 pixels, as clean-fid does.
            "example" resizes them to 75 pixels without antialiasing, as the keras.io example
            does.
        groups: Number of groups of generated images for `deviation`, at least 1. With one
            group, `deviation` is NaN.
        name: Name of the metric.

    Raises:
        ValueError: If the encoder or the protocol is unknown, weights are not available, or
            `groups` is below 1.

    Example:
        >>> inception = kddim.metrics.encoders.get("pt_inception", weights=file, antialias=True)
        >>> fid = kddim.metrics.FID(inception)
        >>> for batch in validation:
        ...     fid.update_state(batch, None)
        >>> fid.update_state(None, model.generate(10_000, 20, seed=0))
        >>> print(fid.result(), fid.deviation(), fid.protocol)
    """

    def __init__(
        self,
        encoder: Any = "inception_v3",
        image_size: int | None = None,
        *,
        protocol: str = "standard",
        groups: int = 10,
        name: str = "fid",
    ):
        if groups < 1:
            raise ValueError(f"Expected `groups` of at least 1. Received: {groups}")
        config = {"encoder": encoder, "image_size": image_size, "protocol": protocol}
        super().__init__(
            estimators.get(protocol, estimators.FID_ESTIMATORS),
            config | {"groups": groups, "name": name},
        )

    def add_real_statistics(self, statistics: FeatureStatistics) -> None:
        """Add real images of which only the statistics of their features are known.

        Args:
            statistics: Statistics of features that the same encoder made of images of the same
                size.
        """
        self._state.sides[0].add_statistics(statistics)
        self._state.figures = None

    @property
    def real_statistics(self) -> FeatureStatistics:
        """Statistics of the features of all real images, to be used again for other models."""
        summary = self._figures.real.summary
        return summary if isinstance(summary, FeatureStatistics) else FeatureStatistics(summary)

    def result(self) -> float:
        """Return the distance, or NaN if a side has fewer than two images.

        Logs a warning once if there are fewer images than 2,048 or than features, if all images
        are alike, or if they are dark as if divided by 255 twice.
        """
        self._warn(self._figures.fid_remarks)
        return self._figures.fid

    def deviation(self) -> float:
        """Return the standard error that comes from the generated images.

        It is estimated by the jackknife over `groups` groups of at most 10,000 generated
        images, as in `frechet_deviation`. NaN with one group, or with fewer generated images
        than twice the groups.
        """
        groups, figures = self._config["groups"], self._figures
        if groups < 2 or figures.real.count < 2 or figures.generated.count < 2 * groups:
            return float("nan")
        return figures.fid_error(groups)

    @property
    def protocol(self) -> dict[str, Any]:
        """Encoder, estimator and numbers of images, without which a value has no meaning."""
        return self._describe("FID", estimators.FID_WORDS)
