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

import functools
import importlib
import importlib.abc
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

    It asks the other finders for a module, and lets its loader report when the module is
    complete.
    """

    def __init__(self) -> None:
        self.unfinished: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find `keras` and modules of kddim, with a loader that reports to `execute`."""
        if name != "keras" and not name.startswith("kddim."):
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            observed = functools.partial(self.execute, spec.loader)
            spec.loader.exec_module = observed  # type: ignore[method-assign]
        return spec

    def execute(self, loader: Any, module: ModuleType) -> None:
        """Execute a module, then import all public modules if no import is unfinished."""
        del loader.exec_module  # what remains is the method of the loader's class
        self.unfinished.add(module.__name__)
        try:
            loader.exec_module(module)
        finally:
            self.unfinished.discard(module.__name__)
        if "keras" in sys.modules and not self.unfinished and self in sys.meta_path:
            sys.meta_path.remove(self)
            import_public_modules()
