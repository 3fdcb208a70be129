"""Real images that generated images are compared with."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.metrics import scores as figures
from kddim.metrics.encoders import Encoder
from kddim.metrics.estimators import FID_WORDS, Estimator, Unbiased
from kddim.metrics.feature_set import FeatureSet, collect_features


@dataclasses.dataclass(frozen=True)
class Reference:
    """Features of real images, with the encoder that made them and the estimator of scores.

    `kddim.evaluation.make_reference` makes one, and `kddim.metrics.save_reference` writes one to
    a file.

    Args:
        encoder: Encoder that made the features.
        feature_set: Features of the real images.
        description: Description of the images: `real`, `real_images` and `image_size`.
        estimator: Estimator of KID and FID.
    """

    encoder: Encoder
    feature_set: FeatureSet
    description: dict[str, Any]
    estimator: type[Estimator] = Unbiased

    @property
    def features(self) -> np.ndarray:
        """Features of the first images, `(n, d)`."""
        return self.feature_set.features

    @property
    def count(self) -> int:
        """Number of images."""
        return self.feature_set.count

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about anything odd in the images."""
        return self.feature_set.remarks

    def score(
        self, images: np.ndarray, metrics: Sequence[str] = ("kid",), batch_size: int = 64
    ) -> dict[str, float]:
        """Compute figures of quality of generated images.

        Args:
            images: At least 4 images `(n, height, width, channels)` in [0, 1].
            metrics: Names among "kid", "fid" and "prdc".
            batch_size: Number of images that are encoded at once.

        Returns:
            Numbers by name, as `kddim.metrics.scores.scores` returns them.

        Raises:
            ValueError: If a metric is unknown, or there are too few images for it.
        """
        metrics = figures.check_metrics(metrics)
        generated = collect_features(self.encoder, [images], "generated", batch_size)
        return figures.scores(self.feature_set, generated, metrics, self.estimator)

    def report(self, generated: FeatureSet, metrics: Sequence[str]) -> dict[str, Any]:
        """Return scores of generated images with remarks and with their protocol.

        Args:
            generated: Features of at least 4 generated images, made by the same encoder.
            metrics: Names among "kid", "fid" and "prdc".

        Returns:
            Numbers by name, as `kddim.metrics.scores.scores` returns them, `remarks` (a list of
            sentences) and `protocol` (JSON values by name).
        """
        return figures.scores(self.feature_set, generated, metrics, self.estimator) | {
            "remarks": figures.remarks(self.feature_set, generated, metrics, self.estimator),
            "protocol": self.protocol(generated.count, metrics),
        }

    def protocol(self, num_images: int, metrics: Sequence[str]) -> dict[str, Any]:
        """Return what a score has to be reported with, as JSON values by name.

        Args:
            num_images: Number of generated images.
            metrics: Names among "kid", "fid" and "prdc".
        """
        found = {
            "metric": ", ".join(name.upper() for name in metrics),
            "encoder": self.encoder.description,
        } | self.description
        kept = len(self.features)
        if kept < self.count:
            found["real_features_kept"] = kept
        found["protocol"] = self.estimator.name
        if "kid" in metrics:
            found["estimator"] = self.estimator.words
            found["subsets"] = self.estimator.describe_parts(min(kept, num_images))
        if "fid" in metrics:
            found["fid_estimator"] = FID_WORDS
        return found | {"generated_images": num_images}
