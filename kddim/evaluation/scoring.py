"""A model's score against real images."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kddim import samplers, schedules
from kddim.evaluation.floors import floor_of
from kddim.evaluation.neighbours import copying, draw_neighbours
from kddim.evaluation.references import make_reference, reference_of
from kddim.evaluation.sources import RealImages
from kddim.images import to_uint8
from kddim.metrics.feature_set import KEPT, FeatureSet, collect_features
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import is_reference
from kddim.metrics.scores import check_metrics
from kddim.model import DiffusionModel
from kddim.progress import show_bar, show_progress

log = logging.getLogger("kddim")

_CHUNK = 256  # images generated before they are encoded


def evaluate(
    model: DiffusionModel,
    source: Reference | str | os.PathLike,
    *,
    num_images: int | None = None,
    diffusion_steps: int = 20,
    sampler: Any = "ddim",
    metrics: Sequence[str] = ("kid",),
    schedule: Any = None,
    batch_size: int = 64,
    seed: int = 0,
    verbose: int = 0,
    floor: bool = True,
    neighbours: str | os.PathLike | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Scores of generated images against real ones, with their protocol.

    Args:
        model: the model.
        source: a `Reference`, what `kddim.data.load` takes, or a file of `kddim stats`.
        num_images: generated, and at most so many real ones; None is 1,000, or 10,000
            with the protocol "standard".
        diffusion_steps: of generation.
        sampler: of generation.
        metrics: see `kddim.metrics.scores.scores`.
        schedule: to sample on; None is the model's.
        batch_size: of generation and encoding.
        seed: of the generated images.
        verbose: 1 shows progress.
        floor: scores real images against other real ones too: those of the training
            part against those of the validation part, or the halves of what there is.
        neighbours: a PNG file for the generated images that lie nearest to training
            images, beside those; adds what `kddim.evaluation.neighbours.copying` returns.
        **options: which real images, which encoder and which protocol: see
            `make_reference`.

    Returns:
        What `kddim.metrics.scores.scores` returns, `floor` (likewise), `remarks`
        (sentences) and `protocol`.

    Raises:
        ValueError: an option or the source cannot be used.
    """
    sampler, metrics = samplers.get(sampler), check_metrics(metrics)
    real = _Real(source, model.image_shape, num_images, batch_size, verbose, options)
    if neighbours is not None:
        real.check_parts()
    reference = real.reference
    if num_images is None:
        num_images = _default_number(reference.protocol_name)
    generation = _Generation(
        model, sampler, diffusion_steps, num_images, schedule, batch_size, seed
    )
    kept: list[np.ndarray] = []
    generated = generation.features(reference, verbose, kept if neighbours is not None else None)
    log.info("comparing the features: %s", ", ".join(metrics))
    result: dict[str, Any] = dict(reference.score_features(generated, metrics))
    if floor:
        opposite = {"validation": "train", "train": "validation"}
        others = real.of_split(opposite.get(str(real.split)))
        result["floor"] = floor_of(reference, others, metrics, use_cache=real.use_cache)
    if neighbours is not None:
        result |= _neighbours(neighbours, real, generated, np.concatenate(kept))
    remarks = reference.remarks_on(generated, metrics)
    protocol = reference.protocol(num_images, metrics) | generation.protocol
    return result | {"remarks": remarks, "protocol": protocol}


def _default_number(protocol: str | None) -> int:
    return 10_000 if protocol == "standard" else 1000


class _Real:
    """The real images of an evaluation: the reference, and other parts of the same source."""

    def __init__(
        self,
        source: Any,
        image_shape: tuple[int, int, int],
        num_images: int | None,
        batch_size: int,
        verbose: int,
        options: dict[str, Any],
    ):
        self.source, self.image_shape = source, image_shape
        self.running = {"batch_size": batch_size, "verbose": verbose}
        self.use_cache = options.get("use_cache", True)
        self.loading = {
            key: options[key]
            for key in ("validation_split", "limit", "data_seed")
            if key in options
        }
        if num_images is not None and num_images < 4:
            raise ValueError(f"Expected num_images of at least 4. Received: {num_images}")
        default = _default_number(options.get("protocol"))
        self.num_images = default if num_images is None else num_images
        made = isinstance(source, Reference)
        self.split = None if made or is_reference(source) else options.get("split", "validation")
        self.reference = source if made else self._make(options)

    def _make(self, options: dict[str, Any]) -> Reference:
        number = {"num_images": self.num_images}
        return make_reference(self.source, self.image_shape, **(number | options | self.running))

    def check_parts(self) -> None:
        if self.split is None:
            raise ValueError(
                "Expected a source with a training part, to look for neighbours in. Received: "
                "reference statistics. Give the images themselves."
            )

    def images(self, split: str, num_images: int | None) -> RealImages:
        return RealImages(self.source, self.image_shape, split, num_images, **self.loading)

    def of_split(self, split: str | None, everything: bool = False) -> Reference | None:
        """Another part of the source, under the same encoder; None where there is none."""
        if split is None or self.split is None:
            return None
        images = self.images(split, None if everything else self.num_images)
        if not everything and len(images) < 8:
            return None
        reference = self.reference
        return reference_of(
            images,
            reference.encoder,
            reference.protocol_name,
            use_cache=self.use_cache,
            **self.running,
        )


@dataclasses.dataclass(frozen=True)
class _Generation:
    """The generated images of an evaluation, which are never all in memory."""

    model: DiffusionModel
    sampler: Any
    diffusion_steps: int
    num_images: int
    schedule: Any
    batch_size: int
    seed: int

    @property
    def protocol(self) -> dict[str, Any]:
        schedule = self.model.schedule if self.schedule is None else schedules.get(self.schedule)
        return {
            "sampler": repr(self.sampler),
            "diffusion_steps": self.diffusion_steps,
            "schedule": str(schedule),
            "seed": self.seed,
        }

    def features(self, reference: Reference, verbose: int, kept: list | None) -> FeatureSet:
        """Generates and encodes; the images of the features that are kept go to `kept`."""
        with self._progress(verbose) as progress:
            batches = self._batches(progress.callback(self.sampler.num_evaluations(1)), kept)
            return collect_features(reference.encoder, batches, "generated", self._batch)

    @property
    def _batch(self) -> int:
        return min(self.batch_size, self.num_images)

    def _progress(self, verbose: int) -> Any:
        evaluations = -(-self.num_images // self._batch)
        evaluations *= self.sampler.num_evaluations(self.diffusion_steps)
        if not verbose and not log.isEnabledFor(logging.INFO):  # a budget that none would read
            return show_bar(evaluations, 0)
        what = f"generating {self.num_images:,} images"
        return show_progress(self.model, what, evaluations, self._batch, verbose)

    def _batches(self, callback: Callable, kept: list | None) -> Iterator[np.ndarray]:
        chunk = max(self._batch, _CHUNK // self._batch * self._batch)
        for start in range(0, self.num_images, chunk):
            number = min(chunk, self.num_images - start)
            images = self.model.generate(
                -(-number // self._batch) * self._batch,  # whole batches compile once
                self.diffusion_steps,
                self.sampler,
                seed=self.seed,
                start=start,
                batch_size=self._batch,
                schedule=self.schedule,
                callback=callback,
            )[:number]
            if kept is not None and start < KEPT:
                kept.append(to_uint8(images))
            yield images


def _neighbours(
    path: str | os.PathLike, real: _Real, generated: FeatureSet, images: np.ndarray
) -> dict[str, float]:
    training: Any = real.of_split("train", everything=True)
    held_out: Any = real.reference if real.split == "validation" else real.of_split("validation")
    searched = len(training.features)
    if searched < training.count:
        log.warning(
            "neighbours are sought among the first %s of %s training images",
            *(f"{searched:,}", f"{training.count:,}"),
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = real.images("train", None).arrays[0][: len(training.features)]
    features = generated.features, training.features
    draw_neighbours(path, images[: len(generated.features)], pixels, features)
    found: dict[str, float] = {"training_images_searched": searched}
    if held_out is None:
        log.warning("too few held-out images to say whether the model copies")
        return found
    return found | copying(generated.features, held_out.features, training.features)
