"""Several devices that train one model or generate with it: the frameworks' own engines."""

import contextlib
import logging
from collections.abc import Iterator

import keras

from kddim import backend, hosts

log = logging.getLogger("kddim")

ALL = "all"
MOST_DEVICES = 10_000


def parse(value: int | str | None) -> int | str | None:
    """Return a number of devices, "all" or None.

    Args:
        value: The same, or a number as text.

    Raises:
        ValueError: If it is something else.
    """
    if value is None or value == ALL:
        return value
    number = int(value) if str(value).isdecimal() and len(str(value)) < 6 else 0
    if isinstance(value, bool) or not 1 <= number <= MOST_DEVICES:
        raise ValueError(
            f'Expected a number of devices of at least 1, or "{ALL}". Received: {value!r}'
        )
    return number


@contextlib.contextmanager
def use_devices(devices: int | str | None, *, several_hosts: bool = True) -> Iterator[None]:
    """Train and generate on several devices in the block.

    Models that are made or loaded in the block divide each batch among the devices, in training
    and in generation. That is `keras.distribution.DataParallel` with JAX and
    `tf.distribute.MirroredStrategy` with TensorFlow. Weights, averages, losses and images are
    those of one device. Without accelerators, the processor becomes several virtual devices, to
    try it. They are not faster.

    If the environment describes several processes (`TF_CONFIG`, or with JAX the variables of
    `keras.distribution.initialize`), all of their devices are used, with a
    `tf.distribute.MultiWorkerMirroredStrategy` or a `DataParallel` over all processes. Each of
    them runs the same program.

    Args:
        devices: Number of devices, "all", or None for one device in the usual way.
        several_hosts: If false, only the devices of this machine are used, whatever the
            environment describes.

    Raises:
        ValueError: If there are fewer devices, if the framework is PyTorch, with which Keras
            uses one device, or if the environment describes processes of another framework.

    Example:
        >>> with use_devices("all"):
        ...     kddim.training.train(config, "runs/mine")
    """
    wanted = parse(devices)
    if wanted is None or wanted == 1:
        yield
        return
    count = wanted if isinstance(wanted, int) else None
    place = hosts.described(keras.backend.backend()) if several_hosts else None
    if place is not None:
        with _hosts(place, count):
            yield
        return
    if several_hosts:
        hosts.check_framework(keras.backend.backend())
    if keras.backend.backend() == "torch" and count:
        raise ValueError(
            "Expected the backend jax or tensorflow for several devices. Received: torch, with "
            "which Keras uses one. Choose another --backend."
        )
    found = backend.devices_of(count)
    if count and len(found) < count:
        raise ValueError(
            f"Expected at most {len(found)} devices, as many as there are. Received: {count}. Use "
            f"--devices {ALL}, or choose them before the framework starts."
        )
    if len(found) == 1:
        log.info("there is one device: %s", found[0])
        yield
        return
    virtual = ", parts of one processor, to try it" if found[0].startswith("cpu") else ""
    log.info("each batch is divided among %d devices%s", len(found), virtual)
    with backend.distributed_over(found):
        yield


@contextlib.contextmanager
def _hosts(place: hosts.Place, count: int | None) -> Iterator[None]:
    """Train with other processes in the block, on all of their devices."""
    if count:
        raise ValueError(
            f'Expected devices "{ALL}", because the environment describes {place.count} processes '
            f"that train together. Received: {count}"
        )
    log.info("process %d of %d: waiting for the others", place.index + 1, place.count)
    with backend.distributed_over_hosts(), hosts.joined(place):
        writes = "writes" if place.index == 0 else "leaves it to the first process to write"
        log.info(
            "process %d of %d divides each batch with the others among %d devices, and %s files",
            *(place.index + 1, place.count, backend.num_devices(), writes),
        )
        yield


def check_batch_size(batch_size: int) -> None:
    """Raise if batches cannot be divided among the devices in equal parts.

    Args:
        batch_size: Number of images per step, of all devices together.

    Raises:
        ValueError: If the number of devices does not divide it.
    """
    if batch_size % (count := backend.num_devices()):
        raise ValueError(
            f"Expected a batch_size that is a multiple of {count}, the number of devices. "
            f"Received: {batch_size}. Use {count * max(1, round(batch_size / count))}."
        )
