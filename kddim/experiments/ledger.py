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
from kddim.files import whole
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
        record = None if overwrite else self._read()
        if record is None:
            runs.check_output(self.folder, overwrite)
            if self.folder.is_file():
                raise ValueError(f"Expected a folder as output. Received: {folder}, a file")
        else:
            self._check_settings(record["settings"])
            self.cells = record["cells"]

    def __contains__(self, key: str) -> bool:
        return key in self.cells

    def record(self, key: str, result: Mapping[str, Any], array: np.ndarray | None = None) -> None:
        """Keeps what a cell gave; on the disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if array is not None:
            path = self._array_path(key)
            path.parent.mkdir(exist_ok=True)
            with whole(path) as partial:
                np.save(partial, array)
        self.cells[key] = dict(result)
        content = {"settings": self.settings, "cells": self.cells, "versions": runs.versions()}
        runs.write_json(self.folder / self.NAME, content)

    def array(self, key: str) -> np.ndarray:
        """The array that `record` was given with a cell."""
        return np.load(self._array_path(key))

    def _array_path(self, key: str) -> Path:
        return self.folder / "arrays" / f"{key}.npy"

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads((self.folder / self.NAME).read_text())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and "cells" in content else None

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
    output = Path(output)
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
    for variable in [*model.ema_network.variables, *model.normalizer.variables]:
        digest.update(np.ascontiguousarray(to_numpy(variable.value)).tobytes())
    return digest.hexdigest()[:16]
