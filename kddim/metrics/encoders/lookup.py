"""Encoders by name, from the table `kddim.names.ENCODERS`."""

import dataclasses
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kddim import cache, files, names, registry
from kddim.checks import check_count, reason_of
from kddim.metrics.encoders.base import Encoder, from_model
from kddim.metrics.encoders.keras_inception import check_inception_size

log = logging.getLogger("kddim")


def automatic_encoder(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Return inception_v3 if its weights are available, otherwise random_conv."""
    check_inception_size(image_size or 75)
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10.0)
    try:
        return _named("inception_v3", image_size, None, antialias)
    except ValueError as error:
        log.warning(
            "no Inception weights (%s): KID uses the encoder random_conv, whose values compare "
            "only within one data set",
            reason_of(error.__cause__ or error),
        )
        return _named("random_conv", None, None, False)
    finally:
        socket.setdefaulttimeout(patience)


NAMES = tuple(names.ENCODERS)
_WITHOUT_WEIGHTS = ("random_conv", "auto")
_OPTIONS = ("identifier", "image_size", "antialias", "weights_hash")
MOST_PIXELS = 4096  # side of the images that a network sees


def get(
    identifier: Any,
    image_size: int | None = None,
    weights: str | os.PathLike | None = None,
    antialias: bool = False,
) -> Encoder:
    """Return an encoder, given its name, a Keras model or a callable.

    Args:
        identifier: One of the following. "inception_v3": Keras' InceptionV3, whose ImageNet
            weights Keras downloads once. "pt_inception": the network of published figures,
            which needs `weights`. "mobilenet": Keras' MobileNet. "random_conv": a fixed random
            network without weights. "auto": "inception_v3" if its weights are available,
            otherwise "random_conv" and a warning in the log. A Keras model on images in [0, 1],
            a callable from such images to features `(batch, d)`, or an `Encoder`.
        image_size: Side in pixels that a named network sees. None is 75 for "inception_v3", 128
            for "mobilenet" and 299 for "pt_inception", which takes no other. Models, callables
            and "random_conv" see images at their own size.
        weights: Local file of weights for a named network. None is the weights that Keras
            downloads.
        antialias: If true, "inception_v3" and "pt_inception" see images that are resized with
            antialiasing, as Pillow does. If false, they see them as their first users did.
            "mobilenet" always sees antialiased images.

    Raises:
        ValueError: If the name is unknown, the weights are not available, or options do not fit
            the encoder.
    """
    if isinstance(identifier, str) and identifier in names.ENCODERS:
        return _named(identifier, image_size, weights, antialias)
    if weights is not None:
        raise ValueError(
            "Expected `weights` only beside the name of a network. "
            f"Received: {weights!r} for {identifier!r}"
        )
    if isinstance(identifier, Encoder):
        return identifier
    if isinstance(identifier, keras.Model):
        return from_model(identifier, identifier.name)
    if callable(identifier):
        return Encoder(getattr(identifier, "__name__", type(identifier).__name__), identifier)
    known = ", ".join(f'"{name}"' for name in names.ENCODERS)
    raise ValueError(
        f"Unknown encoder: expected {known}, a Keras model or a callable. Received: {identifier!r}"
    )


def _named(name: str, image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Build an encoder and add to its options what builds it again."""
    if image_size is not None:
        check_count("image_size", image_size, 1, MOST_PIXELS, "Encoders see small images.")
    weights = None if weights == "imagenet" else weights
    if name in _WITHOUT_WEIGHTS and weights is not None:
        raise ValueError(f"Expected no `weights` for {name!r}. Received: {weights!r}")
    encoder = registry.load_object(names.ENCODERS[name])(image_size, weights, antialias)
    options = {"identifier": name} | dict(encoder.options or {})
    if weights is not None:
        options["weights_hash"] = remember_weights(weights)
    return dataclasses.replace(encoder, options=options)


def remember_weights(weights: str | os.PathLike) -> str:
    """Return the hash of a file of weights, and write the path of the file to the cache.

    Args:
        weights: File of weights.
    """
    found = cache.file_hash(weights)
    known = cache.cached_path("weights", found, ".json")
    place = os.path.abspath(weights)
    if files.read_json(known) != place:
        cache.write_json(known, place)
    return found


def rebuild(
    options: Mapping[str, Any] | None, description: str, weights: str | os.PathLike | None = None
) -> Encoder:
    """Build an encoder again from its options.

    Args:
        options: Options of the encoder.
        description: Description of the encoder, for error messages.
        weights: File of the weights of the encoder, if it had one. None is the path at which
            this machine last had the file.

    Raises:
        ValueError: If the encoder had no name, or its weights cannot be found or have changed.
    """
    if options is None:
        raise ValueError(
            f"Expected the encoder itself, since {description} has no name to be built again by. "
            "Received: None"
        )
    arguments = dict(options)
    if "identifier" not in arguments or not set(arguments) <= set(_OPTIONS):
        raise ValueError(
            f"Expected the options of {description} to be identifier and others among "
            f"{', '.join(_OPTIONS)}. Received: {options!r:.200}"
        )
    wanted = arguments.pop("weights_hash", None)
    if wanted:
        weights = weights or files.read_json(cache.cached_path("weights", wanted, ".json"))
        if not weights or not Path(weights).is_file() or cache.file_hash(weights) != wanted:
            raise ValueError(
                f"Expected the weights of {description} (hash {wanted}). Received: "
                f"{weights or 'no file'}. Give their file with --encoder-weights (weights=)."
            )
    elif weights is not None:
        raise ValueError(
            f"Expected no file of weights for {description}, which was not made with one. "
            f"Received: {weights}"
        )
    return get(**arguments, weights=weights)


def same_encoder(one: Encoder, other: Encoder) -> bool:
    """Return True if two encoders make the same features, as far as can be known.

    Args:
        one: An encoder.
        other: Another encoder.
    """
    if one.options is None or other.options is None:
        return one.description == other.description
    return dict(one.options) == dict(other.options)
