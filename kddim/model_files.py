"""Checks of `.keras` files, from their headers and before Keras builds anything.

A `.keras` file is a zip archive of two parts that matter: `config.json`, the arguments of the
model, and `model.weights.h5`, its weights. Both may be damaged, or made to harm. What a file
claims is therefore compared with what it holds: a network cannot need more bytes than the
weights in the file have, and a data set cannot have more values than are stored.
"""

import contextlib
import copy
import io
import json
import math
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kddim.backend import to_numpy
from kddim.budget import check_memory, size_in_words
from kddim.checks import check_image_size, reason_of
from kddim.model import DiffusionModel
from kddim.networks.residual_unet import check_structure
from kddim.networks.sizes import count_values, variable_bytes

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

_MOST_CONFIG = 2**24  # bytes of config.json: a network of 1,000 layers has about 1 MB
_MOST_MEMBERS = 10_000
_MOST_OBJECTS = 100_000  # data sets in the file of weights
_MOST_EXPANSION = 20  # Keras does not compress; compressed weights shrink to nine tenths
_SMALL = 2**26  # bytes that may be compressed to any degree
_ENCRYPTED = 0x1
_NETWORKS = 2  # a file holds the network and its average
_STRUCTURE = ("image_size", "widths", "block_depth", "channels")


@contextlib.contextmanager
def explained(file: Path) -> Iterator[None]:
    """Raise every error of the block as a ValueError that names a `.keras` file.

    Args:
        file: File that the block reads. Damaged files make zipfile, h5py and Keras raise anything.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"Expected a .keras file of a kddim model. Received: {file}, which cannot be "
            f"loaded ({reason_of(error)})"
        ) from error


def check_model_file(path: Path) -> dict[str, Any]:
    """Return the arguments of the model in a file, if Keras can load it safely.

    Safely means without absurd memory and without running code.

    Args:
        path: A `.keras` file.

    Raises:
        ValueError: If the file is no archive of a kddim model, or if it claims sizes that it
            does not hold or that do not fit in the free memory. Damaged parts raise the errors
            of the libraries that read them.
    """
    with zipfile.ZipFile(path) as archive:
        _check_members(archive, path.stat().st_size)
        config = _read_config(archive)
        weights = archive.getinfo(WEIGHTS).file_size
        needed = _NETWORKS * network_bytes(config)
        if needed > weights:
            raise ValueError(
                f"{CONFIG} claims networks of {size_in_words(needed)}, and the file holds weights "
                f"of {size_in_words(weights)}"
            )
        # Keras holds the file of weights in memory while it copies them to the networks.
        check_memory(weights + needed, f"the {size_in_words(weights)} of weights and the networks")
        _check_weights(archive.read(WEIGHTS))
    return config


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raise unless the members of an archive are readable and as large as they claim."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if not {CONFIG, WEIGHTS} <= set(names):
        raise ValueError(f"it holds no {CONFIG} or no {WEIGHTS}")
    if len(members) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise ValueError(f"it has more than {_MOST_MEMBERS:,} members, or two of one name")
    for member in members:
        _check_member(member, size)
    total = sum(member.file_size for member in members)
    check_memory(total, "the content of the file")


def _check_member(member: zipfile.ZipInfo, size: int) -> None:
    words = f"its member {member.filename!r:.80}"
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"{words} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{words} has the unknown compression {member.compress_type}")
    stored = member.compress_type == zipfile.ZIP_STORED
    limit = member.compress_size if stored else _MOST_EXPANSION * member.compress_size
    small = member.file_size <= _SMALL and not stored
    if member.compress_size > size or (member.file_size > limit and not small):
        raise ValueError(
            f"{words} claims {size_in_words(member.file_size)}, and "
            f"{size_in_words(min(member.compress_size, size))} are in the file"
        )
    if member.filename == CONFIG and member.file_size > _MOST_CONFIG:
        raise ValueError(f"{words} has {size_in_words(member.file_size)}")


def _read_config(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the arguments of the model, after checking its class."""
    try:
        content = json.loads(archive.read(CONFIG))
    except RecursionError:
        raise ValueError(f"{CONFIG} is nested too deeply") from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} describes no model")
    kind = keras.saving.get_registered_object(str(content.get("registered_name")))
    if not (isinstance(kind, type) and issubclass(kind, DiffusionModel)):
        name = f"{content.get('class_name')}"
        raise ValueError(f"Expected a kddim.DiffusionModel. Received: a {name:.80}")
    return config


def network_bytes(config: dict[str, Any]) -> int:
    """Return the number of bytes of the variables of the network that arguments describe.

    Nothing of that size is allocated. Subclasses may have other arguments. Their network is then
    unknown, and counts 0.

    Args:
        config: Arguments of a `DiffusionModel`, serialised.

    Raises:
        ValueError: If they describe no network, or one that does not fit in the free memory.
    """
    if config.get("network") is not None:
        return _custom_bytes(config["network"])
    if not set(_STRUCTURE) <= set(config):
        return 0
    size, widths, block_depth, channels = (config[name] for name in _STRUCTURE)
    widths = check_structure(check_image_size(size), widths, block_depth, channels)
    policy = keras.dtype_policies.get(config.get("dtype") or "float32")
    each = np.dtype("float16" if "16" in policy.variable_dtype else "float32").itemsize
    return each * count_values(widths, block_depth, channels)


def _custom_bytes(network: Any) -> int:
    """Return the number of bytes of the variables of a serialised network.

    Keras builds the network without the values of its variables, in a thread of its own, since
    it would compute these values later in the same thread.
    """
    found: list[Any] = []
    known = {name: keras.saving.get_registered_object(name) for name in set(_class_names(network))}

    def measure() -> None:
        try:
            with keras.StatelessScope(initialize_variables=False):
                model = keras.saving.deserialize_keras_object(
                    copy.deepcopy(network),
                    {k: v for k, v in known.items() if v is not None},
                    safe_mode=True,
                )
                found.append(variable_bytes(model))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    if isinstance(found[0], AttributeError):
        raise ValueError(f"Expected a network. Received: {network!r:.80}")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _class_names(config: Any) -> Iterator[str]:
    """Yield the registered names of all objects in a configuration."""
    if isinstance(config, dict):
        name = config.get("registered_name")
        if isinstance(name, str):
            yield name
    inside = config.values() if isinstance(config, dict) else config
    for value in inside if isinstance(config, (dict, list)) else ():
        yield from _class_names(value)


def _check_weights(content: bytes) -> None:
    """Raise unless an HDF5 file holds the arrays that it claims, in itself."""
    with h5py.File(io.BytesIO(content), "r") as file:
        # An exception in a function that h5py calls would lose its message: return the names.
        linked = file.visititems_links(lambda n, link: None if _is_plain(link) else n)
        if linked is not None:
            raise ValueError(f"{WEIGHTS} has a link to another place, {linked!r:.80}")
        names: list[str] = []
        file.visititems(lambda name, item: _note(names, name, item))
        if len(names) > _MOST_OBJECTS:
            raise ValueError(f"{WEIGHTS} has more than {_MOST_OBJECTS:,} data sets")
        for name in names:
            _check_data_set(name, file[name], len(content))


def _is_plain(link: Any) -> bool:
    return isinstance(link, h5py.HardLink)


def _note(names: list[str], name: str, item: Any) -> bool | None:
    """Add the name of a data set to a list. True, for too many of them, stops h5py."""
    if isinstance(item, h5py.Dataset):
        names.append(name)
    return True if len(names) > _MOST_OBJECTS else None


def _check_data_set(name: str, data: h5py.Dataset, size: int) -> None:
    words = f"the data set {name!r:.80} of {WEIGHTS}"
    if data.is_virtual or data.external:
        raise ValueError(f"{words} is kept in another file")
    if data.dtype.kind not in "biufcV" or data.dtype.hasobject:
        raise ValueError(f"{words} holds no numbers but {data.dtype}")
    claimed = math.prod(data.shape) * data.dtype.itemsize
    stored = min(data.id.get_storage_size(), size)
    if claimed > stored:
        raise ValueError(
            f"{words} claims {size_in_words(claimed)}, and {size_in_words(stored)} are in the file"
        )


def describe_non_finite(model: DiffusionModel) -> str:
    """Return the number of values of a model that are NaN or infinite, in words.

    Args:
        model: The model. The variance of its normaliser must not be negative either.

    Returns:
        Text such as `3 of 1,234 values of the network`, empty if all values are finite.
    """
    parts = {
        "the network": model.network.variables,
        "the EMA network": model.ema_network.variables,
        "the normaliser": [model.normalizer.adapt_mean, model.normalizer.adapt_variance],
    }
    found = []
    for name, variables in parts.items():
        values = [to_numpy(variable.value) for variable in variables]
        bad = sum(int(np.sum(~np.isfinite(value))) for value in values)
        bad += int(np.sum(values[1] < 0.0)) if name == "the normaliser" else 0
        if bad:
            found.append(f"{bad:,} of {sum(value.size for value in values):,} values of {name}")
    return ", ".join(found)
