"""Single pictures and masks, for editing."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kddim.checks import printable
from kddim.data.arrays import load_arrays
from kddim.data.decode import picture_to_array, to_float32
from kddim.data.folder import load_folder
from kddim.data.pictures import DecodingMemory, open_picture, quiet_pillow
from kddim.data.skipped import Unreadable

_BYTES_PER_PIXEL = 24  # a decoded picture with an alpha channel, and its copies of other modes


def read_pictures(source: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Read a picture, a folder of pictures or a NumPy file, cropped and resized.

    Args:
        source: Picture file, folder, or `.npy` or `.npz` file.
        image_shape: `(height, width, channels)` of the images.

    Returns:
        float32 images in [0, 1], `(n, height, width, channels)`.

    Raises:
        ValueError: If there is no such file, or if it cannot be read.
    """
    size, channels = image_shape[:2], image_shape[2]
    if source.is_dir():
        return to_float32(load_folder(source, size, channels, stream=False)[0])
    if source.suffix.lower() in (".npy", ".npz"):
        return to_float32(load_arrays(source, size, channels))
    return to_float32(_read_picture(source, image_shape)[None])


def read_mask(path: Path, image_size: tuple[int, int]) -> np.ndarray:
    """Read a mask, cropped and resized like the picture that it belongs to.

    Args:
        path: Picture file, white where pixels are to be invented and black where they are known.
        image_size: `(height, width)` of the images.

    Returns:
        float32 mask of zeros and ones, `(height, width)`.

    Raises:
        ValueError: If there is no such file, if it cannot be read, or if it has no white pixel.
    """
    mask = _read_picture(path, (*image_size, 1))[..., 0] >= 128
    if not mask.any():
        raise ValueError(
            "Expected a mask that is white where pixels are to be invented. Received: "
            f"{printable(path)}, which has no white pixel"
        )
    return mask.astype("float32")


def _read_picture(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return a picture as uint8 `(height, width, channels)`."""
    if not path.is_file():
        raise ValueError(f"Expected a picture file. Received: {printable(path)}, no such file")
    memory = DecodingMemory(_BYTES_PER_PIXEL)
    if image_shape[2] not in (1, 3):
        raise ValueError(
            "Expected a model of images with 1 or 3 channels, for pictures. "
            f"Received: {image_shape[2]} channels"
        )

    def read(picture: Image.Image) -> Any:
        with memory.take(picture):
            return picture_to_array(picture, image_shape[:2], image_shape[2])

    with quiet_pillow():
        found = open_picture(path, read)
    if isinstance(found, Unreadable):
        raise ValueError(f"Expected a picture file. Received: {printable(path)}: {found.reason}")
    return found
