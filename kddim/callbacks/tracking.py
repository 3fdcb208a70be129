"""Callbacks that show a training run in other tools."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kddim.callbacks.tensorboard import TensorBoardCallback
from kddim.callbacks.tracker import TrackerCallback

LOGS = "logs"


def trackers(
    folder: Path,
    tensorboard: bool,
    track: str | None,
    config: Mapping[str, Any],
    samples: Path | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run for the tools that were asked for.

    Args:
        folder: Run folder. TensorBoard's events are written to its subfolder `logs`.
        tensorboard: If true, TensorBoard shows the run.
        track: "wandb", "trackio" or None.
        config: Settings of the run, which the tool shows.
        samples: Folder of the pictures of an `ImageGridCallback`. None shows no pictures.

    Raises:
        ValueError: If a tool is unknown or cannot be used.
    """
    found: list[keras.callbacks.Callback] = []
    if tensorboard:
        found.append(TensorBoardCallback(folder / LOGS, samples))
    if track is not None:
        found.append(TrackerCallback(track, folder.resolve().name, folder, config, samples=samples))
    return found
