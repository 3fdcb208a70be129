"""Recognition of arrays that are not varied images in [0, 1] with the channels last."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_SAMPLE = 256  # number of images that are compared with one another


def mend(images: np.ndarray) -> str:
    """Return what images whose values leave [0, 1] look like, and how to mend them.

    Args:
        images: NumPy array of finite floats, at least one.

    Returns:
        Words that continue a sentence about the values, and a sentence with the mend.
    """
    low, high = float(images.min()), float(images.max())
    if low >= -0.1 and high <= 1.1:
        return ", a little outside. Clip them: np.clip(images, 0, 1)."
    if low >= -1.0001 and high <= 1.0001:
        return ", as of images in [-1, 1]. Use (images + 1) / 2."
    if low >= -1e-4 and 16.0 <= high <= 255.5:
        return ", as of 8-bit images. Divide them by 255."
    if low >= -1e-4 and 255.5 < high <= 65535.5:
        return ", as of 16-bit images. Divide them by 65535."
    if low < 0.0 and abs(np.mean(images)) < 0.75 and 0.5 < np.std(images) < 2.0:
        return (
            ", as of standardised images. Undo it, images * deviation + mean: the model "
            "normalises images itself."
        )
    return ". Rescale them."


def mend_shape(shape: tuple[int, ...], image_shape: Sequence[int | None]) -> str:
    """Return how to mend an array of images with another order of axes, or an empty string.

    Args:
        shape: Shape of the array.
        image_shape: Expected `(height, width, channels)`. None in place of a number allows any.
    """
    height, width, channels = image_shape
    first = [w in (None, s) for w, s in zip((channels, height, width), shape[1:])]
    if channels is not None and len(shape) == 4 and all(first):
        return ", with the channels first. Use np.moveaxis(images, 1, -1)."
    if channels in (1, None) and len(shape) == 3:
        return ", without an axis of channels. Use images[..., None]."
    return ""


def alikeness(images: Any) -> str | None:
    """Return a sentence about images that do not vary, or None if they do.

    Differences of one level of 256 are not counted. Of many images, 256 are compared.

    Args:
        images: uint8 values, or floats in [0, 1], `(n, height, width, channels)`.
    """
    chosen = np.asarray(images[:: -(-len(images) // _SAMPLE)])
    one = 1.5 if images.dtype == np.uint8 else 1.5 / 255.0
    if np.ptp(chosen) < one:
        return f"the images are all alike: every pixel has the value {float(chosen.flat[0]):.3g}"
    if len(chosen) > 1 and np.ptp(chosen, axis=0).max() < one:
        return f"the {len(images):,} images are all alike"
    return None
