"""Images that a model generates part by part, encoded as they come."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kddim.images import to_uint8
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import KEPT, FeatureSet, collect_features
from kddim.model import DiffusionModel
from kddim.progress import show_progress
from kddim.recipe import Recipe

_CHUNK = 256  # number of images that are generated before they are encoded


@dataclasses.dataclass(frozen=True)
class GeneratedImages:
    """Images that a model generates, which are never all in memory.

    Args:
        model: Model that generates the images.
        num_images: Number of images.
        recipe: Recipe of sampling.
        labels: Labels of the images, int32 `(num_images,)`, or None.
        guide: Weaker model to guide with, or None.
    """

    model: DiffusionModel
    num_images: int
    recipe: Recipe
    labels: np.ndarray | None = None
    guide: Any = None

    def features(
        self, encoder: Encoder, verbose: int = 0, kept: list[np.ndarray] | None = None
    ) -> FeatureSet:
        """Generate the images and return their features.

        Args:
            encoder: Encoder of the images.
            verbose: 1 draws a progress bar, 0 does not.
            kept: List that receives those images whose features are kept, in uint8 arrays.
        """
        size = min(self.recipe.batch_size, self.num_images)
        evaluations = self.recipe.num_batch_evaluations(self.num_images)
        words = f"generating {self.num_images:,} images"
        with show_progress(self.model, words, evaluations, size, verbose) as progress:
            callback = progress.callback(self.recipe.sampler.num_evaluations(1))
            batches = self._batches(size, callback, kept)
            return collect_features(encoder, batches, "generated", size)

    def _batches(
        self, size: int, callback: Callable, kept: list[np.ndarray] | None
    ) -> Iterator[np.ndarray]:
        recipe = dataclasses.replace(self.recipe, batch_size=size)
        chunk = max(size, _CHUNK // size * size)
        for start in range(0, self.num_images, chunk):
            number = min(chunk, self.num_images - start)
            # Whole batches have one shape, for which the step is compiled once.
            whole = -(-number // size) * size
            options: dict[str, Any] = {**recipe.options, "guide": self.guide, "start": start}
            if self.labels is not None:  # those beyond the last image are not used
                options["labels"] = np.resize(self.labels[start : start + number], whole)
            images = self.model.generate(whole, callback=callback, **options)
            if kept is not None and start < KEPT:
                kept.append(to_uint8(images[:number]))
            yield images[:number]
