"""Scores of a model against real images, as `kddim evaluate` computes them."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.checks import MOST_IMAGES, check_count
from kddim.conditions import conditions_of
from kddim.evaluation.classes import class_scores
from kddim.evaluation.floors import floor_of
from kddim.evaluation.generated import GeneratedImages
from kddim.evaluation.neighbours import search_neighbours
from kddim.evaluation.real_parts import RealParts
from kddim.metrics import estimators
from kddim.metrics.reference import Reference
from kddim.metrics.scores import check_metrics
from kddim.model import DiffusionModel
from kddim.recipe import Recipe

log = logging.getLogger("kddim")

LEAST_IMAGES = 4  # two halves of which each has a spread


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
    labels: bool = False,
    guidance_scale: float = 1.0,
    guidance_interval: tuple[float, float] | None = None,
    guide: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Score generated images against real images.

    Args:
        model: Model that generates the images.
        source: A `Reference`, a file that `kddim stats` wrote, or a source of images as
            `kddim.data.load` takes it.
        num_images: Number of images to generate, and largest number of real images. None is
            1,000, or 10,000 with the protocol "standard".
        diffusion_steps: Number of steps of sampling.
        sampler: Name of a sampler, or a `kddim.samplers.Sampler`.
        metrics: Names among "kid", "fid" and "prdc".
        schedule: Name of a schedule or a `kddim.schedules.Schedule` to sample on. None is the
            schedule of the model.
        batch_size: Number of images that are generated and encoded at once.
        seed: Seed of the generated images.
        verbose: 1 draws progress bars, 0 does not.
        floor: If true, real images are scored against other real images too: those of the
            training part against those of the validation part, or two halves of the images if
            there are no such parts.
        neighbours: PNG file to write, with those generated images that lie nearest to training
            images, beside these. Adds the numbers of `kddim.evaluation.neighbours.copying` to
            the result.
        labels: If true, images are generated with the labels of the real images, so that each
            class has the share that it has there. Adds `classes`, a list of the scores of each
            class (`kddim.evaluation.classes.class_scores`).
        guidance_scale: Scale of guidance by labels, or by `guide`. 1 is off.
        guidance_interval: Noise levels `(low, high)` that are guided. None guides all.
        guide: Weaker model to guide with, or None.
        **options: Options of `make_reference`, such as `split`, `encoder` and `protocol`.

    Returns:
        Numbers by name, as `kddim.metrics.scores.scores` returns them, `floor` (likewise),
        `remarks` (a list of sentences) and `protocol` (JSON values by name).

    Raises:
        ValueError: If an option or the source cannot be used.
    """
    guidance = guidance_scale, guidance_interval
    recipe = Recipe(sampler, diffusion_steps, schedule, seed, batch_size, *guidance)
    recipe = recipe.for_model(model)
    metrics = check_metrics(metrics)
    number = _number_of(num_images, options.get("protocol"))
    options |= {"batch_size": batch_size, "verbose": verbose}
    real = RealParts(source, model.image_shape, number, options, labelled=labels)
    known = real_labels(real, model) if labels else None
    # These raise before anything is computed.
    conditions_of(model, recipe, number, _repeated(known, number), guide)
    _check_neighbours(neighbours, real)
    reference = real.reference
    kept: list[np.ndarray] = []
    count = num_images or reference.estimator.num_images
    wanted = _repeated(known, count)
    images = GeneratedImages(model, count, recipe, wanted, guide)
    generated = images.features(reference.encoder, verbose, None if neighbours is None else kept)
    log.info("comparing the features: %s", ", ".join(metrics))
    result = reference.report(generated, metrics)
    result["protocol"] |= recipe.describe(model.schedule)
    if floor:
        use_cache = real.encoding.use_cache
        result["floor"] = floor_of(reference, real.opposite(), metrics, use_cache=use_cache)
    if neighbours is not None:
        result |= search_neighbours(neighbours, real, generated, np.concatenate(kept))
    if known is not None and wanted is not None and real.images is not None:
        pair, names = (known, wanted), real.images.class_names
        result["classes"] = class_scores(reference, generated, pair, names, metrics)
        result["protocol"]["labels"] = "those of the real images"
    # Remarks and protocol come last, as they are printed.
    return result | {key: result.pop(key) for key in ("remarks", "protocol")}


def _number_of(num_images: int | None, protocol: str | None) -> int:
    """Return the number of images to ask for, before the reference is there."""
    if num_images is None:
        return estimators.get(protocol or "unbiased").num_images
    return check_count("num_images", num_images, LEAST_IMAGES, MOST_IMAGES)


def _check_neighbours(neighbours: str | os.PathLike | None, real: RealParts) -> None:
    if neighbours is not None and real.images is None:
        raise ValueError(
            "Expected a source with a training part, to look for neighbours in. Received: "
            "reference statistics. Give the images themselves."
        )


def _repeated(known: np.ndarray | None, number: int) -> np.ndarray | None:
    """Return known labels in their order, again and again, up to a number of labels."""
    return None if known is None else np.resize(known, number)


def real_labels(real: RealParts, model: DiffusionModel) -> np.ndarray:
    """Return the labels of the real images of an evaluation.

    Raises:
        ValueError: If the model has no classes, or others than the images, or if the source has
            no images.
    """
    if model.num_classes is None:
        raise ValueError(
            "Expected a model with classes, to generate images with labels. Received: one that was "
            "trained without. Train with --labels."
        )
    if real.images is None:
        raise ValueError(
            "Expected a source of images with labels. Received: reference statistics. Give the "
            "images themselves."
        )
    names = real.images.class_names
    if len(names) != model.num_classes or model.class_names not in (None, names):
        raise ValueError(
            f"Expected images of the {model.num_classes} classes of the model. Received: images of "
            f"{len(names)} classes, {', '.join(names[:5])}"
        )
    return real.images.labels
