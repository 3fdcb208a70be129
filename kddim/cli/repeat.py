"""Framework of a run that repeats or resumes another."""

import importlib.util
import logging
import os
from typing import Any

import click

from kddim.settings import SettingsFile


def choose_backend(file: SettingsFile | None, given: dict[str, Any]) -> str | None:
    """Return the backend to start Keras with, or None for Keras' own choice.

    The command line decides, then the file. The framework of an earlier run is taken only if
    it is installed here.

    Args:
        file: Settings of a file or of an earlier run.
        given: Settings of the command line.
    """
    if file is None or given.get("backend"):
        return given.get("backend")
    backend, asked = file.values.get("backend"), os.environ.get("KERAS_BACKEND")
    if backend and file.record is not None and importlib.util.find_spec(backend) is None:
        return None
    if backend and asked and asked != backend:
        click.echo(
            f"note: backend {backend}, as in {file.path}; KERAS_BACKEND is {asked}", err=True
        )
    return backend


def report_differences(file: SettingsFile | None, settings: dict[str, Any]) -> None:
    """Log what differs from an earlier run, so that the numbers may differ too.

    Args:
        file: Settings of a file or of an earlier run.
        settings: Settings of this run.
    """
    from kddim.training.config_file import differences

    for line in () if file is None else (*file.notes, *differences(file, settings)):
        logging.getLogger("kddim").warning(line)
