"""Several devices: two virtual ones of the processor train and generate what one does."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kddim import backend, devices

TOLERANCE = 1e-5
# Trains with one and with two devices in one process, and prints the largest differences.
PROGRAM = """
import json, sys
import keras, numpy as np
from kddim.backend import num_devices
from kddim.callbacks import HealthCallback, KIDCallback
from kddim.data import ImageDataset
from kddim.devices import use_devices
from kddim.metrics import encoders
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import residual_unet

normalization = sys.argv[1]
random = np.random.default_rng(0)
images = random.random((90, 2, 2, 1)).astype("float32").repeat(4, axis=1).repeat(4, axis=2)

def run(count):
    keras.utils.set_random_seed(0)
    with use_devices(count):
        assert num_devices() == count
        network = residual_unet(8, (4, 8), 1, channels=1, normalization=normalization)
        model = DiffusionModel(8, channels=1, network=network, seed=0, ema=0.9)
        model.normalizer.adapt(images)
        model.compile()
        held_out = ImageDataset(images[64:], 16)  # 26 images: the last batch is smaller
        kid = KIDCallback(held_out, encoders.get("random_conv"), num_images=20, diffusion_steps=3)
        data = ImageDataset(images[:64], 16, training=True, steps_per_epoch=26)
        history = model.fit(
            data, validation_data=held_out, epochs=2, verbose=0,
            callbacks=[kid, HealthCallback()],
        ).history
        found = {"images": model.generate(4, 3, "ddpm", seed=0), "odd": model.generate(3, 2, seed=0)}
        found |= {"predict": model.predict(images[:7], verbose=0)}
        for name in ("network", "ema_network"):
            for index, value in enumerate(getattr(model, name).get_weights()):
                found[f"{name} {index}"] = value
        found |= {f"log {name}": np.array(history[name]) for name in history if "second" not in name}
        return found, int(np.asarray(model.ema_steps))

two_devices, steps = run(2)
one, _ = run(1)
assert steps == 52 and one.keys() == two_devices.keys()
scale = lambda name: np.maximum(1.0, np.abs(one[name]))
print(json.dumps({k: float(np.max(np.abs(one[k] - two_devices[k]) / scale(k))) for k in one}))
"""

# Generates with one and with two devices in one process, and prints the largest differences.
GENERATION = """
import json, sys
import keras, numpy as np
import kddim
from kddim.backend import sampling_devices
from kddim.devices import use_devices

path = sys.argv[1]
images = np.random.default_rng(0).random((32, 2, 2, 1)).astype("float32")
images = 0.45 + 0.1 * images.repeat(4, axis=1).repeat(4, axis=2)
labels = np.arange(32) % 3

def make():
    keras.utils.set_random_seed(0)
    model = kddim.DiffusionModel(8, (4, 8), 1, channels=1, num_classes=3, seed=0, ema=0.5)
    model.normalizer.adapt(images)
    model.compile()
    model.fit(images, labels, epochs=5, batch_size=8, verbose=0)
    model.save(path)

def generate(count, model=None):
    with use_devices(count):
        assert sampling_devices() == count
        model = model or keras.saving.load_model(path)
        steps = []
        watch = lambda step, noisy, pred: steps.append(keras.ops.convert_to_numpy(pred)[:5])
        guided = {"labels": [0, 1, 2, 0, 1, 2], "guidance_scale": 2.0}
        mask = np.repeat([[0.0, 1.0]], 8, axis=0).repeat(4, axis=1)
        found = {
            "last batch smaller": model.generate(10, 3, seed=0, batch_size=4),
            "odd batches": model.generate(10, 3, "ddpm", seed=0, batch_size=5),
            "a single image": model.generate(1, 3, seed=0),
            "with a state": model.generate(4, 4, "ipndm", seed=0),
            "guided": model.generate(6, 3, seed=0, guidance_interval=(0.2, 5.0), **guided),
            "by a weaker model": model.generate(4, 3, guide=weaker(), labels=1, guidance_scale=2.0, seed=0),
            "inpainted": model.inpaint(images[:4], mask, diffusion_steps=3, seed=0),
            "encoded": model.encode(images[:6], 3),
            "log-likelihood": model.log_likelihood(images[:4], 3),
            "one batch": np.asarray(model.reverse_diffusion(kddim.latents.initial_noise(4, (8, 8, 1), 0), 3)),
        }
        model.generate(5, 3, seed=0, callback=watch)
        return found | {"of a callback": np.stack(steps)}

weaker = lambda: keras.saving.load_model(path)
with use_devices(2):  # before the framework starts
    pass
make()
one, two_devices, outside = generate(1), generate(2), generate(2, weaker())
scale = {k: np.maximum(1.0, np.abs(one[k])) for k in one}
print(json.dumps({f"{k}, {w}": float(np.max(np.abs(one[k] - found[k]) / scale[k])) for k in one
                  for w, found in (("loaded in the block", two_devices), ("outside", outside))}))
assert 0.1 < ((one["odd batches"] > 0) & (one["odd batches"] < 1)).mean()  # not only black and white
"""
# Shows which device of TensorFlow computes how many images, and that XLA may compile the parts.
PARTS = """
import json
import numpy as np
import kddim
from kddim import backend
from kddim.devices import use_devices

numbers = []

class Watched(kddim.DiffusionModel):
    def denoise(self, noisy_images, *args, **options):
        numbers.append(noisy_images.shape[0])
        return super().denoise(noisy_images, *args, **options)

def images_of(make):
    model = make(8, (4, 8), 1, channels=1, seed=0)
    model.normalizer.adapt(np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32"))
    images = model.generate(4, 2, "ddpm", seed=0)
    return images, next(iter(model.sampling_denoiser().steps.values()))

with use_devices(2):
    plain, step = images_of(Watched)
    backend._has_gpu = lambda: True  # steps are compiled by XLA
    compiled, _ = images_of(kddim.DiffusionModel)
graph = step._list_all_concrete_functions()[0].graph
calls = sorted(op.device[-5:] for op in graph.get_operations() if "Call" in op.type)
print(json.dumps([numbers, calls, float(np.abs(plain - compiled).max())]))
"""
# Trains several models one after the other, on several sets of devices.
ONE_AFTER_THE_OTHER = """
import keras, numpy as np
import kddim
from kddim.devices import use_devices

images = np.random.default_rng(0).random((24, 8, 8, 1)).astype("float32")
with use_devices(3):  # before the framework starts
    pass
for count, widths in ((2, (4, 8)), (2, (8, 12)), (3, (4, 4)), (2, (4, 8))):
    keras.utils.set_random_seed(0)
    with use_devices(count):
        model = kddim.DiffusionModel(8, widths, 1, channels=1, seed=0)
        model.normalizer.adapt(images)
        model.compile()
        print(model.fit(images, batch_size=12, verbose=0).history["loss"][0])
"""


COMMAND = "import sys; from kddim.cli import main; main(sys.argv[1:])"


def run(name, program, *arguments, **variables):
    environment = os.environ | {"KERAS_BACKEND": name, "JAX_PLATFORMS": "cpu"} | variables
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


@pytest.mark.parametrize("normalization", ["batch", pytest.param("group", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_two_devices_train_the_model_of_one(name, normalization):
    """Weights, average, batch statistics, losses, KID, gradients and images after 52 steps."""
    found = json.loads(run(name, PROGRAM, normalization).splitlines()[-1])
    assert {"log loss", "log val_loss", "log val_kid", "log gradient_norm", "images"} <= set(found)
    assert max(found.values()) < TOLERANCE, sorted(found.items(), key=lambda pair: -pair[1])[:5]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_several_models_train_in_one_process(name):
    """TensorFlow numbers the operations that join devices, in each strategy from the start."""
    losses = [float(line) for line in run(name, ONE_AFTER_THE_OTHER).splitlines()]
    assert len(losses) == 4
    assert losses[0] == pytest.approx(losses[3], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_the_command_trains_and_resumes_on_two_devices(name, tmp_path):
    words = "train digits --widths 4,8 --steps-per-epoch 20 --limit 200 --kid-encoder none"
    histories = []
    for count in ("1", "2"):
        output = tmp_path / count
        more = ["--epochs", "1", "--devices", count, "--output", str(output)]
        run(name, COMMAND, *words.split(), *more)
        run(name, COMMAND, "train", "--resume", str(output), "--epochs", "2", "--devices", count)
        with open(output / "history.csv") as file:
            histories.append(list(csv.DictReader(file)))
    one, two_devices = histories
    assert len(one) == len(two_devices) == 2
    for before, after in zip(one, two_devices):
        for column in ("loss", "val_loss", "i_loss", "gradient_norm", "ema_distance"):
            assert float(after[column]) == pytest.approx(float(before[column]), rel=TOLERANCE)


@pytest.mark.parametrize("name", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_two_devices_generate_the_images_of_one(name, tmp_path):
    """Samplers, labels, guidance, inpainting, encoding and likelihood, to the last bits."""
    found = json.loads(run(name, GENERATION, tmp_path / "model.keras").splitlines()[-1])
    assert len(found) == 22
    assert max(found.values()) < TOLERANCE, sorted(found.items(), key=lambda pair: -pair[1])[:5]


def test_each_device_of_tensorflow_computes_its_part():
    numbers, devices_of_parts, difference = json.loads(run("tensorflow", PARTS).splitlines()[-1])
    assert set(numbers) == {2}  # images, in each trace of the step
    assert devices_of_parts == ["CPU:0", "CPU:1"]
    assert difference < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_the_commands_generate_and_evaluate_on_two_devices(name, tmp_path):
    """Also on a host of a cluster, whose other hosts have nothing to do with it."""
    model = str(tmp_path / "run")
    words = "train digits --widths 4,8 --steps-per-epoch 20 --epochs 1 --kid-encoder none --output"
    run(name, COMMAND, *words.split(), model)
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    task = {"type": "worker", "index": 1}
    variables = {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": task}),
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(cluster["worker"]),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": "1",
    }
    images, scores = [], []
    for count in ("1", "2"):
        more = ["--devices", count, "--diffusion-steps", "5", "-n", "30"]
        sample, score = (str(tmp_path / f"{count}.{ending}") for ending in ("npz", "json"))
        command = ["generate", model, "--sampler", "ddpm", "--batch-size", "20", "-o", sample]
        run(name, COMMAND, *command, *more, **variables)
        command = ["evaluate", model, "digits", "--encoder", "random_conv", "--no-cache"]
        run(name, COMMAND, *command, "-o", score, *more, **variables)
        images.append(np.load(sample)["images"].astype("int32"))
        scores.append(json.loads((tmp_path / f"{count}.json").read_text()))
    assert images[0].shape == (30, 8, 8, 1)
    assert images[0].std() > 1.0
    assert np.abs(images[0] - images[1]).max() <= 1  # a value that rounding may move to the next
    assert scores[0]["kid"] == pytest.approx(scores[1]["kid"], abs=TOLERANCE)


def test_batches_become_divisible(monkeypatch):
    monkeypatch.setattr(backend, "sampling_devices", lambda: 4)
    assert [backend.divisible(number) for number in (1, 3, 4, 5, 64)] == [1, 3, 4, 8, 64]


@pytest.mark.parametrize(("value", "wanted"), [(None, None), ("all", "all"), (2, 2), ("3", 3)])
def test_numbers_of_devices_are_read(value, wanted):
    assert devices.parse(value) == wanted


@pytest.mark.parametrize("value", [0, -1, "0", "two", "", 10**6, True, 1.5, "1" * 5000])
def test_other_numbers_of_devices_are_refused(value):
    with pytest.raises(ValueError, match=r"Expected a number of devices of at least 1, or .all."):
        devices.parse(value)


def test_one_device_is_the_usual_way():
    for count in (None, 1, "1"):
        with devices.use_devices(count):
            assert backend.num_devices() == 1


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    monkeypatch.setattr(backend, "devices_of", lambda count: ["gpu:0", "gpu:1"][:count])
    with pytest.raises(ValueError, match="Expected at most 2 devices, as many as there are"):
        devices.use_devices(3).__enter__()


def test_pytorch_says_what_to_use(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"the backend jax or tensorflow .* Received: torch"):
        devices.use_devices(2).__enter__()
    with devices.use_devices("all"):  # there is one
        assert backend.num_devices() == 1


def test_batches_are_divided_into_equal_parts(monkeypatch):
    monkeypatch.setattr(backend, "num_devices", lambda: 4)
    devices.check_batch_size(64)
    with pytest.raises(ValueError, match=r"a multiple of 4, .* Received: 63\. Use 64"):
        devices.check_batch_size(63)
