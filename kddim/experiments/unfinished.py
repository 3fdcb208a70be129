"""Outputs that are prepared in a hidden folder beside them, and put in place in one step.

A killed process leaves the output as it was before or as it is meant to be. What it computed
stays in the hidden folder, from which the next run continues.
"""

import contextlib
import ctypes
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kddim.experiments.ledger import Ledger
from kddim.files import (
    SHARDS,
    UNFINISHED,
    check_output,
    is_partial,
    make_folder,
    read_json,
    write_json,
    writing,
)

log = logging.getLogger("kddim")

_PLACING = "placing.json"
_OLD = "old"
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


class Unfinished:
    """Hidden folder of an output that is not finished.

    The folder `.NAME.unfinished` lies beside the output. It lies in the output if this is a
    folder that cannot be replaced: a mount point, the working folder, or a folder in a
    read-only one. Hold the lock of the output while you use it.

    Args:
        output: File or folder that is written. A link stands for its target.
        ending: Ending of the name of the hidden folder.
    """

    def __init__(self, output: str | os.PathLike, ending: str = UNFINISHED):
        self.output = Path(os.path.realpath(output))
        name = f".{self.output.name}{ending}"
        inside, beside = self.output / name, self.output.with_name(name)
        self.is_inside = inside.is_dir() or _is_fixed(self.output)
        if ending == SHARDS and beside.is_dir():  # whatever the working folder of this process
            self.is_inside = False
        self.folder = inside if self.is_inside else beside

    def recover(self) -> None:
        """Finish or remove what a killed process left."""
        old = self.folder / _OLD
        if old.exists() and not self.output.exists():
            old.rename(self.output)
        if not self.folder.is_dir():
            return
        placing = read_json(self.folder / _PLACING) or {}
        placed = self.output.exists() and placing.get("inode") == _inode(self.output)
        if placed or not (self.folder / Ledger.NAME).is_file():
            self.discard()

    @property
    def is_half_placed(self) -> bool:
        """True if a process was killed while it moved files into the output one by one."""
        placing = read_json(self.folder / _PLACING)
        return self.is_inside and isinstance(placing, dict) and "inode" in placing

    @contextlib.contextmanager
    def ledger(self, settings: Mapping[str, Any]) -> Iterator[Ledger]:
        """Yield a ledger in the folder, and remove the folder at the end.

        If the block raises, the folder stays, so that the next run continues from it. A folder
        that a run with other settings left there is discarded.

        Args:
            settings: Settings of the experiment, as for `Ledger`.
        """
        try:
            ledger = Ledger(self.folder, settings)
        except ValueError:
            log.info("%s: an unfinished run has other settings and is discarded", self.output)
            self.discard()
            ledger = Ledger(self.folder, settings)
        yield ledger
        self.discard()

    def empty_folder(self, name: str) -> Path:
        """Return the path of an empty new folder in the hidden one."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        make_folder(path)
        return path

    def copy_of(self, ledger: Ledger) -> Path:
        """Return a new folder in the hidden one, with the files of its ledger."""
        copy = self.empty_folder("copy")
        _keep_entries(ledger.folder, copy, {copy.name, _PLACING, _OLD}.__contains__)
        return copy

    def place(self, product: Path, is_ours: Callable[[str], bool] = lambda name: False) -> None:
        """Put a file or a folder in the place of the output, in one step if possible.

        Args:
            product: File or folder in the hidden folder.
            is_ours: Function that returns True for the names in the old folder that must not
                stay. All others do.
        """
        with writing(self.output):
            if self.is_inside:
                write_json(self.folder / _PLACING, {"inode": None})
                _move_entries(product, self.output, is_ours)
                return
            if product.is_dir() and self.output.is_dir():
                _keep_entries(self.output, product, is_ours)
            write_json(self.folder / _PLACING, {"inode": _inode(product)})
            if product.is_dir() and self.output.is_dir():
                _swap(product, self.output, self.folder / _OLD)
            else:
                os.replace(product, self.output)

    def discard(self) -> None:
        """Remove the hidden folder. Without its record, the next run removes the rest."""
        (self.folder / Ledger.NAME).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(
    output: str | os.PathLike,
    overwrite: bool,
    check: Callable[[str | os.PathLike, bool], Any] = check_output,
) -> Unfinished:
    """Recover from a killed process, and check that an output may be written.

    Args:
        output: File or folder to write, whose lock is held.
        overwrite: If true, something may be there already.
        check: Function of an output and `overwrite` that raises if it may not be written.

    Raises:
        ValueError: If the output may not be written.
    """
    unfinished = Unfinished(output)
    unfinished.recover()
    check(output, overwrite or unfinished.is_half_placed)
    return unfinished


def _is_fixed(path: Path) -> bool:
    """Return True for a folder that cannot be replaced by another one."""
    if not path.is_dir():
        return False
    in_use = False
    with contextlib.suppress(OSError):  # the working folder was removed
        in_use = Path.cwd().is_relative_to(path)
    return in_use or path.is_mount() or not os.access(path.parent, os.W_OK)


def _inode(path: Path) -> list[int]:
    """Return the numbers that the file system knows a file by, whatever its name."""
    found = path.stat()
    return [found.st_dev, found.st_ino]


def _keep_entries(old: Path, new: Path, is_ours: Callable[[str], bool]) -> None:
    """Give the entries of an old folder that stay a second name in a new folder."""
    for entry in old.iterdir():
        target = new / entry.name
        if os.path.lexists(target) or is_ours(entry.name) or is_partial(entry):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, target, symlinks=True, copy_function=_link)
        else:
            _link(entry, target)
    with contextlib.suppress(OSError, AttributeError):  # Windows has no owners
        shutil.copystat(old, new)
        os.chown(new, old.stat().st_uid, old.stat().st_gid)


def _link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or copy it on a file system without such links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _move_entries(new: Path, old: Path, is_ours: Callable[[str], bool]) -> None:
    """Move the entries of a new folder into an old one, one by one."""
    names = {entry.name for entry in new.iterdir()}
    for name in sorted(names):
        if (old / name).is_dir() and not (old / name).is_symlink():
            shutil.rmtree(old / name)
        os.replace(new / name, old / name)
    for entry in list(old.iterdir()):
        if is_ours(entry.name) and entry.name not in names:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _swap(new: Path, folder: Path, aside: Path) -> None:
    """Put a new folder in the place of another one.

    Args:
        new: The new folder. Afterwards it is gone, or holds what was there before.
        folder: The folder to replace.
        aside: Path for the old folder on systems that cannot exchange two folders. A process
            killed between the two renames leaves it there.
    """
    if not _exchange(new, folder):
        folder.rename(aside)
        new.rename(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, and return False if the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = (os.fsencode(one), os.fsencode(other))
    here = _AT_WORKING_FOLDER
    return rename is not None and rename(here, names[0], here, names[1], _EXCHANGE) == 0
