"""Inception network of 2015, which published FID and KID use."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kddim import npz
from kddim.backend import load_torch_state_dict
from kddim.checks import check_choice
from kddim.files import atomic_write
from kddim.metrics.encoders.base import (
    SEEN,
    Encoder,
    check_weights,
    float32,
    from_model,
    weights_name,
)
from kddim.metrics.encoders.resizing import Resize

WEIGHTS_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
RESIZES = {"fidelity": "tensorflow1", "clean": "bicubic", "torchmetrics": "bilinear"}
_KINDS = ("weight", "bias", "running_mean", "running_var")  # PyTorch's names of weights
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # Keras' order of PyTorch's axes, by their number
FEATURES = ("64", "192", "768", "2048", "logits_unbiased")

# Branches of the blocks by name: convolutions `(filters, size, strides, padding)` in a row.
_Branches = dict[str, tuple[tuple, ...]]
_ROW, _COLUMN = (1, 7), (7, 1)
_BLOCK_A: _Branches = {
    "branch1x1": ((64, 1),),
    "branch5x5": ((48, 1), (64, 5)),
    "branch3x3dbl": ((64, 1), (96, 3), (96, 3)),
}
_BLOCK_B: _Branches = {
    "branch3x3": ((384, 3, 2, "valid"),),
    "branch3x3dbl": ((64, 1), (96, 3), (96, 3, 2, "valid")),
}
_BLOCK_D: _Branches = {
    "branch3x3": ((192, 1), (320, 3, 2, "valid")),
    "branch7x7x3": ((192, 1), (192, _ROW), (192, _COLUMN), (192, 3, 2, "valid")),
}


def _block_c(width: int) -> _Branches:
    column, row = (width, _COLUMN), (width, _ROW)
    return {
        "branch1x1": ((192, 1),),
        "branch7x7": ((width, 1), row, (192, _COLUMN)),
        "branch7x7dbl": ((width, 1), column, row, column, (192, _ROW)),
    }


@float32()
def pt_inception(
    weights: str | os.PathLike | None = None,
    resize: str = "fidelity",
    features: str = "2048",
) -> keras.Model:
    """Build InceptionV3 as TensorFlow published it in 2015, the network of published figures.

    It differs from Keras' InceptionV3 in its weights, in maximum pooling in the last block, and
    in its 1,008 classes. It differs from torchvision's also in average pooling, which leaves
    padding out of the mean. Images are rounded to 256 levels, since other tools read PNG files,
    resized to 299x299, and scaled by `(x - 128) / 128`.

    Args:
        weights: The file `pt_inception-2015-12-05-6726825d.pth`, which torch-fidelity names
            `weights-inception-2015-12-05-6726825d.pth` and which needs PyTorch to be read, the
            `.npz` file that `convert_pt_inception` makes of it, or None for random weights.
        resize: "fidelity" samples bilinearly as TensorFlow 1 did, like torch-fidelity and most
            papers. "clean" is Pillow's antialiased bicubic filter on floats, as in clean-fid
            (Parmar et al., CVPR 2022, arXiv 2104.11222). "torchmetrics" is bilinear and
            antialiased, the default of that library.
        features: "2048" for FID and KID, "64", "192" or "768" for the average of an earlier
            layer, or "logits_unbiased" for the classifier without its bias.

    Returns:
        A model from images `(batch, height, width, 3)` in [0, 1] to features `(batch, 2048)`,
        or as many as `features` says.

    Raises:
        ValueError: If an option is unknown, or the file does not hold these weights.
    """
    check_choice("resize", resize, RESIZES)
    check_choice("features", features, FEATURES)
    arrays = None if weights is None else _read(weights)
    images = keras.Input((None, None, 3))
    seen = layers.Identity(name=SEEN)(_pixels(images, resize))
    taps = _network((seen - 128.0) / 128.0, head=features == "logits_unbiased")
    model = keras.Model(images, taps[features], name="pt_inception")
    if arrays is not None:
        _assign(model, arrays, os.fspath(weights))  # type: ignore[arg-type]
    model.trainable = False
    return model


def pt_inception_encoder(image_size: int | None, weights: Any, antialias: bool) -> Encoder:
    """Return `pt_inception` as an encoder, which needs a file of weights."""
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
    words = f"pt_inception ({weights_name(weights)}, 299x299, {resize} resize)"
    model = pt_inception(check_weights(weights), resize)
    return from_model(model, words, {"image_size": 299, "antialias": antialias})


def convert_pt_inception(source: str | os.PathLike, target: str | os.PathLike) -> Path:
    """Convert the file of weights to one that is read without PyTorch.

    Args:
        source: The file `pt_inception-2015-12-05-6726825d.pth`.
        target: File to write, ending in `.npz`.

    Returns:
        The path of the target.

    Raises:
        ValueError: If the source holds other weights, or the target has another ending.
    """
    target = Path(target)
    if target.suffix != ".npz":
        raise ValueError(f"Expected a target that ends in .npz. Received: {target}")
    arrays = _read(source)
    for features in ("2048", "logits_unbiased"):
        _assign(pt_inception(None, features=features), arrays, os.fspath(source))
    with atomic_write(target) as partial:
        np.savez(partial, **arrays)  # type: ignore[arg-type]
    return target


def _pixels(images: Any, resize: str) -> Any:
    """Return images in [0, 1] as resized levels of a PNG file, float32 in [0, 255]."""
    levels = ops.floor(ops.clip(images, 0.0, 1.0) * 255.0 + 0.5)
    # Only the bicubic filter leaves the range, and clean-fid clips it too.
    return ops.clip(Resize(299, RESIZES[resize])(levels), 0.0, 255.0)


def _network(x: Any, head: bool) -> dict[str, Any]:
    """Return features by name. The layers have the names of the weights in the file."""
    x = _convolution(x, "Conv2d_1a_3x3", 32, 3, 2, "valid")
    x = _convolution(x, "Conv2d_2a_3x3", 32, 3, 1, "valid")
    x = _convolution(x, "Conv2d_2b_3x3", 64, 3)
    first = x = layers.MaxPooling2D(3, 2)(x)
    x = _convolution(x, "Conv2d_3b_1x1", 80, 1)
    x = _convolution(x, "Conv2d_4a_3x3", 192, 3, 1, "valid")
    second = x = layers.MaxPooling2D(3, 2)(x)
    for name, pool_filters in (("5b", 32), ("5c", 64), ("5d", 64)):
        x = _block(x, f"Mixed_{name}", _BLOCK_A, _average(), pool_filters)
    x = _block(x, "Mixed_6a", _BLOCK_B, layers.MaxPooling2D(3, 2))
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        x = _block(x, f"Mixed_{name}", _block_c(width), _average(), 192)
    third = x
    x = _block(x, "Mixed_7a", _BLOCK_D, layers.MaxPooling2D(3, 2))
    x = _block_e(x, "Mixed_7b", _average())
    # The published network pools by maximum here, unlike the paper.
    x = _block_e(x, "Mixed_7c", layers.MaxPooling2D(3, 1, "same"))
    taps = {"64": first, "192": second, "768": third, "2048": x}
    taps = {name: layers.GlobalAveragePooling2D()(tap) for name, tap in taps.items()}
    if head:
        taps["logits_unbiased"] = layers.Dense(1008, use_bias=False, name="fc")(taps["2048"])
    return taps


def _convolution(
    x: Any, name: str, filters: int, size: Any, strides: int = 1, padding: str = "same"
) -> Any:
    name = name.replace(".", "-")  # PyTorch takes no dots in names; `_assign` puts them back
    x = layers.Conv2D(filters, size, strides, padding, use_bias=False, name=f"{name}-conv")(x)
    return layers.ReLU()(layers.BatchNormalization(epsilon=1e-3, name=f"{name}-bn")(x))


def _chain(x: Any, name: str, *steps: tuple) -> Any:
    """Return the output of convolutions in a row: name_1, name_2 and so on, or name for one."""
    for number, step in enumerate(steps, 1):
        x = _convolution(x, f"{name}_{number}" if len(steps) > 1 else name, *step)
    return x


def _block(
    x: Any, name: str, branches: _Branches, pooling: keras.Layer, pool_filters: int | None = None
) -> Any:
    """Return the outputs of all branches side by side, with a branch that pools as the last."""
    outputs = [_chain(x, f"{name}.{branch}", *steps) for branch, steps in branches.items()]
    pooled = pooling(x)
    if pool_filters:
        pooled = _convolution(pooled, f"{name}.branch_pool", pool_filters, 1)
    return layers.Concatenate()([*outputs, pooled])


def _average() -> keras.Layer:
    return layers.AveragePooling2D(3, 1, "same")  # leaves padding out of the mean


def _block_e(x: Any, name: str, pooling: keras.Layer) -> Any:
    small = _convolution(x, f"{name}.branch3x3_1", 384, 1)
    double = _chain(x, f"{name}.branch3x3dbl", (448, 1), (384, 3))
    branches = [
        _convolution(x, f"{name}.branch1x1", 320, 1),
        *_fork(small, f"{name}.branch3x3_2"),
        *_fork(double, f"{name}.branch3x3dbl_3"),
        _convolution(pooling(x), f"{name}.branch_pool", 192, 1),
    ]
    return layers.Concatenate()(branches)


def _fork(x: Any, name: str) -> list[Any]:
    return [_convolution(x, f"{name}a", 384, (1, 3)), _convolution(x, f"{name}b", 384, (3, 1))]


def _read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"Expected a file of weights. Received: {path}, no such file")
    if path.suffix != ".npz":
        return load_torch_state_dict(path)
    return npz.read_arrays(path, what="weights that convert_pt_inception wrote")


def _assign(model: keras.Model, arrays: dict[str, np.ndarray], path: str) -> None:
    """Set the weights of all layers from arrays with PyTorch's names and layouts."""
    for layer in model.layers:
        names = [f"{layer.name.replace('-', '.')}.{kind}" for kind in _KINDS]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        layer.set_weights([_value(arrays, *entry, path) for entry in zip(names, shapes)])


def _value(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], path: str
) -> np.ndarray:
    axes = _AXES[len(shape)]
    value = arrays.get(name)
    if value is not None and value.ndim == len(axes) and value.transpose(axes).shape == shape:
        return value.transpose(axes)
    found = "no such entry" if value is None else f"one of shape {value.shape}"
    raise ValueError(
        f"Expected weights of the 2015 Inception, with an entry {name}. "
        f"Received: {path}, with {found}. The file is at {WEIGHTS_URL}"
    )
