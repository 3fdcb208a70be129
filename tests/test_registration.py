"""`import kddim` registers its classes with Keras, in fresh processes."""

import os
import platform
import subprocess
import sys

import keras
import pytest

import kddim

# Classes from several rooms; the first is found only if the model's room was imported.
LOAD = """
import sys
import keras
for name in ("DiffusionModel", "SigmoidSchedule", "DDIMInverse", "SpatialAttention", "Resize"):
    assert keras.saving.get_registered_object("kddim>" + name), name
model = keras.saving.load_model(FILE)
assert type(model).__name__ == "DiffusionModel"
print("loaded")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m.keras"
    kddim.DiffusionModel(8, (8, 16), 1, channels=1).save(path)
    return path


def run(program, saved, *options, **environment):
    """The output of a Python process, without the arguments that pytest set."""
    return subprocess.run(
        [sys.executable, *options, "-c", program.replace("FILE", repr(str(saved)))],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "imports",
    [
        "import keras, kddim",
        "import sys, kddim; assert 'keras' not in sys.modules",
        "from kddim import *",
        "from kddim.samplers.times import grid",
        "import kddim.cli",
        "import sys; sys.argv = ['/usr/bin/kddim', '--help']; import kddim",
    ],
)
def test_loading_knows_every_class_in_whatever_order_packages_are_imported(saved, imports):
    answer = run(f"{imports}\n{LOAD}", saved)
    assert answer.stdout == "loaded\n", answer.stderr[-2000:]


def test_loading_knows_every_class_in_a_script_named_kddim(saved, tmp_path):
    script = tmp_path / "scripts" / "kddim"
    script.parent.mkdir()
    script.write_text("import kddim" + LOAD.replace("FILE", repr(str(saved))))
    answer = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert answer.stdout == "loaded\n", answer.stderr[-2000:]


def test_threads_may_import_at_once(saved):
    program = f"""
import importlib, threading
import kddim
names = ["keras", "kddim.samplers", "kddim.model", "kddim.callbacks", "kddim.schedules"]
barrier, imported = threading.Barrier(len(names)), []

def run(name):
    barrier.wait()
    importlib.import_module(name)
    imported.append(name)

threads = [threading.Thread(target=run, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(100)
assert sorted(imported) == sorted(names)
{LOAD}"""
    answer = run(program, saved)
    assert answer.stdout == "loaded\n", answer.stderr[-2000:]


def test_the_finder_leaves_no_trace(saved):
    program = """
import sys
before = list(sys.meta_path)
import kddim, keras, kddim.cli
import inspect
assert not [f for f in sys.meta_path if type(f).__module__.startswith("kddim")]
assert type(keras.__spec__.loader) is type(keras.__loader__) is type(inspect.__loader__)
assert kddim.DiffusionModel.__doc__ in inspect.getsource(kddim.DiffusionModel)
print("clean")
"""
    answer = run(program, saved)
    assert answer.stdout == "clean\n", answer.stderr[-2000:]


def test_a_package_that_cannot_be_imported_says_so(saved):
    """Keras' own error comes through, and a second attempt gives it again."""
    program = """
import kddim
for _ in range(2):
    try:
        kddim.samplers
    except ModuleNotFoundError as error:
        print(error.name)
"""
    answer = run(program, saved, "-S", PYTHONPATH=str(kddim.__path__[0])[: -len("kddim")])
    assert answer.stdout == "numpy\nnumpy\n" or answer.stdout == "keras\nkeras\n", answer.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's kernels are those of x86")
def test_an_import_before_tensorflow_turns_on_onednn_unless_the_user_decided(saved):
    program = "import kddim, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert run(program, saved, TF_ENABLE_ONEDNN_OPTS="0").stdout == "0\n"
    unset = "import os; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None); " + program
    assert run(unset, saved).stdout == "1\n"


def test_public_names_only():
    assert set(dir(kddim)) == {*kddim.__all__, "__version__"}
    assert kddim.DiffusionModel is kddim.model.DiffusionModel
    for name in kddim.__all__:
        assert getattr(kddim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kddim.nothing


def test_the_command_line_chooses_the_backend_before_keras_starts(saved):
    pytest.importorskip("jax")
    other = "jax" if keras.backend.backend() != "jax" else "tensorflow"
    answer = subprocess.run(
        [sys.executable, "-m", "kddim", "train", "digits", "--backend", other, "--widths", "8,16",
         "--block-depth", "1", "--epochs", "1", "--steps-per-epoch", "1", "--kid-encoder", "none",
         "--output", saved.parent / "run"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert f'"backend": "{other}"' in (saved.parent / "run" / "config.json").read_text()
