"""Whether a model copies: generated images beside their nearest training images."""

import os
from typing import Any

import numpy as np

from kddim.metrics.nearest_neighbours import nearest_neighbours
from kddim.plots import plot_neighbours

ROWS, NEAREST = 8, 5


def copying(generated: np.ndarray, held_out: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """How near generated images lie to training images, beside held-out real images.

    Args:
        generated: features `(n, d)`.
        held_out: features of real images that the model did not see.
        training: features of those that it saw.

    Returns:
        `neighbour_distance` and `neighbour_distance_real`, the medians of the distances of
        generated and of held-out images to their nearest training image; `copy_ratio`, the
        first over the second: 1 where the model copies no more than chance does, 0 where
        it copies; `copy_share`, of generated images that lie nearer than 99 % of held-out
        images do: 0.01 by chance.
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
    """Draws the generated images that lie nearest to training images, beside those.

    Args:
        path: PNG file to write.
        generated: images `(n, height, width, channels)`, uint8.
        training: images, likewise, or floats in [0, 1].
        features: of the two sets of images.
    """
    nearest = min(NEAREST, len(training))
    indices, distances = nearest_neighbours(features[0], features[1], nearest)
    rows = np.argsort(distances[:, 0], kind="stable")[:ROWS]
    pictures = [
        np.stack([_floats(generated[row]), *(_floats(training[index]) for index in indices[row])])
        for row in rows
    ]
    labels = [["generated", *(f"{value:.3g}" for value in distances[row])] for row in rows]
    plot_neighbours(pictures, labels, path, title="generated, and its nearest training images")


def _floats(image: Any) -> np.ndarray:
    return image / np.float32(255.0) if image.dtype == np.uint8 else image.astype("float32")
