"""References made of real images: encoded once, then read from the cache."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from kddim import cache
from kddim.checks import check_count
from kddim.evaluation.sources import RealImages
from kddim.metrics import estimators
from kddim.metrics.encoders import Encoder
from kddim.metrics.estimators import Estimator
from kddim.metrics.feature_set import KEPT, collect_features
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import is_reference, load_reference, save_reference
from kddim.progress import show_batches

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How real images are encoded into references, and whether these are cached.

    Args:
        encoder: Encoder of the images.
        estimator: Estimator of KID and FID.
        batch_size: Number of images that are encoded at once.
        use_cache: If true, the features are read from the cache, or written to it.
        verbose: 1 draws a progress bar, 0 does not.
    """

    encoder: Encoder
    estimator: type[Estimator] = estimators.Unbiased
    batch_size: int = 64
    use_cache: bool = True
    verbose: int = 0

    def reference_of(self, images: RealImages) -> Reference:
        """Return the reference of real images, from the cache if it is there.

        Args:
            images: Real images.
        """
        # An encoder without options has no name to find its features by.
        named = self.encoder.options is not None
        path = self._cached_path(images) if self.use_cache and named else None
        kept = self._from_cache(path, images) if path and path.is_file() else None
        if kept:
            return kept
        reference = self._encode(images)
        if path:
            try:
                save_reference(reference, path)
                log.info("features of %s written to %s", images.words, path)
            except OSError as error:
                log.info("nothing is cached: %s", error)
        return reference

    def _encode(self, images: RealImages) -> Reference:
        words = f"encoding {len(images):,} images ({images.words}) with {self.encoder.description}"
        with show_batches(words, len(images), self.verbose) as advance:
            batches = images.batches(self.batch_size)
            found = collect_features(self.encoder, batches, images.side, self.batch_size, advance)
        if found.count < 4:
            raise ValueError(
                f"Expected at least 4 real images. Received: {found.count} ({images.words})"
            )
        description = {
            "image_size": found.image_size,
            "real_images": found.count,
            "real": images.words,
        }
        return Reference(self.encoder, found, description, self.estimator)

    def _cached_path(self, images: RealImages) -> Path:
        key = {
            "images": images.key(),
            "encoder": dict(self.encoder.options or {}),
            "protocol": self.estimator.name,
            "kept": KEPT,
        }
        return cache.cached_path("references", key, ".npz")

    def _from_cache(self, path: Path, images: RealImages) -> Reference | None:
        try:
            reference = load_reference(path, self.encoder)
        except ValueError as error:
            log.info("a file of the cache cannot be used and is made anew: %s", error)
            return None
        log.info("features of %s read from the cache: %s", images.words, path)
        # The same images may have been encoded under another name.
        return dataclasses.replace(
            reference, description=reference.description | {"real": images.words}
        )


def make_reference(
    source: str | os.PathLike,
    image_shape: tuple[int, int, int | None] | None,
    *,
    encoder: Any = None,
    weights: str | os.PathLike | None = None,
    protocol: str | None = None,
    num_images: int | None = 1000,
    split: str = "validation",
    batch_size: int = 64,
    use_cache: bool = True,
    verbose: int = 0,
    **loading: Any,
) -> Reference:
    """Encode real images in one pass, or read their features from a file.

    Args:
        source: Source of images, as `kddim.data.load` takes it, or a file that `kddim stats`
            wrote. Such a file decides the images, and the encoder and the protocol if these are
            None.
        image_shape: Shape `(height, width, channels)` of the images of the model. None takes
            images at their own sizes.
        encoder: Name of an encoder, a Keras model, a callable or an `Encoder`. None is "auto".
        weights: Local file of weights for a named encoder.
        protocol: "unbiased", "example" or "standard", as in `kddim.metrics.KID`. None is
            "unbiased".
        num_images: Largest number of images. None takes all.
        split: Part of the source: "validation", "train" or "all".
        batch_size: Number of images that are encoded at once.
        use_cache: If true, the features are read from the cache, or written to it.
        verbose: 1 draws a progress bar, 0 does not.
        **loading: Options of `RealImages`: `validation_split`, `limit`, `data_seed`, `side`.

    Raises:
        ValueError: If an option or the source cannot be used, there are fewer than four images,
            or a file was made with another encoder or protocol.
    """
    check_count("batch_size", batch_size)
    if is_reference(source):
        return load_reference(source, encoder, weights, protocol)
    if num_images is not None and num_images < 4:
        raise ValueError(f"Expected num_images of at least 4. Received: {num_images}")
    images = RealImages(source, image_shape, split, num_images, **loading)
    estimator = estimators.get(protocol or "unbiased")
    encode = estimator.encoder("auto" if encoder is None else encoder, None, weights)
    return Encoding(encode, estimator, batch_size, use_cache, verbose).reference_of(images)
