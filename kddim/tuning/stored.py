"""Files that keep tuned samplers with a model."""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kddim import runs
from kddim.files import atomic_write, write_json
from kddim.locks import output_lock
from kddim.model_files import CONFIG, check_model_file, explained
from kddim.samplers import serialize_sampler
from kddim.tuning.search import Found

SAMPLERS = "samplers.json"


def keep(path: str | os.PathLike, found: Sequence[Found]) -> Path:
    """Keep samplers with a model: in the configuration of its file, and beside it.

    The file of the model is replaced as a whole; weights and optimiser stay as they are. Samplers
    of other numbers of steps stay, too. A run folder also receives samplers.json, with the error
    of each sampler.

    Args:
        path: A `.keras` file, or a run folder.
        found: What was found.

    Returns:
        Path of the `.keras` file.

    Raises:
        ValueError: If there is no such model, or if it cannot be loaded.
    """
    file = runs.model_path(path)
    tuned = {str(one.diffusion_steps): serialize_sampler(one.sampler) for one in found}
    with output_lock(file):
        with explained(file):
            check_model_file(file)
        with atomic_write(file, durable=True) as partial:
            _copy(file, partial, tuned)
        if Path(path).is_dir():
            beside = Path(path) / SAMPLERS
            known = json.loads(beside.read_text()) if beside.is_file() else {}
            errors = {str(one.diffusion_steps): one.error for one in found}
            rows = {n: {"error": errors[n], "sampler": sampler} for n, sampler in tuned.items()}
            write_json(beside, known | rows)
    return file


def _copy(file: Path, target: Path, tuned: dict[str, Any]) -> None:
    """Copy a `.keras` file, with other tuned samplers in its configuration."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename == CONFIG:
                described = json.loads(content)
                known = described["config"].get("tuned_samplers", {})
                described["config"]["tuned_samplers"] = known | tuned
                content = json.dumps(described).encode()
            new.writestr(member, content)
