"""A folder of pictures, of any sizes and modes."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kddim.data.decode import GREY_MODES, picture_to_array
from kddim.data.storage import allocate

log = logging.getLogger("kddim")

# Pictures, of all that Pillow opens: no documents, films or containers of other data.
ENDINGS = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".j2c",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


def find_pictures(folder: Path) -> list[Path]:
    """Every file below `folder` that has the ending of a picture format, sorted.

    Hidden files and folders are passed over.
    """
    paths = (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in paths if path.is_file())


def load_folder(
    folder: str | os.PathLike,
    image_size: tuple[int, int],
    channels: int | None = None,
    order: np.random.Generator | None = None,
    limit: int | None = None,
) -> np.ndarray:
    """Decodes the pictures of a folder, once each.

    Args:
        folder: walked recursively.
        image_size: `(height, width)`; pictures are centre-cropped and resized to it.
        channels: 1 or 3; None is 1 if every picture is grey, else 3.
        order: shuffles the pictures before `limit` is applied; None keeps them sorted.
        limit: decodes at most so many.

    Returns:
        uint8 `(n, height, width, channels)`. Files that cannot be read are left out,
        counted and named in a warning.

    Raises:
        ValueError: no picture could be read, or `channels` is neither 1 nor 3.
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"Expected channels of 1 or 3 for a folder of pictures. Received: {channels}"
        )
    paths = find_pictures(Path(folder))
    if not paths:
        raise ValueError(
            f"Expected pictures (PNG, JPEG, WebP, ...) in the folder. Received: none in {folder}"
        )
    if order is not None:
        paths = [paths[index] for index in order.permutation(len(paths))]
    paths = paths[:limit]
    log.info("decoding %d pictures of %s", len(paths), folder)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if channels is None:
            channels = 1 if all(pool.map(_is_grey, paths)) else 3
        images = allocate((len(paths), *image_size, channels))

        def decode(item):
            return _decode(item[1], images[item[0]])

        errors = list(pool.map(decode, enumerate(paths)))
    readable = [index for index, error in enumerate(errors) if error is None]
    if not readable:
        raise ValueError(
            "Expected at least one readable picture. "
            f"Received: {len(paths)} files, none of which can be decoded ({errors[0]})"
        )
    if len(readable) < len(paths):
        report_unreadable([(p, e) for p, e in zip(paths, errors) if e is not None])
        for place, index in enumerate(readable):  # in place: they may not fit in memory twice
            images[place] = images[index]
    return images[: len(readable)]


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in GREY_MODES
    except Exception:  # see `_decode`
        return True  # unreadable: has no say; decoding will report it


def _decode(path: Path, into: np.ndarray) -> str | None:
    """Decodes one picture into its place; returns the reason where it fails."""
    try:
        with Image.open(path) as image:
            height, width, channels = into.shape
            # JPEG decodes at a fraction of its size where that is still large enough.
            # Both sides allow for the longer one: EXIF may turn the picture yet.
            image.draft(None, (2 * max(width, height),) * 2)
            into[...] = picture_to_array(image, (height, width), channels)
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        return f"{type(error).__name__}: {error}"
    return None


def report_unreadable(unreadable: list[tuple[Path, str]]) -> None:
    """One line of the log that counts and names files, with the reasons."""
    named = "; ".join(f"{path} ({error})" for path, error in unreadable[:5])
    more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
    log.warning("skipped %d unreadable pictures: %s%s", len(unreadable), named, more)
