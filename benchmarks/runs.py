"""Cost of what makes a run safe: checkpoints, and the figures of health.

    KERAS_BACKEND=tensorflow python benchmarks/runs.py

Prints the median time of a checkpoint of the default network at 64x64 pixels, its share of five
minutes, and the ratio of step times with and without `HealthCallback`, interleaved.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from clock import StepClock

import kddim
from kddim.callbacks import HealthCallback, RunCheckpoint

SIZE, BATCH, STEPS, ROUNDS = 64, 16, 8, 5


def step_seconds(model, data, *callbacks):
    """Return the median time of a step."""
    clock = StepClock()
    model.fit(data, verbose=0, shuffle=False, callbacks=[*callbacks, clock])
    return statistics.median(np.diff(clock.ends)[1:])


def main():
    images = np.random.default_rng(0).random((BATCH * STEPS, SIZE, SIZE, 3)).astype("float32")
    data = kddim.data.ImageDataset(images, BATCH, training=True)
    model = kddim.DiffusionModel(SIZE)
    model.normalizer.adapt(images)
    model.compile()
    plain, watched = [], []
    for _ in range(ROUNDS):
        plain.append(step_seconds(model, data))
        watched.append(step_seconds(model, data, HealthCallback()))
    ratios = sorted(w / p for w, p in zip(watched, plain))
    print(
        f"step: {statistics.median(plain):.3f} s; with health: {statistics.median(watched):.3f} s"
    )
    print(
        f"ratio: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = RunCheckpoint(folder)
        checkpoint.set_model(model)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            path = checkpoint.save()
            times.append(time.perf_counter() - start)
        size = Path(path).stat().st_size / 1e6
    seconds = statistics.median(times)
    print(f"checkpoint: {size:.1f} MB in {seconds:.3f} s, {100 * seconds / 300:.3f} % of 5 minutes")


if __name__ == "__main__":
    main()
