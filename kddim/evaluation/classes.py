"""Scores of each class, of images that were generated with the labels of real ones."""

from typing import Any

import numpy as np

from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.reference import Reference
from kddim.metrics.scores import scores

_LEAST = 4  # images of a class, real and generated


def class_scores(
    reference: Reference,
    generated: FeatureSet,
    labels: tuple[np.ndarray, np.ndarray],
    names: tuple[str, ...],
    metrics: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Return the scores of each class with at least four real and four generated images.

    Args:
        reference: Features of real images.
        generated: Features of generated images.
        labels: Labels of the real and of the generated images, in their order.
        names: Names of the classes.
        metrics: Names among "kid" and "fid". Others are left out.

    Returns:
        One row per class: `class`, `real` and `generated` (numbers of images), and for each
        metric its value and its standard error.
    """
    chosen = tuple(name for name in metrics if name in ("kid", "fid"))
    rows = []
    for number, name in enumerate(names):
        real, fake = (
            FeatureSet(side.features[known[: len(side.features)] == number])
            for side, known in zip((reference.feature_set, generated), labels)
        )
        if not chosen or min(real.count, fake.count) < _LEAST:
            continue
        found = scores(real, fake, chosen, reference.estimator)
        kept = {key: found[key] for metric in chosen for key in (metric, f"{metric}_std")}
        rows.append({"class": name, "real": real.count, "generated": fake.count, **kept})
    return rows
