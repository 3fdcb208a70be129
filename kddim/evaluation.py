"""A model's score against real images: what `kddim evaluate` calls."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim import data, samplers
from kddim.images import take_images
from kddim.metrics import encoders
from kddim.metrics.frechet_distance import frechet_deviation, frechet_distance
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kid import PROTOCOLS
from kddim.metrics.precision_recall import density_coverage, precision_recall
from kddim.model import DiffusionModel

SPLITS = ("validation", "train", "all")
METRICS = ("kid", "fid", "prdc")


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """`metrics` as a tuple of names in `METRICS`.

    Raises:
        ValueError: there is none, or an unknown one.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(
            f"Expected metrics among {', '.join(map(repr, METRICS))}. Received: {list(metrics)}"
        )
    return tuple(metrics)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images as a metric sees them.

    Args:
        encoder: makes the features.
        features: of the real images, `(n, d)`.
        description: what the images are: `real`, `real_images`, `image_size`.
    """

    encoder: encoders.Encoder
    features: np.ndarray
    description: dict[str, Any]

    def score(
        self, images: np.ndarray, metrics: Sequence[str] = ("kid",), batch_size: int = 64
    ) -> dict[str, float]:
        """Figures of quality of generated images.

        Args:
            images: `(n, height, width, channels)` in [0, 1], at least 4.
            metrics: among "kid", "fid" and "prdc".
            batch_size: of encoding.

        Returns:
            For "kid": `kid` (unbiased, over all images), `kid_subsets_mean` and
            `kid_subsets_std` (over 100 random subsets of `subset_size` images). For
            "fid": `fid` and `fid_std`, its standard error by the jackknife. For "prdc":
            `precision`, `recall`, `density`, `coverage`.

        Raises:
            ValueError: an unknown metric; too few images for it.
        """
        metrics = check_metrics(metrics)
        features = self.encoder(images, batch_size)
        found: dict[str, float] = {}
        if "kid" in metrics:
            size = self.subset_size(len(images))
            mean, deviation = kernel_distance(self.features, features, subset_size=size)
            found["kid"] = polynomial_mmd(self.features, features)
            found |= {"kid_subsets_mean": mean, "kid_subsets_std": deviation}
        if "fid" in metrics:
            found["fid"] = frechet_distance(self.features, features)
            groups = min(10, len(features) // 2)
            found["fid_std"] = frechet_deviation(self.features, features, groups)
        if "prdc" in metrics:
            found["precision"], found["recall"] = precision_recall(self.features, features)
            found["density"], found["coverage"] = density_coverage(self.features, features)
        return found

    def subset_size(self, num_images: int) -> int:
        """Images a subset of KID has: half of the smaller set, at most 1,000."""
        return min(1000, min(len(self.features), num_images) // 2)

    def protocol(self, num_images: int, metrics: Sequence[str]) -> dict[str, Any]:
        """The words without which a score of so many generated images means nothing."""
        found = {
            "metric": ", ".join(name.upper() for name in metrics),
            "encoder": self.encoder.description,
        } | self.description
        if "kid" in metrics:
            found["estimator"] = PROTOCOLS["unbiased"]
            found["subsets"] = f"100 of {self.subset_size(num_images)}"
        return found | {"generated_images": num_images}


def make_reference(
    source: str | os.PathLike,
    image_shape: tuple[int, int, int],
    *,
    encoder: Any = "auto",
    num_images: int = 1000,
    split: str = "validation",
    batch_size: int = 64,
    **loading: Any,
) -> Reference:
    """Encodes real images.

    Args:
        source: see `kddim.data.load`.
        image_shape: `(height, width, channels)` of the model.
        encoder: see `kddim.metrics.encoders.get`.
        num_images: at most so many.
        split: "validation", "train" or "all" images of the source.
        batch_size: of encoding.
        **loading: see `real_images`.

    Raises:
        ValueError: an option or the source cannot be used; fewer than four images.
    """
    if num_images < 4:
        raise ValueError(f"Expected num_images of at least 4. Received: {num_images}")
    encode = encoders.get(encoder)
    real = real_images(source, image_shape, split=split, num_images=num_images, **loading)
    description = {
        "image_size": f"{real.shape[1]}x{real.shape[2]}",
        "real_images": len(real),
        "real": f"{split} of {source}",
    }
    return Reference(encode, encode(real, batch_size), description)


def evaluate(
    model: DiffusionModel,
    source: Reference | str | os.PathLike,
    *,
    num_images: int = 1000,
    diffusion_steps: int = 20,
    sampler: Any = "ddim",
    metrics: Sequence[str] = ("kid",),
    schedule: Any = None,
    batch_size: int = 64,
    seed: int = 0,
    verbose: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Scores of generated images against real ones, with their protocol.

    Args:
        model: the model.
        source: a `Reference`, or what `kddim.data.load` takes.
        num_images: generated, and at most so many real ones.
        diffusion_steps: of generation.
        sampler: of generation.
        metrics: see `Reference.score`.
        schedule: to sample on; None is the model's.
        batch_size: of generation and encoding.
        seed: of the generated images.
        verbose: 1 shows progress.
        **options: which real images, and which encoder: see `make_reference`.

    Returns:
        What `Reference.score` returns, and `protocol`.

    Raises:
        ValueError: an option or the source cannot be used.
    """
    sampler, metrics = samplers.get(sampler), check_metrics(metrics)
    if not isinstance(source, Reference):
        options |= {"num_images": num_images, "batch_size": batch_size}
        source = make_reference(source, model.image_shape, **options)
    generation = {"seed": seed, "batch_size": batch_size, "schedule": schedule, "verbose": verbose}
    generated = model.generate(num_images, diffusion_steps, sampler, **generation)
    protocol = source.protocol(num_images, metrics) | {
        "sampler": repr(sampler),
        "diffusion_steps": diffusion_steps,
        "schedule": str(model.schedule if schedule is None else schedule),
        "seed": seed,
    }
    return source.score(generated, metrics, batch_size) | {"protocol": protocol}


def real_images(
    source: str | os.PathLike,
    image_shape: tuple[int, int, int],
    *,
    num_images: int = 1000,
    split: str = "validation",
    validation_split: float = 0.2,
    limit: int | None = None,
    data_seed: int = 0,
) -> np.ndarray:
    """The first images of a part of a source.

    Args:
        source: see `kddim.data.load`.
        image_shape: `(height, width, channels)` of the model.
        num_images: at most so many.
        split: "validation", "train" or "all" images of the source.
        validation_split: as in training, so that the parts are the same.
        limit: as in training.
        data_seed: of the split; the training run's seed.

    Returns:
        float32 `(n, height, width, channels)` in [0, 1].

    Raises:
        ValueError: an option or the source cannot be used; fewer than four images.
    """
    if split not in SPLITS:
        raise ValueError(
            f"Unknown split: expected one of {', '.join(map(repr, SPLITS))}. Received: {split!r}"
        )
    height, width, channels = image_shape
    train, validation = data.load(
        source,
        (height, width),
        1,
        channels=channels,
        validation_split=validation_split,
        limit=limit,
        seed=data_seed,
    )
    parts = {"train": [train], "validation": [validation], "all": [train, validation]}[split]
    images = parts[0].images if len(parts) == 1 else np.concatenate([p.images for p in parts])
    real = take_images(data.ImageDataset(images, 256), num_images, image_shape)
    if len(real) < 4:
        raise ValueError(
            f"Expected at least 4 real images. Received: {len(real)} ({split} of {source})"
        )
    return real
