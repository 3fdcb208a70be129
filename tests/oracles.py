"""Independent libraries to compare metrics with, where they are installed.

torch-fidelity and clean-fid import torchvision, for data sets and networks that no test
here uses, and torchvision has no build for every PyTorch: while they are imported, modules
without content stand in for it.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
from unittest import mock

import pytest

_MODULES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.inception",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


class _StandIn(types.ModuleType):
    """A module in which every public name is an empty class."""

    def __init__(self, name):
        super().__init__(name)
        self.__path__ = []
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextlib.contextmanager
def torchvision_stand_in():
    """Hides torchvision, installed or not, behind empty modules."""
    modules = {name: _StandIn(name) for name in _MODULES}
    for name, module in modules.items():
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(modules[parent], own, module)
    with mock.patch.dict(sys.modules):
        before = set(sys.modules)
        sys.modules.update(modules)
        yield
        kept = {n: m for n, m in sys.modules.items() if n not in before and n not in modules}
    sys.modules.update(kept)


def oracle(name):
    """The module `name`, or a skipped test where its library is missing."""
    if name in sys.modules:
        return sys.modules[name]
    for needed in ("torch", name.split(".")[0]):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    with torchvision_stand_in():
        return importlib.import_module(name)
