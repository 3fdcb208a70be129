"""Verb `kddim train`."""

import shlex
from pathlib import Path
from typing import Any

import click

from kddim import hosts
from kddim.cli.repeat import choose_backend, report_differences
from kddim.cli.runtime import start_keras
from kddim.cli.train_options import given_settings, name_on_command_line, train_options
from kddim.names import DEFAULT_RECIPE
from kddim.presets import recipe
from kddim.settings import RunSettings, read_settings, validate

# What may stand beside --resume. All else is as the run began.
_WITH_RESUME = ("resume", "epochs", "max_minutes", "backend", "devices")


@click.command()
@click.argument("source", default="digits")
@train_options
@click.pass_context
def train(context, config, overwrite, dry_run, resume, devices, **options):
    """Train a model on SOURCE, and write a run folder.

    SOURCE is "digits" (1,797 embedded handwritten digits), a folder of pictures, a .npy or
    .npz file of images, or the name of a TensorFlow data set such as oxford_flowers102.

    Settings that are not given are those of the recipe "fast", and for digits those of a small
    model. --preset example takes those of the keras.io example.

    The run folder receives model.keras (the model with the best KID, or the last one),
    config.json, history.csv, history.png, and samples/epoch_0001.png and so on.

    \b
    Examples:
      kddim train digits --output runs/digits
      kddim train ~/pictures --image-size 64 --epochs 100 --output runs/mine
      kddim train ~/pictures --preset example --output runs/mine
      kddim train --config runs/mine/config.json --output runs/again
      kddim train ~/pictures --devices all --output runs/mine
      kddim train --resume runs/mine
    """
    given = given_settings(context)
    if resume is not None:
        _resume(Path(resume), given, devices)
        return
    given = {name: value for name, value in given.items() if name in ("source", *options)}
    start_run(context, given, config, overwrite, dry_run, devices=devices)


def start_run(
    context: click.Context,
    given: dict[str, Any],
    config: str | None,
    overwrite: bool,
    dry_run: bool,
    defaults: dict[str, Any] | None = None,
    devices: int | str | None = None,
) -> None:
    """Start a run from settings, or describe it.

    Args:
        context: Context of the verb.
        given: Settings of the command line, by name.
        config: File of settings, or None.
        overwrite: If true, an earlier run is replaced.
        dry_run: If true, the run is only described.
        defaults: Settings that the command line and the file override.
        devices: Number of devices, "all", or None for one.
    """
    file = None if config is None else read_settings(config)
    chosen = (file.values if file else {}) | validate(RunSettings, given)
    if "preset" not in chosen and defaults is None and (file is None or file.record is None):
        chosen |= _default_preset(chosen)
    preset = chosen.get("preset")
    settings = (defaults or {}) | (recipe(preset) if preset else {}) | chosen
    output = settings.pop("output", None)
    if output is None and not dry_run:
        raise click.MissingParameter(ctx=context, param=_parameter(context, "output"))
    start_keras(choose_backend(file, given))
    _enter_devices(devices)
    settings.pop("backend", None)
    report_differences(file, settings)
    distilled = settings.get("distill_steps") is not None
    by_init = _settings_of_init(settings.get("init"), chosen, distilled)
    sources = {name: f"preset {preset}" for name in settings if name not in chosen}
    sources |= {name: f"init {settings['init']}" for name in by_init if name not in chosen}
    settings |= by_init
    if dry_run:
        _describe(settings, output, overwrite, sources)
    else:
        _train(settings, output, overwrite, context.find_root().obj)


def _default_preset(chosen: dict[str, Any]) -> dict[str, str]:
    """Return the recipe of a run for which none was chosen.

    Digits have defaults of their own, and a run with `init` has those of the other model.
    """
    own = chosen.get("source", "digits") == "digits" or chosen.get("init") is not None
    return {} if own else {"preset": DEFAULT_RECIPE}


def _enter_devices(devices: int | str | None) -> None:
    """Divide batches among devices until the command ends."""
    from kddim.devices import use_devices

    click.get_current_context().with_resource(use_devices(devices))


def _train(settings: dict[str, Any], output: str, overwrite: bool, typed: Any) -> None:
    from kddim.training import train

    command = None if typed is None else shlex.join(["kddim", *map(str, typed)])
    preset = settings.pop("preset", None)
    config = _configure(settings)
    _say_where(train(config, output, overwrite=overwrite, command=command, preset=preset))


def _configure(settings: dict[str, Any]) -> Any:
    """Return the configuration of a run, and set Keras' precision."""
    import keras

    from kddim.training import TrainingConfig

    keras.config.set_dtype_policy(settings.pop("dtype", RunSettings.dtype))
    return TrainingConfig(**settings)


def _settings_of_init(init: str | None, chosen: dict[str, Any], distilled: bool) -> dict[str, Any]:
    """Return the settings of the model that a run starts from. Chosen ones must agree."""
    if init is None:
        return {}
    from kddim.training.starting import check_agreement, network_settings

    found = network_settings(init, distilled)
    check_agreement(init, found, chosen)
    return found


def _describe(
    settings: dict[str, Any], output: str | None, overwrite: bool, sources: dict[str, str]
) -> None:
    """Print a dry run, with the sources of settings that the user did not choose."""
    from kddim import runs
    from kddim.training import describe_run, lines_of

    if output is not None:
        runs.check_run_output(output, overwrite)
    preset = settings.pop("preset", None)
    lines = ({"preset": preset} if preset else {}) | lines_of(describe_run(_configure(settings)))
    for name, value in lines.items():
        origin = f"  ({sources[name]})" if name in sources else ""
        click.echo(f"{name + ':':<28} {value}{origin}")


def _resume(folder: Path, given: dict[str, Any], devices: int | str | None) -> None:
    """Go on with a run, in the framework that it was computed with."""
    others = [name_on_command_line(name) for name in given if name not in _WITH_RESUME]
    if others:
        raise click.UsageError(
            "Expected only --epochs, --max-minutes, --backend and --devices beside --resume. Received: "
            f"{', '.join(others)}. The other settings of a run stay as they are."
        )
    options: dict[str, Any] = {name: given.get(name) for name in ("epochs", "max_minutes")}
    validate(RunSettings, options)
    if not (folder / "config.json").is_file():
        raise ValueError(f"Expected a run folder, which holds config.json. Received: {folder}")
    file = read_settings(folder)
    start_keras(choose_backend(file, given))
    _enter_devices(devices)
    report_differences(file, file.values)
    from kddim.training import resume

    resume(folder, **options)
    _say_where(folder)


def _say_where(run: Path) -> None:
    if hosts.index() == 0:  # the others write nothing
        click.echo(f"run folder: {run}\ntry: kddim generate {run} --output {run}/generated")


def _parameter(context: click.Context, name: str) -> click.Parameter:
    return next(p for p in context.command.params if p.name == name)
