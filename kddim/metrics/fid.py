"""Fréchet inception distance on images."""

from typing import Any

import keras

from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.image_sets import FeaturePool, ImagePair
from kddim.metrics.kid import config_of
from kddim.metrics.protocols import FID_PROTOCOLS, check_protocol, encoder_of
from kddim.metrics.remarks import fid_remarks


class FID(keras.metrics.Metric):
    """Fréchet inception distance (Heusel et al., NeurIPS 2017, arXiv 1706.08500).

    `frechet_distance` between the features of real and of generated images, from means
    and covariances that are accumulated in one pass. Lower is better. It is biased: it
    falls as the number of images grows, and compares only at equal numbers (50,000
    generated images against all training images, in papers) and under one protocol.
    Published figures rest on the network that the encoder "pt_inception" is.

    A metric for plain loops and callbacks. It keeps its state on the host, its encoder
    is in no checkpoint, and it does not run inside a compiled training step.

    Args:
        encoder: see `kddim.metrics.encoders.get`.
        image_size: that a named network sees. None is 299 for "inception_v3" under the
            protocol "standard", and the network's own size otherwise.
        protocol: "standard" resizes with antialiasing to 299 pixels, as clean-fid does;
            "example" to 75 without, as the keras.io example sees images.
        groups: of generated images, for `deviation`, at least 1 (which gives none). With
            more than 4,096 images, each takes 33 MB for 2,048 features.
        name: of the metric.

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
        super().__init__(name=name)
        if groups < 1:
            raise ValueError(f"Expected `groups` of at least 1. Received: {groups}")
        self._estimator = check_protocol(protocol, FID_PROTOCOLS)
        self._config = {
            "encoder": encoder,
            "image_size": image_size,
            "protocol": protocol,
            "groups": groups,
            "name": name,
        }
        self._encoder = encoder_of(encoder, image_size, protocol)
        self._seen = _Seen(self._encoder, groups)

    def update_state(
        self, real_images: Any, generated_images: Any, sample_weight: Any = None
    ) -> None:
        """Adds images; the two sets need not be of one size.

        Args:
            real_images: `(n, height, width, channels)` in [0, 1]; or None for none.
            generated_images: likewise.
            sample_weight: must be None.

        Raises:
            ValueError: images of another shape or range.
        """
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        self._seen.add(real_images, generated_images)

    def add_real_statistics(self, statistics: FeatureStatistics) -> None:
        """Adds real images whose features only the statistics are known of.

        Args:
            statistics: of features by the same encoder, of images seen at the same size.
        """
        self._seen.add_real_statistics(statistics)

    @property
    def real_statistics(self) -> FeatureStatistics:
        """Of the features of all real images: to keep for other models."""
        summary = self._seen.pools[0].summary()
        return summary if isinstance(summary, FeatureStatistics) else FeatureStatistics(summary)

    def result(self) -> float:
        """The distance; NaN while fewer than two images a side are known.

        Says in the log, once, where there are fewer images than 2,048 or than features,
        or where they are all alike, or dark as if divided twice.
        """
        seen = self._seen
        seen.images.warn(*fid_remarks(seen.smaller, seen.width))
        if seen.smaller < 2:
            return float("nan")
        if seen.value is None:
            seen.value = frechet_distance(*(pool.summary() for pool in seen.pools))
        return seen.value

    def deviation(self) -> float:
        """Standard error that comes from the generated images: see `frechet_deviation`.

        NaN with one group, or with fewer generated images than twice the groups.
        """
        groups = self._config["groups"]
        if groups < 2 or self._seen.smaller < 2 or self._seen.images.generated.count < 2 * groups:
            return float("nan")
        real, generated = self._seen.pools
        return frechet_deviation(real.summary(), generated.groups(), groups)

    def reset_state(self) -> None:
        """Forgets all images."""
        self._seen = _Seen(self._encoder, self._config["groups"])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments.

        Raises:
            ValueError: the encoder has no name to be found again by.
        """
        return config_of(self._config)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a value of this metric means: encoder, estimator, numbers of images."""
        return {
            "metric": "FID",
            "estimator": FID_PROTOCOLS[self._estimator],
            **self._seen.images.protocol,
        }


class _Seen:
    """State on the host, in an object that Keras neither tracks nor saves."""

    def __init__(self, encoder: Any, groups: int):
        self.images = ImagePair(encoder)
        self.pools = (FeaturePool(), FeaturePool(groups))
        self.width: int | None = None
        self.value: float | None = None

    def add(self, *images: Any) -> None:
        for pool, features in zip(self.pools, self.images.encode(*images)):
            if features is not None:
                pool.add(features)
                self.width, self.value = features.shape[1], None

    def add_real_statistics(self, statistics: FeatureStatistics) -> None:
        self.pools[0].merge(statistics)
        self.images.real.count += statistics.count
        self.value = None

    @property
    def smaller(self) -> int:
        return min(self.images.real.count, self.images.generated.count)
