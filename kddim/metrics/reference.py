"""Real images as a metric sees them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import FeatureSet, collect_features
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.scores import check_metrics, describe_estimators, remarks, scores


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images as a metric sees them.

    `kddim.evaluation.make_reference` makes one; `kddim.metrics.save_reference` keeps it
    in a file.

    Args:
        encoder: makes the features.
        features: of the real images, `(n, d)`; of many, those of the first 10,000.
        description: what the images are: `real`, `real_images`, `image_size`.
        statistics: of the features of all images, where `features` are not all.
        protocol_name: see `kddim.metrics.KID`.
        remarks: what is odd about the images, in sentences.
        fingerprint: a hash of the features of all images.
    """

    encoder: Encoder
    features: np.ndarray
    description: dict[str, Any]
    statistics: FeatureStatistics | None = None
    protocol_name: str = "unbiased"
    remarks: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def feature_set(self) -> FeatureSet:
        """The features without the encoder."""
        size = str(self.description.get("image_size", ""))
        return FeatureSet(self.features, self.statistics, size, self.remarks, self.fingerprint)

    @property
    def count(self) -> int:
        """Images of the reference."""
        return self.feature_set.count

    def score(
        self, images: np.ndarray, metrics: Sequence[str] = ("kid",), batch_size: int = 64
    ) -> dict[str, float]:
        """Figures of quality of generated images.

        Args:
            images: `(n, height, width, channels)` in [0, 1], at least 4.
            metrics: among "kid", "fid" and "prdc".
            batch_size: of encoding.

        Returns:
            See `kddim.metrics.scores`.

        Raises:
            ValueError: an unknown metric; too few images for it.
        """
        metrics = check_metrics(metrics)
        found = collect_features(self.encoder, [images], "generated", batch_size)
        return self.score_features(found, metrics)

    def score_features(
        self, generated: FeatureSet, metrics: Sequence[str] = ("kid",)
    ) -> dict[str, float]:
        """As `score`, of features that this encoder made."""
        return scores(self.feature_set, generated, metrics, self.protocol_name)

    def remarks_on(self, generated: FeatureSet, metrics: Sequence[str]) -> list[str]:
        """What is odd about either set of images and about the figures, in sentences."""
        found = remarks(self.feature_set, generated, metrics, self.protocol_name)
        size = str(self.description.get("image_size", ""))
        if generated.image_size and size and generated.image_size != size:
            found.append(
                f"the real images are {size} and the generated ones {generated.image_size}: "
                "the score holds what the smaller lack in detail"
            )
        if self.fingerprint and generated.fingerprint == self.fingerprint:
            found.append(
                "the two sets are the same images: KID, which takes them for independent ones, "
                "falls below zero"
            )
        return found

    def protocol(self, num_images: int, metrics: Sequence[str]) -> dict[str, Any]:
        """The words without which a score of so many generated images means nothing."""
        found = {
            "metric": ", ".join(name.upper() for name in metrics),
            "encoder": self.encoder.description,
        } | self.description
        if len(self.features) < self.count:
            found["real_features_kept"] = len(self.features)
        smaller = min(len(self.features), num_images)
        found |= describe_estimators(metrics, self.protocol_name, smaller)
        return found | {"generated_images": num_images}
