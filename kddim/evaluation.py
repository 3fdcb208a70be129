"""A model's score against real images: what `kddim evaluate` calls."""

import os
from typing import Any

import numpy as np

from kddim import data, samplers
from kddim.images import take_images
from kddim.metrics import encoders
from kddim.metrics.kernel_distance import kernel_distance, polynomial_mmd
from kddim.metrics.kid import PROTOCOLS
from kddim.model import DiffusionModel

SPLITS = ("validation", "train", "all")


def evaluate(
    model: DiffusionModel,
    source: str | os.PathLike,
    *,
    num_images: int = 1000,
    diffusion_steps: int = 20,
    sampler: Any = "ddim",
    encoder: Any = "auto",
    split: str = "validation",
    validation_split: float = 0.2,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    data_seed: int = 0,
    verbose: int = 0,
) -> dict[str, Any]:
    """KID of generated images against real ones, with its protocol.

    Args:
        model: the model.
        source: see `kddim.data.load`.
        num_images: generated, and at most so many real ones.
        diffusion_steps: of generation.
        sampler: of generation.
        encoder: see `kddim.metrics.encoders.get`.
        split: "validation", "train" or "all" images of the source.
        validation_split: as in training, so that the parts are the same.
        limit: as in training.
        batch_size: of generation and encoding.
        seed: of the generated images.
        data_seed: of the split; the training run's seed.
        verbose: 1 shows progress.

    Returns:
        `kid` (unbiased, over all images), `kid_subsets_mean` and `kid_subsets_std`
        (over 100 random subsets of half of the images, at most 1,000), and `protocol`.

    Raises:
        ValueError: an option or the source cannot be used.
    """
    if num_images < 4:
        raise ValueError(f"Expected num_images of at least 4. Received: {num_images}")
    sampler, encode = samplers.get(sampler), encoders.get(encoder)
    loading = {"validation_split": validation_split, "limit": limit, "seed": data_seed}
    real = _real_images(source, split, num_images, model.image_shape, loading)
    generated = model.generate(
        num_images, diffusion_steps, sampler, seed=seed, batch_size=batch_size, verbose=verbose
    )
    real_features, features = encode(real, batch_size), encode(generated, batch_size)
    subset_size = min(1000, min(len(real), num_images) // 2)
    mean, deviation = kernel_distance(real_features, features, subset_size=subset_size)
    return {
        "kid": polynomial_mmd(real_features, features),
        "kid_subsets_mean": mean,
        "kid_subsets_std": deviation,
        "protocol": {
            "metric": "KID",
            "encoder": encode.description,
            "image_size": f"{real.shape[1]}x{real.shape[2]}",
            "estimator": PROTOCOLS["unbiased"],
            "subsets": f"100 of {subset_size}",
            "real_images": len(real),
            "real": f"{split} of {source}",
            "generated_images": num_images,
            "sampler": repr(sampler),
            "diffusion_steps": diffusion_steps,
            "seed": seed,
        },
    }


def _real_images(
    source: str | os.PathLike,
    split: str,
    num_images: int,
    image_shape: tuple[int, int, int],
    loading: dict[str, Any],
) -> np.ndarray:
    """The first images of a part of the source, at most `num_images`."""
    if split not in SPLITS:
        raise ValueError(
            f"Unknown split: expected one of {', '.join(map(repr, SPLITS))}. Received: {split!r}"
        )
    height, width, channels = image_shape
    train, validation = data.load(source, (height, width), 1, channels=channels, **loading)
    parts = {"train": [train], "validation": [validation], "all": [train, validation]}[split]
    images = parts[0].images if len(parts) == 1 else np.concatenate([p.images for p in parts])
    real = take_images(data.ImageDataset(images, 256), num_images, image_shape)
    if len(real) < 4:
        raise ValueError(
            f"Expected at least 4 real images. Received: {len(real)} ({split} of {source})"
        )
    return real
