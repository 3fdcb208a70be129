"""Images from `.npy` and `.npz` files."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from kddim.data.decode import array_to_size, set_channels


def load_arrays(
    path: str | os.PathLike, image_size: tuple[int, int], channels: int | None = None
) -> np.ndarray:
    """Read images from a NumPy file and bring them to one size.

    Args:
        path: A `.npy` file, or a `.npz` file that holds an array `images` or only one array. Its
            shape is `(n, height, width)` or `(n, height, width, channels)`, and its values are
            uint8 or floats in [0, 1]. Pickled objects are refused.
        image_size: `(height, width)` in pixels. Images of other sizes are cropped at their centre
            and resized.
        channels: Number of channels of the result. None keeps the channels of the file.

    Returns:
        NumPy uint8 or float32 array `(n, height, width, channels)`.

    Raises:
        ValueError: If the file is missing or is another kind of file, if its array has another
            shape or type, or if values are not finite or lie outside [0, 1].
    """
    images = read_arrays(path)
    images = set_channels(images, channels)
    if images.shape[1:3] == image_size:
        return images
    return np.stack([array_to_size(image, image_size) for image in images])


def read_arrays(path: str | os.PathLike) -> np.ndarray:
    """Read images from a NumPy file at their own size, with the same checks as `load_arrays`.

    Args:
        path: A `.npy` or `.npz` file.

    Returns:
        NumPy uint8 or float32 array `(n, height, width, channels)`.
    """
    return _check(_read(Path(path)), path)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"Expected a NumPy file of images. Received: {path}, no such file")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            names = content.files
            name = "images" if "images" in names else names[0] if len(names) == 1 else None
            if name is not None:
                return content[name]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"Expected a NumPy file of images. Received: {path} ({error})") from error
    raise ValueError(f"Expected an array `images`, or only one array, in {path}. Received: {names}")


def _check(images: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            "Expected images of shape (n, height, width) or (n, height, width, channels). "
            f"Received: shape {images.shape} in {path}"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"Expected uint8, or floats in [0, 1]. Received: {images.dtype} in {path}")
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < -1e-4 or high > 1.0 + 1e-4:
        raise ValueError(
            "Expected finite pixel values in [0, 1]. "
            f"Received: values from {low:.4g} to {high:.4g} in {path}"
        )
    return np.clip(images, 0.0, 1.0).astype("float32")
