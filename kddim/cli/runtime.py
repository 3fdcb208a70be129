"""Start of Keras for a verb: backend, quiet standard error, log lines."""

import contextlib
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from kddim.checks import printable
from kddim.settings import BACKENDS


def starts_keras(function: Callable) -> Callable:
    """Add `--backend` to a verb, and start Keras with it before the verb runs."""

    @click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        help="Framework that computes.  [default: Keras' own choice, such as KERAS_BACKEND]",
    )
    @functools.wraps(function)
    def started(*args: Any, backend: str | None, **kwargs: Any) -> Any:
        start_keras(backend)
        return function(*args, **kwargs)

    return started


def start_keras(backend: str | None) -> None:
    """Import Keras with a backend, without the messages of the backend's start.

    Args:
        backend: Name of the backend. None is Keras' own choice.

    Raises:
        ValueError: If the framework is not installed.
    """
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    name = backend or os.environ.get("KERAS_BACKEND")
    if name in BACKENDS and importlib.util.find_spec(name) is None:
        raise ValueError(
            f"Expected the framework of the backend {name} to be installed. Received: no module "
            f"{name!r}. Install kddim[{name}], or choose another --backend."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("kddim").setLevel(logging.INFO)
    try:
        with _muted_standard_error():
            from kddim.backend import initialise_devices

            initialise_devices()
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Expected kddim and a backend to be installed. Received: no module {error.name!r}. "
            "Install kddim[tensorflow], kddim[jax] or kddim[torch], and choose it with --backend."
        ) from error


class _OneLine(logging.Formatter):
    """Formatter that gives each record of kddim one line, whatever the names of files hold."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return printable(text) if record.name.partition(".")[0] == "kddim" else text


@contextlib.contextmanager
def _muted_standard_error() -> Iterator[None]:
    """Discard what is written to standard error, for the start of TensorFlow.

    Its C++ libraries write to the file descriptor before they read a log level. Errors are
    exceptions, and are not lost.
    """
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def interactive() -> int:
    """Return 1 if standard output is a terminal, which can show progress bars, else 0."""
    return int(sys.stdout.isatty())
