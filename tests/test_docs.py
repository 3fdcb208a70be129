"""The code in the documents runs, and the objects it defines keep their contracts."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from kddim.backend import to_numpy

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# No connection, and no module but the dependencies of `kddim[tensorflow]`.
OFFLINE = """
import socket, sys
HIDDEN = {"jax", "scipy", "sklearn", "tensorflow_datasets", "torch"}
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *args):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, *args)
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
sys.meta_path = [Hiding(finder) for finder in sys.meta_path]
socket.socket.connect = socket.getaddrinfo = refuse
"""


def code_of(path):
    """Python blocks of a document, in their order."""
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


def run_offline(code, folder):
    """Run code with TensorFlow in a process of its own; return what it printed."""
    process = subprocess.run(
        [sys.executable, "-c", OFFLINE + code],
        cwd=folder,
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def test_the_first_snippets_of_the_readme_train_save_and_load(tmp_path):
    train, load, *_ = code_of(ROOT / "README.md")
    printed = run_offline(train + "import numpy; numpy.save('images', images)", tmp_path)
    assert "val_kid" in printed
    assert (tmp_path / "digits.png").stat().st_size > 0
    run_offline(load + "import numpy; numpy.save('loaded', images)", tmp_path)
    images, loaded = np.load(tmp_path / "images.npy"), np.load(tmp_path / "loaded.npy")
    assert images.shape == (16, 8, 8, 1)
    assert images.std() > 0.1
    np.testing.assert_allclose(loaded, images, atol=1e-4)


def test_the_snippets_about_presets_train_pack_and_load(tmp_path):
    code = "\n".join(code_of(ROOT / "docs" / "presets.md"))
    run_offline(code + "import numpy; numpy.save('images', model.generate(2, 2, seed=0))", tmp_path)
    assert np.load(tmp_path / "images.npy").shape == (2, 8, 8, 1)
    assert "CC BY 4.0" in (tmp_path / "presets" / "digits" / "card.md").read_text()


def test_the_python_code_of_every_document_compiles():
    for document in DOCUMENTS:
        for block in code_of(document):
            assert compile(block, str(document), "exec")


@pytest.fixture(scope="module")
def extending():
    """Run the code of docs/extending.md from top to bottom; return the names it defines."""
    names = {"__name__": "extending"}
    for block in code_of(ROOT / "docs" / "extending.md"):
        if "kddim.objective" not in block:
            exec(block, names)
    return names


def test_the_schedule_of_the_docs_keeps_the_contract(extending):
    schedule = extending["RationalSchedule"](2.0)
    times = np.linspace(0, 1, 50)
    noise, signal = schedule(times)
    np.testing.assert_allclose(noise**2 + signal**2, 1.0, atol=1e-12)
    np.testing.assert_allclose(schedule.time_at_log_snr(schedule.log_snr(times)), times, atol=1e-12)


def test_the_sampler_of_the_docs_without_momentum_is_ddim(extending):
    from kddim.samplers import DDIM

    arguments = (
        extending["denoise"], extending["RationalSchedule"](),
        np.random.default_rng(0).standard_normal((2, 4, 4, 1)), 8,
    )  # fmt: skip
    plain = to_numpy(extending["Momentum"](0.0).sample(*arguments))
    np.testing.assert_allclose(plain, to_numpy(DDIM().sample(*arguments)), atol=1e-9)
    assert np.abs(to_numpy(extending["Momentum"](0.5).sample(*arguments)) - plain).max() > 1e-3


def test_the_model_of_the_docs_generates(extending):
    assert extending["model"].generate(2, 2, seed=0).shape == (2, 16, 16, 3)


def test_the_overridden_denoise_of_the_docs_commutes_with_mirroring(extending):
    model = extending["mirror_model"]
    rng = np.random.default_rng(0)
    for weight in model.ema_network.weights:
        weight.assign(np.abs(rng.normal(0.0, 0.2, weight.shape)))
    noisy_images = rng.standard_normal((2, 16, 16, 3)).astype("float32")
    rates = np.full((2, 1, 1, 1), 0.6, "float32"), np.full((2, 1, 1, 1), 0.8, "float32")
    _, plain = model.denoise(noisy_images, *rates, training=False)
    _, mirrored = model.denoise(noisy_images[:, :, ::-1].copy(), *rates, training=False)
    np.testing.assert_allclose(to_numpy(ops.flip(mirrored, axis=2)), to_numpy(plain), atol=1e-5)
    assert model.generate(1, 2, seed=0).shape == (1, 16, 16, 3)


def test_the_objective_of_the_docs_trains(extending):
    pytest.importorskip("kddim.objective")
    for block in code_of(ROOT / "docs" / "extending.md"):
        if "kddim.objective" in block:
            exec(block, extending)
    images = np.random.default_rng(0).random((8, 16, 16, 3)).astype("float32")
    model = extending["model"]
    model.normalizer.adapt(images)
    logs = model.fit(images, batch_size=4, verbose=0).history
    weight = extending["NoiseAndImage"].image_weight
    expected = logs["n_loss"][0] + weight * logs["i_loss"][0]
    np.testing.assert_allclose(logs["loss"][0], expected, rtol=1e-4)


def test_the_code_about_averages_runs(tmp_path):
    code = "".join(code_of(ROOT / "docs" / "averages.md"))
    check = "print(images.shape, round(gamma, 2), round(float(weights.sum()), 6))"
    assert "(16, 8, 8, 1) 6.94 1.0" in run_offline(code + check, tmp_path)


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_code_about_control_runs(tmp_path):
    code = "".join(code_of(ROOT / "docs" / "control.md"))
    printed = run_offline(code + "print(filled.shape, refilled.shape, bits.shape)", tmp_path)
    assert "(4, 8, 8, 1) (4, 8, 8, 1) (4,)" in printed


@pytest.mark.slow
def test_the_code_about_scaling_runs_on_two_devices(tmp_path):
    """Each function, with a small network and few images in place of the large ones."""
    code = "\n".join(code_of(ROOT / "docs" / "scaling.md"))
    for large, small in (
        ("TrainingConfig(source)", "TrainingConfig(source, widths=(4, 8), epochs=1, limit=100)"),
        ("DiffusionModel(64)", "DiffusionModel(8, (4, 8), 1, channels=1)"),
        ("epochs=50", "epochs=1"),
        ("generate(1000, batch_size=256", "generate(10, 2, batch_size=4"),
        ("num_images=50_000", "num_images=16, diffusion_steps=2"),
    ):
        assert code.count(large) == 1
        code = code.replace(large, small)
    check = """
import keras, numpy
with use_devices(2):  # before the framework starts: then there are two devices
    pass
images = numpy.random.default_rng(0).random((64, 8, 8, 1)).astype("float32")
fit_on_all(images).save("fitted.keras")
train_on_all("digits", "run")
for path in ("run", "fitted.keras"):
    print(generate_on_all(path).shape)
second_eighth(load_model("run"), "samples")
"""
    printed = run_offline(code + check, tmp_path)
    assert printed.count("(10, 8, 8, 1)") == 2
    assert (tmp_path / ".samples.shards").is_dir()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("index", [0, 1])
def test_the_variables_about_several_hosts_are_read(backend, index, monkeypatch):
    from kddim import hosts

    text = (ROOT / "docs" / "scaling.md").read_text()
    lines = re.findall(r"^    export (.*)$", text, re.M)
    assert len(lines) == 4
    for name, _, value in (shlex.split(line)[0].partition("=") for line in lines):
        if name == "KERAS_DISTRIBUTION_PROCESS_ID":
            value = str(index)
        monkeypatch.setenv(name, value.replace('"index": 0', f'"index": {index}'))
    assert hosts.described(backend) == hosts.Place(index, 2)


@pytest.mark.parametrize("page", ["scaling.md", "data.md"])
def test_the_commands_of_a_page_are_commands(page):
    """Names and values of options, as the command line reads them before it runs a verb."""
    from kddim import cli

    lines = re.findall(r"^    kddim (.*?)(?: *#.*)?$", (ROOT / "docs" / page).read_text(), re.M)
    assert lines
    for verb, *words in map(shlex.split, lines):
        with cli.app.commands[verb].make_context(verb, words) as context:
            assert context.params
