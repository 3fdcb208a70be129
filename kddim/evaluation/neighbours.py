"""Generated images beside their nearest training images, which show whether a model copies."""

import dataclasses
import logging
import os
from typing import Any

import numpy as np

from kddim.data.decode import to_float32
from kddim.evaluation.real_parts import RealParts
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.nearest_neighbours import nearest_neighbours
from kddim.plots import plot_neighbours

log = logging.getLogger("kddim")

ROWS, NEAREST = 8, 5


def search_neighbours(
    path: str | os.PathLike, real: RealParts, generated: FeatureSet, images: np.ndarray
) -> dict[str, float]:
    """Draw generated images beside their nearest training images, and measure copying.

    Args:
        path: PNG file to write.
        real: Real images, with a training and a validation part.
        generated: Features of the generated images.
        images: Generated images, `(n, height, width, channels)` uint8.

    Returns:
        Numbers by name, as `copying` returns them, and `training_images_searched`. Only the
        latter if there are too few validation images.
    """
    source: Any = real.images
    training: Any = real.part("train", None)
    searched = len(training.features)
    if searched < training.count:
        log.warning(
            "neighbours are sought among the first %s of %s training images",
            *(f"{searched:,}", f"{training.count:,}"),
        )
    features = generated.features, training.features
    pixels = dataclasses.replace(source, split="train", num_images=None).arrays[0]
    draw_neighbours(path, images[: len(features[0])], pixels[:searched], features)
    found: dict[str, float] = {"training_images_searched": searched}
    held_out = real.part("validation", source.num_images, least=8)
    if held_out is None:
        log.warning("there are too few validation images to tell whether the model copies")
        return found
    return found | copying(generated.features, held_out.features, training.features)


def copying(generated: np.ndarray, held_out: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """Measure how near generated images lie to training images, beside held-out real images.

    Args:
        generated: Features of generated images, `(n, d)`.
        held_out: Features of real images that the model was not trained on, `(m, d)`.
        training: Features of training images, `(k, d)`.

    Returns:
        `neighbour_distance` and `neighbour_distance_real`, the median distances of generated and
        of held-out images to their nearest training image. `copy_ratio`, the first over the
        second: near 1 if the model does not copy, near 0 if it does. `copy_share`, the share of
        generated images that lie nearer than 99 % of the held-out images do: 0.01 by chance.
    """
    near = nearest_neighbours(generated, training)[1][:, 0]
    real = nearest_neighbours(held_out, training)[1][:, 0]
    return {
        "neighbour_distance": float(np.median(near)),
        "neighbour_distance_real": float(np.median(real)),
        "copy_ratio": float(np.median(near) / max(float(np.median(real)), 1e-12)),
        "copy_share": float(np.mean(near < np.quantile(real, 0.01))),
    }


def draw_neighbours(
    path: str | os.PathLike,
    generated: np.ndarray,
    training: np.ndarray,
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    """Draw the generated images that lie nearest to training images, beside these.

    Args:
        path: PNG file to write.
        generated: Generated images, `(n, height, width, channels)` uint8.
        training: Training images, `(m, height, width, channels)`, uint8 or floats in [0, 1].
        features: Features of the generated and of the training images.
    """
    nearest = min(NEAREST, len(training))
    indices, distances = nearest_neighbours(features[0], features[1], nearest)
    rows = np.argsort(distances[:, 0], kind="stable")[:ROWS]
    pictures = [
        np.concatenate([to_float32(generated[[row]]), to_float32(training[indices[row]])])
        for row in rows
    ]
    labels = [["generated", *(f"{value:.3g}" for value in distances[row])] for row in rows]
    plot_neighbours(
        pictures, labels, path, title="generated images and their nearest training images"
    )
