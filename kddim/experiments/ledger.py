"""The record of an experiment: what it was asked, and what it has found so far.

An experiment writes each result when it has it. Stopped and started again with the same
settings, it goes on where it was.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddim import runs
from kddim.backend import to_numpy
from kddim.files import atomic_write, check_output, write_json
from kddim.model import DiffusionModel

log = logging.getLogger("kddim")


class Ledger:
    """An experiment's folder, with `record.json` and the arrays of its cells.

    Args:
        folder: made where it is missing. One that holds other things is refused, and so
            is the record of an experiment with other settings.
        settings: all that decides the results of cells, as JSON values.
        overwrite: starts anew, whatever the folder holds.

    Raises:
        ValueError: the folder cannot serve; the message says which settings differ.
    """

    NAME = "record.json"

    def __init__(
        self, folder: str | os.PathLike, settings: Mapping[str, Any], *, overwrite: bool = False
    ):
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        self.cells: dict[str, dict[str, Any]] = {}
        self._arrays: set[str] = set()
        record = None if overwrite else self._read()
        if record is None:
            check_output(self.folder, overwrite)
            if self.folder.is_file():
                raise ValueError(f"Expected a folder as output. Received: {folder}, a file")
        else:
            self._check_settings(record["settings"])
            self._arrays = {key for key in record["arrays"] if self._is_whole(key)}
            lost = set(record["arrays"]) - self._arrays
            self.cells = {k: v for k, v in record["cells"].items() if k not in lost}

    def __contains__(self, key: str) -> bool:
        return key in self.cells

    def record(self, key: str, result: Mapping[str, Any], array: np.ndarray | None = None) -> None:
        """Keeps what a cell gave; on the disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.cells:
            self._write()  # so that the folder is known to be this experiment's
        if array is not None:
            path = self._array_path(key)
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path) as partial:
                np.save(partial, array)
            self._arrays.add(key)
        self.cells[key] = dict(result)
        self._write()

    def _write(self) -> None:
        content = {"settings": self.settings, "cells": self.cells, "arrays": sorted(self._arrays)}
        write_json(self.folder / self.NAME, content | {"versions": runs.versions()})

    def array(self, key: str) -> np.ndarray:
        """The array that `record` was given with a cell."""
        return np.load(self._array_path(key))

    def _array_path(self, key: str) -> Path:
        return self.folder / "arrays" / f"{key}.npy"

    def _is_whole(self, key: str) -> bool:
        try:
            self.array(key)
        except (OSError, ValueError, EOFError):
            return False
        return True

    def _read(self) -> dict[str, Any] | None:
        path = self.folder / self.NAME
        if not path.is_file():
            return None
        kinds = {"settings": dict, "cells": dict, "arrays": list}
        try:
            content = json.loads(path.read_text())
            sound = all(isinstance(content[key], kind) for key, kind in kinds.items())
        except (OSError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise ValueError(
                f"Expected the record of an experiment. Received: {path}, which is damaged. Choose "
                "another output, or start anew with --overwrite (overwrite=True)."
            )
        return content

    def _check_settings(self, before: Mapping[str, Any]) -> None:
        differing = [
            f"{key} {before.get(key)!r}, now {self.settings.get(key)!r}"
            for key in sorted({*self.settings, *before})
            if before.get(key) != self.settings.get(key)
        ]
        if differing:
            raise ValueError(
                "Expected an output of the same experiment, to go on with it, or a new one. "
                f"Received: {self.folder}, which has other settings ({'; '.join(differing)}). "
                "Choose another output, or start anew with --overwrite (overwrite=True)."
            )


@contextlib.contextmanager
def unfinished(output: str | os.PathLike, settings: Mapping[str, Any]) -> Iterator[Ledger]:
    """A ledger in a hidden folder beside an output, which is removed when all went well.

    What was left there by a run with other settings is dropped, after a line in the log.
    """
    output = Path(os.path.abspath(output))
    folder = output.with_name(f".{output.name}.unfinished")
    try:
        ledger = Ledger(folder, settings)
    except ValueError:
        log.info("%s was begun with other settings: it starts anew", output)
        shutil.rmtree(folder)
        ledger = Ledger(folder, settings)
    yield ledger
    shutil.rmtree(folder)


def fingerprint(model: DiffusionModel) -> str:
    """A hash of what generation reads of a model: alike for models that generate alike."""
    config = {k: v for k, v in model.get_config().items() if k not in ("name", "seed", "ema")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    normalizer = model.normalizer
    for variable in [
        *model.ema_network.variables,
        normalizer.adapt_mean,
        normalizer.adapt_variance,
    ]:
        digest.update(np.ascontiguousarray(to_numpy(variable.value)).tobytes())
    return digest.hexdigest()[:16]
