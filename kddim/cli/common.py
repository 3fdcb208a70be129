"""What all verbs share: options, the backend's start, errors in one line."""

import contextlib
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")


def runtime_options(function: Callable) -> Callable:
    """Adds `--backend`, `--dtype` and `--seed`, and starts Keras with the first two."""

    @click.option(
        "--backend",
        type=click.Choice(list(BACKENDS)),
        help="Framework that computes.  [default: Keras' own choice, KERAS_BACKEND]",
    )
    @click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="Precision of the network.",
    )
    @click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="The same seed gives the same images.",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, backend: str | None, dtype: str, **kwargs: Any) -> Any:
        start_backend(backend, dtype)
        return function(*args, **kwargs)

    return wrapped


def start_backend(backend: str | None, dtype: str) -> None:
    """Chooses the backend before Keras is imported, and keeps its start quiet.

    Raises:
        ValueError: the framework is not installed.
    """
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    name = backend or os.environ.get("KERAS_BACKEND")
    if name in BACKENDS and importlib.util.find_spec(BACKENDS[name]) is None:
        raise ValueError(
            f"Expected the framework of the backend {name} to be installed. Received: no module "
            f"{BACKENDS[name]!r}. Install kddim[{name}], or choose another --backend."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("kddim").setLevel(logging.INFO)
    try:
        with _muted_framework():
            import keras

            from kddim.backend import initialise_devices

            initialise_devices()
    except ModuleNotFoundError as error:
        raise ValueError(
            f"Expected an installed backend. Received: no module {error.name!r}. Install "
            "kddim[tensorflow], kddim[jax] or kddim[torch], and choose it with --backend."
        ) from error
    keras.config.set_dtype_policy(dtype)


@contextlib.contextmanager
def _muted_framework() -> Iterator[None]:
    """Mutes standard error while TensorFlow starts.

    Its C++ libraries write to the file descriptor before they read any log level. What
    goes wrong is an exception, and comes through.
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
    """1 where progress bars have a terminal to be drawn on, else 0."""
    return int(sys.stdout.isatty())


def sampler_options(function: Callable) -> Callable:
    """Adds `--diffusion-steps`, `--sampler` and `--eta`."""
    options = (
        click.option("--diffusion-steps", type=int, default=20, show_default=True, help="Steps of the sampler, S."),
        click.option("--sampler", default="ddim", show_default=True, help="ddim, ddpm, heun, dpm_solver_pp or adams_bashforth."),
        click.option("--eta", type=float, help="Stochasticity of ddim: 0 deterministic, 1 DDPM.  [default: 0]"),
        click.option("--batch-size", type=int, default=64, show_default=True, help="Images computed at once."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def make_sampler(name: str, eta: float | None) -> Any:
    """The sampler that `--sampler` and `--eta` describe.

    Raises:
        ValueError: an unknown name, or an eta for a sampler that has none.
    """
    from kddim import samplers

    sampler = samplers.get(name)
    if eta is None:
        return sampler
    if not isinstance(sampler, samplers.DDIM):
        raise ValueError(f"Expected --eta with the sampler ddim alone. Received: --sampler {name}")
    return samplers.DDIM(eta=eta)


def parse_widths(context: Any, parameter: Any, value: str | None) -> tuple[int, ...] | None:
    """`32,64,96` as a tuple; a click callback."""
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected integers separated by commas, received {value!r}"
        ) from None


def parse_size(context: Any, parameter: Any, value: str | None) -> int | tuple[int, int] | None:
    """`64` or `64x48` (height x width); a click callback."""
    if value is None:
        return None
    try:
        parts = [int(part) for part in value.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        return parts[0], parts[1]
    raise click.BadParameter(
        f"expected a size such as 64, or 64x48 for height x width, received {value!r}"
    )
