"""Names and paths in run folders."""

import os
from pathlib import Path

from kddim import run_state
from kddim.files import check_output

MODEL, CONFIG, SAMPLES, AVERAGES = "model.keras", "config.json", "samples", "averages"
EARLIER = ".earlier"  # a run that is being replaced, until the new one has a model


def check_run_output(path: str | os.PathLike, overwrite: bool) -> Path:
    """Return `path` if a run folder may be written there.

    Args:
        path: The run folder.
        overwrite: If true, an earlier run may be there.

    Raises:
        ValueError: If something is there and `overwrite` is false, or if it is not an earlier
            run.
    """
    path = check_output(path, overwrite)
    begun = (path / CONFIG).is_file() or (path / EARLIER).is_dir()
    is_run = begun and not (path / run_state.PRESET).exists()
    # Hidden files are those of a run that was killed while it started.
    if path.exists() and (not path.is_dir() or (_holds_visible_files(path) and not is_run)):
        raise ValueError(
            f"Expected a run folder to overwrite (one that holds {CONFIG}). Received: {path}"
        )
    return path


def _holds_visible_files(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())


def model_path(path: str | os.PathLike) -> Path:
    """Return the `.keras` file of a model.

    Args:
        path: A `.keras` file, or a run folder.

    Raises:
        ValueError: If there is no such file.
    """
    path = Path(path)
    found = path / MODEL if path.is_dir() else path
    if not found.is_file():
        raise ValueError(
            f"Expected a .keras file, or a run folder that holds {MODEL}. "
            f"Received: {path}, but there is no {found}"
        )
    return found
