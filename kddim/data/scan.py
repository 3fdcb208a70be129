"""Search for picture files in a folder."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from kddim.checks import printable
from kddim.data.skipped import Unreadable

# Endings of picture files that Pillow opens, without documents, films and scientific data.
_ENDINGS = (
    ".avif .bmp .dib .gif .j2c .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .pbm .pcx .pgm .png .pnm .ppm "
    ".tga .tif .tiff .webp"
)
ENDINGS = frozenset(_ENDINGS.split())

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Scan(NamedTuple):
    """Content of a folder.

    Attributes:
        pictures: Sorted paths of the picture files.
        skipped: Folders that cannot be listed, and entries that have the name of a picture but
            are no files, such as broken links and pipes.
    """

    pictures: list[Path]
    skipped: list[Unreadable]


def scan(folder: Path) -> Scan:
    """Return all picture files in a folder and its subfolders.

    Files count as pictures by their ending. Hidden files and folders are ignored. Links to files
    are followed. Links to folders are not, because they may loop, and are named as skipped.

    Args:
        folder: Folder to search.
    """
    found, folders = Scan([], []), [folder]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError as error:
            found.skipped.append(Unreadable(here, f"folder: {error.strerror}"))
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                _add_file(entry, found)
    return Scan(sorted(found.pictures), sorted(found.skipped))


def _add_file(entry: os.DirEntry, found: Scan) -> None:
    ending = os.path.splitext(entry.name)[1].lower()
    # Without an ending, a link may lead to a folder of pictures.
    if ending in ENDINGS or (entry.is_symlink() and (not ending or os.path.isdir(entry.path))):
        reason = _why_no_file(entry.path)
        if reason is None and ending in ENDINGS:
            found.pictures.append(Path(entry.path))
        elif reason:
            found.skipped.append(Unreadable(Path(entry.path), reason))


def _why_no_file(path: str) -> str | None:
    """Return the reason why a path leads to no regular file, or None if it does."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to nothing" if os.path.islink(path) else "no such file"
    except OSError as error:
        return str(error.strerror)
    if stat.S_ISDIR(mode):
        return "a link to a folder, which is not followed"
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def list_pictures(folder: Path) -> Scan:
    """Return all picture files in a folder, like `scan`.

    Args:
        folder: Folder to search.

    Raises:
        ValueError: If there are no picture files.
    """
    found = scan(folder)
    if not found.pictures:
        others = "".join(
            f"; {len(found.skipped)} cannot be read, such as {printable(path)} ({reason})"
            for path, reason in found.skipped[:1]
        )
        raise ValueError(
            "Expected pictures (PNG, JPEG, WebP, ...) in the folder. Received: none in "
            f"{printable(folder)}{others}"
        )
    return found
