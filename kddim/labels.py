"""Class labels as users give them, and as networks read them.

Networks read int32 labels `(batch,)` in [0, num_classes). A negative label stands for no label.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.checks import check_count, is_integer, is_number

NO_LABEL = -1
MOST_CLASSES = 65_536


def check_num_classes(num_classes: Any) -> int | None:
    """Return a number of classes, or None.

    Raises:
        ValueError: If it is no int from 2 to 65,536.
    """
    return None if num_classes is None else check_count("num_classes", num_classes, 2, MOST_CLASSES)


def check_dropout(label_dropout: Any) -> float:
    """Return the share of training images whose label is hidden.

    Raises:
        ValueError: If it is no number in [0, 1].
    """
    if not is_number(label_dropout) or not 0.0 <= label_dropout <= 1.0:
        raise ValueError(f"Expected `label_dropout` in [0, 1]. Received: {label_dropout!r}")
    return float(label_dropout)


def check_class_names(names: Sequence[str] | None, num_classes: int | None) -> tuple[str, ...] | None:  # fmt: skip
    """Return names of classes as a tuple, or None.

    Raises:
        ValueError: If they are not `num_classes` different texts.
    """
    if names is None:
        return None
    valid = isinstance(names, (tuple, list)) and all(isinstance(name, str) for name in names)
    if not valid or len(names) != num_classes or len(set(names)) < len(names):
        raise ValueError(
            f"Expected `class_names` as {num_classes} different texts, one per class. "
            f"Received: {names!r:.200}"
        )
    return tuple(names)


def resolve(
    labels: Any, num_images: int, num_classes: int | None, class_names: Sequence[str] | None = None
) -> np.ndarray:
    """Return the labels of images to generate, int32 `(num_images,)`.

    Args:
        labels: A class for all images, a sequence of `num_images` classes, or None for no label.
            A class is the name of a class or an int in [0, num_classes), also as text, and -1
            stands for no label.
        num_images: Number of images.
        num_classes: Number of classes of the model. None is a model without classes.
        class_names: Names of the classes, or None.

    Raises:
        ValueError: If labels are given to a model without classes, or if they are out of range,
            unknown, or of another number or type.
    """
    if labels is None:
        return np.full(num_images, NO_LABEL, "int32")
    if num_classes is None:
        raise ValueError(
            "Expected no labels, because the model was trained without classes (num_classes). "
            f"Received: {labels!r:.100}"
        )
    array = np.asarray(labels, dtype=None if hasattr(labels, "dtype") else object)
    values = [_number(_plain(v), num_classes, class_names) for v in array.ravel()[:num_images]]
    if array.ndim == 0:
        return np.full(num_images, values[0], "int32")
    if array.shape != (num_images,):
        raise ValueError(
            f"Expected labels as one class, or as a sequence of {num_images:,} classes, one per "
            f"image. Received: shape {array.shape}"
        )
    return np.array(values, "int32")


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


def _number(label: Any, num_classes: int, class_names: Sequence[str] | None) -> int:
    """Return the number of a class."""
    if isinstance(label, str):
        if class_names is not None and label in class_names:
            return class_names.index(label)
        # A text of thousands of digits is no number for Python.
        label = int(label) if label.isdecimal() and len(label) < 10 else label
    if is_integer(label) and NO_LABEL <= label < num_classes:
        return int(label)
    names = "" if class_names is None else f", or a name such as {class_names[0]!r}"
    raise ValueError(
        f"Expected labels as ints in [0, {num_classes}){names}. Received: {label!r:.100}"
    )


def check_batch_labels(labels: Any, num_images: int, num_classes: int) -> None:
    """Raise unless labels of a batch fit its images and the model.

    Args:
        labels: Labels of a training batch, or None if it has none.
        num_images: Number of images of the batch.
        num_classes: Number of classes of the model.

    Raises:
        ValueError: If they are missing, of another number or type, or out of range.
    """
    if labels is None:
        raise ValueError(
            f"Expected batches (images, labels), because the model has num_classes={num_classes}. "
            "Received: images without labels. Load them with "
            "`kddim.data.load(..., labels=True)`, or use a model without num_classes."
        )
    values = np.asarray(labels)
    if values.shape != (num_images,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"Expected integer labels of shape ({num_images},), one per image. Received: "
            f"{values.dtype} of shape {values.shape}"
        )
    if values.size and not 0 <= values.min() <= values.max() < num_classes:
        raise ValueError(
            f"Expected labels in [0, {num_classes}). Received: values from {values.min()} to "
            f"{values.max()}"
        )
