"""Types of settings: their ranges, choices, and words for messages and help texts."""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from kddim.checks import check_choice

# Upper limits are far above what anybody trains, and keep the sizes computable.
Integer = Annotated[int, Ge(-(2**63)), Le(2**64 - 1)]
Count = Annotated[int, Ge(1), Le(10**9)]
Several = Annotated[int, Ge(2), Le(10**9)]
Level = Annotated[int, Ge(0), Le(30)]
Depth = Annotated[int, Ge(1), Le(100)]
DistillSteps = Annotated[int, Ge(1), Le(64)]
TuneSteps = Annotated[int, Ge(1), Le(20)]
PatchSize = Annotated[int, Ge(1), Le(64)]
Width = Annotated[int, Ge(1), Le(2**16)]
Channels = Annotated[int, Ge(1), Le(1024)]
BatchSize = Annotated[int, Ge(1), Le(10**6)]
Side = Annotated[int, Ge(1), Le(2**14)]
ImageSize = Side | tuple[Side, Side]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Gt(0), Lt(1)]
Start = Annotated[float, Gt(0), Le(1)]
PATH = "path"
Path = Annotated[str, PATH]

_BOUNDS = {Ge: "of at least", Gt: "above", Le: "of at most", Lt: "below"}
_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[int, ...]: "a list of integers such as [1, 2]",
    int | tuple[int, int]: "an integer, a list [height, width], or text such as 64x48",
}


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Annotation of a text that is one of several names.

    Args:
        name: Name of the quantity, for the error message.
        choices: All names allowed.
    """

    name: str
    choices: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> Any:
        """Return the schema of the type, followed by a check of the name. Pydantic calls it."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            lambda value: check_choice(self.name, value, self.choices), handler(source)
        )


def setting(
    default: Any, help: str, *, unset: str = "", flags: tuple[str, ...] = (), cli: bool = True
) -> Any:
    """Return a dataclass field with the texts of a setting.

    Args:
        default: Default value.
        help: Description: complete sentences. Names of other settings are in backticks.
        unset: Words for the default, if the value itself does not tell it.
        flags: Further names of the option on the command line.
        cli: If false, the setting is no option of the command line.
    """
    texts = {"help": help, "unset": unset, "flags": flags, "cli": cli}
    return dataclasses.field(default=default, metadata=texts)


def annotations_of(settings: type) -> dict[str, Any]:
    """Return the annotated types of the fields of a dataclass, by their names."""
    return typing.get_type_hints(settings, include_extras=True)


def plain_type(annotation: Any) -> Any:
    """Return a type without ranges, choices and None, such as `int` or `tuple[int, ...]`."""
    if typing.get_origin(annotation) is Annotated:
        return plain_type(typing.get_args(annotation)[0])
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if typing.get_origin(annotation) is tuple:
        return tuple[tuple(p if p is ... else plain_type(p) for p in parts)]  # type: ignore[misc]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [plain_type(part) for part in parts]
        return found[0] if len(found) == 1 else typing.Union[tuple(found)]  # noqa: UP007
    return annotation


def words_of(annotation: Any) -> str:
    """Return words for the type of a setting, such as `an integer`."""
    return "a path" if is_path(annotation) else _WORDS.get(plain_type(annotation), "text")


def choices_of(annotation: Any) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and the choices of an annotation, or None if it has none."""
    for part in _parts(annotation):
        if isinstance(part, OneOf):
            return part.name, part.choices
        if typing.get_origin(part) is typing.Literal:
            return "", typing.get_args(part)
    return None


def description_of(annotation: Any) -> str:
    """Return words for the type and the range of a setting: `an integer of at least 1`."""
    words, bounds = words_of(annotation), range_of(annotation)
    if choices := choices_of(annotation):
        return f"one of {', '.join(choices[1])}"
    if not bounds or annotation == Integer:
        return words
    each = "" if plain_type(annotation) in (int, float) else ", each"
    return f"{words}{each} {bounds}"


def is_path(annotation: Any) -> bool:
    """Return True if a text is the path of a file or folder."""
    return PATH in _parts(annotation)


def range_of(annotation: Any, upper: bool = False) -> str:
    """Return words for the range of a setting, such as `of at least 1`, or empty ones.

    Args:
        annotation: Annotated type.
        upper: If true, an upper limit of integers is told instead of the lower one.
    """
    bounds = [part for part in _parts(annotation) if type(part) in _BOUNDS][:2]
    if not bounds:
        return ""
    low, high = bounds[0], bounds[-1]
    if isinstance(high, Lt):
        return f"in {'[' if isinstance(low, Ge) else '('}{_value(low)}, {_value(high)})"
    told = high if upper else low
    return f"{_BOUNDS[type(told)]} {_value(told)}"


def _value(bound: Any) -> Any:
    return next(iter(dataclasses.asdict(bound).values()))


def _parts(annotation: Any) -> Iterable[Any]:
    """Yield the types and the metadata inside an annotated type."""
    yield annotation
    if typing.get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for part in typing.get_args(annotation):
        if typing.get_origin(part) is not None:
            yield from _parts(part)
