"""Generated images in files, computed in parts that can be taken up again."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kddim import samplers
from kddim.animations import Recorder, save_animation
from kddim.experiments.base import Experiment
from kddim.experiments.ledger import Ledger, unfinished
from kddim.image_files import check_images_output, write_images
from kddim.samplers.times import check_steps

_SHOWN = 8  # images in the animation of many
_FRAMES = "frames"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Images(Experiment):
    """What generation and animation share.

    Args:
        num_images: at least 1.
        diffusion_steps: of generation.
        sampler: of generation.

    Raises:
        ValueError: an option cannot be used.
    """

    num_images: int = 18
    diffusion_steps: int = 20
    sampler: Any = "ddim"

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "sampler", samplers.get(self.sampler))
        check_steps(self.diffusion_steps)
        if self.num_images < 1:
            raise ValueError(f"Expected `num_images` of at least 1. Received: {self.num_images}")
        object.__setattr__(self, "batch_size", min(self.batch_size, self.num_images))

    def sampler_of(self, key: str) -> samplers.Sampler:
        return self.sampler

    def frames(self, num_images: int, callback: Callable) -> np.ndarray:
        """One grid of the first images a step, noisy above and predicted below."""
        recorder = Recorder(self.model.denormalize, num_images, self.diffusion_steps)

        def record(*step: Any) -> None:
            callback(*step)
            recorder(*step)

        options = {"batch_size": num_images, "callback": record}
        self.generate(num_images, self.diffusion_steps, self.sampler, **options)
        return np.stack(recorder.frames)

    def settings(self) -> dict[str, Any]:
        return {
            "num_images": self.num_images,
            "diffusion_steps": self.diffusion_steps,
            "sampler": repr(self.sampler),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation(_Images):
    """The images of a seed: a folder of PNG files, a grid, or an array.

    Args:
        animate: a folder receives `animation.gif` of the first 8 images too.
    """

    animate: bool = False

    name = "generation"

    def run(
        self, output: str | os.PathLike, *, overwrite: bool = False, verbose: int = 0
    ) -> list[dict[str, Any]]:
        """Generates, and writes the images when all are there.

        Args:
            output: a folder (one PNG an image, and `grid.png`), a `.png` (the grid) or a
                `.npz` (an array `images`, uint8).
            overwrite: replaces files that are there.
            verbose: 1 draws a progress bar.

        Returns:
            One row a batch.

        Raises:
            ValueError: something is there and `overwrite` is not set; another ending.
        """
        output = check_images_output(os.path.abspath(output), overwrite)
        if self.animate and output.suffix.lower() in (".png", ".npz"):
            raise ValueError(f"Expected a folder for images and animation. Received: {output}")
        with unfinished(output, self.all_settings()) as ledger:
            results = self._run_in(ledger, verbose)
            images = [ledger.array(key) for key in self.cells() if key != _FRAMES]
            write_images(np.concatenate(images), output, overwrite=overwrite)
            if self.animate:
                save_animation(output / "animation.gif", list(ledger.array(_FRAMES)))
        return results

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"batch_size": self.batch_size, "animate": self.animate}

    def cells(self) -> dict[str, int]:
        batches = self.num_evaluations(self.sampler, self.diffusion_steps, 1)
        starts = range(0, self.num_images, self.batch_size)
        cells = {f"from {start}": batches for start in starts}
        return cells | ({_FRAMES: batches} if self.animate else {})

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray]:
        if key == _FRAMES:
            frames = self.frames(min(_SHOWN, self.num_images), callback)
            return {"frames": len(frames)}, frames
        start = int(key.split()[1])
        images = self.generate(
            self.batch_size, self.diffusion_steps, self.sampler, start=start, callback=callback
        )[: self.num_images - start]
        return {"start": start, "images": len(images)}, images

    def write(self, ledger: Ledger) -> None:
        """Nothing before the end: half of the images are no output."""


class Animation(_Images):
    """How images come about: noisy ones above, predicted ones below, one frame a step."""

    name = "animation"
    products: ClassVar[dict[str, str]] = {".gif": "animation.gif", ".webp": "animation.webp"}

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "batch_size", self.num_images)  # one batch shows them all

    def cells(self) -> dict[str, int]:
        return {_FRAMES: self.num_evaluations(self.sampler, self.diffusion_steps, self.num_images)}

    def compute(self, key: str, callback: Callable) -> tuple[dict[str, Any], np.ndarray]:
        frames = self.frames(self.num_images, callback)
        return {"frames": len(frames)}, frames

    def write(self, ledger: Ledger) -> None:
        for name in self.products.values():
            save_animation(ledger.folder / name, list(ledger.array(_FRAMES)))
