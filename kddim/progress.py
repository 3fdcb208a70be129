"""What a long piece of work will cost, and how far it is."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kddim import latents
from kddim.backend import to_numpy

log = logging.getLogger("kddim")


class Progress:
    """Counts what is done.

    Args:
        advance: counts so many more parts.
        tell: writes a line, above the bar where there is one.
    """

    def __init__(self, advance: Callable[[int], None], tell: Callable[[str], None]):
        self.advance = advance
        self.tell = tell

    def callback(self, evaluations: int) -> Callable:
        """A callback of samplers whose steps take so many evaluations."""
        return lambda step, noisy_images, pred_images: self.advance(evaluations)


@contextlib.contextmanager
def show_bar(total: int, verbose: int) -> Iterator[Progress]:
    """A bar of `total` parts on the terminal; with `verbose=0`, lines alone go to the log."""
    if not verbose or not total:
        yield Progress(lambda count: None, log.info)
        return
    from rich import progress as rich

    columns = (rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns) as bar:
        task = bar.add_task("", total=total)
        yield Progress(
            lambda count: bar.advance(task, count),
            lambda line: bar.console.print(line, highlight=False),
        )


@contextlib.contextmanager
def show_progress(
    model: Any, what: str, evaluations: int, batch_size: int, verbose: int
) -> Iterator[Progress]:
    """Tells the budget of network evaluations, then shows the progress.

    Args:
        model: a `kddim.DiffusionModel` that does the work.
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
    with show_bar(evaluations, verbose) as progress:
        yield progress


@contextlib.contextmanager
def show_batches(what: str, total: int, verbose: int) -> Iterator[Callable[[int], None]]:
    """Shows the progress of work that comes in batches, and tells its budget after two.

    The first batch compiles, and counts for nothing in the budget.

    Args:
        what: in words, such as "encoding 1,000 images".
        total: images in all.
        verbose: 1 draws a bar on the terminal; with 0, lines alone go to the log.

    Yields:
        A function to call with the number of images of each batch that is done.
    """
    with show_bar(total, verbose) as progress:
        yield _Budget(what, total, progress).advance


class _Budget:
    def __init__(self, what: str, total: int, progress: Progress):
        self.what, self.total, self.progress = what, total, progress
        self.batches = self.done = 0
        self.before = 0.0

    def advance(self, count: int) -> None:
        """Counts a batch; after the second, tells what is left."""
        now = time.perf_counter()
        self.batches += 1
        self.done += count
        if self.batches == 2 and self.done < self.total:
            each = (now - self.before) / count
            left = duration(each * (self.total - self.done))
            self.progress.tell(f"{self.what}: about {left} ({1 / max(each, 1e-9):.3g} a second)")
        self.before = now
        self.progress.advance(count)


def seconds_per_evaluation(model: Any, batch_size: int) -> float:
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
