"""Comparison of two sets of images from any sources, as `kddim compare` makes it."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from kddim.evaluation.references import make_reference
from kddim.evaluation.sources import RealImages
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import is_reference
from kddim.metrics.scores import METRICS, check_metrics

log = logging.getLogger("kddim")


def compare(
    first: str | os.PathLike,
    second: str | os.PathLike,
    *,
    metrics: Sequence[str] = METRICS,
    encoder: Any = None,
    weights: str | os.PathLike | None = None,
    protocol: str | None = None,
    num_images: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score one set of images against another, at their own sizes and without cropping.

    Args:
        first: Images that count as real: "digits", a folder of pictures, a `.npy` or `.npz`
            file of images, or a file that `kddim stats` wrote.
        second: Images that are scored, likewise.
        metrics: Names among "kid", "fid" and "prdc".
        encoder: Name of an encoder, a Keras model, a callable or an `Encoder`. None is the
            encoder of a file of statistics if there is one, or "auto".
        weights: Local file of weights for a named encoder.
        protocol: "unbiased", "example" or "standard", as in `kddim.metrics.KID`. None is the
            protocol of a file of statistics if there is one, or "standard".
        num_images: Largest number of images of each side. None takes all.
        **options: `batch_size`, `use_cache` and `verbose`, as in `make_reference`.

    Returns:
        Numbers by name, as `kddim.metrics.scores.scores` returns them, `remarks` (a list of
        sentences) and `protocol` (JSON values by name).

    Raises:
        ValueError: If an option or a source cannot be used, or two files of statistics were
            made with different encoders.
    """
    metrics = check_metrics(metrics)
    if protocol is None and not (is_reference(first) or is_reference(second)):
        protocol = "standard"
    for source in (first, second):
        if not is_reference(source):  # before the features of the other one are computed
            RealImages(source, None, "all", num_images)
    sides: dict[str, Reference] = {}
    # A file of statistics decides the encoder of the other side, and so comes first.
    order = sorted([("first", first), ("second", second)], key=lambda s: not is_reference(s[1]))
    for name, source in order:
        sides[name] = made = make_reference(
            source,
            None,
            encoder=encoder,
            weights=weights,
            protocol=protocol,
            num_images=num_images,
            split="all",
            side=f"{name} set's",
            **options,
        )
        encoder, weights, protocol = made.encoder, None, made.estimator.name
    judged = sides["second"]
    log.info("comparing the features: %s", ", ".join(metrics))
    found = sides["first"].report(judged.feature_set, metrics)
    found["protocol"] |= {
        "generated": judged.description.get("real", "unknown"),
        "generated_image_size": judged.description.get("image_size", "unknown"),
    }
    return found
