"""Curves and pictures, drawn with Matplotlib."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kddim.files import atomic_write
from kddim.images import as_picture, grid, to_uint8

DPI = 100


def plot_history(rows: Sequence[dict[str, Any]], path: str | os.PathLike, title: str = "") -> Path:
    """Plot losses and KID over epochs.

    Args:
        rows: One dictionary per epoch with `epoch` and `n_loss`, and with `val_n_loss` and
            `val_kid` in the epochs that measured them.
        path: PNG file to write.
        title: Title of the figure.

    Returns:
        `path`.
    """
    measured = [row for row in rows if row.get("val_kid") is not None]
    figure, (losses, *others) = _curves(10, 3.8, 2) if measured else _curves(5.5, 3.8, 1)
    for key, label in (("n_loss", "training"), ("val_n_loss", "validation (EMA network)")):
        known = [row for row in rows if row.get(key) is not None]
        losses.plot([r["epoch"] for r in known], [r[key] for r in known], label=label)
    _label_epochs(losses, "n_loss, loss of the predicted noise")
    losses.legend()
    for axis in others:
        _draw_kid(axis, [(row["epoch"], row["val_kid"]) for row in measured])
    return _save(figure, path, title)


def plot_runs(histories: Mapping[str, Sequence[dict[str, Any]]], path: str | os.PathLike) -> Path:
    """Plot losses and KID of several runs over epochs, in one colour per run.

    Args:
        histories: Rows of each run as for `plot_history`, by the names of the runs.
        path: PNG file to write.

    Returns:
        `path`.
    """
    measured = any(_points(rows, "val_kid") for rows in histories.values())
    figure, (losses, *others) = _curves(11, 4.4, 2) if measured else _curves(6.5, 4.4, 1)
    handles: list[Any] = []
    for number, rows in enumerate(histories.values()):
        for axis, key, style in (
            (losses, "n_loss", ".-"),
            (losses, "val_n_loss", ".--"),
            *((axis, "val_kid", ".-") for axis in others),
        ):
            points = np.reshape(_points(rows, key), (-1, 2))
            lines = axis.plot(*points.T, style, color=f"C{number}", markersize=4)
            handles += lines if key == "n_loss" else []
    _label_epochs(losses, "n_loss (dashed: validation)")
    for axis in others:
        _label_epochs(axis, "val_kid")
        if min(value for rows in histories.values() for _, value in _points(rows, "val_kid")) > 0:
            axis.set_yscale("log")
    names = [name.replace("$", r"\$") for name in histories]  # not a formula
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return _save(figure, path)


def plot_kid(
    history: Sequence[tuple[int, float]], path: str | os.PathLike, title: str = ""
) -> Path:
    """Plot KID over epochs.

    Args:
        history: Pairs of an epoch and its KID.
        path: PNG file to write.
        title: Title of the figure.

    Returns:
        `path`.
    """
    figure, (axis,) = _curves(5.5, 3.8, 1)
    _draw_kid(axis, history)
    return _save(figure, path, title, fontsize="small", wrap=True)


def plot_sweep(
    rows: Sequence[dict[str, Any]],
    metrics: dict[str, str],
    path: str | os.PathLike,
    title: str = "",
) -> Path:
    """Plot metrics and seconds against the number of steps, one line per sampler.

    Args:
        rows: Dictionaries with `sampler`, `diffusion_steps`, `seconds`, and each metric with
            its deviation.
        metrics: Columns of the metrics, each with the column of its deviation.
        path: PNG file to write.
        title: Title of the figure.

    Returns:
        `path`.
    """
    figure, (*quality, cost) = _curves(5.2 * (len(metrics) + 1), 4.0, len(metrics) + 1)
    for name in dict.fromkeys(row["sampler"] for row in rows):
        line = sorted((r for r in rows if r["sampler"] == name), key=lambda r: r["diffusion_steps"])
        steps = [row["diffusion_steps"] for row in line]
        for axis, columns in zip(quality, metrics.items()):
            values, deviations = ([row[column] for row in line] for column in columns)
            axis.errorbar(steps, values, deviations, marker=".", capsize=2, label=name)
        cost.plot(steps, [row["seconds"] for row in line], marker=".", label=name)
    ticks = sorted({row["diffusion_steps"] for row in rows})
    for axis, (metric, deviation) in zip(quality, metrics.items()):
        axis.set(xscale="log", xlabel="steps, S", ylabel=metric.upper())
        axis.set_xticks(ticks, labels=map(str, ticks))
        axis.set_xticks([], minor=True)
        if all(row[metric] > row[deviation] for row in rows):
            axis.set_yscale("log")
    cost.set(xlabel="steps, S", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    quality[0].legend()
    return _save(figure, path, title)


def plot_guidance(
    rows: Sequence[dict[str, Any]],
    columns: dict[str, str],
    path: str | os.PathLike,
    title: str = "",
) -> Path:
    """Plot figures of quality against the scale of guidance.

    Args:
        rows: Dictionaries with `guidance_scale`, and each figure with its standard error.
        columns: Columns of the figures, each with the column of its standard error.
        path: PNG file to write.
        title: Title of the figure.

    Returns:
        `path`.
    """
    figure, axes = _curves(4.2 * len(columns), 3.6, len(columns))
    scales = [row["guidance_scale"] for row in rows]
    for axis, (name, spread) in zip(np.ravel(axes), columns.items()):
        values, errors = ([row[column] for row in rows] for column in (name, spread))
        axis.errorbar(scales, values, errors, marker=".", capsize=2)
        label = name.upper() if name in ("kid", "fid") else name
        axis.set(xlabel="scale of guidance (1: none)", ylabel=label)
    return _save(figure, path, title)


def plot_rows(rows: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Draw rows of images, each with a label on its left.

    Args:
        rows: Arrays of images `(n, height, width, channels)` in [0, 1] by the labels of the
            rows, with n the same for all rows.
        path: PNG file to write.

    Returns:
        `path`.
    """
    strips = [as_picture(grid(row, len(row))) for row in rows.values()]
    height, width = strips[0].shape[:2]
    margin = 80  # pixels for the labels
    size = ((width + margin) / DPI, len(rows) * height / DPI)
    figure, axes = _panels(*size, len(rows), 1, layout="none")
    figure.subplots_adjust(margin / (width + margin), 0.0, 1.0, 1.0, hspace=0.0)
    for axis, strip, label in zip(axes.flat, strips, rows):
        _draw_pixels(axis, strip)
        axis.axis("off")
        axis.text(-8, height / 2, label, ha="right", va="center", fontsize=9)
    return _save(figure, path)


def plot_neighbours(
    rows: Sequence[Any], labels: Sequence[Sequence[str]], path: str | os.PathLike, title: str = ""
) -> Path:
    """Draw rows of images, each image with a label below it.

    Args:
        rows: Arrays of images `(n, height, width, channels)` in [0, 1], with n the same for
            all rows.
        labels: One sequence of n labels per row.
        path: PNG file to write.
        title: Title of the figure.

    Returns:
        `path`.
    """
    columns = len(rows[0])
    figure, axes = _panels(1.3 * columns, 1.5 * len(rows) + 0.4, len(rows), columns)
    for line, words, row in zip(axes, labels, rows):
        for axis, word, image in zip(line, words, to_uint8(row)):
            _draw_pixels(axis, as_picture(image))
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(word, fontsize=8)
    return _save(figure, path, title, fontsize="medium")


def show_images(images: Any, num_cols: int, title: str = "") -> None:
    """Show images in rows, in a notebook or a window.

    Args:
        images: Images `(n, height, width, channels)` in [0, 1].
        num_cols: Number of images per row.
        title: Title of the figure.
    """
    import matplotlib.pyplot as plt

    num_rows = -(-len(images) // num_cols)
    figure, axes = plt.subplots(
        num_rows, num_cols, figsize=(2.0 * num_cols, 2.0 * num_rows), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for image, axis in zip(to_uint8(images), axes.flat):
        _draw_pixels(axis, as_picture(image))
    if title:
        figure.suptitle(title)
    figure.tight_layout()
    if plt.get_backend().lower() != "agg":  # Agg draws to memory and has no window
        plt.show()
    plt.close(figure)


def _panels(
    width: float, height: float, num_rows: int, num_cols: int, layout: Any = "constrained"
) -> tuple[Any, Any]:
    """Return a figure of `width` by `height` inches, and its axes `(num_rows, num_cols)`."""
    # Not pyplot, which keeps global state, may open a window and would draw into the figures
    # of a user's notebook.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.subplots(num_rows, num_cols, squeeze=False)


def _curves(width: float, height: float, num_panels: int) -> tuple[Any, Any]:
    """Return a figure for curves, and its axes side by side."""
    figure, axes = _panels(width, height, 1, num_panels)
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    return figure, axes[0]


def _draw_kid(axis: Any, history: Sequence[tuple[int, float]]) -> None:
    values = [value for _, value in history]
    axis.plot([epoch for epoch, _ in history], values, marker=".", color="C2")
    _label_epochs(axis, "val_kid")
    if min(values, default=0) > 0:
        axis.set_yscale("log")


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Return pairs of an epoch and a finite value, of the epochs that have one."""
    known = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
    return [(epoch, value) for epoch, value in known if math.isfinite(value)]


def _label_epochs(axis: Any, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set(xlabel="epoch", ylabel=label)
    # Without `min_n_ticks` one or two epochs would have ticks between them.
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw_pixels(axis: Any, pixels: Any) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)


def _save(figure: Any, path: str | os.PathLike, title: str = "", **style: Any) -> Path:
    """Write a figure with its title, which takes the keyword arguments of Matplotlib's text."""
    figure.suptitle(title, **style)
    path = Path(path)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI)
    return path
