"""Times of sampling, measured in part and extrapolated."""

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kddim import backend
from kddim.checks import check_count


@dataclasses.dataclass(frozen=True)
class Stopwatch:
    """Measurement of the seconds that one batch takes, from its first steps.

    Args:
        measured_steps: Largest number of steps that are taken, at least 2.
        repeats: Number of measurements, at least 1, after one that compiles.
        clock: Function that returns the time in seconds.

    Raises:
        ValueError: If a number is below its minimum.
    """

    measured_steps: int = 4
    repeats: int = 3
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self):
        check_count("measured_steps", self.measured_steps, 2)
        check_count("repeats", self.repeats)

    def steps_of(self, diffusion_steps: int) -> int:
        """Return the number of steps that are measured of a batch with `diffusion_steps`."""
        return min(self.measured_steps, diffusion_steps)

    def seconds(
        self,
        run: Callable[[Callable], Any],
        diffusion_steps: int,
        callback: Callable = lambda *_: None,
    ) -> list[float]:
        """Return the seconds per batch of all measurements.

        If all steps of the batch are measured, nothing is extrapolated. Otherwise each further
        step adds the median time of the measured steps after the first.

        Args:
            run: Function of a callback of samplers that makes one batch of images. It must stop
                if the callback returns True.
            diffusion_steps: Number of steps of the batch.
            callback: Callback to call after each step as well.
        """
        found = [self._measure(run, diffusion_steps, callback) for _ in range(self.repeats + 1)]
        return found[1:]  # the first one compiled

    def _measure(self, run: Callable, diffusion_steps: int, callback: Callable) -> float:
        measured, ends = self.steps_of(diffusion_steps), []

        def after_step(step: int, noisy_images: Any, pred_images: Any) -> bool:
            # Wait, because some frameworks compute asynchronously.
            backend.to_numpy(noisy_images[:1])
            ends.append(self.clock())
            callback(step, noisy_images, pred_images)
            return len(ends) == measured

        start = self.clock()
        run(after_step)
        whole, left = self.clock() - start, diffusion_steps - measured
        return whole + (left * float(np.median(np.diff(ends))) if left else 0.0)


def extrapolate(seconds_per_batch: float, batch_size: int, num_images: int) -> float:
    """Return the seconds for a number of images, whose last batch is padded to its full size."""
    return seconds_per_batch * -(-num_images // batch_size)


def machine() -> str:
    """Return the processor, the number of its cores, and the devices of the backend in one line."""
    name = platform.processor() or platform.machine()
    file = Path("/proc/cpuinfo")
    if file.exists():
        lines = [x for x in file.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([name, f"{cores} cores", *backend.accelerators()])
