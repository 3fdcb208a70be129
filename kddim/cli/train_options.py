"""Options of `kddim train`, made from the settings of a run."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from kddim.cli import options as shared
from kddim.cli.values import parse_devices, parse_integers, parse_size
from kddim.names import DEFAULT_RECIPE
from kddim.presets import recipe
from kddim.settings import (
    RunSettings,
    annotations_of,
    choices_of,
    default_words,
    is_path,
    plain_type,
    text_of,
)

_TYPES = annotations_of(RunSettings)
_FIELDS = {field.name: field for field in dataclasses.fields(RunSettings)}
# Types that are written with commas or an "x".
_PARSERS: dict[Any, Callable] = {
    tuple[int, ...]: parse_integers,
    int | tuple[int, int]: parse_size,
}


def option_of(name: str, preset: str | None = None) -> Callable:
    """Return the option of a setting.

    Args:
        name: Name of the setting.
        preset: Recipe whose values are those of most runs, if no other is chosen.
    """
    field, annotation = _FIELDS[name], _TYPES[name]
    texts, kind = field.metadata, plain_type(annotation)
    flag, words = _flag(name), _cli_words(texts["help"])
    if kind is bool:
        words += f"  [default: {_cli_words(default_words(field))}]" if field.default is None else ""
        return click.option(f"{flag}/--no-{flag[2:]}", default=field.default, show_default=False, help=words)  # fmt: skip
    told = _default_on_command_line(field, preset)
    words += "  [required]" if told == "required" else f"  [default: {told}]"
    return click.option(
        flag,
        *texts["flags"],
        name,
        type=_click_type(annotation, kind),
        default=None if field.default in (None, ()) else field.default,
        show_default=False,
        callback=_PARSERS.get(kind),
        help=words,
    )


def _default_on_command_line(field: dataclasses.Field, preset: str | None) -> str:
    """Return words for the default of a setting, and for that of a recipe."""
    told, chosen = _cli_words(default_words(field)), recipe(preset) if preset else {}
    if field.name not in chosen:
        return told
    return f"{text_of(field.name, chosen[field.name])} with --preset {preset}, else {told}"


def given_settings(context: click.Context) -> dict[str, Any]:
    """Return the parameters that stand on the command line, by name, without defaults."""
    unset = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return {k: v for k, v in context.params.items() if context.get_parameter_source(k) not in unset}  # fmt: skip


def name_on_command_line(name: str) -> str:
    """Return the name of a parameter as it is typed, such as `--batch-size`."""
    return "SOURCE" if name == "source" else _flag(name)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _cli_words(text: str) -> str:
    """Return a text with the names of settings as options."""
    return re.sub(r"`(\w+)`", lambda match: _flag(match[1]), text)


def _click_type(annotation: Any, kind: Any) -> Any:
    """Return the type for click. Names of tables are texts, which the settings check."""
    choices = choices_of(annotation)
    if choices and kind is not str:
        return click.Choice(choices[1])
    if is_path(annotation):
        return click.Path()
    return kind if kind in (int, float) else str


# fmt: off
train_options = shared.group(
    option_of("output"),
    click.option("--overwrite", is_flag=True, help="Replace an earlier run in that folder."),
    click.option("--config", type=click.Path(), help="File of settings: .toml, .yaml or .json, or the config.json of a run, which is repeated. Options on the command line win."),
    click.option("--dry-run", is_flag=True, help="Print the settings, the memory and the time of the run, measured on two steps, and write nothing."),
    click.option("--resume", type=click.Path(), metavar="RUN", help="Go on with an interrupted run, or to more --epochs. No other argument is needed."),
    click.option("--devices", callback=parse_devices, metavar="N|all", help="Divide each batch among N devices, such as GPUs, or among all. The result is that of one device. all includes the other hosts that TF_CONFIG, or with JAX KERAS_DISTRIBUTION_*, describes.  [default: one]"),
    *(option_of(name, DEFAULT_RECIPE) for name, field in _FIELDS.items() if field.metadata["cli"] and name != "output"),
)
# fmt: on
