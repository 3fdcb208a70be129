"""Cost and progress of long tasks, as a bar on the terminal and as lines."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kddim import latents, signals
from kddim.backend import to_numpy

log = logging.getLogger("kddim")

_MINUTE = 60.0  # seconds


class Progress:
    """Progress of a task that consists of many parts.

    Args:
        advance: Function that counts a number of parts as done.
        tell: Function that writes a line, above the bar if there is one.
    """

    def __init__(self, advance: Callable[[int], None], tell: Callable[[str], None]):
        self._advance = advance
        self.tell = tell

    def advance(self, count: int) -> None:
        """Count parts as done.

        Args:
            count: Number of parts.

        Raises:
            kddim.signals.Interrupted: If a signal came and its exception was swallowed.
        """
        signals.check()
        self._advance(count)

    def callback(self, evaluations: int) -> Callable:
        """Return a callback of samplers that counts network evaluations.

        Args:
            evaluations: Number of network evaluations per step of the sampler.
        """
        return lambda step, noisy_images, pred_images: self.advance(evaluations)


@contextlib.contextmanager
def show_bar(total: int, verbose: int) -> Iterator[Progress]:
    """Show the progress of a task.

    Args:
        total: Number of parts. Nothing is drawn if it is 0.
        verbose: 1 draws a bar on the terminal. 0 writes lines to the log.

    Yields:
        The `Progress` to report to.
    """
    signals.unwind()  # the bar hides the cursor
    if not verbose or not total:
        yield Progress(lambda count: None, log.info)
        return
    from rich import progress as rich

    columns = (rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns) as bar, log_above_bar():
        task = bar.add_task("", total=total)
        yield Progress(
            lambda count: bar.advance(task, count),
            lambda line: bar.console.print(line, highlight=False),
        )


def tell(line: str) -> None:
    """Tell a user of `fit` a line: in the log where the log is shown, else printed.

    The command line shows the log. In a notebook nobody configured it, and the line is printed.

    Args:
        line: The line, without its end.
    """
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log.info("%s", line)
    else:
        print(line)


@contextlib.contextmanager
def log_above_bar() -> Iterator[None]:
    """Let the log write above the bar that Rich draws, for the duration of the block.

    Rich replaces `sys.stdout` and `sys.stderr` while it draws a bar. The handlers of the log
    keep the streams of before, whose lines would break the bar.
    """
    proxies = [s for s in (sys.stdout, sys.stderr) if hasattr(s, "rich_proxied_file")]
    changed: list[tuple[logging.StreamHandler, Any]] = []
    handlers = (*logging.getLogger().handlers, *log.handlers)
    for handler in (h for h in handlers if isinstance(h, logging.StreamHandler)):
        for proxy in proxies:
            if handler.stream is proxy.rich_proxied_file:
                changed.append((handler, handler.stream))
                handler.setStream(proxy)
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.setStream(stream)


@contextlib.contextmanager
def show_progress(
    model: Any, what: str, evaluations: int, batch_size: int, verbose: int
) -> Iterator[Progress]:
    """Log the cost of a task in network evaluations and time, then show its progress.

    Args:
        model: `kddim.DiffusionModel` that computes.
        what: Name of the task for the log.
        evaluations: Number of network evaluations, each of one batch.
        batch_size: Number of images per batch.
        verbose: 1 draws a bar on the terminal. 0 writes lines to the log.

    Yields:
        The `Progress` to report to.
    """
    if not evaluations:
        log.info("%s, all results exist", what)
    elif log.isEnabledFor(logging.INFO):  # no time is spent on an estimate that nobody reads
        seconds = seconds_per_evaluation(model, batch_size)
        log.info(
            "%s, %s network evaluations of %d images, about %s (%.3f s each)",
            *(what, f"{evaluations:,}", batch_size, duration(seconds * evaluations), seconds),
        )
    with show_bar(evaluations, verbose) as progress:
        yield progress


@contextlib.contextmanager
def show_batches(what: str, total: int, verbose: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a task that consists of batches, and tell the time that is left.

    The time is estimated from the second batch on, because the first one includes compilation.
    It is told once, and without a bar again every minute.

    Args:
        what: Name of the task, such as "encoding 1,000 images".
        total: Number of images of all batches.
        verbose: 1 draws a bar on the terminal. 0 writes lines to the log.

    Yields:
        Function to call after each batch with its number of images.
    """
    first, done = 0, 0  # images of the first batch, and of all so far
    began = told = 0.0  # end of the first batch, and time of the last line

    def advance(count: int) -> None:
        """Count batches that are done, and show how far the work is."""
        nonlocal first, told, done, began
        now, done = time.perf_counter(), done + count
        if not first:
            first, began = count, now
        elif done < total and (not told or (not verbose and now - told >= _MINUTE)):
            seconds = (now - began) / (done - first)
            left, speed = duration(seconds * (total - done)), 1 / max(seconds, 1e-9)
            part = f" {done:,} are done," if told else ""
            progress.tell(f"{what}:{part} about {left} ({speed:.3g} images per second)")
            told = now
        progress.advance(count)

    with show_bar(total, verbose) as progress:
        yield advance


def seconds_per_evaluation(model: Any, batch_size: int) -> float:
    """Return the time of one network evaluation in seconds, without compilation.

    Args:
        model: `kddim.DiffusionModel` to measure.
        batch_size: Number of images per batch.
    """
    model.check_memory(batch_size, batch_size)
    noise = latents.initial_noise(batch_size, model.image_shape, seed=0)
    times: list[float] = []

    def note(step: int, noisy_images: Any, pred_images: Any) -> None:
        """Note when a step ends."""
        to_numpy(noisy_images[:1])  # waits, because some frameworks compute asynchronously
        times.append(time.perf_counter())

    model.reverse_diffusion(noise, 4, callback=note)  # the first step compiles
    return float(np.median(np.diff(times)))


def duration(seconds: float) -> str:
    """Return a duration in words, such as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
