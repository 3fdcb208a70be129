"""Class labels of images: what they are in each kind of source, and their names."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kddim import npz
from kddim.checks import printable
from kddim.data.scan import list_pictures

_FILE = "a NumPy file of images and labels"
MOST_CLASSES = 100_000


class Labels(NamedTuple):
    """Labels of images.

    Attributes:
        values: int32 array `(n,)` in [0, number of classes).
        names: Names of the classes.
    """

    values: np.ndarray
    names: tuple[str, ...]


def folder_labels(folder: str | os.PathLike, kept: Sequence[Path]) -> Labels:
    """Return labels that are the names of the folders on the first level.

    Args:
        folder: Folder of pictures, with one subfolder per class. All of its pictures decide the
            classes, so that a label does not change if fewer pictures are read.
        kept: Paths of the pictures that were read.

    Raises:
        ValueError: If a picture is in no subfolder, or if there are fewer than two classes.
    """
    listed = list_pictures(Path(folder)).pictures
    outside = [path for path in listed if path.parent == Path(folder)]
    names = tuple(sorted({_class_of(path, folder) for path in listed} if not outside else ()))
    if len(names) < 2:
        received = f"{len(outside):,} pictures in {printable(folder)} itself, such as {printable(outside[0].name)}" if outside else f"{len(names)} folder"  # fmt: skip
        raise ValueError(
            f"Expected a folder of pictures with one subfolder per class, at least two, for labels. "
            f"Received: {received}. Move the pictures into subfolders, or train without labels."
        )
    numbers = {name: number for number, name in enumerate(names)}
    values = [numbers[_class_of(path, folder)] for path in kept]
    return Labels(np.array(values, "int32"), tuple(map(printable, names)))


def _class_of(path: Path, folder: str | os.PathLike) -> str:
    return path.relative_to(folder).parts[0]


def file_labels(path: str | os.PathLike, rows: np.ndarray) -> Labels:
    """Return the array `labels` of a `.npz` file, and its array `class_names` if it has one.

    Args:
        path: The file.
        rows: Indices of the images that were read.

    Raises:
        ValueError: If there is no such array, or if it has not one class per image.
    """
    described = npz.headers(path, what=_FILE)
    if "labels" not in described:
        raise ValueError(
            f"Expected an array `labels` beside the images in {printable(path)}. "
            f"Received: {sorted(described)}. Save both with np.savez(file, images=..., labels=...)."
        )
    names = [name for name in ("labels", "class_names") if name in described]
    arrays = npz.read_arrays(path, names, what=_FILE)
    values = arrays["labels"]
    where = f" in {printable(path)}"
    num_images = described.get("images", described["labels"])[0][0]
    if values.shape != (num_images,):
        raise ValueError(
            f"Expected `labels` of shape ({num_images},), one per image{where}. "
            f"Received: shape {values.shape}"
        )
    values = check_values(values, where=where)
    given = [str(name) for name in arrays["class_names"].ravel()] if len(names) == 2 else None
    return Labels(values[rows], class_names(values, given, where))


def check_values(
    values: np.ndarray, num_classes: int = MOST_CLASSES, where: str = ""
) -> np.ndarray:
    """Return labels as int32.

    Args:
        values: Array of labels of any shape.
        num_classes: Number of classes.
        where: Place of the array for the error message, such as " in images.npz".

    Raises:
        ValueError: If they are no integers in [0, num_classes).
    """
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"Expected integer labels in [0, {num_classes:,}){where}. Received: {values.dtype}"
        )
    if values.size and not 0 <= values.min() <= values.max() < num_classes:
        raise ValueError(
            f"Expected labels in [0, {num_classes:,}){where}. "
            f"Received: values from {values.min()} to {values.max()}"
        )
    return values.astype("int32")


def class_names(
    values: np.ndarray, names: Sequence[str] | None, where: str = ""
) -> tuple[str, ...]:
    """Return the names of classes: those given, or "0", "1" and so on.

    Args:
        values: All labels of a source.
        names: Names, or None.
        where: Place of the labels for the error message.

    Raises:
        ValueError: If a label has no name, or if two classes have the same one.
    """
    number = int(values.max()) + 1 if values.size else 0
    if names is None:
        return tuple(str(label) for label in range(number))
    if len(names) < number or len(set(names)) < len(names):
        raise ValueError(
            f"Expected {number} or more different class names{where}. Received: {len(names)} "
            f"names, {len(set(names))} of them different"
        )
    return tuple(printable(name) for name in names)
