"""Two sets of images from anywhere: what `kddim compare` calls."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from kddim.evaluation.references import make_reference
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
    """Scores of one set of images against another, at their own sizes, not cropped.

    Args:
        first: the images that count as real: "digits", a folder of pictures, a `.npy` or
            `.npz` file of images, or a file that `kddim stats` made.
        second: those that are judged, likewise.
        metrics: see `kddim.metrics.scores`.
        encoder: see `kddim.metrics.encoders.get`; None is that of a file of statistics
            among the two, or "auto".
        weights: a local file for a named encoder.
        protocol: None is that of a file of statistics among the two, or "standard".
        num_images: of each side, at most so many; None takes all.
        **options: `batch_size`, `use_cache` and `verbose`: see `make_reference`.

    Returns:
        What `kddim.metrics.scores.scores` returns, `remarks` and `protocol`.

    Raises:
        ValueError: an option or a source cannot be used; files of different encoders.
    """
    metrics = check_metrics(metrics)
    if protocol is None and not (is_reference(first) or is_reference(second)):
        protocol = "standard"
    sides: dict[str, Reference] = {}
    # What a file of statistics was made with is read before the other side is encoded.
    order = sorted([("first", first), ("second", second)], key=lambda s: not is_reference(s[1]))
    for name, source in order:
        own: dict[str, Any] = {} if is_reference(source) else {"side": f"{name} set's"}
        sides[name] = made = make_reference(
            source,
            None,
            encoder=encoder,
            weights=weights,
            protocol=protocol,
            num_images=num_images,
            split="all",
            **own,
            **options,
        )
        encoder, weights, protocol = made.encoder, None, made.protocol_name
    return _scored(sides["first"], sides["second"], metrics)


def _scored(real: Reference, judged: Reference, metrics: tuple[str, ...]) -> dict[str, Any]:
    protocol = real.protocol(judged.count, metrics) | {
        "generated": judged.description["real"],
        "generated_image_size": judged.description["image_size"],
    }
    log.info("comparing the features: %s", ", ".join(metrics))
    found = real.score_features(judged.feature_set, metrics)
    remarks = real.remarks_on(judged.feature_set, metrics)
    return found | {"remarks": remarks, "protocol": protocol}
