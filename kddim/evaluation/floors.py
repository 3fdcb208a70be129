"""The floor of a score: the score of real images against other real images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim import cache, files
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.reference import Reference
from kddim.metrics.scores import scores

_FEWEST = 8  # number of images per side below which there is no floor


def floor_of(
    reference: Reference,
    others: Reference | None,
    metrics: Sequence[str],
    *,
    use_cache: bool = True,
) -> dict[str, Any]:
    """Compute the score that a perfect model of these data would have.

    Args:
        reference: Real images that models are compared with.
        others: Real images that `reference` does not hold. None, or fewer than 8 images,
            compares two halves of `reference`. FID is higher then, since a half has fewer
            images.
        metrics: Names among "kid", "fid" and "prdc".
        use_cache: If true, the figures are read from the cache, or written to it.

    Returns:
        Numbers by name, as `kddim.metrics.scores.scores` returns them, and `of`, the images that
        were compared in words. Empty if there are too few images.
    """
    real, generated, words = _sides(reference, others)
    if min(real.count, generated.count) < _FEWEST:
        return {}
    key = [real.fingerprint, generated.fingerprint, list(metrics), reference.estimator.name]
    path = cache.cached_path("floors", key, ".json") if use_cache and all(key) else None
    found = files.read_json(path) if path else None
    if not isinstance(found, dict):
        found = scores(real, generated, metrics, reference.estimator)
        if path:
            cache.write_json(path, found)
    return found | {"of": words}


def _sides(reference: Reference, others: Reference | None) -> tuple[FeatureSet, FeatureSet, str]:
    real = reference.feature_set
    if others is not None and others.count >= _FEWEST:
        words = f"{others.count:,} real images ({others.description.get('real', 'others')})"
        return real, others.feature_set, words
    order = np.random.default_rng(0).permutation(len(real.features))
    middle = len(order) // 2
    halves = [
        FeatureSet(real.features[rows], fingerprint=real.fingerprint and real.fingerprint + name)
        for rows, name in ((order[:middle], "a"), (order[middle : 2 * middle], "b"))
    ]
    return halves[0], halves[1], f"two halves of the real images, {middle:,} each"
