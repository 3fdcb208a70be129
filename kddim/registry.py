"""Objects from names and configurations."""

import contextlib
import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

import keras

T = TypeVar("T")


class Configurable:
    """Base class of objects whose constructor arguments are their configuration.

    Subclasses are decorated with `@dataclasses.dataclass(frozen=True)`. Their fields give them
    `get_config`, `from_config`, equality, hashing and a readable `repr`. A subclass that a
    `.keras` file may hold is also decorated with
    `@keras.saving.register_keras_serializable(package=...)`.
    """

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain Python values."""
        values = {name: getattr(self, name) for name in field_names(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]):
        """Return the object with the configuration `config`."""
        return cls(**config)


def field_names(options: Any) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass.

    Args:
        options: Instance or subclass of `Configurable`.

    Raises:
        ValueError: If its class is not a dataclass.
    """
    if not dataclasses.is_dataclass(options):
        raise ValueError(
            "Expected a frozen dataclass. Received: an object of the class "
            f"{type(options).__name__}, which is none. Decorate the class with "
            "@dataclasses.dataclass(frozen=True), and declare its options as fields."
        )
    return tuple(field.name for field in dataclasses.fields(options))


def load_object(path: str) -> Any:
    """Return the object at a dotted path, such as `kddim.samplers.ddim.DDIM`."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def load_table(paths: Mapping[str, str]) -> dict[str, Any]:
    """Return the objects of a table of `kddim.names`, by their names."""
    return {name: load_object(path) for name, path in paths.items()}


def resolve(identifier: Any, kind: str, base: type[T], names: Mapping[str, type[T]]) -> T:
    """Return the object that a name, a configuration or the object itself stands for.

    Args:
        identifier: Key of `names`, configuration from `keras.saving.serialize_keras_object`, or
            instance of `base`, which is returned as it is.
        kind: Kind of object for error messages, such as "schedule".
        base: Class of the result.
        names: Classes by name.

    Raises:
        ValueError: If the name is unknown, or `identifier` has another type.
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
        with contextlib.suppress(TypeError):  # Keras does not know the class
            restored = keras.saving.deserialize_keras_object(dict(identifier))
            if isinstance(restored, base):
                return restored
    raise ValueError(
        f"Unknown {kind}: expected one of {', '.join(map(repr, names))}, a "
        f"`{base.__name__}` object, or the configuration of one. "
        f"Received: {identifier!r}"
    )
