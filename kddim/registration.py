"""Registration of kddim's classes with Keras, whichever package is imported first.

Keras can load the classes in a `.keras` file only after they were registered, which happens when
the modules that define them are imported. Users expect `import kddim` to do that. But these
modules import Keras, which takes seconds, and the command line must answer `--help` at once. The
solution:

- If Keras is already imported, `import kddim` imports all public modules immediately.
- Otherwise, `import kddim` adds a finder to `sys.meta_path`. The finder observes the imports of
  `keras` and of kddim's own modules. When Keras is imported and none of these imports is
  unfinished, it removes itself and imports all public modules.

The finder waits for kddim's own imports for this reason: `from kddim.samplers import DDIM` runs
`kddim/samplers/__init__.py`, which imports Keras. At this moment `kddim.samplers` is still
empty, and the modules that depend on it cannot be imported yet.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_keras() -> None:
    """Import all public modules now if Keras is imported already, else after its import."""
    if "keras" in sys.modules:
        import_public_modules()
    else:
        sys.meta_path.insert(0, _Finder())


def import_public_modules() -> None:
    """Import all public names of kddim, which registers every class with Keras."""
    kddim = importlib.import_module("kddim")
    for name in kddim.__all__:
        getattr(kddim, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finder that imports all public modules after the import of Keras.

    It asks the other finders for a module, and replaces its loader by one that reports when the
    module is complete.
    """

    def __init__(self) -> None:
        self.unfinished: set[str] = set()
        self._looking_up: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        is_ours = name == "keras" or name.startswith("kddim.")
        if not is_ours or name in self._looking_up:
            return None
        self._looking_up.add(name)  # `importlib.util.find_spec` asks this finder again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking_up.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def finish(self, name: str) -> None:
        """Mark a module as complete, and import all public modules if it was the last one."""
        self.unfinished.discard(name)
        if "keras" in sys.modules and not self.unfinished and self in sys.meta_path:
            sys.meta_path.remove(self)
            import_public_modules()


class _Loader(importlib.abc.Loader):
    """Loader that reports to a finder when the execution of a module begins and ends."""

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
