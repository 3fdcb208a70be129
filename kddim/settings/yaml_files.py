"""YAML as its version 1.2 has it, where `1e-3` is a number and `no` and `12:30` are text."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar


class UniqueKeys(dict):
    """Dictionary that refuses a second value for a key."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            raise ValueError(f"{str(key)[:80]!r} stands there twice")
        super().__setitem__(key, value)

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        """Return a dictionary of pairs.

        Raises:
            ValueError: If a key comes twice.
        """
        found = cls()
        for key, value in pairs:
            found[key] = value
        return dict(found)


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    PyYAML reads YAML 1.1, in which `1e-3` is text, `no` is false and `1:30` is 90. Here the
    core schema of YAML 1.2 decides. Tags make no objects.

    Raises:
        ValueError: If the text is no YAML, or if a key stands there twice.
    """
    import yaml

    try:
        return yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _loader() -> Any:
    """Return a safe loader of PyYAML with the scalars of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: ClassVar[dict] = {}  # without those of YAML 1.1

        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            UniqueKeys.of_pairs((key, None) for key in keys)
            return super().construct_mapping(node, deep)

    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+", "-+0123456789"),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
        ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"({pattern})$"), list(first))  # fmt: skip
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
    return Loader
