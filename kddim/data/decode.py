"""Conversion of pictures and arrays to one size, number of channels and type."""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kddim.budget import check_memory

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def center_crop_box(width: int, height: int, aspect: float) -> tuple[float, float, float, float]:
    """Return the largest centred box with an aspect ratio.

    A square box begins at whole pixels, as in the keras.io example.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        aspect: Width of the box divided by its height.

    Returns:
        `(left, top, right, bottom)` in pixels.
    """
    crop_width, crop_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - crop_width) / 2.0, (height - crop_height) / 2.0
    if aspect == 1.0:
        left, top = int(left), int(top)
    return left, top, left + crop_width, top + crop_height


def crop_and_resize(image: Image.Image, image_size: tuple[int, int]) -> Image.Image:
    """Crop a picture at its centre to an aspect ratio, and resize it with antialiasing.

    The bilinear filter of Pillow has a wider support when it shrinks a picture, as the antialiased
    bilinear resize of the keras.io example. Pixels outside of the crop have no influence on the
    result.

    Args:
        image: Picture of any size, with mode "L", "RGB" or "F".
        image_size: `(height, width)` of the result in pixels.

    Returns:
        The resized picture, with the same mode.
    """
    height, width = image_size
    if image.size == (width, height):
        return image
    left, top, right, bottom = center_crop_box(*image.size, width / height)
    # Crop first, because the filter of `resize` reads pixels outside of its `box`.
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    box = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    return image.crop(outer).resize((width, height), Image.Resampling.BILINEAR, box=box)


def to_mode(image: Image.Image, channels: int) -> Image.Image:
    """Convert a picture of any mode to 8-bit grey or RGB.

    The EXIF orientation is applied. Transparent pixels are blended with white. The range of 16-bit
    and float grey pictures is kept.

    Args:
        image: Picture of any mode.
        channels: 1 for grey (mode "L"), otherwise RGB.
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
    """Scale 16-bit, 32-bit and float grey to 8 bits, where Pillow's `convert` would clip."""
    values = np.asarray(image).astype("float64")
    if not np.isfinite(values).all():
        raise ValueError("Expected finite pixel values. Received: NaN or infinite values")
    top = float(values.max(initial=0.0))
    full = 1.0 if image.mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    if image.mode.startswith("I;16"):
        full = 65535.0
    scaled = np.clip(values / max(full, 1e-9), 0.0, 1.0) * 255.0
    return Image.fromarray((scaled + 0.5).astype("uint8"))


def picture_to_array(image: Image.Image, image_size: tuple[int, int], channels: int) -> np.ndarray:
    """Return an opened picture as an array, cropped and resized.

    Args:
        image: Picture of any mode and size.
        image_size: `(height, width)` in pixels.
        channels: 1 for grey or 3 for RGB.

    Returns:
        uint8 array `(height, width, channels)`.
    """
    pixels = np.asarray(crop_and_resize(to_mode(image, channels), image_size))
    return pixels.reshape(*image_size, channels)


def array_to_size(image: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Crop and resize the array of one image, channel by channel.

    Args:
        image: uint8 or float32 array `(height, width, channels)`.
        image_size: `(height, width)` of the result in pixels.

    Returns:
        Array `(*image_size, channels)` of the same dtype.
    """
    if image.shape[:2] == image_size:
        return image
    planes: list[Any] = [
        np.asarray(crop_and_resize(Image.fromarray(image[..., c]), image_size))
        for c in range(image.shape[-1])
    ]
    return np.stack(planes, axis=-1).astype(image.dtype)


def arrays_to_size(images: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Crop and resize the arrays of images of one size, like `array_to_size`.

    Args:
        images: uint8 or float32 array `(n, height, width, channels)`.
        image_size: `(height, width)` of the result in pixels.

    Returns:
        Array `(n, *image_size, channels)` of the same dtype.

    Raises:
        ValueError: If the result does not fit in the free memory.
    """
    if images.shape[1:3] == image_size:
        return images
    shape = (len(images), *image_size, images.shape[-1])
    _check_array(shape, images.dtype)
    resized = np.empty(shape, images.dtype)
    for image, into in zip(images, resized):
        into[...] = array_to_size(image, image_size)
    return resized


def _check_array(shape: tuple[int, ...], dtype: np.dtype) -> None:
    words = f"{shape[0]:,} images of {'x'.join(map(str, shape[1:]))}"
    size = math.prod(shape) * dtype.itemsize
    check_memory(size, words, "Choose a smaller --image-size or --limit, or fewer --channels.")


def check_channels(channels: Any, source: str) -> None:
    """Raise unless pictures can be decoded to a number of channels.

    Args:
        channels: Number of channels. None is as many as the pictures have.
        source: Words for the source of the pictures, for the error message.

    Raises:
        ValueError: If it is neither 1, 3 nor None.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"Expected channels of 1 or 3 for {source}. Received: {channels}")


def set_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """Convert images to another number of channels.

    One channel is repeated. Three channels become one by their luma, `0.299 R + 0.587 G + 0.114
    B`.

    Args:
        images: uint8 or float array `(..., c)`.
        channels: Number of channels of the result. None keeps them.

    Returns:
        Array `(..., channels)` of the same dtype.

    Raises:
        ValueError: If the conversion is another one, or does not fit in the free memory.
    """
    found = images.shape[-1]
    if channels is None or channels == found:
        return images
    if found == 1:
        _check_array((*images.shape[:-1], channels), images.dtype)
        return np.repeat(images, channels, axis=-1)
    if found == 3 and channels == 1:
        luma = images.astype("float64") @ np.array([0.299, 0.587, 0.114])
        if images.dtype == np.uint8:
            luma = np.round(luma)
        return luma[..., None].astype(images.dtype)
    raise ValueError(f"Expected images of {channels} channels. Received: {found} channels")


def to_float32(images: np.ndarray) -> np.ndarray:
    """Convert images to float32 values in [0, 1].

    Args:
        images: Array of any shape, uint8 in [0, 255] or floats in [0, 1].
    """
    if images.dtype == np.uint8:
        return images.astype("float32") * np.float32(1.0 / 255.0)
    return images.astype("float32", copy=False)
