"""What metrics keep of the images they see: features, counts, and suspicions."""

import logging
from typing import Any

import numpy as np

from kddim.images import check_images
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_statistics import FeatureStatistics

log = logging.getLogger("kddim")

_KEPT = 4096  # features held before they become statistics


class ImageSet:
    """One side of a metric: counts its images and looks at them.

    Args:
        side: "real" or "generated", for messages.

    Attributes:
        count: images seen.
        image_size: "HEIGHTxWIDTH" of the last ones; None before.
    """

    def __init__(self, side: str):
        self.side = side
        self.count = 0
        self.image_size: str | None = None
        self._first: np.ndarray | None = None
        self._alike = False
        self._brightest = 1.0

    def see(self, images: np.ndarray) -> None:
        """Counts images `(n, height, width, channels)` in [0, 1], n at least 1."""
        if self._first is None:
            self._first, self._alike, self._brightest = images[0].copy(), True, 0.0
        self.count += len(images)
        self.image_size = f"{images.shape[1]}x{images.shape[2]}"
        self._brightest = max(self._brightest, float(images.max()))
        if self._alike:  # as far as 256 levels can tell
            same_size = images.shape[1:] == self._first.shape
            self._alike = same_size and bool(np.abs(images - self._first).max() < 0.5 / 255)

    def remarks(self) -> list[str]:
        """What is odd about the images, in sentences."""
        found = []
        if self.count > 1 and self._alike:
            found.append(f"all {self.count:,} {self.side} images are alike")
        if self._brightest < 1 / 64:
            found.append(
                f"no pixel of the {self.side} images exceeds {self._brightest:.4f} of [0, 1]: "
                "were they divided by 255 twice?"
            )
        return found


class ImagePair:
    """Both sides of a metric, and the encoder that they share.

    Plain objects like this one, on the host, are neither tracked nor saved by Keras.

    Attributes:
        real: an `ImageSet`.
        generated: likewise.
    """

    def __init__(self, encoder: Encoder):
        self._encoder = encoder
        self.real, self.generated = ImageSet("real"), ImageSet("generated")
        self._made: set[str] = set()

    def encode(self, *images: Any) -> list[np.ndarray | None]:
        """Features of real and of generated images, either of which may be None.

        Raises:
            ValueError: see `kddim.images.check_images`; then neither side is counted.
        """
        arrays = [None if side is None else check_images(side) for side in images]
        features = [None if side is None else self._encoder(side) for side in arrays]
        for known, array in zip((self.real, self.generated), arrays):
            if array is not None:
                known.see(array)
        return features

    def warn(self, *others: str) -> None:
        """Logs what is odd about the images, and other remarks, each once."""
        for remark in [*self.real.remarks(), *self.generated.remarks(), *others]:
            if remark not in self._made:
                log.warning("%s", remark)
                self._made.add(remark)

    @property
    def protocol(self) -> dict[str, Any]:
        """What was compared."""
        return {
            "encoder": self._encoder.description,
            "image_size": self.generated.image_size or self.real.image_size,
            "real_images": self.real.count,
            "generated_images": self.generated.count,
        }


class FeaturePool:
    """Features of one side: a few as they are, many as statistics of groups.

    Features are dealt to groups at random, always the same way, so that the groups'
    statistics give a standard error by the jackknife.

    Args:
        groups: how many, at least 1. Each of d features holds a `(d, d)` matrix, 33 MB
            for Inception's, once there are more than 4,096 features.
    """

    def __init__(self, groups: int = 1):
        self._groups = [FeatureStatistics() for _ in range(groups)]
        self._kept: list[np.ndarray] = []
        self._random = np.random.default_rng(0)

    def add(self, features: np.ndarray) -> None:
        """Adds features `(n, d)`."""
        self._kept.append(features)
        if sum(map(len, self._kept)) > _KEPT:
            self._deal()

    def merge(self, statistics: FeatureStatistics) -> None:
        """Adds features that only their statistics are known of, to the first group."""
        self._deal()
        self._groups[0] = self._groups[0].merge(statistics)

    def _deal(self) -> None:
        if self._kept:
            features = np.concatenate(self._kept)
            features = features[self._random.permutation(len(features))]
            for number, group in enumerate(self._groups):
                group.update(features[number :: len(self._groups)])
            self._kept.clear()

    def summary(self) -> Any:
        """All features `(n, d)` while they are few, else their `FeatureStatistics`."""
        if self._kept and not any(group.count for group in self._groups):
            self._kept = [np.concatenate(self._kept)]
            return self._kept[0]
        whole = FeatureStatistics()
        for group in self.groups():
            whole = whole.merge(group)
        return whole

    def groups(self) -> Any:
        """What `frechet_deviation` takes: all features, or the statistics of each group."""
        if self._kept and not any(group.count for group in self._groups):
            return self.summary()
        self._deal()
        return self._groups
