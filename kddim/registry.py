"""Options given as a name, a configuration or an object: how they become objects."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import keras

T = TypeVar("T")


class Configurable:
    """A frozen dataclass whose fields are its configuration.

    Subclasses decorated with `@dataclasses.dataclass(frozen=True)` get `get_config`,
    `from_config`, equality, hashing and a readable `repr` from their fields. For
    saving inside a `.keras` file, register them with
    `@keras.saving.register_keras_serializable(package=...)`.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain Python values."""
        values = {name: getattr(self, name) for name in field_names(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]):
        """The object that `get_config` described."""
        return cls(**config)


def field_names(options: Any) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass.

    Args:
        options: Instance of a `Configurable`.

    Raises:
        ValueError: If its class is no dataclass.
    """
    if not dataclasses.is_dataclass(options):
        raise ValueError(
            "Expected a frozen dataclass. Received: an object of the class "
            f"{type(options).__name__}, which is none. Decorate the class with "
            "@dataclasses.dataclass(frozen=True), and declare its options as fields."
        )
    return tuple(field.name for field in dataclasses.fields(options))


def resolve(identifier: Any, kind: str, base: type[T], names: Mapping[str, type[T]]) -> T:
    """Turns a name, a serialised configuration or an object into an object.

    Args:
        identifier: a key of `names`, what `keras.saving.serialize_keras_object` gave
            for such an object, or an instance of `base`.
        kind: the word for error messages, such as "schedule".
        base: the class that the result is an instance of.
        names: the built-in classes by name.

    Raises:
        ValueError: `identifier` is an unknown name, or of another type.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, str) and identifier in names:
        return names[identifier]()
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        by_class = {known.__name__: known for known in names.values()}
        known = (by_class | dict(names)).get(identifier["class_name"])
        if known is not None:
            return known.from_config(identifier.get("config", {}))  # type: ignore[attr-defined]
        with contextlib.suppress(TypeError):  # Keras knows no such class
            restored = keras.saving.deserialize_keras_object(dict(identifier))
            if isinstance(restored, base):
                return restored
    raise ValueError(
        f"Unknown {kind}: expected one of {', '.join(map(repr, names))}, a "
        f"`{base.__name__}` object, or the configuration of one. "
        f"Received: {identifier!r}"
    )
