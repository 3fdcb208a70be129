"""Files of reference statistics, `.npz`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from kddim import npz
from kddim.files import atomic_write
from kddim.metrics import estimators
from kddim.metrics.encoders import Encoder, rebuild, same_encoder
from kddim.metrics.feature_checks import check_finite
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.feature_statistics import FeatureStatistics
from kddim.metrics.reference import Reference

_ABOUT = "kddim_reference"
_VERSION = 1
_MOST_ABOUT = 2**22  # bytes of the description
_WHAT = "a .npz file of reference statistics or of images"
# Types of the values of the description.
_KINDS: dict[str, Any] = {
    "images": int,
    "description": dict,
    "protocol": str,
    "encoder": str,
    "encoder_options": (dict, type(None)),
    "remarks": list,
    "fingerprint": str,
}


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
    return is_file and _ABOUT in npz.headers(path, what=_WHAT)


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
    about = _read_about(path)
    if protocol not in (None, about["protocol"]):
        raise ValueError(
            f"Expected statistics of the protocol {protocol!r}. Received: {path}, of the protocol "
            f"{about['protocol']!r}. Ask for that one, or make statistics anew with kddim stats."
        )
    estimator = estimators.get(about["protocol"])
    features = _read_features(path, about)
    if encoder is not None:
        encoder = estimator.encoder(encoder, None, weights)
        _check_encoder(about, encoder, path)
    else:
        encoder = rebuild(about["encoder_options"], about["encoder"], weights)
    return Reference(encoder, features, about["description"], estimator)


def _read_about(path: Path) -> dict[str, Any]:
    """Return the description of a file, after checking the types of all its values."""
    shapes = npz.headers(path, what=_WHAT)
    shape, dtype = shapes.get(_ABOUT, ((1,), np.dtype("U1")))
    if shape != () or dtype.kind != "U" or dtype.itemsize > _MOST_ABOUT:
        raise _damaged(path, f"it has no {_ABOUT}, a text")
    try:
        about = json.loads(str(npz.read_arrays(path, [_ABOUT], what=_WHAT)[_ABOUT]))
    except (json.JSONDecodeError, RecursionError) as error:
        raise _damaged(path, f"{_ABOUT} is no JSON text") from error
    if not isinstance(about, dict):
        raise _damaged(path, f"{_ABOUT} is no JSON object")
    if about.get("version") != _VERSION:
        raise ValueError(
            f"Expected reference statistics of version {_VERSION}. Received: version "
            f"{about.get('version')} in {path}. Make them anew with kddim stats."
        )
    for name, kinds in _KINDS.items():
        if name not in about:
            raise _damaged(path, f"{name} is missing")
        if not isinstance(about[name], kinds) or isinstance(about[name], bool):
            raise _damaged(path, f"{name} is {about[name]!r:.80}")
    if about["protocol"] not in estimators.KID_ESTIMATORS:
        raise _damaged(path, f"the protocol {about['protocol']!r:.80} is unknown")
    return about


def _read_features(path: Path, about: dict[str, Any]) -> FeatureSet:
    """Return the features of a file, after comparing them with its description."""
    found = npz.headers(path, what=_WHAT)
    shapes = {name: shape for name, (shape, dtype) in found.items() if dtype.kind == "f"}
    shape = shapes.get("features", ())
    if len(shape) != 2:
        raise _damaged(path, f"the features have shape {shape}")
    names = ["features"]
    if about["images"] != shape[0]:
        if (shapes.get("mu"), shapes.get("sigma")) != (shape[1:], shape[1:] * 2):
            raise ValueError(
                f"Expected the features of {about['images']} images. Received: {path}, which is "
                f"damaged and has those of {shape[0]}. Make it anew with kddim stats."
            )
        names += ["mu", "sigma"]
    arrays = npz.read_arrays(path, names, what=_WHAT)
    try:
        return _feature_set(about, arrays)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"Expected {_WHAT}. Received: {path}, missing, damaged or truncated ({reason}). Make it "
        "anew with kddim stats."
    )


def _feature_set(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> FeatureSet:
    features, statistics = arrays["features"], None
    check_finite(features)
    if "mu" in arrays:
        statistics = FeatureStatistics.from_moments(about["images"], arrays["mu"], arrays["sigma"])
    image_size = str(about["description"].get("image_size", ""))
    remarks = tuple(map(str, about["remarks"]))
    return FeatureSet(features, statistics, image_size, remarks, about["fingerprint"])


def _check_encoder(about: dict[str, Any], encoder: Encoder, path: Path) -> None:
    made = Encoder(about["encoder"], encoder.function, options=about["encoder_options"])
    if not same_encoder(made, encoder):
        raise ValueError(
            f"Expected statistics made with the encoder {encoder.description}. Received: {path}, "
            f"made with {about['encoder']}. Leave --encoder out, or make statistics anew with "
            "kddim stats."
        )
