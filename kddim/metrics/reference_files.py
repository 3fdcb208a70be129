"""Files of reference statistics, `.npz`."""

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kddim.files import atomic_write
from kddim.metrics import estimators
from kddim.metrics.encoders import Encoder, rebuild, same_encoder
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.reference import Reference

_ABOUT = "kddim_reference"
_VERSION = 1


def save_reference(reference: Reference, path: str | os.PathLike) -> Path:
    """Write a reference to a file, as a whole or not at all.

    The file holds `features`, float32, and `kddim_reference`, a JSON text that describes the
    images, the encoder and the protocol. If there are more images than features are kept, or
    more than dimensions, it also holds their mean `mu` and covariance `sigma`, the names under
    which other tools read statistics.

    Args:
        reference: Reference to write.
        path: File to write, ending in `.npz`.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the path has another ending.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"Expected a file that ends in .npz. Received: {path}")
    features, statistics = reference.features, reference.feature_set.statistics
    arrays: dict[str, Any] = {"features": features.astype("float32")}
    arrays[_ABOUT] = json.dumps(_about(reference))
    if statistics is None and len(features) > features.shape[1]:
        statistics = FeatureStatistics(features)
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
        "protocol": reference.estimator.name,
        "encoder": encoder.description,
        "encoder_options": None if encoder.options is None else dict(encoder.options),
        "remarks": list(reference.remarks),
        "fingerprint": reference.feature_set.fingerprint,
    }


def is_reference(path: Any) -> bool:
    """Return True if a path names a file that `save_reference` wrote.

    Args:
        path: Path, or any other source of images.

    Raises:
        ValueError: If it is an `.npz` file that cannot be read, such as a truncated one.
    """
    if not isinstance(path, (str, os.PathLike)):
        return False
    path = Path(path)
    is_file = path.suffix == ".npz" and path.is_file()
    return is_file and _read(path, lambda content: _ABOUT in content.files)


def load_reference(
    path: str | os.PathLike,
    encoder: Any = None,
    weights: str | os.PathLike | None = None,
    protocol: str | None = None,
) -> Reference:
    """Read a reference from a file that `save_reference` wrote.

    Args:
        path: File to read.
        encoder: Name of an encoder, a Keras model, a callable or an `Encoder` that the file must
            have been made with. None builds the encoder that the file names.
        weights: File of the weights of that encoder. None is the path at which this machine
            last had the file.
        protocol: Name of the protocol that the file must have been made with. None accepts any.

    Raises:
        ValueError: If the file does not exist or is damaged, was made with another encoder or
            protocol, or names an encoder that cannot be built.
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
    estimator = estimators.get(about["protocol"])
    if encoder is not None:
        encoder = estimator.encoder(encoder, None, weights)
        _check_encoder(about, encoder, path)
    else:
        encoder = rebuild(about["encoder_options"], about["encoder"], weights)
    reference = Reference(encoder, _feature_set(about, arrays), about["description"], estimator)
    if reference.count != about["images"]:
        raise ValueError(
            f"Expected the features of {about['images']} images. Received: {path}, which is "
            f"damaged and has those of {reference.count}. Make it anew with kddim stats."
        )
    return reference


def _feature_set(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> FeatureSet:
    features, statistics = arrays["features"], None
    if about["images"] != len(features) and "mu" in arrays:
        statistics = FeatureStatistics.from_moments(about["images"], arrays["mu"], arrays["sigma"])
    image_size = str(about["description"].get("image_size", ""))
    return FeatureSet(
        features, statistics, image_size, tuple(about["remarks"]), about["fingerprint"]
    )


def _check_encoder(about: dict[str, Any], encoder: Encoder, path: Path) -> None:
    made = Encoder(about["encoder"], encoder.function, options=about["encoder_options"])
    if not same_encoder(made, encoder):
        raise ValueError(
            f"Expected statistics made with the encoder {encoder.description}. Received: {path}, "
            f"made with {about['encoder']}. Leave --encoder out, or make statistics anew with "
            "kddim stats."
        )


def _content(content: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = json.loads(str(content[_ABOUT]))
    return about, {name: content[name] for name in content.files if name != _ABOUT}


def _read(path: Path, use: Callable[[Any], Any]) -> Any:
    """Return what `use` makes of the content of a file.

    Raises:
        ValueError: If the file does not exist or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return use(content)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            "Expected a .npz file of reference statistics or of images. Received: "
            f"{path}, missing, damaged or truncated ({error})"
        ) from error
