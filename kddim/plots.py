"""Curves and pictures, drawn with Matplotlib."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kddim.files import atomic_write
from kddim.images import as_picture, grid, to_uint8


def plot_history(rows: Sequence[dict[str, Any]], path: str | os.PathLike, title: str = "") -> Path:
    """Draws losses and KID over epochs.

    Args:
        rows: one dictionary an epoch, with `epoch`, `n_loss`, and where they are known
            `val_n_loss` and `val_kid`.
        path: PNG file to write.
        title: of the figure.
    """
    # Without pyplot: no window, no global state, and none of a notebook's own figures.
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.get("val_kid") is not None]
    figure = Figure(figsize=(10 if measured else 5.5, 3.8), layout="constrained")
    axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    for key, label in (("n_loss", "training"), ("val_n_loss", "validation (EMA network)")):
        known = [row for row in rows if row.get(key) is not None]
        axes[0].plot([r["epoch"] for r in known], [r[key] for r in known], label=label)
    axes[0].set(xlabel="epoch", ylabel="n_loss, loss of the predicted noise")
    axes[0].legend()
    if measured:
        _draw_kid(axes[1], [(row["epoch"], row["val_kid"]) for row in measured])
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    return _save(figure, path)


def plot_kid(
    history: Sequence[tuple[int, float]], path: str | os.PathLike, title: str = ""
) -> Path:
    """Draws KID over epochs.

    Args:
        history: pairs of an epoch and its KID.
        path: PNG file to write.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axis = figure.subplots()
    _draw_kid(axis, history)
    axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize="small", wrap=True)
    return _save(figure, path)


def _draw_kid(axis: Any, history: Sequence[tuple[int, float]]) -> None:
    epochs, values = [epoch for epoch, _ in history], [value for _, value in history]
    axis.plot(epochs, values, marker=".", color="C2")
    axis.set(xlabel="epoch", ylabel="val_kid")
    if values and min(values) > 0:
        axis.set_yscale("log")


def plot_sweep(
    rows: Sequence[dict[str, Any]],
    metrics: dict[str, str],
    path: str | os.PathLike,
    title: str = "",
) -> Path:
    """Draws metrics, and seconds, against the number of steps.

    Args:
        rows: with `sampler`, `diffusion_steps`, `seconds`, and each metric with its deviation.
        metrics: column of each metric, and that of its deviation.
        path: PNG file to write.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * (len(metrics) + 1), 4.0), layout="constrained")
    *quality, cost = figure.subplots(1, len(metrics) + 1, squeeze=False)[0]
    for name in dict.fromkeys(row["sampler"] for row in rows):
        line = sorted((r for r in rows if r["sampler"] == name), key=lambda r: r["diffusion_steps"])
        steps = [row["diffusion_steps"] for row in line]
        for axis, columns in zip(quality, metrics.items()):
            values, deviations = ([row[column] for row in line] for column in columns)
            axis.errorbar(steps, values, deviations, marker=".", capsize=2, label=name)
        cost.plot(steps, [row["seconds"] for row in line], marker=".", label=name)
    for axis, (metric, deviation) in zip(quality, metrics.items()):
        axis.set(xscale="log", xlabel="steps, S", ylabel=metric.upper())
        ticks = sorted({row["diffusion_steps"] for row in rows})
        axis.set_xticks(ticks, labels=map(str, ticks))
        axis.set_xticks([], minor=True)
        if all(row[metric] > row[deviation] for row in rows):
            axis.set_yscale("log")
    cost.set(xlabel="steps, S", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    quality[0].legend()
    for axis in (*quality, cost):
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    return _save(figure, path)


def plot_rows(rows: Sequence[Any], labels: Sequence[str], path: str | os.PathLike) -> Path:
    """Draws rows of images, each with its label on the left.

    Args:
        rows: of images `(n, height, width, channels)` in [0, 1], n the same for all.
        labels: one a row.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    strips = [as_picture(grid(row, len(row))) for row in rows]
    height, width = strips[0].shape[:2]
    dpi, margin = 100, 80
    size = ((width + margin) / dpi, height * len(strips) / dpi)
    figure = Figure(figsize=size, dpi=dpi)
    for index, (strip, label) in enumerate(zip(strips, labels)):
        bottom = 1.0 - (index + 1) / len(strips)
        left = margin / (width + margin)
        axis = figure.add_axes((left, bottom, 1.0 - left, 1.0 / len(strips)))
        axis.imshow(strip, cmap="gray", vmin=0, vmax=255)
        axis.axis("off")
        axis.text(-8, height / 2, label, ha="right", va="center", fontsize=9)
    return _save(figure, path)


def plot_neighbours(
    rows: Sequence[Any], labels: Sequence[Sequence[str]], path: str | os.PathLike, title: str = ""
) -> Path:
    """Draws rows of images, each image with words under it.

    Args:
        rows: of images `(n, height, width, channels)` in [0, 1], n the same for all.
        labels: a row of words for each row of images.
        path: PNG file to write.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    columns = len(rows[0])
    figure = Figure(figsize=(1.3 * columns, 1.5 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, words, row in zip(axes, labels, rows):
        for axis, word, image in zip(line, words, to_uint8(row)):
            pixels = image if image.shape[-1] == 3 else image[..., 0]
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(word, fontsize=8)
    figure.suptitle(title, fontsize="medium")
    return _save(figure, path)


def show_images(images: Any, num_cols: int, title: str = "") -> None:
    """Shows images in rows, in a notebook or a window.

    Args:
        images: `(n, height, width, channels)` in [0, 1].
        num_cols: images a row.
        title: above them.
    """
    import matplotlib.pyplot as plt

    num_rows = -(-len(images) // num_cols)
    figure, axes = plt.subplots(
        num_rows, num_cols, figsize=(2.0 * num_cols, 2.0 * num_rows), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for image, axis in zip(to_uint8(images), axes.flat):
        pixels = image if image.shape[-1] == 3 else image[..., 0]
        axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    if title:
        figure.suptitle(title)
    figure.tight_layout()
    if plt.get_backend().lower() != "agg":  # Agg draws to memory and has no window
        plt.show()
    plt.close(figure)


def _save(figure: Any, path: str | os.PathLike) -> Path:
    path = Path(path)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
    return path
