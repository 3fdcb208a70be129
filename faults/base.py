"""Models and images that attacks begin from, made once per run in forked processes."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# The smallest training: one second.
TRAIN = (
    "train", "digits", "--limit", "60", "--widths", "4,8", "--block-depth", "1", "--batch-size",
    "16", "--kid-encoder", "random_conv", "--kid-images", "16", "--kid-steps", "2", "--every", "1",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Write the models and images into a folder.

    `run` is a run folder of digits (8x8x1), `colour.keras` a model of 16x16x3 images,
    `large.keras` one of 64x64x3, `pictures` a folder of 24 PNG files, `images.npz` 40 images,
    and `reference.npz` the statistics of `pictures`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _pictures(folder)
    os.environ["KDDIM_CACHE"] = str(folder / "cache")
    in_fork(lambda: _train(folder))
    in_fork(lambda: _models(folder))
    in_fork(lambda: _reference(folder))


def in_fork(act: Callable[[], None]) -> None:
    """Call a function in a forked process, so that this process computes nothing."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 1)
                act()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{act} failed with status {status}")


def smooth_images(number: int, size: int, channels: int, seed: int) -> np.ndarray:
    """Return smooth random uint8 images, `(number, size, size, channels)`."""
    coarse = np.random.default_rng(seed).random((number, 4, 4, channels))
    images = coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    return (255 * images).astype("uint8")


def _pictures(folder: Path) -> None:
    (folder / "pictures").mkdir(exist_ok=True)
    for index, pixels in enumerate(smooth_images(24, 32, 3, 0)):
        Image.fromarray(pixels).save(folder / "pictures" / f"good_{index:02d}.png")
    np.savez(folder / "images.npz", images=smooth_images(40, 16, 3, 1))


def _train(folder: Path) -> None:
    from kddim import cli

    cli.main([*TRAIN, "--epochs", "2", "--output", str(folder / "run")])


def _reference(folder: Path) -> None:
    from kddim import cli

    target = str(folder / "reference.npz")
    cli.main(["stats", str(folder / "pictures"), "--encoder", "random_conv", "-o", target])


def _models(folder: Path) -> None:
    import kddim

    for name, size in (("colour", 16), ("large", 64)):
        images = smooth_images(32, size, 3, 2).astype("float32") / 255
        model = kddim.DiffusionModel(size, (4, 8), 1)
        model.normalizer.adapt(images)
        model.compile()
        model.fit(images, batch_size=16, epochs=1, verbose=0)
        model.save(folder / f"{name}.keras")
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        weights = model.ema_network.get_weights()
        weights[0][...] = value
        spoilt = kddim.DiffusionModel(8, (4, 8), 1, channels=1)
        spoilt.normalizer.adapt(smooth_images(8, 8, 1, 3).astype("float32") / 255)
        for network in (spoilt.network, spoilt.ema_network):
            weights = network.get_weights()
            weights[0][...] = value
            network.set_weights(weights)
        spoilt.save(folder / f"{name}.keras")
