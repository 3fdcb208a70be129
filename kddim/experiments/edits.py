"""Edited images in files: pictures filled in or varied, computed in parts that can be resumed."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kddim.editing import check_mask, check_strength
from kddim.experiments.base import Cell, Result
from kddim.experiments.generation import Generation
from kddim.experiments.image_files import Pixels
from kddim.experiments.ledger import Ledger
from kddim.images import check_images, check_range, to_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Edits(Generation):
    images: np.ndarray

    def __post_init__(self):
        self._set(images=check_images(self.images, self.model.image_shape).astype("float32"))
        super().__post_init__()

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the results, with a hash of the pictures."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()
        return super().settings() | {"images": digest[:32]}

    def edit(self, rows: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        """Return edited images, `(batch, height, width, channels)` in [0, 1].

        Args:
            rows: Indices of the pictures to edit, `(batch,)`.
            options: Keyword arguments of the method of the model.
        """
        raise NotImplementedError

    def compute(self, key: str, cell: Cell, callback: Callable) -> Result:
        """Edit one batch, and return its images in 8 bits."""
        start = cell.options["start"]
        rows = np.arange(start, start + cell.num_images) % len(self.images)
        options = {**cell.recipe.options, **cell.options, "callback": callback}
        edited = self.edit(rows, options)[: self.num_images - start]
        check_range(edited, " among the edited images")
        return {"start": start, "images": len(edited)}, to_uint8(edited)

    def before(self) -> np.ndarray:
        """Return the pictures as a grid shows them before the edited ones."""
        return self.images

    def pixels(self, ledger: Ledger) -> Pixels:
        """Return the edited images, with the pictures before them in a grid."""
        found = super().pixels(ledger)
        return dataclasses.replace(found, captions=None, before=to_uint8(self.before()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpainting(_Edits):
    """Pictures of which a part is invented, as files like those of `Generation`.

    Args:
        images: Pictures in [0, 1], `(n, height, width, channels)`. They are repeated until there
            are `num_images`.
        mask: 1 where pixels are to be invented, `(height, width)`, or one per picture, as in
            `model.inpaint`.

    `Generation` documents the other arguments.

    Raises:
        ValueError: If the pictures or the mask do not fit, or if an option is out of range.
    """

    mask: np.ndarray

    name = "inpainting"

    def __post_init__(self):
        super().__post_init__()
        self._set(mask=check_mask(self.mask, self.images.shape))

    def settings(self) -> dict[str, Any]:
        """Return all values that decide the results, with a hash of the mask."""
        digest = hashlib.sha256(np.ascontiguousarray(self.mask).data).hexdigest()
        return super().settings() | {"mask": digest[:32]}

    def edit(self, rows: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        """Return pictures with the pixels of their masks invented."""
        return self.model.inpaint(self.images[rows], self.mask[rows], **options)

    def before(self) -> np.ndarray:
        """Return the pictures in grey where pixels are to be invented."""
        return np.where(self.mask > 0, 0.5, self.images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variation(_Edits):
    """Variations of pictures, as files like those of `Generation`.

    Args:
        images: Pictures in [0, 1], `(n, height, width, channels)`. They are repeated until there
            are `num_images`.
        strength: Diffusion time in (0, 1] up to which noise is added.

    `Generation` documents the other arguments.

    Raises:
        ValueError: If the pictures do not fit, or if an option is out of range.
    """

    strength: float = 0.5

    name = "variation"
    recorded = (*Generation.recorded, "strength")

    def __post_init__(self):
        super().__post_init__()
        self._set(strength=check_strength(self.strength))
        recipe = self.recipe(self.sampler, self.diffusion_steps)
        recipe.shortened(self.strength, self.model.schedule)  # raises

    def edit(self, rows: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        """Return variations of pictures."""
        return self.model.image_to_image(self.images[rows], self.strength, **options)
