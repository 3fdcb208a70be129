"""Files that cannot be read: named in the log, in an error and in a file."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kddim.checks import printable
from kddim.files import atomic_write

log = logging.getLogger("kddim")

_NAMED = 5  # number of files that a message names


class Unreadable(NamedTuple):
    """Picture file or folder that cannot be read.

    Attributes:
        path: Path of the file or the folder.
        reason: What is wrong with it.
    """

    path: Path
    reason: str


def report_skipped(skipped: Sequence[Unreadable], num_readable: int, strict: bool = False) -> None:
    """Log a warning that counts the skipped files and names the first five, if there are any.

    Args:
        skipped: Files and folders that cannot be read.
        num_readable: Number of pictures that can be read.
        strict: If true, a skipped file is an error.

    Raises:
        ValueError: If no picture can be read, or if `strict` is true and a file was skipped.
    """
    if not skipped:
        return
    if not num_readable:
        raise ValueError(
            f"Expected at least one readable picture. Received: {len(skipped)} files, none of "
            f"which can be decoded: {_in_words(skipped)}"
        )
    if strict:
        raise ValueError(
            f"Expected only readable pictures. Received: {len(skipped)} that cannot be read: "
            f"{_in_words(skipped)}. Remove them, or leave out --strict (strict=True) to skip them."
        )
    log.warning("skipped %d unreadable pictures or folders: %s", len(skipped), _in_words(skipped))


def _in_words(skipped: Sequence[Unreadable]) -> str:
    named = "; ".join(f"{printable(path)} ({printable(why)})" for path, why in skipped[:_NAMED])
    more = len(skipped) - _NAMED
    return f"{named}; and {more} more" if more > 0 else named


def write_skipped(skipped: Iterable[Unreadable], path: str | os.PathLike) -> None:
    """Write the skipped files to a text file, one line per file, or write nothing without any.

    A line holds the path, a tab and the reason. Characters that are not printed are escaped.

    Args:
        skipped: Files and folders that cannot be read.
        path: File to write.
    """
    lines = [f"{printable(found)}\t{printable(reason)}\n" for found, reason in sorted(skipped)]
    if lines:
        with atomic_write(path) as partial:
            partial.write_text("".join(lines), encoding="utf-8")
