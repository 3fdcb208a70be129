"""Options that several verbs share, and the objects that they describe.

Names in help texts come from `kddim.names`, which is read without starting Keras.
"""

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kddim import settings
from kddim.cli.runtime import interactive, starts_keras
from kddim.cli.values import (
    negate,
    parse_devices,
    parse_integers,
    parse_interval,
    parse_start,
    parse_words,
)
from kddim.names import ENCODERS, SAMPLERS, SCHEDULES, join_names

log = logging.getLogger(__name__)

DTYPES = click.Choice(settings.DTYPES)
SPLITS = click.Choice(["validation", "train", "all"])
PROTOCOLS = click.Choice(["unbiased", "example", "standard"])
PATH = click.Path(path_type=Path)

SAMPLER_HELP = (
    f"{join_names(SAMPLERS)}. Options follow a colon, as in heun:alpha=0.5 or "
    "ipndm:order=3,times=log_snr. Or tuned: what kddim tune found for the model. Or gaussian_start: "
    "ddim from time 0.9, to which the Gaussian of the data leads without the network."
)
SCHEDULE_HELP = f"{join_names(SCHEDULES)}."
ENCODER_HELP = (
    f"{join_names(ENCODERS)}. auto is inception_v3 if its weights are available, else random_conv."
)


START = click.option("--start", type=float, default=1.0, callback=parse_start, help="Time at which the steps begin. Below 1, the Gaussian of the data leads there without the network.")  # fmt: skip


def group(*options: Callable) -> Callable[[Callable], Callable]:
    """Return a decorator that adds several options in the given order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def batch_size_option(help: str) -> Callable:
    """Return the option `--batch-size`."""
    return click.option("--batch-size", type=click.IntRange(min=1), default=64, help=help)


def split_option(default: str) -> Callable:
    """Return the option `--split`."""
    return click.option("--split", type=SPLITS, default=default, help="Part of SOURCE to take the real images from.")  # fmt: skip


def metric_option(default: str) -> Callable:
    """Return the option `--metric`."""
    return click.option("--metric", "metrics", default=default, callback=parse_words, help="kid, fid or prdc, or several separated by commas. prdc stands for precision, recall, density and coverage.")  # fmt: skip


def steps_option(default: str) -> Callable:
    """Return the option `--steps`."""
    return click.option("--steps", default=default, callback=parse_integers, help="Numbers of diffusion steps, separated by commas.")  # fmt: skip


def divides_batches(function: Callable) -> Callable:
    """Add `--devices` to a verb that generates, and divide its batches among them."""

    @click.option("--devices", callback=parse_devices, metavar="N|all", help="Divide each batch among N devices of this machine, such as GPUs, or among all. The images are those of one device, up to rounding.  [default: one]")  # fmt: skip
    @functools.wraps(function)
    def divided(*args: Any, devices: int | str | None, **kwargs: Any) -> Any:
        from kddim.devices import use_devices

        with use_devices(devices, several_hosts=False):
            return function(*args, **kwargs)

    return divided


# fmt: off
MODEL = click.argument("model", type=click.Path())
JSON_OUTPUT = click.option("--output", "-o", type=PATH, help="A .json file for the result.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
DETERMINISTIC_SAMPLER = click.option("--sampler", default="ddim", help="A deterministic sampler, written as for kddim generate.")
ENCODING_SAMPLER = click.option("--sampler", default="ddim", help="ddim, with options such as ddim:times=quadratic. No other sampler can be run backwards.")

model_runtime = group(
    starts_keras,
    click.option("--dtype", type=DTYPES, help="Precision of the network.  [default: the precision that it was saved with]"),
    click.option("--seed", type=int, default=0, help="Seed of the noises. The same seed gives the same images."),
)
# Options that every verb accepts, even if they do not change its result.
ignored_dtype = click.option("--dtype", type=DTYPES, hidden=True, expose_value=False)
ignored_seed = click.option("--seed", type=int, hidden=True, expose_value=False)
ignored_backend = click.option("--backend", type=click.Choice(settings.BACKENDS), hidden=True, expose_value=False)

guidance_options = group(
    click.option("--guidance-scale", type=float, default=1.0, help="Scale of guidance by labels, or by --guide. 1 is off. Above 1, images show their class more clearly and vary less."),
    click.option("--guidance-interval", callback=parse_interval, help="Noise levels LOW,HIGH (noise rate divided by signal rate) that are guided. The others take half of the time.  [default: all]"),
    click.option("--guide", type=click.Path(), help="Weaker model of the same images to guide with, such as an earlier one. Works without labels too."),
)
label_option = click.option("--label", "classes", callback=parse_words, help="Classes of the images, by names or numbers, separated by commas. Each has an equal share of the images.")
generation_options = group(
    click.option("--schedule", help=f"Noise schedule to sample on: {SCHEDULE_HELP}  [default: the schedule of training]"),
    batch_size_option("Number of images per batch."),
)
_steps_option = click.option("--diffusion-steps", type=int, default=20, help="Number of steps of the sampler.")
_eta_option = click.option("--eta", type=float, help="Stochasticity of the sampler ddim: 0 is deterministic, 1 is DDPM.  [default: 0]")
sampler_options = group(
    _steps_option,
    click.option("--sampler", default="auto", help=f"{SAMPLER_HELP} auto is tuned if MODEL was tuned or distilled for this number of steps; else adams_bashforth from the gaussian_start if MODEL has this Gaussian and no classes; else, and with --eta or --schedule, ddim."),
    _eta_option,
    generation_options,
)
# Of verbs that begin between noise and image, for which nothing is tuned.
editing_sampler_options = group(
    _steps_option,
    click.option("--sampler", default="ddim", help=SAMPLER_HELP),
    _eta_option,
    generation_options,
)
output_options = group(
    click.option("--output", "-o", type=PATH, help="Folder to create, or folder of an interrupted run to resume. If it is a file, only this one is written, and its ending is one of those above.  [default: a folder in the run, beside the .keras file, or here for a preset]"),
    click.option("--overwrite", is_flag=True, help="Start over, and replace earlier results."),
)
encoder_options = group(
    click.option("--encoder", "--kid-encoder", help=f"Feature encoder: {ENCODER_HELP}  [default: the encoder of a file of statistics, else auto]"),
    click.option("--encoder-weights", "weights", type=click.Path(), help="Local file with weights for the encoder."),
    click.option("--protocol", type=PROTOCOLS, help="Input of the encoder and estimator of KID. unbiased: over all images. example: as in the keras.io example. standard: as in the literature.  [default: the protocol of a file of statistics, else unbiased; compare: standard]"),
    click.option("--no-cache", "use_cache", is_flag=True, callback=negate, help="Do not read or write the cache of features."),
)
reference_options = group(
    metric_option("kid"),
    split_option("validation"),
    encoder_options,
)
# fmt: on


def run_experiment(
    make: Callable,
    name: str,
    model: str,
    output: Path | None,
    overwrite: bool,
    dtype: str | None,
    exclusive: bool = True,
    **options: Any,
) -> tuple:
    """Run an experiment.

    Args:
        make: Function of a model and options that returns a `kddim.experiments.Experiment`.
        name: Name of the experiment, for the folder beside the model.
        model: Path of the model.
        output: File or folder to write. None is a folder beside the model.
        overwrite: If true, replace earlier results.
        dtype: Precision of the model. None is the precision that it was saved with.
        exclusive: If true, no other process may write the output in the meantime.
        **options: Options for `make`. The values of `--sampler` and `--eta` are replaced by a
            sampler.

    Returns:
        `(experiment, path, rows)`: the experiment, the path of its output, and its rows.
    """
    from kddim import presets
    from kddim.locks import output_lock
    from kddim.samplers.parse import make_sampler

    if options.get("guide") is not None:
        options["guide"] = presets.load_model(options["guide"], dtype)
    if "sampler" in options:
        options["sampler"] = make_sampler(options["sampler"], options.pop("eta", None))
    target = output or _beside(model, name)
    with output_lock(target) if exclusive else contextlib.nullcontext():
        loaded = presets.load_model(model, dtype)
        _announce(loaded, **options)
        experiment = make(model=loaded, **options)
        rows = experiment.run(target, overwrite=overwrite, verbose=interactive())
    return experiment, target, rows


def _announce(
    model: Any, sampler: Any = None, schedule: Any = None, diffusion_steps: int = 0, **_: Any
) -> None:
    """Say which sampler was chosen, unless it was given."""
    from kddim.samplers import Auto

    if isinstance(sampler, Auto) and schedule is None:
        log.info("sampler: %s", sampler.choice(model, diffusion_steps))


def _beside(model: str, name: str) -> Path:
    """Return the folder for the results of an experiment, near the model."""
    from kddim.presets.places import locate, stem_of

    path = Path(model)
    if locate(model).is_local:
        return path / name if path.is_dir() else path.with_name(f"{stem_of(path)}_{name}")
    return Path(f"{stem_of(model)}_{name}")
