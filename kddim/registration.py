"""Registration of kddim's classes with Keras, whichever of the two is imported first.

Keras finds the classes of a `.keras` file only if they were registered, which happens when
the modules that define them are imported. `import kddim` must therefore import them, but
they need Keras, which takes seconds to start, and the command line has to answer `--help`
before that. So:

- If Keras is already imported, `import kddim` imports all rooms at once.
- Otherwise it leaves a finder in `sys.meta_path` that notices imports of `keras` and of
  kddim's own modules. As soon as Keras is there and none of these imports is unfinished,
  the finder removes itself and imports all rooms.

The finder waits for the end of kddim's own imports because they are what imports Keras in
`from kddim.samplers import DDIM`: at that moment `kddim.samplers` is still empty, and the
other rooms, which use it, cannot be imported yet.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_keras() -> None:
    """Import all rooms, now if Keras is imported already, else as soon as it is."""
    if "keras" in sys.modules:
        import_rooms()
    else:
        sys.meta_path.insert(0, _Finder())


def import_rooms() -> None:
    """Import everything public, so that all classes are registered with Keras."""
    kddim = importlib.import_module("kddim")
    for name in kddim.__all__:
        getattr(kddim, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finder that has all rooms imported after the import of Keras.

    It finds modules with the other finders, and only replaces their loader by one that
    reports when the module is complete.
    """

    def __init__(self) -> None:
        self.unfinished: set[str] = set()
        self._looking_up: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        is_ours = name == "keras" or name.startswith("kddim.")
        if not is_ours or name in self._looking_up:
            return None
        self._looking_up.add(name)  # the other finders are asked through the same function
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking_up.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def finish(self, name: str) -> None:
        """Note that a module is complete, and import all rooms if it was the last one."""
        self.unfinished.discard(name)
        if "keras" in sys.modules and not self.unfinished and self in sys.meta_path:
            sys.meta_path.remove(self)
            import_rooms()


class _Loader(importlib.abc.Loader):
    """Loader that tells `finder` when it begins and ends to execute a module."""

    def __init__(self, loader: Any, finder: _Finder):
        self.loader, self.finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.finder.unfinished.add(name)
        try:
            self.loader.exec_module(module)
        except BaseException:
            self.finder.unfinished.discard(name)
            raise
        self.finder.finish(name)
