"""What an experiment will cost, and how far it is."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kddim import latents
from kddim.backend import to_numpy
from kddim.model import DiffusionModel

log = logging.getLogger("kddim")


class Progress:
    """Counts what is done.

    Args:
        advance: counts so many more evaluations of a batch.
        tell: writes a line, above the bar where there is one.
    """

    def __init__(self, advance: Callable[[int], None], tell: Callable[[str], None]):
        self._advance = advance
        self.tell = tell

    def callback(self, evaluations: int) -> Callable:
        """A callback of samplers whose steps take so many evaluations."""
        return lambda step, noisy_images, pred_images: self._advance(evaluations)


@contextlib.contextmanager
def show_progress(
    model: DiffusionModel, what: str, evaluations: int, batch_size: int, verbose: int
) -> Iterator[Progress]:
    """Tells the budget, then shows the progress.

    Args:
        model: does the work.
        what: in words.
        evaluations: of the network that are left to do, each of one batch.
        batch_size: of each.
        verbose: 1 draws a bar on the terminal; with 0, lines alone go to the log.
    """
    if evaluations:
        seconds = seconds_per_evaluation(model, batch_size)
        log.info(
            "%s, %s network evaluations of %d images, about %s (%.3f s each)",
            *(what, f"{evaluations:,}", batch_size, duration(seconds * evaluations), seconds),
        )
    else:
        log.info("%s, all are there", what)
    if not verbose or not evaluations:
        yield Progress(lambda count: None, log.info)
        return
    from rich import progress as rich

    columns = (rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns) as bar:
        task = bar.add_task("", total=evaluations)
        yield Progress(
            lambda count: bar.advance(task, count),
            lambda line: bar.console.print(line, highlight=False),
        )


def seconds_per_evaluation(model: DiffusionModel, batch_size: int) -> float:
    """Time of one network evaluation of a batch, once the step is compiled."""
    noise = latents.initial_noise(batch_size, model.image_shape, seed=0)
    times: list[float] = []

    def note(step: int, noisy_images: Any, pred_images: Any) -> None:
        to_numpy(noisy_images[:1])  # waits for a framework that computes ahead
        times.append(time.perf_counter())

    model.reverse_diffusion(noise, 4, callback=note)  # the first step compiles
    return float(np.median(np.diff(times)))


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
