"""How time and memory grow: image size, images, batch, devices, shards, and images of a score.

    python benchmarks/scaling.py                 # all tables, into docs/scaling.md
    python benchmarks/scaling.py training shards # some of them

Each figure has a process of its own. Seconds are the median of a few repetitions after the first
one. Memory is the peak of the resident set, minus what the process held after its framework and
its model were made. The exponent of a column is the slope of a line through the logarithms: 1 is
growth in proportion, 2 is growth with the square. Virtual devices share the processor's cores, and
show only what the division of a batch costs.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
BATCH, SHARD_IMAGES = 4, 64


def peak() -> float:
    """Return the peak of the resident set so far, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def measured(run: Callable[[], Any], repeats: int = 3) -> dict[str, float]:
    """Return the median seconds of a function after its first call, and its memory in MB."""
    before = peak()
    run()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "MB": peak() - before}


def model_of(size: int, widths: tuple[int, ...] = (32, 64, 96, 128)) -> Any:
    """Return a compiled model with weights as they are before training."""
    import numpy as np

    import kddim

    model = kddim.DiffusionModel(size, widths, seed=0)
    model.normalizer.adapt(np.random.default_rng(0).random((4, size, size, 3)).astype("float32"))
    model.compile()
    return model


def epoch(model: Any, batch: int, steps: int) -> Callable[[], Any]:
    """Return a function that trains for some steps on random images."""
    import numpy as np

    from kddim.data import ImageDataset

    shape = (batch * steps, *model.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    data = ImageDataset(images, batch, training=True)
    return lambda: model.fit(data, verbose=0)


# Measurements, each in a process of its own.


def training(size: int) -> dict[str, float]:
    """Measure a training step of four images."""
    found = measured(epoch(model_of(size), BATCH, 2))
    return found | {"seconds": found["seconds"] / 2}


def sampling(size: int) -> dict[str, float]:
    """Measure a step of sampling four images."""
    model = model_of(size)
    found = measured(lambda: model.generate(BATCH, 5, seed=0, batch_size=BATCH))
    return found | {"seconds": found["seconds"] / 5}


def batch(number: int) -> dict[str, float]:
    """Measure a training step of 32x32 pixels."""
    found = measured(epoch(model_of(32), number, 3))
    return found | {"seconds": found["seconds"] / 3}


def images(number: int) -> dict[str, float]:
    """Measure 50 training steps on an array of 16x16 pixels, with what an epoch takes."""
    import numpy as np

    from kddim.data import ImageDataset

    model = model_of(16, (8, 16))
    before = peak()
    values = np.random.default_rng(0).integers(0, 256, (number, 16, 16, 3), "uint8")
    data = ImageDataset(values, 16, training=True, steps_per_epoch=50)
    found = measured(lambda: model.fit(data, verbose=0))
    return found | {"MB": peak() - before}


def scoring(number: int) -> dict[str, float]:
    """Measure KID, FID, precision and recall of as many generated features as real ones."""
    import numpy as np

    from kddim.metrics.frechet_distance import frechet_distance
    from kddim.metrics.kernel_distance import polynomial_mmd
    from kddim.metrics.precision_recall import precision_recall

    real, found = np.random.default_rng(0).normal(size=(2, number, 256)).astype("float32")

    def run() -> None:
        polynomial_mmd(real, found)
        frechet_distance(real, found)
        precision_recall(real, found)

    return measured(run, 1)


def shards(number: int) -> dict[str, float]:
    """Measure a sample in shards, one command after the other, and the memory of the largest."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model_of(32).save(file)
        begin = time.perf_counter()
        for index in range(1, number + 1):
            command = ["generate", file, "-n", SHARD_IMAGES, "--shard", f"{index}/{number}"]
            command += ["--batch-size", 8, "-o", Path(folder) / "samples"]
            subprocess.run(
                [sys.executable, "-m", "kddim", *map(str, command)],
                check=True, capture_output=True,
            )  # fmt: skip
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3}


def devices(number: int) -> dict[str, float]:
    """Measure a training step of 16 images of 32x32 pixels on virtual devices."""
    from kddim.devices import use_devices

    with use_devices(number):
        found = measured(epoch(model_of(32), 16, 4))
    return found | {"seconds": found["seconds"] / 4}


# Tables.

MEASUREMENTS: dict[str, tuple[str, str, Callable[[int], dict[str, float]], tuple[int, ...]]] = {
    "training": ("side in pixels", "training step, 4 images", training, (32, 64, 128, 256)),
    "sampling": ("side in pixels", "sampling step, 4 images", sampling, (32, 64, 128, 256)),
    "batch": ("batch size", "training step, 32x32", batch, (1, 4, 16, 64)),
    "images": (
        "number of images", "50 steps on an array of 16x16", images, (10**3, 10**4, 10**5, 10**6),
    ),
    "scoring": (
        "number of features", "KID, FID, precision and recall, 256 values each", scoring,
        (1000, 2000, 4000, 8000, 16000),
    ),
    "devices": ("virtual devices", "training step, 16 images of 32x32", devices, (1, 2, 4)),
    "shards": ("shards", f"sample of {SHARD_IMAGES} images of 32x32, 20 steps", shards, (1, 2, 4, 8)),
}  # fmt: skip


def exponent(values: list[int], figures: list[float]) -> float:
    """Return the slope of a line through the logarithms."""
    pairs = [(math.log(v), math.log(max(f, 1e-9))) for v, f in zip(values, figures)]
    x, y = ([pair[side] for pair in pairs] for side in (0, 1))
    return statistics.linear_regression(x, y).slope


def ask(name: str, value: int, backend: str) -> dict[str, float]:
    """Run one measurement in a new process."""
    answer = subprocess.run(
        [sys.executable, __file__, "one", name, str(value)],
        capture_output=True, text=True, env={**os.environ, "KERAS_BACKEND": backend},
    )  # fmt: skip
    if answer.returncode:
        raise SystemExit(answer.stderr[-2000:])
    return json.loads(answer.stdout.splitlines()[-1])


def table(name: str, backend: str) -> list[str]:
    """Return the lines of a table."""
    unit, what, _, values = MEASUREMENTS[name]
    found = []
    for value in values:
        found.append(ask(name, value, backend))
        print(name, backend, value, found[-1], flush=True)
    title = what if backend == "tensorflow" else f"{what}, {backend}"
    lines = [f"| {unit} | {title} | memory |", "|---|---|---|"]
    lines += [f"| {v:,} | {f['seconds']:.3g} s | {f['MB']:,.0f} MB |" for v, f in zip(values, found)]  # fmt: skip
    slopes = (exponent(list(values), [f[key] for f in found]) for key in ("seconds", "MB"))
    return [*lines, "| exponent | " + " | ".join(f"{slope:.2f}" for slope in slopes) + " |", ""]


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(MEASUREMENTS[sys.argv[2]][2](int(sys.argv[3]))))
        return
    import results

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(MEASUREMENTS))
    options = parser.parse_args()
    for name in options.names:
        backends = ("tensorflow", "jax") if name == "devices" else ("tensorflow",)
        lines = [line for backend in backends for line in table(name, backend)]
        results.write(name, f"python benchmarks/scaling.py {name}", lines[:-1], PAGE)


if __name__ == "__main__":
    main()
