"""Imports point down, and one file alone knows the frameworks."""

import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kddim"

# From the top to the ground. A room imports rooms below its own line alone.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"experiments", "training"},
    {"evaluation", "image_files"},
    {"runs", "callbacks"},
    {"data", "model"},
    {"fitting"},
    {"denoiser", "objective", "metrics"},
    {"sampling"},
    {"inversion"},
    {"generation", "plots", "progress"},
    {"recipe"},
    {"samplers"},
    {"ema", "latents", "networks", "predictions", "schedules"},
    {"animations"},
    {"cache", "images", "registry"},
    {"files"},
    {"backend"},
    {"checks", "names", "registration"},
]
FRAMEWORKS = {"tensorflow", "jax", "torch"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name):
    return next(level for level, rooms in enumerate(FLOORS) if name in rooms)


def imports(path):
    """Top-level names that a file imports, and the rooms of the package among them."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = room(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "kddim" and parts[1] not in ("__version__", own):
            assert floor(parts[1]) > floor(own), f"{path.name} imports {module}"


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
