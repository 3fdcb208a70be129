"""Outputs that several processes make together, one shard each, in any order."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kddim.experiments.image_files import check_images_output
from kddim.experiments.ledger import Ledger
from kddim.experiments.unfinished import Unfinished
from kddim.files import SHARDS, is_empty, read_json
from kddim.locks import output_lock
from kddim.shards import Shard

log = logging.getLogger("kddim")

_BEGUN, _DONE = "begun", "done"
_WAIT = 60.0  # seconds, for another shard that begins
_FOREVER = -1.0  # for another shard that puts all images together


def check_sharded_output(output: str | os.PathLike, overwrite: bool) -> None:
    """Raise early if a shard cannot be written to an output.

    Args:
        output: File or folder that all shards together write.
        overwrite: If true, something may be there already.

    Raises:
        ValueError: If something is there that is not of other shards, and `overwrite` is false.
    """
    if not (Unfinished(output, SHARDS).folder / Ledger.NAME).is_file():
        check_images_output(output, overwrite)


class ShardedOutput:
    """Hidden folder beside an output, in which the shards of the output meet.

    The folder `.NAME.shards` has the record of the whole, and one folder per shard with the
    record and the arrays of this shard. Whichever shard ends last completes the output and
    removes the folder. Each shard has a lock of its own, so that no two processes compute the
    same one.

    Args:
        output: File or folder that all shards together write.
        shard: The shard of this process.
        settings: Settings that all shards have in common, as for `Ledger`.
    """

    def __init__(self, output: Path, shard: Shard, settings: Mapping[str, Any]):
        self.output, self.shard = output, shard
        self.settings = {**settings, "shards": shard.count}
        self._place = Unfinished(output, SHARDS)
        self._is_new = False

    @contextlib.contextmanager
    def ledger(self, overwrite: bool) -> Iterator[Ledger]:
        """Yield the ledger of this shard, while no other process may compute it.

        Args:
            overwrite: If true, something may be at the output already, and shards with other
                settings are discarded.

        Raises:
            ValueError: If the output or a shard with other settings exists and `overwrite` is
                false, or if another process computes this shard.
        """
        with output_lock(self.output, _WAIT):
            self._place.recover()
            self._begin(self._record(overwrite), overwrite)
        folder = self._folder_of(self.shard)
        with output_lock(folder):
            settings = {**self.settings, "shard": str(self.shard)}
            try:
                ledger = Ledger(folder, settings)
            except ValueError:  # damaged
                shutil.rmtree(folder)
                ledger = Ledger(folder, settings)
            yield ledger

    def _record(self, overwrite: bool) -> Ledger:
        """Return the record of the whole."""
        try:
            return Ledger(self._place.folder, self.settings)
        except ValueError:
            if not overwrite:
                raise
        log.info("%s: shards with other settings are discarded", self.output)
        for entry in self._place.folder.iterdir():
            if entry.is_dir():
                with output_lock(entry):  # raises if a process computes it
                    pass
        self._place.discard()
        return Ledger(self._place.folder, self.settings)

    def _begin(self, record: Ledger, overwrite: bool) -> None:
        if _BEGUN not in record:
            check_images_output(self.output, overwrite)
            is_file = self.output.suffix.lower() in (".png", ".npz")
            record.record(_BEGUN, {"new": not is_file and is_empty(self.output)})
        self._is_new = record.cells[_BEGUN]["new"]

    @property
    def folder(self) -> Path:
        """Folder that receives the pictures of a shard as soon as it is computed.

        It is the output if this is a new folder. Otherwise, it is a hidden folder, so that an
        earlier output stays as it is until the new one is complete.
        """
        return self.output if self._is_new else self._place.folder / "output"

    def ledgers(self) -> list[Ledger]:
        """Return the ledgers of all shards, in the order of their images."""
        return [
            Ledger(self._folder_of(shard), {**self.settings, "shard": str(shard)})
            for shard in self.shard.siblings()
        ]

    def finish(
        self,
        ledger: Ledger,
        complete: Callable[[], Path],
        is_ours: Callable[[str], bool],
    ) -> list[Shard]:
        """Mark this shard as done, and complete the output if it is the last one.

        Args:
            ledger: Ledger of this shard.
            complete: Function that writes what only all shards together have, and returns the
                file or folder to put in place of the output.
            is_ours: Function that returns True for names in an old folder that must not stay.

        Returns:
            The shards that are still missing. None is missing if the output is complete.
        """
        ledger.record(_DONE, {})
        with output_lock(self.output, _FOREVER):
            if not (self._place.folder / Ledger.NAME).is_file():
                return []  # another process completed the output in the meantime
            missing = [shard for shard in self.shard.siblings() if not self._is_done(shard)]
            if not missing:
                product = complete()
                if product != self.output:
                    self._place.place(product, is_ours)
                self._place.discard()
        return missing

    def _folder_of(self, shard: Shard) -> Path:
        return self._place.folder / f"{shard.index}of{shard.count}"

    def _is_done(self, shard: Shard) -> bool:
        content = read_json(self._folder_of(shard) / Ledger.NAME)
        return isinstance(content, dict) and _DONE in content.get("cells", {})
