"""Estimators of KID and FID: one class per name of the public argument `protocol`."""

import functools
from typing import Any, ClassVar

import numpy as np

from kddim.checks import check_choice
from kddim.metrics import encoders
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kernel_error import mmd_with_error

SUBSETS, SUBSET_SIZE = 100, 1000
BATCH = 64  # number of images per batch of the keras.io example
FEW = 2048  # number of images below which FID is unreliable, whatever the encoder
FID_WORDS = "Fréchet distance of all images"


class Estimator:
    """KID and FID of generated images, estimated from the features of two sets of images.

    Each value is computed when it is first read, and then kept. Subclasses differ in how they
    estimate KID, and in how they let Inception see the images.

    Args:
        real: Features of real images.
        generated: Features of generated images.
        **kernel: Options of the kernel of KID: `degree`, `gamma` and `coef`, as in
            `polynomial_mmd`.

    Attributes:
        name: Name of the estimator, as the public argument `protocol` takes it.
        words: Description of the estimate of KID.
        num_images: Default number of images to generate.
        antialias: True if Inception sees 299x299 pixels, resized with antialiasing. False if it
            sees 75x75 pixels, resized without.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    num_images: ClassVar[int] = 1000
    antialias: ClassVar[bool] = False

    def __init__(self, real: FeatureSet, generated: FeatureSet, **kernel: Any):
        self.real, self.generated, self.kernel = real, generated, kernel

    @property
    def kid(self) -> float:
        """Estimate of KID. NaN if there are too few images."""
        return self.kid_parts[0]

    @property
    def kid_with_error(self) -> tuple[float, float]:
        """Estimate of KID, and its standard error or its standard deviation over parts."""
        return self.kid_parts

    @functools.cached_property
    def kid_parts(self) -> tuple[float, float]:
        """Mean and standard deviation of KID over parts of the images. NaN for few images."""
        size = self.subset_size(self._kept)
        if size < 2:
            return float("nan"), float("nan")
        options = {"subsets": SUBSETS, "subset_size": size} | self.kernel
        return kernel_distance(self.real.features, self.generated.features, **options)

    @functools.cached_property
    def fid(self) -> float:
        """Fréchet distance of the features of all images. NaN if a set has fewer than two."""
        if self.smaller < 2:
            return float("nan")
        return frechet_distance(self.real.summary, self.generated.summary)

    def fid_error(self, groups: int = 10) -> float:
        """Return the standard error of FID that comes from the generated images.

        It is computed from the features that are kept. If there are more images, it is scaled
        by the root of the ratio of the numbers.

        Args:
            groups: Number of groups of the jackknife, as in `frechet_deviation`.
        """
        kept = self.generated.features
        error = frechet_deviation(self.real.summary, kept, groups)
        return error * float(np.sqrt(len(kept) / self.generated.count))

    @property
    def kid_remarks(self) -> list[str]:
        """Sentences about anything that makes this KID unreliable."""
        return []

    @property
    def fid_remarks(self) -> list[str]:
        """Sentences about anything that makes this FID unreliable."""
        wanted = max(FEW, self.generated.features.shape[1])
        if not 2 <= self.smaller < wanted:
            return []
        return [
            f"FID of {self.smaller:,} images is biased upwards: take at least {wanted:,} a "
            "side, or KID, and compare only values of equally many images"
        ]

    @property
    def smaller(self) -> int:
        """Number of images of the smaller set."""
        return min(self.real.count, self.generated.count)

    @property
    def _kept(self) -> int:
        return min(len(self.real.features), len(self.generated.features))

    @classmethod
    def subset_size(cls, smaller: int) -> int:
        """Return the number of images per random subset.

        Subsets of more than half of the images would share most of them, and so their standard
        deviation would be too small.

        Args:
            smaller: Number of images of the smaller set.
        """
        return min(SUBSET_SIZE, smaller // 2)

    @classmethod
    def describe_parts(cls, smaller: int) -> str:
        """Return the parts that KID is averaged over, in words.

        Args:
            smaller: Number of images of the smaller set.
        """
        return f"{SUBSETS} of {cls.subset_size(smaller)}"

    @classmethod
    def encoder(
        cls, identifier: Any, image_size: int | None = None, weights: Any = None
    ) -> encoders.Encoder:
        """Return an encoder that sees images at the size of this estimator.

        Args:
            identifier: Name of an encoder, a Keras model, a callable or an `Encoder`. Only
                named networks resize images.
            image_size: Side in pixels that a named network sees. None is the size of the
                estimator for Inception, and the network's own size for others.
            weights: Local file of weights for a named network.
        """
        if cls.antialias and image_size is None and identifier in ("inception_v3", "auto"):
            image_size = 299
        return encoders.get(identifier, image_size, weights, antialias=cls.antialias)


class Unbiased(Estimator):
    """The unbiased estimate of KID over all images."""

    name = "unbiased"
    words = "unbiased estimate over all images"

    @functools.cached_property
    def kid(self) -> float:  # type: ignore[override]
        """KID over all images. NaN if there are fewer than two of either kind."""
        if self._kept < 2:
            return float("nan")
        return polynomial_mmd(self.real.features, self.generated.features, **self.kernel)

    @functools.cached_property
    def kid_with_error(self) -> tuple[float, float]:  # type: ignore[override]
        """KID and its standard error."""
        return mmd_with_error(self.real.features, self.generated.features)


class Standard(Estimator):
    """The estimate of the literature: the mean of KID over random subsets of 1,000 images."""

    name = "standard"
    words = f"mean over {SUBSETS} random subsets of {SUBSET_SIZE:,} images"
    num_images = 10_000
    antialias = True

    @classmethod
    def subset_size(cls, smaller: int) -> int:
        """Return 1,000, or half of a smaller number of images."""
        return SUBSET_SIZE if smaller >= SUBSET_SIZE else smaller // 2

    @property
    def kid_remarks(self) -> list[str]:
        """Sentences about numbers of images that do not suit the subsets."""
        smaller = self._kept
        if not 4 <= smaller < 2 * SUBSET_SIZE:
            return []
        if smaller >= SUBSET_SIZE:
            return [
                f"subsets of {SUBSET_SIZE:,} of {smaller:,} images share most of them: the "
                "deviation between them is too small"
            ]
        return [
            f"KID by the standard protocol wants at least {SUBSET_SIZE:,} images a side; of "
            f"{smaller} it takes subsets of {self.subset_size(smaller)}"
        ]


class Example(Estimator):
    """The estimate of the keras.io example: the mean of the KIDs of single batches."""

    name = "example"
    words = "mean of the estimates of single batches, as in the keras.io example"

    @functools.cached_property
    def kid_parts(self) -> tuple[float, float]:
        """Mean and standard deviation of the KIDs of the batches."""
        pairs = zip(self._batches(self.real), self._batches(self.generated))
        values = [polynomial_mmd(real, generated, **self.kernel) for real, generated in pairs]
        return (float(np.mean(values)), float(np.std(values))) if values else (float("nan"),) * 2

    def _batches(self, side: FeatureSet) -> list[np.ndarray]:
        """Return the batches as they came, else batches of 64 without an incomplete last one."""
        sizes = side.batches
        if not sizes and self._kept:
            size = min(BATCH, self._kept)
            sizes = (size,) * (self._kept // size)
        return np.split(side.features[: sum(sizes)], np.cumsum(sizes)[:-1]) if sizes else []

    @classmethod
    def describe_parts(cls, smaller: int) -> str:
        """Return the number and the size of the batches, in words."""
        size = min(BATCH, smaller)
        return f"{smaller // size} batches of {size}"


FID_ESTIMATORS: dict[str, type[Estimator]] = {"example": Example, "standard": Standard}
KID_ESTIMATORS: dict[str, type[Estimator]] = {"unbiased": Unbiased} | FID_ESTIMATORS


def get(name: Any, known: dict[str, type[Estimator]] = KID_ESTIMATORS) -> type[Estimator]:
    """Return the estimator of a name.

    Args:
        name: Value of the public argument `protocol`.
        known: Estimators to choose from, by name.

    Raises:
        ValueError: If there is no such estimator.
    """
    return known[check_choice("protocol", name, known)]
