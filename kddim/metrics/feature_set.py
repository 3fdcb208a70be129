"""Features of a set of images, and the accumulator that collects them batch by batch."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kddim.images import check_images
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_statistics import FeatureStatistics

KEPT = 10_000  # number of images whose features are kept; the others enter the statistics only
_POOL = 4096  # number of features that are held before they enter the statistics


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of a set of images.

    Args:
        features: Features of the first images, `(n, d)` float32.
        statistics: Statistics of the features of all images. None if `features` holds them all.
        image_size: Size of the images in words, such as "64x64" or "30x33 to 64x64".
        remarks: Sentences about anything odd in the images.
        fingerprint: Hash of the features of all images. Equal images in equal order have equal
            fingerprints.
        batches: Number of images of each batch, for estimators that average over batches.
            Empty if the batches have no meaning.
    """

    features: np.ndarray
    statistics: FeatureStatistics | None = None
    image_size: str = ""
    remarks: tuple[str, ...] = ()
    fingerprint: str = ""
    batches: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
        return self.statistics.count if self.statistics else len(self.features)

    @property
    def summary(self) -> Any:
        """Argument for `frechet_distance`: all features, or their statistics."""
        return self.statistics or self.features


class FeatureAccumulator:
    """Accumulator of the features of images that come in batches.

    It keeps the features of the first images and adds those of the others to statistics, so
    that memory does not grow with the number of images.

    Args:
        side: Name of the set of images for remarks, such as "real" or "generated".
        kept: Number of images whose features are kept. None is `KEPT`.

    Attributes:
        count: Number of images so far.
    """

    def __init__(self, side: str, kept: int | None = None):
        self.side = side
        self.count = 0
        self._room = KEPT if kept is None else kept
        self._first: list[np.ndarray] = []
        self._pool: list[np.ndarray] = []
        self._rest = FeatureStatistics()
        self._batches: list[int] = []
        self._digest = hashlib.sha256()
        self._sizes: set[tuple[int, ...]] = set()
        self._example: np.ndarray | None = None
        self._alike, self._brightest = True, 0.0

    def add(self, images: Iterable[np.ndarray], features: np.ndarray) -> None:
        """Add a batch of images and their features.

        Args:
            images: Arrays `(n, height, width, channels)` in [0, 1], whose sizes may differ.
            features: Features of all these images, `(n, d)`.
        """
        for group in images:
            self._look_at(group)
        self.count += len(features)
        self._batches.append(len(features))
        self._digest.update(features.tobytes())
        kept, rest = features[: self._room], features[self._room :]
        self._room -= len(kept)
        if len(kept) or not self._first:
            self._first.append(kept)
        if len(rest):
            self._pool.append(rest)
        if sum(map(len, self._pool)) > _POOL:
            self._empty_pool()

    def add_statistics(self, statistics: FeatureStatistics) -> None:
        """Add images of which only the statistics of their features are known."""
        self.count += statistics.count
        self._rest = self._rest.merge(statistics)

    def feature_set(self) -> FeatureSet:
        """Return the features so far."""
        self._empty_pool()
        features = np.concatenate(self._first) if self._first else np.zeros((0, 0), "float32")
        statistics = FeatureStatistics(features).merge(self._rest) if self._rest.count else None
        return FeatureSet(
            features,
            statistics,
            self._image_size(),
            tuple(self.remarks()),
            self._digest.hexdigest()[:16],
            tuple(self._batches),
        )

    def remarks(self) -> list[str]:
        """Return sentences about anything odd in the images so far."""
        found: list[str] = []
        if self._example is None:
            return found
        if self.count > 1 and self._alike:
            found.append(f"all {self.count:,} {self.side} images are alike")
        if self._brightest < 1 / 64:
            found.append(
                f"no pixel of the {self.side} images exceeds {self._brightest:.4f} of [0, 1]: "
                "were they divided by 255 twice?"
            )
        return found

    def _look_at(self, images: np.ndarray) -> None:
        self._sizes.add(images.shape[1:3])
        self._brightest = max(self._brightest, float(images.max()))
        if self._example is None:
            self._example = images[0].copy()
        if self._alike:  # to the precision of 256 levels
            same_size = images.shape[1:] == self._example.shape
            self._alike = same_size and bool(np.abs(images - self._example).max() < 0.5 / 255)

    def _image_size(self) -> str:
        sides = list(zip(*self._sizes))
        bounds = ["x".join(str(bound(side)) for side in sides) for bound in (min, max)]
        return " to ".join(dict.fromkeys(bounds))

    def _empty_pool(self) -> None:
        # Each update of the statistics costs several (d, d) matrices: not one per small batch.
        if self._pool:
            self._rest.update(np.concatenate(self._pool))
            self._pool.clear()


def encode_batch(
    encoder: Encoder, batch: Any, batch_size: int = 64
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Return the images of a batch, checked, and their features.

    Args:
        encoder: Encoder of the images.
        batch: Images in [0, 1]: an array `(n, height, width, channels)`, or a list of arrays
            `(height, width, channels)` whose sizes may differ.
        batch_size: Number of images that are encoded at once.

    Returns:
        Arguments of `FeatureAccumulator.add`: a list of arrays of images, and float32
        features `(n, d)`.

    Raises:
        ValueError: If the images have another shape or range.
    """
    if isinstance(batch, list):
        images = [check_images(image[None]) for image in batch]
        return images, encoder.of_any_sizes(batch, batch_size)
    images = [check_images(batch)]
    return images, encoder(images[0], batch_size)


def collect_features(
    encoder: Encoder,
    batches: Iterable[Any],
    side: str,
    batch_size: int = 64,
    advance: Callable[[int], None] | None = None,
) -> FeatureSet:
    """Encode images in one pass, without ever holding them all in memory.

    Args:
        encoder: Encoder of the images.
        batches: Batches of images, as in `encode_batch`.
        side: Name of the set of images for remarks, such as "real" or "generated".
        batch_size: Number of images that are encoded at once.
        advance: Function that is called with the number of images of each finished batch.

    Raises:
        ValueError: If there are no images, or images of another shape or range.
    """
    found = FeatureAccumulator(side)
    for batch in batches:
        images, features = encode_batch(encoder, batch, batch_size)
        found.add(images, features)
        if advance:
            advance(len(features))
    if not found.count:
        raise ValueError(f"Expected at least one {side} image. Received: none")
    return dataclasses.replace(found.feature_set(), batches=())
