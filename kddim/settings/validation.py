"""Validation of settings by Pydantic, with messages that name the setting and the mend."""

import dataclasses
import difflib
import functools
import numbers
import os
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from kddim.settings.kinds import annotations_of, choices_of, plain_type, range_of, words_of

_UPPER = ("less_than", "less_than_equal")
_RANGES = ("greater_than", "greater_than_equal", *_UPPER)
_MOST_MESSAGES = 5


def validate(settings: type, values: Mapping[Any, Any], origin: str = "") -> dict[str, Any]:
    """Return settings in their own types.

    Types are strict: text, a float or true is no integer. Lists become tuples, and text such
    as "64x48" becomes an image size.

    Args:
        settings: Dataclass of settings. Values that are missing are not checked.
        values: Values by name.
        origin: Name of the file that they are from, for messages.

    Raises:
        ValueError: If a setting is unknown, of another type, or out of range. The message
            tells up to five of them.
    """
    from pydantic import ValidationError

    names = [field.name for field in dataclasses.fields(settings)]
    wrong = [unknown_setting(name, names, origin) for name in values if name not in names]
    known = {name: values[name] for name in names if name in values}
    types = annotations_of(settings)
    try:
        found = _model(settings).model_validate({k: _plain(v, types[k]) for k, v in known.items()})
    except ValidationError as error:
        wrong += _messages(error.errors(include_url=False), known, types, origin)
    if wrong:
        more = f" And {len(wrong) - _MOST_MESSAGES} more." if len(wrong) > _MOST_MESSAGES else ""
        raise ValueError(" ".join(wrong[:_MOST_MESSAGES]) + more)
    return {name: getattr(found, name) for name in known}


def unknown_setting(name: Any, names: Iterable[str], origin: str = "") -> str:
    """Return the message about a name that is no setting, with the nearest name that is one.

    Args:
        name: The unknown name.
        names: All names.
        origin: Name of the file that it is from.
    """
    asked, known = str(name)[:100].lower().replace("-", "_"), list(names)
    near = [n for n in known if asked in (n, n.replace("_", ""), _initials(n))]
    near += difflib.get_close_matches(asked, known, n=1)
    near += [n for n in known if asked and asked in n.split("_")]
    all_of_them = "" if near else " `kddim train --help` lists all settings."
    nearest = [*near, *difflib.get_close_matches(asked, known, n=1, cutoff=0.0)][0]
    begin = f"Unknown setting {received(name)}{_within(origin)}."
    return f"{begin} Did you mean {nearest}?{all_of_them}"


def _initials(name: str) -> str:
    """Return the first letters of a name, such as `lr`."""
    return "".join(word[0] for word in name.split("_"))


def received(value: Any) -> str:
    """Return a value in at most about a hundred characters, whatever it is."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 2, 80, 80, 40
    try:
        return short.repr(value)
    except ValueError:  # Python converts no integers of thousands of digits
        return "an integer of thousands of digits"


def parse_size(text: str) -> int | tuple[int, int]:
    """Return the side length of `64`, or the height and the width of `64x48`.

    Raises:
        ValueError: If the text is another one.
    """
    sides = [int(s) if s.isdecimal() and len(s) < 10 else 0 for s in text.lower().split("x")]
    if len(sides) > 2 or not all(sides):
        raise ValueError(
            f"expected a size such as 64, or 64x48 for height x width, received {received(text)}"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


@functools.cache
def _model(settings: type) -> Any:
    """Return the Pydantic model of a dataclass. Fields may be missing, and are then not checked."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {k: (v, None) for k, v in annotations_of(settings).items()}
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return create_model(settings.__name__, __config__=strict, **fields)


def _plain(value: Any, annotation: Any) -> Any:
    """Return a value of Python, without the types of NumPy, paths and lists."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v, int) if not isinstance(v, (list, tuple)) else v for v in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str) and plain_type(annotation) == int | tuple[int, int]:
        try:
            return parse_size(value)
        except ValueError:
            return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, (int, float)):
        return float(value)
    return value


def _messages(errors: list, values: dict[str, Any], types: dict[str, Any], origin: str) -> list:
    """Return one message per setting. A range tells more than a type of a union."""
    kinds: dict[str, list[str]] = {}
    for error in errors:
        kinds.setdefault(error["loc"][0], []).append(error["type"])
    return [_message(k, kinds[k], values[k], types[k], origin) for k in kinds]


def _message(name: str, kinds: list[str], value: Any, annotation: Any, origin: str) -> str:
    """Return the message about one setting, given the types of its Pydantic errors."""
    choices, end = choices_of(annotation), f". Received: {received(value)}"
    out_of_range = next((kind for kind in kinds if kind in _RANGES), None)
    if choices and isinstance(value, str):
        return _unknown_choice(name, choices, value, origin)
    if out_of_range:
        words = range_of(annotation, out_of_range in _UPPER)
        told = f"`{name}`" if words.startswith("in ") else name
        return f"Expected {told} {words}{_within(origin)}{end}"
    if "finite_number" in kinds:
        return f"Expected {name} as a finite number{_within(origin)}{end}"
    return f"Expected {name} as {words_of(annotation)}{_within(origin)}{end} ({_kind(value)})"


def _unknown_choice(name: str, choices: tuple, value: str, origin: str) -> str:
    quantity, known = choices[0] or name, ", ".join(map(repr, choices[1]))
    near = difflib.get_close_matches(value, choices[1], n=1)
    hint = f". Did you mean {near[0]}?" if near else ""
    place = f" ({name}{_within(origin)})" if origin else ""
    return f"Unknown {quantity}{place}: expected one of {known}. Received: {received(value)}{hint}"


def _within(origin: str) -> str:
    return f" in {origin}" if origin else ""


def _kind(value: Any) -> str:
    """Return the word of settings files for the type of a value."""
    words = {str: "text", bool: "true or false", int: "an integer", float: "a number"}
    words |= {list: "a list", tuple: "a list", dict: "a table", type(None): "nothing"}
    return words.get(type(value), type(value).__name__)
