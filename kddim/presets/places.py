"""Places of models: names of presets, paths, and addresses on the hub."""

import dataclasses
import difflib
import logging
import os
from pathlib import Path

from kddim import run_state
from kddim.checks import printable
from kddim.presets import hub
from kddim.presets.catalogue import ROOT, is_preset, names

log = logging.getLogger("kddim")


@dataclasses.dataclass(frozen=True)
class Place:
    """A model on the disk.

    Attributes:
        path: Folder of a preset, run folder, or `.keras` file.
        is_preset: True for the folder of a preset.
        is_local: False for the name of a preset, and for an address on the hub.
        remark: Sentence about a path and a preset of the same name, or empty text.
    """

    path: Path
    is_preset: bool
    is_local: bool = True
    remark: str = ""


def locate(model: str | os.PathLike) -> Place:
    """Return where a model is.

    A local path that holds a model wins over the preset of that name. A folder without a model,
    such as one of pictures, does not.

    Args:
        model: Name of a preset, path of a preset's folder, of a run folder or of a `.keras` file,
            or address `hf://user/repo`.

    Raises:
        ValueError: If it is an unknown name, or an address that cannot be read.
    """
    text = os.fspath(model)
    if hub.is_address(text):
        folder = hub.download(text)
        return Place(folder, is_preset(folder), is_local=False)
    path, known = Path(text), names()
    if text not in known:
        if not text:
            raise ValueError(_unknown("empty text", known))
        if not os.path.lexists(path) and path.suffix != ".keras" and len(path.parts) < 2:
            raise ValueError(_unknown(text, known))
        return Place(path, is_preset(path))
    if _holds_model(path):
        remark = f"{text} is the local path here. Rename it to use the preset of this name"
        return Place(path, is_preset(path), remark=remark)
    remark = f"the local {text} holds no model: this is the preset" if path.exists() else ""
    return Place(ROOT / text, True, is_local=False, remark=remark)


def _holds_model(path: Path) -> bool:
    return path.is_file() or is_preset(path) or run_state.is_run(path) or _has_model(path)


def _has_model(path: Path) -> bool:
    return (path / "model.keras").is_file()


def _unknown(text: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(text, known, n=1)
    hint = f". Did you mean {near[0]}?" if near else ""
    named = f"the name of a preset ({', '.join(known)})" if known else "the folder of a preset"
    return (
        f"Expected a .keras file, a run folder, or {named}. Received: {printable(text):.200}, which is "
        f"none of them{hint}"
    )


def stem_of(model: str | os.PathLike) -> str:
    """Return the last part of a model's name, without an ending, to name outputs by."""
    path = Path(os.path.abspath(model))
    return path.stem.replace(".", "_") or "model"
