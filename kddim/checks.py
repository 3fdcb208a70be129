"""Checks of arguments that several rooms share, and words for their error messages."""

import numbers
import re
from collections.abc import Collection, Sequence
from typing import Any

MOST_STEPS = 100_000  # diffusion steps: more of them change nothing in float32
MOST_IMAGES = 10_000_000  # images of one call


def is_integer(value: Any) -> bool:
    """Return True if `value` is an integer of Python or NumPy, and no bool."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return True if `value` is a real number of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_count(
    name: str, value: Any, least: int = 1, most: int | None = None, reason: str = ""
) -> int:
    """Return `value` as an int.

    Args:
        name: Name of the argument, for the error message.
        value: The argument.
        least: Smallest value allowed.
        most: Largest value allowed. None is no limit.
        reason: Reason for the largest value, a sentence for the error message.

    Raises:
        ValueError: If `value` is not an integer, is below `least`, or is above `most`.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"Expected `{name}` to be an int of at least {least}. Received: {value!r}")
    if most is not None and value > most:
        raise ValueError(
            f"Expected `{name}` to be at most {most:,}. Received: {value:,}. {reason}".rstrip()
        )
    return int(value)


def check_choice(name: str, value: Any, choices: Collection[Any]) -> Any:
    """Return `value` if it is one of `choices`.

    Args:
        name: Name of the argument, for the error message.
        value: The argument.
        choices: All values allowed.

    Raises:
        ValueError: If `value` is another one.
    """
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"Unknown {name}: expected one of {known}. Received: {value!r}")
    return value


def check_image_size(image_size: Any) -> tuple[int, int]:
    """Return `image_size` as `(height, width)`.

    Args:
        image_size: Side length in pixels, or `(height, width)`.

    Raises:
        ValueError: If it is neither a positive int nor a pair of positive ints.
    """
    pair = (image_size, image_size)
    if isinstance(image_size, (tuple, list)):
        pair = tuple(image_size)
    if len(pair) != 2 or not all(is_integer(v) and int(v) > 0 for v in pair):
        raise ValueError(
            f"Expected `image_size` as a positive int or (height, width). Received: {image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def check_batch(name: str, shape: Sequence[Any], image_shape: Sequence[int]) -> None:
    """Raise unless a shape is that of a batch of at least one image.

    Args:
        name: Name of the argument, for the error message.
        shape: Shape of the argument. None stands for a dimension that is not known yet.
        image_shape: `(height, width, channels)` of the model.

    Raises:
        ValueError: If the shape is another one.
    """
    fits = len(shape) == 4 and all(s in (None, w) for s, w in zip(shape[1:], image_shape))
    if not fits or shape[0] == 0:
        raise ValueError(
            f"Expected {name} of shape (batch, {join_shape(image_shape)}). Received: {tuple(shape)}"
        )


def join_shape(shape: Sequence[Any]) -> str:
    """Return a shape for an error message, such as `16, 16, 3`."""
    return ", ".join(map(str, shape))


def printable(text: Any) -> str:
    r"""Return a text in one line that a terminal can show, such as the name of a file.

    Line breaks, escape codes of terminals, bytes that are no text, and other characters that
    are not printed become escapes such as `\n`, as in `repr`.

    Args:
        text: Text or path.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def reason_of(error: BaseException) -> str:
    """Return the line of an error's message that tells the reason.

    Keras puts "Exception encountered when calling ..." before the message of an error that
    a layer raised, the layer's arguments behind it, and terminal colours around it. A layer
    whose output shape could not be inferred says so before "Error encountered:". TensorFlow
    puts the name of a graph node before the message.
    """
    is_key = isinstance(error, KeyError) and error.args  # `str` would quote the message
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\} *", "", str(error.args[0] if is_key else error))
    if text.startswith("Exception encountered when calling"):
        text = text.partition("\n")[2].partition("Arguments received by")[0]
        text = text.rpartition("Error encountered:")[2].strip() or text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kind = type(error).__name__
    if not lines:
        return kind
    return f"{kind}: {lines[0]}" if is_key else lines[0]
