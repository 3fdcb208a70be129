"""Reference statistics in `.npz` files."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kddim.files import atomic_write
from kddim.metrics.encoders import Encoder, rebuild, same_encoder
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.reference import Reference

_ABOUT = "kddim_reference"
_VERSION = 1


def save_reference(reference: Reference, path: str | os.PathLike) -> Path:
    """Writes a reference, whole or not at all.

    The file holds `features`, float32; what the images are, the encoder and the protocol
    as JSON in `kddim_reference`; and where there are more images than features, or than
    dimensions, `mu` and `sigma`, the names by which other tools read statistics too.

    Args:
        reference: to keep.
        path: a file that ends in `.npz`.

    Raises:
        ValueError: another ending.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"Expected a file that ends in .npz. Received: {path}")
    arrays: dict[str, Any] = {"features": reference.features.astype("float32")}
    arrays[_ABOUT] = json.dumps(_about(reference))
    statistics = reference.statistics
    if statistics is None and len(reference.features) > reference.features.shape[1]:
        statistics = FeatureStatistics(reference.features)
    if statistics is not None:
        arrays |= {"mu": statistics.mean, "sigma": statistics.covariance}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        np.savez(partial, **arrays)
    return path


def _about(reference: Reference) -> dict[str, Any]:
    encoder = reference.encoder
    return {
        "version": _VERSION,
        "images": reference.count,
        "description": reference.description,
        "protocol": reference.protocol_name,
        "encoder": encoder.description,
        "encoder_options": None if encoder.options is None else dict(encoder.options),
        "remarks": list(reference.remarks),
        "fingerprint": reference.fingerprint,
    }


def is_reference(path: Any) -> bool:
    """Whether a path names a file that `save_reference` wrote.

    Raises:
        ValueError: a `.npz` file that cannot be read, such as a truncated one.
    """
    if (
        isinstance(path, (str, os.PathLike))
        and Path(path).suffix == ".npz"
        and Path(path).is_file()
    ):
        return _read(Path(path), lambda content: _ABOUT in content.files)
    return False


def protocol_of(path: str | os.PathLike) -> str:
    """The name of the protocol of a file that `save_reference` wrote."""
    return _read(Path(path), lambda content: json.loads(str(content[_ABOUT]))["protocol"])


def load_reference(
    path: str | os.PathLike,
    encoder: Encoder | None = None,
    weights: str | os.PathLike | None = None,
    protocol: str | None = None,
) -> Reference:
    """Reads what `save_reference` wrote.

    Args:
        path: the file.
        encoder: that must have made it; None builds the one of the file.
        weights: the file of that encoder's weights; None looks where this machine had it.
        protocol: that it must be of; None takes the file's.

    Raises:
        ValueError: no such file, or a damaged one; one of another encoder or protocol; an
            encoder that cannot be built again.
    """
    path = Path(path)
    about, arrays = _read(path, _content)
    if about.get("version") != _VERSION:
        raise ValueError(
            f"Expected reference statistics of version {_VERSION}. Received: version "
            f"{about.get('version')} in {path}. Make them anew with kddim stats."
        )
    if protocol not in (None, about["protocol"]):
        raise ValueError(
            f"Expected statistics of the protocol {protocol!r}. Received: {path}, of the protocol "
            f"{about['protocol']!r}. Ask for that one, or make statistics anew with kddim stats."
        )
    encoder = _encoder(about, encoder, weights, path)
    reference = Reference(
        encoder,
        arrays["features"],
        about["description"],
        _statistics(about["images"], arrays),
        about["protocol"],
        tuple(about["remarks"]),
        about["fingerprint"],
    )
    if reference.count != about["images"]:
        raise ValueError(
            f"Expected the features of {about['images']} images. Received: {path}, damaged, with "
            f"those of {reference.count}"
        )
    return reference


def _statistics(images: int, arrays: dict[str, np.ndarray]) -> FeatureStatistics | None:
    if images == len(arrays["features"]) or "mu" not in arrays:
        return None
    return FeatureStatistics.from_moments(images, arrays["mu"], arrays["sigma"])


def _encoder(about: dict[str, Any], encoder: Encoder | None, weights: Any, path: Path) -> Encoder:
    options = about["encoder_options"]
    if encoder is None:
        return rebuild(options, about["encoder"], weights)
    made = Encoder(about["encoder"], encoder.function, options=options)
    if not same_encoder(made, encoder):
        raise ValueError(
            f"Expected statistics made with the encoder {encoder.description}. Received: {path}, "
            f"made with {about['encoder']}. Leave --encoder out, or make statistics anew with "
            "kddim stats."
        )
    return encoder


def _content(content: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = json.loads(str(content[_ABOUT]))
    return about, {name: content[name] for name in content.files if name != _ABOUT}


def _read(path: Path, use: Callable[[Any], Any]) -> Any:
    try:
        with np.load(path, allow_pickle=False) as content:
            return use(content)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            "Expected a .npz file of reference statistics or of images. Received: "
            f"{path}, missing, damaged or truncated ({error})"
        ) from error
