"""What all verbs share: options, the backend's start, errors in one line."""

import contextlib
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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


SAMPLERS = "ddim, ddpm, heun, dpm_solver_pp or adams_bashforth"
SPECIFICATION = (
    f"{SAMPLERS}; options follow a colon, as in heun:alpha=0.5 or "
    "adams_bashforth:order=3,times=log_snr."
)


def sampler_options(function: Callable) -> Callable:
    """Adds `--diffusion-steps`, `--sampler`, `--eta`, and `generation_options`."""
    options = (
        click.option("--diffusion-steps", type=int, default=20, show_default=True, help="Steps of the sampler, S."),
        click.option("--sampler", default="ddim", show_default=True, help=SPECIFICATION),
        click.option("--eta", type=float, help="Stochasticity of ddim: 0 deterministic, 1 DDPM.  [default: 0]"),
    )  # fmt: skip
    return _with_options(generation_options(function), options)


def generation_options(function: Callable) -> Callable:
    """Adds `--schedule` and `--batch-size`."""
    options = (
        click.option("--schedule", help="Noise schedule to sample on.  [default: that of training]"),
        click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images computed at once."),
    )  # fmt: skip
    return _with_options(function, options)


def output_options(function: Callable) -> Callable:
    """Adds `--output` and `--overwrite` of an experiment."""
    options = (
        click.option("--output", "-o", type=click.Path(), help="Folder to make, or to go on with; a file of one of the endings above has that alone.  [default: beside the model]"),
        click.option("--overwrite", is_flag=True, help="Start anew, whatever is there."),
    )  # fmt: skip
    return _with_options(function, options)


def split_option(function: Callable, default: str = "validation") -> Callable:
    """Adds `--split`."""
    splits = click.Choice(["validation", "train", "all"])
    return click.option(
        "--split", type=splits, default=default, show_default=True, help="Real images of SOURCE that serve."
    )(function)  # fmt: skip


def reference_options(function: Callable) -> Callable:
    """Adds `--metric`, `--split` and `encoder_options`."""
    metric = click.option("--metric", default="kid", show_default=True, help="kid, fid, or kid,fid; prdc is precision, recall, density and coverage.")  # fmt: skip
    return metric(split_option(encoder_options(function)))


def encoder_options(function: Callable) -> Callable:
    """Adds `--encoder`, `--encoder-weights`, `--protocol` and `--no-cache`."""
    options = (
        click.option("--encoder", "--kid-encoder", help="inception_v3, pt_inception, mobilenet, random_conv, or auto: Inception where its weights can be had, else random_conv.  [default: that of a file of statistics, else auto]"),
        click.option("--encoder-weights", type=click.Path(), help="A local file for that encoder."),
        click.option("--protocol", type=click.Choice(["unbiased", "example", "standard"]), help="What the encoder sees, and how KID is estimated: as in the keras.io example, as in the literature, or unbiased over all images.  [default: that of a file of statistics, else unbiased; compare: standard]"),
        click.option("--no-cache", is_flag=True, help="Neither keep features in the cache nor take them from it."),
    )  # fmt: skip
    return _with_options(function, options)


def encoding(options: dict[str, Any]) -> dict[str, Any]:
    """What `encoder_options` say, as arguments of the library; takes them out of `options`."""
    return {
        "encoder": options.pop("encoder"),
        "weights": options.pop("encoder_weights"),
        "protocol": options.pop("protocol"),
        "use_cache": not options.pop("no_cache"),
    }


def make_reference(model: str, source: str, image_shape: Any, options: dict[str, Any]) -> Any:
    """The reference that `reference_options` describe; takes them out of `options`."""
    from kddim import evaluation, runs

    return evaluation.make_reference(
        source,
        image_shape,
        split=options.pop("split"),
        num_images=options["num_images"],
        batch_size=options["batch_size"],
        verbose=interactive(),
        **encoding(options),
        **runs.loading_of(model),
    )


def _with_options(function: Callable, options: Sequence[Callable]) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function


def experiment_output(output: str | None, model: str, name: str) -> Path:
    """Where an experiment goes: what was asked for, or a folder beside the model."""
    if output:
        return Path(output)
    path = Path(model)
    folder = f"{path.stem.replace('.', '_')}_{name}"
    return path / name if path.is_dir() else path.with_name(folder)


def make_sampler(specification: str, eta: float | None = None) -> Any:
    """The sampler that `--sampler` and `--eta` describe.

    Args:
        specification: a name, or `name:option=value,option=value`.
        eta: of ddim.

    Raises:
        ValueError: an unknown name or option, or an eta for a sampler that has none.
    """
    from kddim import samplers

    name, _, text = specification.partition(":")
    words = [word for word in text.split(",") if word]
    if any("=" not in word for word in words):
        raise ValueError(
            f"Expected a sampler as name:option=value,option=value. Received: {specification!r}"
        )
    options = dict(word.split("=", 1) for word in words)
    sampler = samplers.get(name)
    if eta is not None:
        if not isinstance(sampler, samplers.DDIM):
            raise ValueError(
                f"Expected --eta with the sampler ddim alone. Received: --sampler {name}"
            )
        options["eta"] = str(eta)
    known = sampler.get_config()
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"Expected options of {name} among {', '.join(known)}. Received: {', '.join(unknown)}"
        )
    try:
        return type(sampler)(**{key: _value(key, text) for key, text in options.items()})
    except TypeError as error:  # a word where a number belongs, and the like
        raise ValueError(
            f"Expected options of {name} such as {sampler.get_config()}. "
            f"Received: {specification!r}"
        ) from error


def _value(key: str, text: str) -> Any:
    """A number or a word; `clip=-1:1` is a pair."""
    try:
        values = [float(part) for part in text.split(":")]
    except ValueError:
        return text
    if len(values) > 1:
        return tuple(values)
    return int(values[0]) if key == "order" and values[0].is_integer() else values[0]


def parse_numbers(context: Any, parameter: Any, value: str | None) -> tuple[int, ...] | None:
    """`10,20,50` as a tuple of ints; a click callback."""
    return parse_widths(context, parameter, value)


def parse_etas(context: Any, parameter: Any, value: str | None) -> tuple[float | str, ...] | None:
    """`0,0.5,1,large` as a tuple; a click callback."""
    if value is None:
        return None
    try:
        return tuple(part if part == "large" else float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected numbers (or the word large) separated by commas, received {value!r}"
        ) from None


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


def parse_size_or_native(context: Any, parameter: Any, value: str) -> tuple[int, int] | None:
    """As `parse_size`, always a pair; None for the word native; a click callback."""
    if value.lower() == "native":
        return None
    size = parse_size(context, parameter, value)
    return size if isinstance(size, tuple) else (size, size)  # type: ignore[return-value]
