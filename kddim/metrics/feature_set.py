"""The features of a set of images: some as they are, and the statistics of all."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kddim.images import check_images
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.image_sets import FeaturePool, ImageSet

KEPT = 10_000  # images whose features are kept; of more, statistics alone


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of images, as figures of quality take them.

    Args:
        features: `(n, d)` float32, of the first images, at most `KEPT` of them.
        statistics: of the features of all images; None where `features` are those of all.
        image_size: of the images, in words.
        remarks: what is odd about the images, in sentences.
        fingerprint: a hash of the features; equal for equal images in equal order.
    """

    features: np.ndarray
    statistics: FeatureStatistics | None = None
    image_size: str = ""
    remarks: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def count(self) -> int:
        """Images of the set."""
        return self.statistics.count if self.statistics else len(self.features)

    @property
    def summary(self) -> Any:
        """What `frechet_distance` takes: all features, or their statistics."""
        return self.statistics or self.features


class _Features:
    """Keeps the first features, and makes statistics of the rest as they come."""

    def __init__(self):
        self.first: list[np.ndarray] = []
        self.room = KEPT
        self.rest: FeaturePool | None = None
        self.digest = hashlib.sha256()

    def add(self, features: np.ndarray) -> None:
        self.digest.update(features.tobytes())
        kept, more = features[: self.room], features[self.room :]
        self.room -= len(kept)
        if len(kept):
            self.first.append(kept)
        if len(more):
            self.rest = self.rest or FeaturePool()
            self.rest.add(more)

    def finish(self) -> tuple[np.ndarray, FeatureStatistics | None]:
        features = np.concatenate(self.first)
        if self.rest is None:
            return features, None
        more = self.rest.summary()
        more = more if isinstance(more, FeatureStatistics) else FeatureStatistics(more)
        return features, FeatureStatistics(features).merge(more)


def collect_features(
    encoder: Encoder,
    batches: Iterable[Any],
    side: str,
    batch_size: int = 64,
    advance: Callable[[int], None] | None = None,
) -> FeatureSet:
    """Encodes images in one pass; never are the features of more than `KEPT` in memory.

    Args:
        encoder: makes the features.
        batches: arrays `(n, height, width, channels)` in [0, 1], or lists of arrays
            `(height, width, channels)` of differing sizes.
        side: "real" or "generated", for remarks.
        batch_size: images encoded at once.
        advance: is called with the number of images of each batch that is done.

    Raises:
        ValueError: no images, or images of another shape or range.
    """
    seen, found, sizes = ImageSet(side), _Features(), _Sizes()
    for batch in batches:
        groups = [image[None] for image in batch] if isinstance(batch, list) else [batch]
        for group in (check_images(group) for group in groups):
            seen.see(group)
            sizes.see(group.shape[1:3])
        if isinstance(batch, list):
            found.add(encoder.of_any_sizes(batch, batch_size))
        else:
            found.add(encoder(batch, batch_size))
        if advance:
            advance(len(batch))
    if not seen.count:
        raise ValueError(f"Expected at least one {side} image. Received: none")
    features, statistics = found.finish()
    digest = found.digest.hexdigest()[:16]
    return FeatureSet(features, statistics, str(sizes), tuple(seen.remarks()), digest)


class _Sizes:
    """The least and the greatest height and width, in words."""

    def __init__(self):
        self.least: tuple[int, ...] = ()
        self.most: tuple[int, ...] = ()

    def see(self, size: tuple[int, ...]) -> None:
        self.least = tuple(map(min, self.least or size, size))
        self.most = tuple(map(max, self.most or size, size))

    def __str__(self) -> str:
        least, most = ("x".join(map(str, size)) for size in (self.least, self.most))
        return least if least == most else f"{least} to {most}"
