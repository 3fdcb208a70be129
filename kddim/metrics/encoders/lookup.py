"""Encoders by name."""

import contextlib
import dataclasses
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from kddim import cache
from kddim.checks import reason_of
from kddim.metrics.encoders.base import Encoder, check_weights, from_model
from kddim.metrics.encoders.fidelity_inception import WEIGHTS_URL, pt_inception
from kddim.metrics.encoders.keras_inception import check_inception_size, inception_v3
from kddim.metrics.encoders.keras_mobilenet import mobilenet
from kddim.metrics.encoders.random_convolution import random_conv_encoder

log = logging.getLogger("kddim")

NAMES = ("inception_v3", "random_conv", "mobilenet", "pt_inception", "auto")


def get(
    identifier: Any,
    image_size: int | None = None,
    weights: str | os.PathLike | None = None,
    antialias: bool = False,
) -> Encoder:
    """An encoder from a name, a Keras model or a callable.

    Args:
        identifier: "inception_v3" (Keras' ImageNet weights, which Keras downloads once,
            or finds in its cache); "pt_inception" (the network and weights of published
            figures; wants `weights`); "mobilenet"; "random_conv"; "auto" (inception_v3
            where its weights can be had, else, after a line in the log, random_conv); a
            Keras model on [0, 1] images; a callable to `(batch, features)`; or an
            `Encoder`.
        image_size: side that a named network sees: 75 for inception_v3 if None, 128 for
            mobilenet, and always 299 for pt_inception. Others see images as they are.
        weights: a local file for a named network; None is what it has of its own.
        antialias: resizes for inception_v3 and pt_inception as Pillow does, antialiased,
            instead of as their first users did. mobilenet always does.

    Raises:
        ValueError: an unknown name, weights that cannot be had, options that do not fit.
    """
    if isinstance(identifier, str) and identifier in NAMES:
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
    raise ValueError(
        f"Unknown encoder: expected {', '.join(map(_quoted, NAMES))}, a Keras model or a "
        f"callable. Received: {identifier!r}"
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _named(
    name: str, image_size: int | None, weights: str | os.PathLike | None, antialias: bool
) -> Encoder:
    if weights == "imagenet":  # which is what None means
        weights = None
    if name in ("random_conv", "auto") and weights is not None:
        raise ValueError(f"Expected no `weights` for {name!r}. Received: {weights!r}")
    if name == "random_conv":
        return dataclasses.replace(random_conv_encoder(), options={"identifier": name})
    if name == "auto":
        return _auto(image_size or 75, antialias)
    image_size = image_size or {"inception_v3": 75, "mobilenet": 128, "pt_inception": 299}[name]
    build = {"inception_v3": _inception_v3, "mobilenet": _mobilenet, "pt_inception": _pt_inception}
    encoder = build[name](image_size, weights, antialias)
    options: dict[str, Any] = {"identifier": name, "image_size": image_size, "antialias": antialias}
    if weights is not None:
        options["weights_hash"] = remember_weights(weights)
    return dataclasses.replace(encoder, options=options)


def remember_weights(weights: str | os.PathLike) -> str:
    """The hash of a file of weights; this machine's cache keeps where the file is."""
    found = cache.file_hash(weights)
    known = cache.cached_path("weights", found, ".json")
    place = os.path.abspath(weights)
    if cache.read_json(known) != place:
        cache.write_json(known, place)
    return found


def rebuild(
    options: Mapping[str, Any] | None, description: str, weights: str | os.PathLike | None = None
) -> Encoder:
    """The encoder whose `options` and `description` were kept.

    Args:
        options: of the encoder.
        description: of the encoder, for messages.
        weights: the file of its weights, if it had one; None looks where this machine
            had the file last.

    Raises:
        ValueError: it had no name, or its weights are not to be found or are others.
    """
    if options is None:
        raise ValueError(
            f"Expected the encoder itself, since {description} has no name to be built again by. "
            "Received: None"
        )
    arguments = dict(options)
    wanted = arguments.pop("weights_hash", None)
    if wanted:
        weights = weights or cache.read_json(cache.cached_path("weights", wanted, ".json"))
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
    """Whether two encoders give the same features, as far as can be known."""
    if one.options is None or other.options is None:
        return one.description == other.description
    return dict(one.options) == dict(other.options)


def _inception_v3(image_size: int, weights: Any, antialias: bool) -> Encoder:
    model = inception_v3(image_size, "imagenet" if weights is None else weights, antialias)
    how = ", antialiased" if antialias else ""
    return from_model(
        model, f"inception_v3 ({_file_name(weights)}, {image_size}x{image_size}{how})"
    )


def _mobilenet(image_size: int, weights: Any, antialias: bool) -> Encoder:
    model = mobilenet(image_size, "imagenet" if weights is None else weights)
    alpha = model.output_shape[-1] / 1024
    what = f"{_file_name(weights)}, {image_size}x{image_size}, antialiased"
    return from_model(model, f"mobilenet {alpha:g} ({what})")


def _pt_inception(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    if image_size not in (None, 299):
        raise ValueError(
            "Expected `image_size` of 299 for pt_inception, which sees nothing else. "
            f"Received: {image_size}"
        )
    if weights is None:
        raise ValueError(
            "Expected `weights` for pt_inception: the file that torch-fidelity downloads from "
            f"{WEIGHTS_URL}, or one that `convert_pt_inception` made of it. Received: None"
        )
    resize = "clean" if antialias else "fidelity"
    model = pt_inception(check_weights(weights), resize)
    return from_model(model, f"pt_inception ({_file_name(weights)}, 299x299, {resize} resize)")


def _file_name(weights: Any) -> str:
    return "imagenet" if weights is None else Path(weights).name


def _auto(image_size: int, antialias: bool) -> Encoder:
    check_inception_size(image_size)
    try:
        with _short_timeout():
            return _named("inception_v3", image_size, None, antialias)
    except ValueError as error:
        log.warning(
            "no Inception weights (%s): KID uses the encoder random_conv, whose values compare "
            "only within one data set",
            reason_of(error.__cause__ or error),
        )
        return _named("random_conv", None, None, False)


@contextlib.contextmanager
def _short_timeout(seconds: float = 10.0) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
