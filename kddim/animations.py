"""Animations of the sampling process as GIF and WebP files."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kddim.backend import to_numpy
from kddim.files import atomic_write
from kddim.images import as_picture, grid

FORMATS = (".gif", ".webp")


def save_animation(
    path: str | os.PathLike, frames: Sequence[np.ndarray], seconds: float = 4.0, hold: float = 1.5
) -> Path:
    """Write frames as an endless animation, as a whole or not at all.

    Args:
        path: File to write, with the suffix `.gif` or `.webp`. Its folder is created if it is
            missing.
        frames: At least one frame, each uint8 `(height, width, channels)` of the same shape.
            Frames with other than 1, 3 or 4 channels are drawn as grey panels side by side.
        seconds: Duration of all frames together, in seconds. A frame takes at least 40 ms.
        hold: Least duration of the last frame, in seconds.

    Returns:
        `path`.

    Raises:
        ValueError: If the suffix is another one, or if there is no frame.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS or not frames:
        raise ValueError(
            f"Expected at least one frame, and a file ending {' or '.join(FORMATS)}. "
            f"Received: {len(frames)} frames, {path}"
        )
    pictures = [Image.fromarray(as_picture(frame)) for frame in frames]
    each = max(40, round(1000 * seconds / len(frames)))
    durations = [each] * (len(frames) - 1) + [max(each, round(1000 * hold))]
    with atomic_write(path) as partial:
        pictures[0].save(
            partial,
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            lossless=True,  # an option of WebP, which GIF ignores
        )
    return path


class Recorder:
    """Sampling callback that keeps frames of the process, as the keras.io example shows it.

    A frame has noisy images in its first row and predicted images in its second. Only the
    first batch is recorded.

    Args:
        denormalize: Function from normalised images to pixels in [0, 1].
        num_images: Number of images per row, the first of the batch.
        diffusion_steps: Number of steps of the sampler. If there are more than 100, only every
            second (third, ...) step and the last one are kept.

    Attributes:
        frames: List of uint8 frames `(height, width, channels)`.
    """

    def __init__(self, denormalize: Any, num_images: int, diffusion_steps: int):
        self.denormalize = denormalize
        self.num_images = num_images
        self.frames: list[np.ndarray] = []
        every = math.ceil(diffusion_steps / 100)
        self._missing = {*range(0, diffusion_steps, every), diffusion_steps - 1}

    def __call__(self, step: int, noisy_images: Any, pred_images: Any) -> None:
        if step in self._missing:  # otherwise left out, or a step of the second batch
            self._missing.remove(step)
            shown = (noisy_images[: self.num_images], pred_images[: self.num_images])
            rows = [to_numpy(self.denormalize(images)) for images in shown]
            self.frames.append(grid(np.concatenate(rows), self.num_images))
