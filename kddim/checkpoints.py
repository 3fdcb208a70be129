"""Checkpoints of training: files with a checksum, and the variables of a model in them."""

import dataclasses
import hashlib
import json
import logging
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim.backend import to_numpy
from kddim.checks import reason_of
from kddim.files import atomic_write, remove_partial_files

log = logging.getLogger("kddim")

_DIGITS = 64  # of the SHA-256 at the end of a file, in hexadecimal
_STATE = "state"
_NAME = "step_*.npz"


@dataclasses.dataclass(frozen=True)
class RunState:
    """Position of a training run, and what is needed to go on from it.

    Attributes:
        epoch: Number of finished epochs: the `initial_epoch` of the `fit` that goes on.
        step: Number of steps done in the epoch after them. `fit` passes over as many batches.
        steps: Number of training steps in all epochs.
        time: Unix time in seconds at which the checkpoint was written.
        details: JSON values: states of the callbacks, of the data set and of random generators.
        metrics: Values of the metrics in the middle of the epoch.
        scalars: Values of the scalar variables at the position, by names such as
            "optimizer/0". Callbacks at the end of an epoch change the learning rate.
        averages: Values of the averages of `PowerAverageCallback`, if there are any.
        path: File of the checkpoint.
    """

    epoch: int
    step: int
    steps: int
    time: float
    details: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    metrics: tuple[np.ndarray, ...] = dataclasses.field(default=(), repr=False)
    scalars: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    averages: tuple[np.ndarray, ...] = dataclasses.field(default=(), repr=False)
    path: Path | None = dataclasses.field(default=None, repr=False)


def write_checkpoint(path: Path, model: keras.Model, state: RunState) -> None:
    """Write a model, its optimiser and a position to a file, as a whole or not at all.

    The file is an uncompressed `.npz` archive, whose last 64 characters are the SHA-256 of
    the rest. It is flushed to the disk before it gets its name.

    Args:
        path: File to write.
        model: Compiled model.
        state: Position of the run.

    Raises:
        ValueError: If a weight is not finite. Nothing is written then.
    """
    arrays: dict[str, np.ndarray] = {}
    names: dict[str, list[Any]] = {}
    groups = _groups(model)
    if (averages := getattr(model, "power_averages", None)) is not None:
        groups["averages"] = averages.variables
    for group, variables in groups.items():
        values = [to_numpy(variable.value) for variable in variables]
        _check_finite(group, variables, values)
        names[group] = [_describe(variable) for variable in variables]
        arrays |= {f"{group}/{i}": _storable(value) for i, value in enumerate(values)}
    arrays |= state.scalars
    arrays |= {f"metrics/{i}": _storable(value) for i, value in enumerate(state.metrics)}
    about = {
        "epoch": state.epoch,
        "step": state.step,
        "steps": state.steps,
        "time": time.time(),
        "details": state.details,
        "variables": names,
    }
    arrays[_STATE] = np.frombuffer(json.dumps(about).encode(), "uint8")
    with atomic_write(path, durable=True) as partial:
        _write_archive(partial, arrays)


def _groups(model: keras.Model) -> dict[str, list[Any]]:
    """Return the variables of a model and its optimiser that a checkpoint holds.

    An objective may have `unsaved_variables`, which it computes at the beginning of an epoch.
    """
    objective = getattr(model, "objective", None)
    left_out = {id(variable) for variable in getattr(objective, "unsaved_variables", ())}
    kept = [variable for variable in model.variables if id(variable) not in left_out]
    return {"model": kept, "optimizer": list(model.optimizer.variables)}


def scalars_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return copies of all scalar variables of a model and its optimiser, by their names."""
    return {
        f"{group}/{index}": _storable(np.array(to_numpy(variable.value)))
        for group, variables in _groups(model).items()
        for index, variable in enumerate(variables)
        if len(variable.shape) == 0
    }


def _describe(variable: Any) -> list[Any]:
    return [variable.path, list(variable.shape), str(variable.dtype)]


def _check_finite(group: str, variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values):
        # bfloat16 is no NumPy type: `isfinite` takes it, `issubdtype` does not know it.
        if value.dtype.kind not in "iub?" and not np.isfinite(value).all():
            raise ValueError(
                f"Expected finite weights to keep. Received: NaN or infinite values in "
                f"{variable.path} ({group}). The training has diverged."
            )


def _storable(value: np.ndarray) -> np.ndarray:
    """Return an array in a type that NumPy files have: bfloat16 as its bits."""
    return value.view("uint16") if value.dtype.name == "bfloat16" else value


def _write_archive(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # The date is fixed, so that the same content gives the same bytes.
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
        archive.comment = b"0" * _DIGITS
    digest = _digest(path)
    with path.open("r+b") as file:
        file.seek(-_DIGITS, os.SEEK_END)
        file.write(digest)


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file without its last characters."""
    digest, left = hashlib.sha256(), path.stat().st_size - _DIGITS
    with path.open("rb") as file:
        while left > 0:
            block = file.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block) or left
    return digest.hexdigest().encode()


def read_checkpoint(path: Path) -> tuple[RunState, dict[str, np.ndarray], dict[str, Any]]:
    """Read a file that `write_checkpoint` wrote.

    Args:
        path: File to read.

    Returns:
        `(state, arrays, variables)`: the position, the values by names such as "model/0", and
        the path, shape and dtype of every variable by group.

    Raises:
        ValueError: If the file is missing, or if a byte of it was changed or lost.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(_DIGITS, path.stat().st_size), os.SEEK_END)
            written = file.read()
        if written != _digest(path):
            raise ValueError("its checksum is another one")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays.pop(_STATE).tobytes())
        found = {key: about[key] for key in ("epoch", "step", "steps", "time", "details")}
        found |= {group: _pop(arrays, group) for group in ("metrics", "averages")}
        return RunState(**found, path=path), arrays, about["variables"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a whole checkpoint. Received: {path}, which cannot be read "
            f"({reason_of(error)})"
        ) from error


def _pop(arrays: dict[str, np.ndarray], group: str) -> tuple[np.ndarray, ...]:
    """Take the arrays of a group out of a dictionary, in their order."""
    number = sum(name.startswith(f"{group}/") for name in arrays)
    return tuple(arrays.pop(f"{group}/{i}") for i in range(number))


class CheckpointFolder:
    """The newest checkpoints of a run.

    Args:
        folder: Folder of the files. It is created with the first one.
        keep: Number of checkpoints to keep, at least 1.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Return the paths of all checkpoints, the newest first."""
        return sorted(self.folder.glob(_NAME), reverse=True)

    def save(self, model: keras.Model, state: RunState) -> Path:
        """Write a checkpoint, and remove those that are older than the newest ones.

        A checkpoint with more steps belongs to a course that was given up. It is removed too.

        Raises:
            ValueError: If a weight is not finite. All checkpoints stay as they are.
        """
        path = self.folder / f"step_{state.steps:08d}.npz"
        write_checkpoint(path, model, state)
        kept = [other for other in self.paths() if other <= path][: self.keep]
        for other in set(self.paths()) - set(kept):
            other.unlink(missing_ok=True)
        return path

    def load(self) -> tuple[RunState, dict[str, np.ndarray], dict[str, Any]]:
        """Read the newest checkpoint that is whole, as `read_checkpoint` does.

        A damaged one is passed over, with a line in the log.

        Raises:
            ValueError: If there is none.
        """
        reasons = []
        for path in self.paths():
            try:
                found = read_checkpoint(path)
            except ValueError as error:
                reasons.append(str(error))
                continue
            for reason in reasons:
                log.warning("%s. Going on from the one before, %s", reason, path)
            return found
        raise ValueError(
            f"Expected a checkpoint. Received: {self.folder}, which holds none"
            + "".join(f" that is whole. {reason}" for reason in reasons)
        )

    def clean(self) -> None:
        """Remove what a killed process left of an unfinished file."""
        remove_partial_files(self.folder)


def newest(folder: str | os.PathLike) -> RunState | None:
    """Return the position of the newest whole checkpoint in a folder, or None without one."""
    for path in CheckpointFolder(folder).paths():
        try:
            return read_checkpoint(path)[0]
        except ValueError:
            continue
    return None


def restore_variables(
    model: keras.Model, arrays: dict[str, np.ndarray], names: dict[str, Any], path: Path
) -> None:
    """Assign the values of a checkpoint to a compiled model and its optimiser.

    Args:
        model: Model that was built and compiled with the same arguments.
        arrays: Values, as `read_checkpoint` returns them.
        names: Path, shape and dtype of every variable, as `read_checkpoint` returns them.
        path: File of the checkpoint, for the error message.

    Raises:
        ValueError: If the model or its optimiser has other variables. Nothing is assigned then.
    """
    groups = _groups(model)
    for group, variables in groups.items():
        _check_variables(group, [_describe(v) for v in variables], names.get(group, []), path)
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            value = arrays[f"{group}/{index}"]
            if str(variable.dtype) == "bfloat16":
                value = value.view(to_numpy(variable.value).dtype)
            variable.assign(value)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # of the normaliser, which computes from its weights
            layer.finalize_state()


def _check_variables(group: str, wanted: list[Any], found: list[Any], path: Path) -> None:
    # Without the paths, because Keras numbers the layers of a process.
    differing = [(w, f) for w, f in zip(wanted, found) if w[1:] != f[1:]]
    if not differing and len(wanted) == len(found):
        return
    if differing:
        (name, shape, dtype), (_, other, kind) = differing[0]
        reason = f"{name} has shape {shape} and dtype {dtype} here, and {other} and {kind} there"
    else:
        reason = f"the {group} has {len(wanted)} variables here, and {len(found)} there"
    raise ValueError(
        f"Expected a model with the variables of the checkpoint {path}. Received: another one "
        f"({reason}). Build and compile it with the arguments of the run."
    )
