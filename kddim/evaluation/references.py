"""Features of real images: computed once, then read from the cache."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from kddim import cache
from kddim.evaluation.sources import RealImages, check_enough
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import KEPT, collect_features
from kddim.metrics.protocols import KID_PROTOCOLS, check_protocol, encoder_of
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import (
    is_reference,
    load_reference,
    protocol_of,
    save_reference,
)
from kddim.progress import show_batches

log = logging.getLogger("kddim")


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
    """Encodes real images in one pass, or reads what was kept of them.

    Args:
        source: see `kddim.data.load`; or a file that `kddim stats` made, which decides
            the images, and the encoder and the protocol that are None.
        image_shape: `(height, width, channels)` of the model; or None for images at their
            own sizes.
        encoder: see `kddim.metrics.encoders.get`; None is "auto".
        weights: a local file for a named encoder.
        protocol: "unbiased" (None), "example" or "standard": see `kddim.metrics.KID`.
        num_images: at most so many; None takes all.
        split: "validation", "train" or "all" images of the source.
        batch_size: of encoding.
        use_cache: keeps the features in the cache, and takes them from there.
        verbose: 1 draws a progress bar.
        **loading: see `RealImages`.

    Raises:
        ValueError: an option or the source cannot be used; fewer than four images; a file
            made with another encoder or protocol than asked for.
    """
    if is_reference(source):
        return _from_file(source, encoder, weights, protocol)
    if num_images is not None and num_images < 4:
        raise ValueError(f"Expected num_images of at least 4. Received: {num_images}")
    images = RealImages(source, image_shape, split, num_images, **loading)
    images.check_source()
    protocol = check_protocol(protocol or "unbiased", KID_PROTOCOLS)
    encode = encoder_of("auto" if encoder is None else encoder, None, protocol, weights)
    return reference_of(
        images, encode, protocol, batch_size=batch_size, use_cache=use_cache, verbose=verbose
    )


def _from_file(source: Any, encoder: Any, weights: Any, protocol: str | None) -> Reference:
    if encoder is None:
        return load_reference(source, None, weights, protocol)
    own = protocol or protocol_of(source)
    return load_reference(source, encoder_of(encoder, None, own, weights), None, protocol)


def reference_of(
    images: RealImages,
    encoder: Encoder,
    protocol: str = "unbiased",
    *,
    batch_size: int = 64,
    use_cache: bool = True,
    verbose: int = 0,
) -> Reference:
    """The reference of images, from the cache where it is there."""
    path = _cached_path(images, encoder, protocol) if use_cache else None
    kept = _from_cache(path, images, encoder) if path else None
    if kept:
        return kept
    reference = _encode(images, encoder, protocol, batch_size, verbose)
    if path and cache.make_folder_of(path):
        try:
            log.info("features of %s kept in %s", images.words, save_reference(reference, path))
        except OSError as error:
            log.info("nothing is cached: %s", error)
    return reference


def _encode(
    images: RealImages, encoder: Encoder, protocol: str, batch_size: int, verbose: int
) -> Reference:
    what = f"encoding {len(images):,} images ({images.words}) with {encoder.description}"
    with show_batches(what, len(images), verbose) as advance:
        found = collect_features(
            encoder, images.batches(batch_size), images.side, batch_size, advance
        )
    check_enough(found.count, images.words)
    description = {
        "image_size": found.image_size,
        "real_images": found.count,
        "real": images.words,
    }
    return Reference(
        encoder,
        found.features,
        description,
        found.statistics,
        protocol,
        found.remarks,
        found.fingerprint,
    )


def _cached_path(images: RealImages, encoder: Encoder, protocol: str) -> Path | None:
    """None for an encoder that has no name to be known again by."""
    if encoder.options is None:
        return None
    key = {
        "images": images.key(),
        "encoder": dict(encoder.options),
        "protocol": protocol,
        "kept": KEPT,
    }
    return cache.cached_path("references", key, ".npz")


def _from_cache(path: Path, images: RealImages, encoder: Encoder) -> Reference | None:
    if not path.is_file():
        return None
    try:
        reference = load_reference(path, encoder)
    except ValueError as error:
        log.info("a file of the cache is made anew: %s", error)
        return None
    log.info("features of %s from the cache: %s", images.words, path)
    # The same images may have come under another name before.
    return dataclasses.replace(
        reference, description=reference.description | {"real": images.words}
    )
