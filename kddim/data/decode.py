"""From picture files and raw arrays to square-cropped arrays of one size."""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageOps

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def center_crop_box(width: int, height: int, aspect: float) -> tuple[float, float, float, float]:
    """The largest centred box of an aspect ratio (width / height).

    A square one begins at whole pixels, as the keras.io example crops.
    """
    crop_width, crop_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - crop_width) / 2.0, (height - crop_height) / 2.0
    if aspect == 1.0:
        left, top = int(left), int(top)
    return left, top, left + crop_width, top + crop_height


def crop_and_resize(image: Image.Image, image_size: tuple[int, int]) -> Image.Image:
    """Centre crop to the aspect ratio, then an antialiased resize.

    Args:
        image: of any size; mode "L", "RGB" or "F".
        image_size: `(height, width)` wanted.

    Returns:
        The resized image. Pillow's bilinear filter widens its support when it shrinks
        a picture: it is the antialiased bilinear resize of the keras.io example. What
        was cropped away does not bleed into the border.
    """
    height, width = image_size
    if image.size == (width, height):
        return image
    left, top, right, bottom = center_crop_box(*image.size, width / height)
    # Cut first: the filter of a mere `box` would read the pixels outside.
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    box = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    return image.crop(outer).resize((width, height), Image.Resampling.BILINEAR, box=box)


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """A picture of any mode as 8-bit grey (1 channel) or RGB (3 channels).

    The EXIF orientation is applied; transparency is laid over white; 16-bit and float
    grey keep their range.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if channels == 1 else "RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey to 8 bits; Pillow's own `convert` would cut them off."""
    values = np.asarray(image).astype("float64")
    if not np.isfinite(values).all():
        raise ValueError("pixel values that are NaN or infinite")
    top = float(values.max(initial=0.0))
    full = 1.0 if image.mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    if image.mode.startswith("I;16"):
        full = 65535.0
    scaled = np.clip(values / max(full, 1e-9), 0.0, 1.0) * 255.0
    return Image.fromarray((scaled + 0.5).astype("uint8"))


def picture_to_array(image: Image.Image, image_size: tuple[int, int], channels: int) -> np.ndarray:
    """An opened picture as uint8 `(height, width, channels)`, cropped and resized."""
    pixels = np.asarray(crop_and_resize(to_mode(image, channels), image_size))
    return pixels.reshape(*image_size, channels)


def array_to_size(image: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """One image array, uint8 or float32, cropped and resized channel by channel.

    Args:
        image: `(height, width, channels)`.
        image_size: `(height, width)` wanted.

    Returns:
        The same type, `(*image_size, channels)`.
    """
    if image.shape[:2] == image_size:
        return image
    planes: list[Any] = [
        np.asarray(crop_and_resize(Image.fromarray(image[..., c]), image_size))
        for c in range(image.shape[-1])
    ]
    return np.stack(planes, axis=-1).astype(image.dtype)


def set_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Images `(n, height, width, c)` with another number of channels.

    One channel is repeated, three become their luma; other pairs are refused.

    Raises:
        ValueError: there is no natural way from `c` to `channels`.
    """
    found = images.shape[-1]
    if channels is None or channels == found:
        return images
    if found == 1:
        return np.repeat(images, channels, axis=-1)
    if found == 3 and channels == 1:
        luma = images.astype("float64") @ np.array([0.299, 0.587, 0.114])
        if images.dtype == np.uint8:
            luma = np.round(luma)
        return luma[..., None].astype(images.dtype)
    raise ValueError(f"Expected images of {channels} channels. Received: {found} channels")
