"""Values of options, from text: callbacks for click."""

from collections.abc import Callable
from typing import Any

import click

from kddim import settings
from kddim.shards import Shard


def parse_integers(context: Any, parameter: Any, value: str | None) -> tuple[int, ...] | None:
    """Return the integers of a text such as `32,64,96`."""
    return _parse_list(value, int, "integers separated by commas")


def parse_numbers(context: Any, parameter: Any, value: str) -> tuple[float, ...]:
    """Return the numbers of a text such as `0.05,0.1`."""
    return _parse_list(value, float, "numbers separated by commas")


def parse_etas(context: Any, parameter: Any, value: str | None) -> tuple[float | str, ...] | None:
    """Return the values of a text such as `0,0.5,1,large`."""
    words = "numbers (or the word large) separated by commas"
    return _parse_list(value, lambda part: part if part == "large" else float(part), words)


def parse_size(context: Any, parameter: Any, value: str | None) -> int | tuple[int, int] | None:
    """Return the side length of `64`, or the height and the width of `64x48`."""
    try:
        return None if value is None else settings.parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_size_or_native(context: Any, parameter: Any, value: str) -> tuple[int, int] | None:
    """Return the height and the width of `64` or `64x48`, or None for the word `native`."""
    size = None if value.lower() == "native" else parse_size(context, parameter, value)
    return (size, size) if isinstance(size, int) else size


def parse_devices(context: Any, parameter: Any, value: str | None) -> int | str | None:
    """Return the number of devices of a text such as `4`, or the word `all`."""
    if value is not None and value != "all" and not (value.isdecimal() and 0 < int(value) < 10**4):
        raise click.BadParameter(f"expected a number of devices, or all, received {value!r}")
    return int(value) if value is not None and value != "all" else value


def parse_shard(context: Any, parameter: Any, value: str | None) -> Shard | None:
    """Return the shard of a text such as `2/8`."""
    try:
        return None if value is None else Shard.of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_start(context: Any, parameter: Any, value: float) -> float:
    """Return a time at which steps begin, above 0 and at most 1."""
    if not 0.0 < value <= 1.0:
        raise click.BadParameter(f"expected a time above 0 and at most 1, received {value:g}")
    return value


def parse_words(context: Any, parameter: Any, value: str | None) -> tuple[str, ...] | None:
    """Return the words of a text such as `kid,fid`."""
    return None if value is None else tuple(value.split(","))


def parse_interval(context: Any, parameter: Any, value: str | None) -> tuple[float, ...] | None:
    """Return the two numbers of a text such as `0.2,5`."""
    words = "two numbers separated by a comma, such as 0.2,5"
    found = _parse_list(value, float, words)
    if found is not None and len(found) != 2:
        raise click.BadParameter(f"expected {words}, received {value!r}")
    return found


def negate(context: Any, parameter: Any, value: bool) -> bool:
    """Return the opposite of a flag such as `--no-cache`."""
    return not value


def _parse_list(value: str | None, parse: Callable[[str], Any], words: str) -> Any:
    if value is None:
        return None
    try:
        return tuple(parse(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"expected {words}, received {value!r}") from None
