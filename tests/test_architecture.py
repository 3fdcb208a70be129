"""Imports point down, and one file alone knows the frameworks."""

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kddim"
FRAMEWORKS = {"tensorflow", "jax", "torch"}


def read_floors():
    """The pictures in CONTRIBUTING.md: for each folder, its floors from the top to the ground."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"```text\n(kddim[\w/]*)\n(.*?)```", text, re.DOTALL)
    return {folder: [line.split() for line in lines.splitlines()] for folder, lines in blocks}


FLOORS = read_floors()
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path):
    """Names that a file imports, with the modules they come from."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def floor(folder, name):
    return next(level for level, names in enumerate(FLOORS[folder]) if name in names)


def place(folder, parts):
    """The entry of a folder that an import leads to; `__init__` for names that it gathers."""
    names = [name for names in FLOORS[folder] for name in names]
    return parts[0] if parts and parts[0] in names else "__init__"


@pytest.mark.parametrize("folder", sorted(FLOORS))
def test_imports_point_down(folder):
    root = PACKAGE.parent / folder
    for path in root.rglob("*.py"):
        own = path.relative_to(root).parts[0].removesuffix(".py")
        if path == PACKAGE / "__init__.py":
            continue
        for module in sorted(imports(path)):
            if module.startswith(folder.replace("/", ".") + "."):
                other = place(folder, module.split(".")[len(folder.split("/")) :])
                if other != own and module != "kddim.__version__":
                    down = floor(folder, other) > floor(folder, own)
                    assert down, f"{path.relative_to(root)} imports {module}"


@pytest.mark.parametrize("folder", sorted(FLOORS))
def test_every_file_has_a_floor(folder):
    """And every folder of several files has a picture."""
    listed = [name for names in FLOORS[folder] for name in names]
    # Folders without code, such as the weights of a preset, are none.
    paths = [p for p in (PACKAGE.parent / folder).iterdir() if not p.is_dir() or [*p.glob("*.py")]]
    entries = {path.name.removesuffix(".py") for path in paths}
    found = {name for name in entries if name.isidentifier()} - {"__pycache__", "py"}
    if folder == "kddim":
        found -= {"__init__"}
    assert sorted(listed) == sorted(found)
    for path in (PACKAGE.parent / folder).iterdir():
        if path.is_dir() and (path / "__init__.py").exists():
            assert f"{folder}/{path.name}" in FLOORS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_frameworks_are_imported_in_one_file(path):
    found = {module.split(".")[0] for module in imports(path)} & FRAMEWORKS
    assert not found or path == PACKAGE / "backend.py"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_works_where_tensorflow_is_missing(backend):
    """A process that cannot import TensorFlow trains, generates and saves."""
    pytest.importorskip(backend)
    program = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        hidden = name.split(".")[0] in ("tensorflow", "tensorflow_datasets")
        return None if hidden else self.finder.find_spec(name, *args)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
import keras, kddim
train, validation = kddim.data.load("digits", 8, 32, limit=128)
model = kddim.DiffusionModel(8, (8, 16), 1, channels=1)
model.normalizer.adapt(train)
model.compile()
kid = kddim.callbacks.KIDCallback(validation, "random_conv", num_images=16)
history = model.fit(train, validation_data=validation, verbose=0, callbacks=[kid])
assert "val_kid" in history.history
images = model.generate(2, 2, seed=0)
model.save(sys.argv[1])
assert abs(keras.saving.load_model(sys.argv[1]).generate(2, 2, seed=0) - images).max() < 1e-5
assert "tensorflow" not in sys.modules
print("done")
"""
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [sys.executable, "-c", program, f"{folder}/m.keras"],
            capture_output=True, text=True, timeout=300, env={**os.environ, "KERAS_BACKEND": backend},
        )  # fmt: skip
    assert answer.stdout.endswith("done\n"), answer.stderr[-2000:]


def test_importing_the_package_imports_no_optional_dependency():
    program = """
import sys, keras
before = set(sys.modules)  # Keras itself imports some of them where they are installed
import kddim
optional = {"tensorflow_datasets", "sklearn", "scipy", "matplotlib", "click"}
print(sorted(optional & (set(sys.modules) - before)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr[-2000:]
