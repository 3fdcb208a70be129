"""The floor: how real images score against other real ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim import cache
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.reference import Reference
from kddim.metrics.scores import scores


def floor_of(
    reference: Reference,
    others: Reference | None,
    metrics: Sequence[str],
    *,
    use_cache: bool = True,
) -> dict[str, Any]:
    """The score that a perfect model of these data would have, and its deviation.

    Args:
        reference: the real images that models are measured against.
        others: real images that it does not hold; None compares its halves, and so
            half as many images, which raises FID.
        metrics: see `kddim.metrics.scores`.
        use_cache: keeps the figures in the cache, and takes them from there.

    Returns:
        What `kddim.metrics.scores.scores` returns, and `of`: what was compared. Empty
        where there are too few images.
    """
    real, generated, words = _sides(reference, others)
    if min(real.count, generated.count) < 8:
        return {}
    key = [real.fingerprint, generated.fingerprint, list(metrics), reference.protocol_name]
    path = cache.cached_path("floors", key, ".json") if use_cache and all(key) else None
    found = cache.read_json(path) if path else None
    if not isinstance(found, dict):
        found = scores(real, generated, metrics, reference.protocol_name)
        if path:
            cache.write_json(path, found)
    return found | {"of": words}


def _sides(reference: Reference, others: Reference | None) -> tuple[FeatureSet, FeatureSet, str]:
    real = reference.feature_set
    if others is not None and others.count >= 8:
        count, words = others.count, others.description.get("real", "others")
        return real, others.feature_set, f"{count:,} real images ({words})"
    order = np.random.default_rng(0).permutation(len(real.features))
    middle = len(order) // 2
    halves = [
        FeatureSet(real.features[rows], fingerprint=real.fingerprint and real.fingerprint + name)
        for rows, name in ((order[:middle], "a"), (order[middle : 2 * middle], "b"))
    ]
    return halves[0], halves[1], f"two halves of the real images, {middle:,} each"
