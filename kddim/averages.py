"""Averages of any length, reconstructed after training from snapshots of two (EDM2).

`kddim train --power-ema` and `kddim.callbacks.PowerAverageCallback` write the snapshots.
`kddim.power_average` has the mathematics.
"""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kddim import evaluation, npz, runs
from kddim.files import write_json
from kddim.model import DiffusionModel
from kddim.power_average import check_length, combine
from kddim.power_tracking import assign_weights, sizes_of
from kddim.snapshots import SnapshotFolder, read_snapshot, same_structure

log = logging.getLogger("kddim")

LENGTHS = (0.03, 0.05, 0.1, 0.15, 0.2)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """KID of an average, or of the model of a run.

    Attributes:
        length: Length of the average. None is the model of the run.
        kid: Kernel inception distance.
        kid_std: Its standard error.
        protocol: Protocol of the KID, as JSON values by name.
    """

    length: float | None
    kid: float
    kid_std: float
    protocol: dict[str, Any] = dataclasses.field(repr=False)


def reconstruct(
    folder: str | os.PathLike, length: float, model: DiffusionModel | None = None
) -> DiffusionModel:
    """Return a model with the average of a length over the whole training of a run.

    The average ends at the newest snapshot, which is that of the end for a run that ended.

    Args:
        folder: Run folder, or folder of snapshots.
        length: Length of the average in (0, 0.2887): its standard deviation relative to the
            number of steps.
        model: Model of the structure that was trained, which stays as it is. None loads the
            model of the run folder.

    Returns:
        A new model, not compiled. Both its networks, `network` and `ema_network`, have the
        averaged weights, so that it generates with them and trains from them.

    Raises:
        ValueError: If the length is out of range, or if there are no snapshots of this model.

    Example:
        >>> model = kddim.averages.reconstruct("runs/mine", 0.1)
        >>> images = model.generate(16, seed=0)
    """
    folder, length = Path(folder), check_length(length)
    places = _snapshots(folder)
    if model is None:
        copy = runs.load_model(folder)
    else:
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
    _assign_average(copy, places, length)
    return copy


def _assign_average(model: DiffusionModel, places: dict[int, Path], length: float) -> None:
    """Give both networks of a model the average of a length."""
    step, values = _reconstruct_values(places, length, sizes_of(model.ema_network))
    for network in (model.network, model.ema_network):
        assign_weights(network, values)
    model.ema_steps.assign(step)


def _snapshots(folder: Path) -> dict[int, Path]:
    """Return the snapshots of a run, or of a folder of snapshots, by their steps."""
    inner = folder / runs.AVERAGES
    found = SnapshotFolder(inner if inner.is_dir() else folder).paths()
    if not found:
        raise ValueError(
            f"Expected a run with snapshots of averages. Received: {folder}, which holds none. "
            "Train with --power-ema (power_ema=True), or with a PowerAverageCallback."
        )
    return found


def _reconstruct_values(
    places: dict[int, Path], length: float, sizes: list[int]
) -> tuple[int, np.ndarray]:
    """Return the step of the newest snapshot, and the average that ends there.

    Damaged snapshots are passed over, with a line in the log.
    """
    left, reason = dict(places), ""
    while left:
        try:
            return max(left), _weighted_sum(left, length, sizes)
        except _Damaged as damaged:
            reason = str(damaged)
            log.warning("%s. The average is reconstructed from the others", reason)
            del left[damaged.step]
    raise ValueError(reason)


class _Damaged(Exception):
    def __init__(self, step: int, error: ValueError):
        super().__init__(str(error))
        self.step = step


def _weighted_sum(places: dict[int, Path], length: float, sizes: list[int]) -> np.ndarray:
    """Return the combination of stored averages. At most one snapshot is in memory."""
    lengths = {step: _read(step, _lengths_of, path) for step, path in places.items()}
    steps = [step for step, found in lengths.items() for _ in found]
    weights, error = combine(steps, np.concatenate(list(lengths.values())), max(places), length)
    total, start = np.zeros(sum(sizes)), 0
    for step, path in places.items():
        snapshot = _read(step, read_snapshot, path)
        if not same_structure(snapshot, sizes):
            raise ValueError(
                f"Expected snapshots of the averages of this model. Received: {path}, of a "
                "network with other variables. Use the model that was trained beside them."
            )
        for values in snapshot.values:
            total += weights[start] * values
            start += 1
    if not np.isfinite(total).all():
        raise ValueError(
            f"Expected averages of finite values. Received: NaN or infinity in those before step "
            f"{max(places)}. The training has diverged."
        )
    log.debug("average of length %g: relative error of its profile %.1e", length, error)
    return total


def _lengths_of(path: Path) -> np.ndarray:
    return npz.read_arrays(path, ("lengths",), what="a snapshot of averages")["lengths"]


def _read(step: int, read: Any, path: Path) -> Any:
    try:
        return read(path)
    except ValueError as error:
        raise _Damaged(step, error) from error


def measure(
    folder: str | os.PathLike,
    lengths: Sequence[float] = LENGTHS,
    *,
    source: str | os.PathLike | None = None,
    num_images: int | None = None,
    diffusion_steps: int | None = None,
    encoder: Any = None,
    weights: str | os.PathLike | None = None,
    seed: int | None = None,
    batch_size: int = 64,
    verbose: int = 0,
) -> list[Measurement]:
    """Measure the KID of the model of a run, and of averages of several lengths.

    By default the images, the encoder and the recipe are those of the `val_kid` of the run.

    Args:
        folder: Run folder.
        lengths: Lengths of the averages, each in (0, 0.2887).
        source: Source of real images. None is that of the run.
        num_images: Number of images to generate, and largest number of real ones.
        diffusion_steps: Number of steps of sampling.
        encoder: Name of the encoder of KID, or an object as `KIDCallback` takes it.
        weights: Local file with weights for a named encoder.
        seed: Seed of the generated images.
        batch_size: Number of images that are generated and encoded at once.
        verbose: 1 draws progress bars, 0 does not.

    Returns:
        The measurements: that of the model of the run first, then one per length.

    Raises:
        ValueError: If an argument is out of range, the folder is no run with snapshots, or the
            data cannot be used.
    """
    lengths = [check_length(length) for length in lengths]
    places = _snapshots(Path(folder))
    model, protocol = runs.load_model(folder), _Protocol.of_run(folder)
    reference = evaluation.make_reference(
        source or protocol.source,
        model.image_shape,
        encoder=encoder or protocol.encoder,
        weights=weights or (None if encoder else protocol.weights),
        num_images=num_images or protocol.real_images,
        batch_size=batch_size,
        verbose=verbose,
        **runs.loading_of(folder),
    )

    def measured(length: float | None) -> Measurement:
        """Return the KID of the average of a length. None is the model of the run."""
        if length is not None:  # one model for all lengths: its sampling is compiled once
            _assign_average(model, places, length)
        found = evaluation.evaluate(
            model,
            reference,
            num_images=num_images or protocol.generated_images,
            diffusion_steps=diffusion_steps or protocol.diffusion_steps,
            seed=protocol.seed if seed is None else seed,
            batch_size=batch_size,
            verbose=verbose,
            floor=False,
        )
        return Measurement(length, found["kid"], found["kid_std"], found["protocol"])

    return [measured(length) for length in (None, *lengths)]


@dataclasses.dataclass(frozen=True)
class _Protocol:
    """How a run measured its KID, or would have."""

    source: str
    encoder: str
    weights: str | None
    real_images: int
    generated_images: int
    diffusion_steps: int
    seed: int

    @classmethod
    def of_run(cls, folder: str | os.PathLike) -> "_Protocol":
        """Read `config.json`. What an older file lacks is as by default."""
        content = runs.read_config(folder) or {}
        training, kid = content.get("training", {}), content.get("kid", {})
        encoder, images = training.get("kid_encoder", "auto"), training.get("kid_images", 1000)
        return cls(
            training.get("source", "digits"),
            "auto" if encoder == "none" else encoder,
            training.get("encoder_weights"),
            images,
            kid.get("generated_images", images),  # a time limit may have lowered it
            training.get("kid_steps", 5),
            training.get("seed", 0),
        )


def replace_model(
    folder: str | os.PathLike, model: DiffusionModel, measured: Measurement | None, length: float
) -> Path:
    """Write a model to a run folder, in place of its own, and say so in `config.json`.

    Args:
        folder: Run folder.
        model: Model with the average of a length.
        measured: Its KID, or None if it was not measured.
        length: Length of the average.

    Returns:
        Path of the file of the model.
    """
    path = runs.model_path(folder)
    model.save(path)
    content = runs.read_config(folder)
    if content is not None:
        kid = None if measured is None else measured.kid
        write_json(
            path.with_name(runs.CONFIG), content | {"average": {"length": length, "kid": kid}}
        )
    return path
