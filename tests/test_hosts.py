"""Several processes: two on this machine train the model that one trains."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kddim import batches, hosts
from kddim.data import ImageDataset

TOLERANCE = 1e-5
# Trains, and writes everything that several processes must share. Their number is the last word.
PROGRAM = """
import sys
import keras, numpy as np
from kddim.backend import num_devices
from kddim.callbacks import HealthCallback, KIDCallback
from kddim.data import ImageDataset
from kddim.devices import use_devices

normalization, output, count = sys.argv[1:]
with use_devices("all" if count != "1" else None):
    from kddim.metrics import encoders
    from kddim.model import DiffusionModel
    from kddim.networks.residual_unet import residual_unet

    random = np.random.default_rng(0)
    images = random.random((90, 2, 2, 1)).astype("float32").repeat(4, axis=1).repeat(4, axis=2)
    keras.utils.set_random_seed(0)
    assert num_devices() == int(count)
    network = residual_unet(8, (4, 8), 1, channels=1, normalization=normalization)
    model = DiffusionModel(8, channels=1, network=network, seed=0, ema=0.9)
    model.normalizer.adapt(images)
    model.compile()
    held_out = ImageDataset(images[64:], 16)  # 26 images: the last batch is smaller
    kid = KIDCallback(held_out, encoders.get("random_conv"), num_images=20, diffusion_steps=3)
    data = ImageDataset(images[:64], 16, training=True, steps_per_epoch=26)
    history = model.fit(
        data, validation_data=held_out, epochs=2, verbose=0, callbacks=[kid, HealthCallback()]
    ).history
    found = {"images": model.generate(4, 3, "ddpm", seed=0)}
    for name in ("network", "ema_network"):
        for index, value in enumerate(getattr(model, name).get_weights()):
            found[f"{name} {index}"] = value
    found |= {f"log {name}": np.array(history[name]) for name in history if "second" not in name}
    np.savez(output, **found)
"""
COMMAND = "import sys; from kddim.cli import main; main(sys.argv[1:])"


def addresses():
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def variables(backend, places, index):
    """Return the variables that describe a process among two to its framework."""
    if backend == "tensorflow":
        task = {"type": "worker", "index": index}
        return {"TF_CONFIG": json.dumps({"cluster": {"worker": places}, "task": task})}
    return {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(places),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
    }


def start(backend, program, *arguments, more=()):
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"} | dict(more)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def start_two(backend, program, *arguments):
    places = addresses()
    return [
        start(backend, program, *arguments, more=variables(backend, places, index))
        for index in range(2)
    ]


def end(process, status=0):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == status, output[-3000:]
    return output


@pytest.mark.parametrize("normalization", ["batch", pytest.param("group", marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_two_processes_train_the_model_of_one(backend, normalization, tmp_path):
    """Weights, average, batch statistics, losses, KID, gradients and images after 52 steps."""
    places = addresses()
    processes = [
        start(
            backend, PROGRAM, normalization, tmp_path / f"{index}.npz", 2,
            more=variables(backend, places, index),
        )
        for index in range(2)
    ]  # fmt: skip
    for process in processes:
        end(process)
    end(start(backend, PROGRAM, normalization, tmp_path / "one.npz", 1))
    one = np.load(tmp_path / "one.npz")
    assert {"log loss", "log val_loss", "log val_kid", "log gradient_norm", "images"} <= set(one)
    for index in range(2):
        found = np.load(tmp_path / f"{index}.npz")
        assert set(found) == set(one)
        for name in one:
            scale = np.maximum(1.0, np.abs(one[name]))
            assert np.max(np.abs(found[name] - one[name]) / scale) < TOLERANCE, name


def training(folder, *more):
    words = "train digits --widths 4,8 --limit 200 --kid-encoder none --devices all"
    return [*words.split(), "--output", folder, *more]


def wait_for_a_checkpoint(folder, process):
    begin = time.monotonic()
    while not [*folder.glob("checkpoints/step_*.npz")]:
        assert time.monotonic() - begin < 300
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_killed_process_ends_the_others_and_the_run_goes_on(backend, tmp_path):
    folder = tmp_path / "run"
    settings = ["--steps-per-epoch", 40, "--epochs", 900, "--checkpoint-steps", 16]
    first, second = start_two(backend, COMMAND, *training(folder, *settings))
    wait_for_a_checkpoint(folder, first)
    second.kill()
    output = first.communicate(timeout=500)[0]  # JAX waits for the lost process, and then aborts
    assert first.returncode != 0
    assert "Expected all 2 processes of the training to go on. Received: one that ended" in output
    assert f"kddim train --resume {folder} --devices all" in output
    state = json.loads((folder / "state.json").read_text())
    assert not state["finished"]
    epochs = state["epoch"] + 2
    arguments = ["train", "--resume", folder, "--epochs", epochs, "--devices", "all"]
    outputs = [end(process) for process in start_two(backend, COMMAND, *arguments)]
    assert all("going on from epoch" in output for output in outputs)
    assert json.loads((folder / "state.json").read_text())["finished"]
    assert (folder / "model.keras").is_file()


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
    folder = tmp_path / "run"
    settings = ["--steps-per-epoch", 5000, "--epochs", 2, "--checkpoint-steps", 40]
    first, second = start_two("tensorflow", COMMAND, *training(folder, *settings))
    wait_for_a_checkpoint(folder, first)
    second.send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert all("in epoch 1 after step" in output for output in outputs), outputs
    steps = {output.split("after step ")[1].split(",")[0] for output in outputs}
    assert len(steps) == 1
    assert (folder / "checkpoints" / f"step_{int(*steps):08d}.npz").is_file()


def test_only_the_first_process_writes(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    with hosts.joined(hosts.Place(0, 2)), hosts.folder_of(tmp_path / "run") as folder:
        assert folder == tmp_path / "run"
    wanted = ("config.json", "checkpoints", "state.json")
    with hosts.joined(hosts.Place(1, 2)), hosts.folder_of(tmp_path / "run", wanted) as folder:
        assert folder.name == "run"
        assert folder != tmp_path / "run"
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "config.json"]
    assert not folder.exists()
    assert hosts.count() == 1


def test_a_process_of_its_own_agrees_with_itself():
    assert hosts.agree(3.5) == 3.5
    assert hosts.any_of([0, 2, None]) == [False, True, False]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ("", None),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}', None),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', (1, 2)),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker"}}', (1, 2)),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief"}}', (0, 2)),
    ],
)
def test_the_variable_of_tensorflow_is_read(config, place, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert hosts.described("tensorflow") == (place and hosts.Place(*place))
    assert hosts.described("jax") is hosts.described("torch") is None


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_other_variables_of_tensorflow_are_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"Expected .*TF_CONFIG.* Received: "):
        hosts.described("tensorflow")


def test_the_variables_of_jax_are_read(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "3")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "2")
    assert hosts.described("jax") == hosts.Place(2, 3)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "3")
    with pytest.raises(ValueError, match="below the number of processes, 3"):
        hosts.described("jax")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "many")
    with pytest.raises(ValueError, match=r"Expected a number in KERAS_\w+. Received: many"):
        hosts.described("jax")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_processes_of_another_framework_are_refused(backend, monkeypatch):
    """Each of them would train alone."""
    from kddim.devices import use_devices

    places = ["127.0.0.1:1", "127.0.0.1:2"]
    for name, value in variables("tensorflow", places, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    words = (
        rf"Expected the backend tensorflow, because TF_CONFIG .* 2 .* Received: {backend}\. .*jax"
    )
    for devices in ("all", 2):
        with pytest.raises(ValueError, match=words):
            use_devices(devices).__enter__()
    monkeypatch.setenv("TF_CONFIG", "{")  # nonsense for TensorFlow, which does not read it here
    hosts.check_framework(backend)
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match="backend jax, because KERAS_DISTRIBUTION_"):
        hosts.check_framework("tensorflow")
    hosts.check_framework("jax")


def test_parts_of_batches_are_the_batches():
    images = np.random.default_rng(0).random((24, 4, 4, 1)).astype("float32")
    whole = ImageDataset(images, 8, training=True, seed=3)
    parts = [batches.PartOfBatches(ImageDataset(images, 8, training=True, seed=3), i, 2) for i in (0, 1)]  # fmt: skip
    for _ in range(2):
        for index in range(len(whole)):
            found = [keras.tree.flatten(part[index])[0] for part in parts]
            wanted = keras.tree.flatten(whole[index])[0]
            np.testing.assert_array_equal(np.concatenate(found), wanted)
        for data in (whole, *parts):
            data.on_epoch_end()
    assert parts[0].get_state() == whole.get_state()
    odd = batches.PartOfBatches(ImageDataset(images, 8), 0, 3)
    with pytest.raises(ValueError, match=r"that 3 processes divide equally\. Received: one of 8"):
        odd[0]


def test_data_of_other_kinds_is_refused_with_jax(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with hosts.joined(hosts.Place(0, 2)), pytest.raises(ValueError, match="Received: ndarray"):
        batches.part_of_process(np.zeros((8, 4, 4, 1)))


def test_devices_cannot_be_chosen_among_processes(monkeypatch):
    from kddim.devices import use_devices

    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match=r'Expected devices "all", because .* 2 processes'):
        use_devices(2).__enter__()
