"""An environment into which TensorFlow was never installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib.util
assert importlib.util.find_spec("tensorflow") is None
import keras, kddim
assert keras.backend.backend() == "jax"
train, validation = kddim.data.load("digits", 8, 32, limit=128)
model = kddim.DiffusionModel(8, (8, 16), 1, channels=1)
model.normalizer.adapt(train)
model.compile()
model.fit(train, validation_data=validation, verbose=0)
assert model.generate(2, 2, seed=0).shape == (2, 8, 8, 1)
model.save("model.keras")
assert abs(keras.saving.load_model("model.keras").generate(2, 2) ).max() <= 1.0
"""


@pytest.mark.slow
def test_the_package_is_installed_and_works_with_jax_alone(tmp_path):
    """What pip installs for `kddim[jax]`, in a new environment: training to a loaded file."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    binaries = tmp_path / "env" / "bin"
    project = Path(__file__).parents[1]
    install = [binaries / "pip", "install", "--quiet", f"{project}[jax]"]
    subprocess.run(install, check=True, capture_output=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["KERAS_BACKEND"] = "jax"
    commands = (
        [binaries / "python", "-c", PROGRAM],
        [binaries / "kddim", "generate", "model.keras", "-n", "2", "--output", "out"],
    )
    for command in commands:
        answer = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert answer.returncode == 0, answer.stderr[-2000:]
    assert (tmp_path / "out" / "00001.png").exists()
