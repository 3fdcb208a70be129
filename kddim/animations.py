"""Moving pictures: GIF and WebP."""

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
    """Writes frames as an endless animation, whole or not at all.

    Args:
        path: ending `.gif` or `.webp`; its folder is made where it is missing.
        frames: uint8 `(height, width, channels)`, of one shape; see `as_picture`.
        seconds: that all frames take together, at least 40 ms each.
        hold: seconds that the last frame stays.

    Raises:
        ValueError: another ending, or no frame.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS or not frames:
        raise ValueError(
            f"Expected at least one frame, and a file ending {' or '.join(FORMATS)}. "
            f"Received: {len(frames)} frames, {path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(as_picture(frame)) for frame in frames]
    durations = [max(40, round(1000 * seconds / len(frames)))] * len(frames)
    durations[-1] = max(durations[-1], round(1000 * hold))
    with atomic_write(path) as partial:
        pictures[0].save(
            partial,
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            lossless=True,  # for WebP; a GIF has no such option, and ignores it
        )
    return path


class Recorder:
    """A callback of samplers that keeps frames of the process, as the example shows it.

    Args:
        denormalize: from normalised images to pixels in [0, 1].
        num_images: of the first batch, that are shown: noisy above, predicted below.
        diffusion_steps: how many there will be; of more than 100 some are left out.
    """

    def __init__(self, denormalize: Any, num_images: int, diffusion_steps: int):
        self.denormalize = denormalize
        self.num_images = num_images
        self.frames: list[np.ndarray] = []
        self._last_step = diffusion_steps - 1
        self._every = -(-diffusion_steps // 100)
        self._next_step = 0

    def __call__(self, step: int, noisy_images: Any, pred_images: Any) -> None:
        if step < self._next_step:  # of a second batch
            return
        self._next_step = step + 1
        if step % self._every and step != self._last_step:
            return
        rows = [self.denormalize(x[: self.num_images]) for x in (noisy_images, pred_images)]
        self.frames.append(grid(np.concatenate([to_numpy(r) for r in rows]), self.num_images))
