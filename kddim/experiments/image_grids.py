"""Grids of many images, written row by row, with the names of their classes."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kddim.images import as_picture, grid
from kddim.streams import save_png_rows

_MOST_PIXELS = 80_000_000  # of a grid; image programs refuse larger pictures
_CAPTION = 20  # height of a caption in pixels


def shown_in_grid(count: int, shape: Sequence[int]) -> int:
    """Return the number of images that a grid shows.

    Args:
        count: Number of images that there are.
        shape: `(height, width, channels)` of an image.
    """
    height, width = as_picture(grid(np.zeros((1, *shape), "float32"), 1)).shape[:2]
    return min(count, max(1, _MOST_PIXELS // (height * width)))


def save_grid(
    images: Iterator[np.ndarray],
    count: int,
    shape: Sequence[int],
    path: Path,
    captions: Sequence[str] | None = None,
) -> None:
    """Write images as one picture, about twice as wide as high.

    Args:
        images: uint8 images `(height, width, channels)`.
        count: Number of images. Only the first ones are shown if all do not fit in a picture
            that image programs open.
        shape: `(height, width, channels)` of an image.
        path: PNG file to write.
        captions: Captions of the images, in groups. Each group begins a new row, with its caption
            above it. None draws none.
    """
    shown = shown_in_grid(count, shape)
    columns = math.ceil(math.sqrt(shown * 2))
    groups: list[tuple[str | None, int]] = [(None, shown)]
    if captions is not None:
        groups = _groups(captions[:shown])
        columns = min(columns, max(size for _, size in groups))
    margin, height = _strip_heights(shape)
    rows = sum(math.ceil(size / columns) for _, size in groups)
    named = sum(caption is not None for caption, _ in groups)
    strips = _strips(images, columns, margin, groups)
    first = next(strips)
    save_png_rows(
        path,
        height=margin + height * rows + _CAPTION * named,
        width=first.shape[1],
        channels=first.shape[2],
        parts=itertools.chain([first], strips),
    )


def _groups(captions: Sequence[str]) -> list[tuple[str | None, int]]:
    """Return captions with the number of images below each."""
    return [(caption, len(list(group))) for caption, group in itertools.groupby(captions)]


def _strips(
    images: Iterator[np.ndarray],
    columns: int,
    margin: int,
    groups: Sequence[tuple[str | None, int]],
) -> Iterator[np.ndarray]:
    """Yield the rows of a grid from the top to the bottom, as uint8 strips of a picture."""
    top = 0  # the margin above the first row
    for caption, size in groups:
        left = size
        while left > 0:
            row = np.stack(list(itertools.islice(images, min(columns, left))))
            whole = as_picture(_row(row, columns))
            strip = whole.reshape(*whole.shape[:2], -1)
            if caption is not None and left == size:
                yield _caption(caption, strip.shape[1:])
            yield strip[top:]
            top = margin  # the row before has it below
            left -= len(row)


def _row(images: np.ndarray, columns: int) -> np.ndarray:
    """Return a row of a grid, which is white where there are no images."""
    empty = np.full((columns - len(images), *images.shape[1:]), 255, "uint8")
    return grid(np.concatenate([images, empty]).astype("float32") / 255.0, columns)


def _caption(text: str, shape: Sequence[int]) -> np.ndarray:
    """Return a white strip with black text, `(height, width, channels)` uint8."""
    width, channels = shape
    picture = Image.new("L", (width, _CAPTION), 255)
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(picture).text((3, 2), text, fill=0, font=font)
    return np.repeat(np.asarray(picture)[..., None], channels, axis=2)


def _strip_heights(shape: Sequence[int]) -> tuple[int, int]:
    """Return the height of a grid's margin, and that of a row with the margin below it."""
    one, two = (grid(np.zeros((n, *shape), "float32"), 1).shape[0] for n in (1, 2))
    return one - (two - one), two - one
