"""The record of an experiment: its settings, and the results found so far.

Each result is written as soon as it is there. A run that was interrupted and started again
with the same settings therefore continues from the last result.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kddim import runs
from kddim.backend import to_numpy
from kddim.files import (
    atomic_write,
    check_output,
    read_json,
    remove_partial_files,
    write_json,
)
from kddim.model import DiffusionModel

_WAY_OUT = "Choose another output, or start over with --overwrite (overwrite=True)."


class Ledger:
    """Folder of an experiment, with `record.json` and the arrays of its cells.

    Args:
        folder: Folder of the experiment. It is created with the first result.
        settings: Everything that decides the results, as JSON values or as objects that are
            recorded by their `repr`.

    Raises:
        ValueError: If the folder holds other things, a damaged record, or the record of an
            experiment with other settings.
    """

    NAME = "record.json"

    def __init__(self, folder: str | os.PathLike, settings: Mapping[str, Any]):
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings, default=repr))
        self.cells: dict[str, dict[str, Any]] = {}
        self._arrays: set[str] = set()
        for written in (self.folder, self.folder / "arrays"):
            remove_partial_files(written)
        record = self._read()
        if record is None:
            check_output(self.folder, overwrite=False)
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
        """Write the result of a cell to disk.

        Args:
            key: Key of the cell.
            result: Numbers of the cell, as JSON values.
            array: Array of the cell, or None.
        """
        if not self.cells:
            self._write()  # marks the folder as this experiment's before anything else is in it
        if array is not None:
            with atomic_write(self._array_path(key)) as partial:
                np.save(partial, array)
            self._arrays.add(key)
        self.cells[key] = dict(result)
        self._write()

    def _write(self) -> None:
        content = {"settings": self.settings, "cells": self.cells, "arrays": sorted(self._arrays)}
        write_json(self.folder / self.NAME, content | {"versions": runs.versions()})

    def array(self, key: str) -> np.ndarray:
        """Return the array that was recorded with a cell."""
        return np.load(self._array_path(key))

    def _array_path(self, key: str) -> Path:
        return self.folder / "arrays" / f"{key}.npy"

    def _is_whole(self, key: str) -> bool:
        with contextlib.suppress(OSError, ValueError, EOFError):
            self.array(key)
            return True
        return False

    def _read(self) -> dict[str, Any] | None:
        path = self.folder / self.NAME
        if not path.is_file():
            return None
        kinds = {"settings": dict, "cells": dict, "arrays": list}
        content = read_json(path)
        if isinstance(content, dict) and kinds == {key: type(content.get(key)) for key in kinds}:
            return content
        raise ValueError(
            f"Expected the record of an experiment. Received: {path}, which is damaged. {_WAY_OUT}"
        )

    def _check_settings(self, before: Mapping[str, Any]) -> None:
        differing = [
            f"{key} {before.get(key)!r}, now {self.settings.get(key)!r}"
            for key in sorted({*self.settings, *before})
            if before.get(key) != self.settings.get(key)
        ]
        if differing:
            raise ValueError(
                "Expected a new output, or one of the same experiment to continue. Received: "
                f"{self.folder}, which has other settings ({'; '.join(differing)}). {_WAY_OUT}"
            )


def fingerprint(model: DiffusionModel, tuned: bool = True) -> str:
    """Return a hash of the weights and settings of a model that decide its images.

    Args:
        model: The model.
        tuned: If true, its tuned samplers count as well.
    """
    left_out = {"name", "seed", "ema", "dtype", *(() if tuned else ("tuned_samplers",))}
    config = {k: v for k, v in model.get_config().items() if k not in left_out}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    statistics = (model.normalizer.adapt_mean, model.normalizer.adapt_variance)
    for variable in (*model.ema_network.variables, *statistics):
        digest.update(np.ascontiguousarray(to_numpy(variable.value)).tobytes())
    return digest.hexdigest()[:16]


def precision(model: DiffusionModel) -> str:
    """Return the names of the dtype policies of a network, which `fingerprint` leaves out."""
    layers = model.ema_network._flatten_layers(include_self=False)
    return ", ".join(sorted({layer.dtype_policy.name for layer in layers}))
