"""Trainings that diverge, and images that teach nothing."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from faults.areas.arguments import check_run
from faults.attack import Attack, wrong_if
from faults.base import TRAIN, smooth_images
from faults.box import Box
from faults.compare import loads

ISSUE = (
    "train", "digits", "--limit", "200", "--widths", "8,16", "--block-depth", "1", "--batch-size",
    "16", "--epochs", "2", "--every", "1", "--kid-images", "32",
)  # fmt: skip


def attacks(random: random.Random) -> Iterator[Attack]:
    for rate in ("1000", "1e10", "1e30", "1e38"):
        for encoder in ("random_conv", "none"):
            yield Attack(f"numbers/learning rate {rate}/{encoder}", "numbers", _diverge(rate, encoder), "1")  # fmt: skip
    for name, options in {
        "float16": ("--dtype", "mixed_float16", "--learning-rate", "100"),
        "bfloat16": ("--dtype", "mixed_bfloat16", "--learning-rate", "1e6"),
        "weight decay": ("--weight-decay", "1e30"),
        "weight decay large": ("--weight-decay", "1e5"),
    }.items():
        yield Attack(f"numbers/{name}", "numbers", _options(options), "1")
    yield Attack("numbers/generate after divergence", "numbers", _generate_after, "1")
    for name in ("constant", "two values", "one pixel", "tiny variance", "channel constant"):
        yield Attack(f"numbers/images {name}", "numbers", _images(name))
    for name in ("0 to 255", "-1 to 1"):
        yield Attack(f"numbers/fit {name}", "numbers", _fit(name))


def _diverge(rate: str, encoder: str) -> Callable[[Box], None]:
    return _options(("--learning-rate", rate, "--kid-encoder", encoder))


def _options(options: tuple[str, ...]) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        report = box.kddim(*ISSUE, "--kid-encoder", "random_conv", *options, "-o", "R", allowed=("R",))  # fmt: skip
        model = box.path("R/model.keras")
        if report.status == 0:
            check_run(box.path("R"))
            _check_trained(box)
            return
        wrong_if("finite" not in report.err, f"does not tell that the loss is not finite: {report.err[-300:]}")  # fmt: skip
        holds = "holds" in report.err and "no model" not in report.err
        kept = model.exists() or any(box.path("R").glob("checkpoints/*"))
        wrong_if(holds and not kept, f"claims what is not there: {report.err[-300:]}")
        wrong_if(model.exists() and not loads(model), "the kept model is not finite")

    return act


def _check_trained(box: Box) -> None:
    """A loss far above that of predicting zero is no success."""
    lines = box.path("R/history.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    told = "loss" in box.reports[-1].err or "predicting zero" in box.reports[-1].text
    wrong_if(losses[-1] > 100.0 and not told, f"success with a loss of {losses[-1]:.3g}")
    wrong_if(not loads(box.path("R/model.keras")), "a model whose weights are not finite")


def _generate_after(box: Box) -> None:
    report = box.kddim(*ISSUE, "--kid-encoder", "none", "--learning-rate", "1000", "-o", "R", allowed=("R",))  # fmt: skip
    if report.status == 0:
        report = box.kddim("generate", "R", "-n", 8, "-o", "new.npz")
    if report.status == 0:
        images = np.load(box.path("new.npz"))["images"]
        wrong_if(images.std() < 1.0, f"all pixels are {images.flat[0]}, with exit status 0")


def _images(name: str) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        images = smooth_images(60, 8, 3, 0) / np.float32(255)
        if name == "constant":
            images[...] = 0.5
        elif name == "two values":
            images = (images > 0.5).astype("float32")
        elif name == "one pixel":
            images[...] = 0.5
            images[:, 0, 0] = np.linspace(0, 1, 60, dtype="float32")[:, None]
        elif name == "tiny variance":
            images = 0.5 + 1e-6 * images
        else:
            images[..., 1] = 0.0
        np.save(box.path("images.npy"), images)
        command = ("train", "images.npy", *TRAIN[2:], "--image-size", "8", "--epochs", "1")
        report = box.kddim(*command, "--steps-per-epoch", 2, "-o", "new")
        if report.status == 0:
            check_run(box.path("new"))
            words = ("alike", "constant", "same value", "variance")
            told = any(word in report.text for word in words)
            wrong_if(name == "constant" and not told, "training on all-alike images says nothing")

    return act


def _fit(name: str) -> Callable[[Box], None]:
    """`fit` refuses values of another range in the first batch."""

    def act(box: Box) -> None:
        images = smooth_images(32, 8, 3, 0).astype("float32")
        np.save(box.path("images.npy"), images if name == "0 to 255" else images / 127.5 - 1.0)
        report = box.start("info", "none", hook=lambda: _fit_in_child(str(box.path("images.npy")))).wait()  # fmt: skip
        wrong_if("was taken" in report.err, "values outside of [0, 1] are taken in silence")

    return act


def _fit_in_child(path: str) -> None:
    import kddim

    images: Any = np.load(path)
    model = kddim.DiffusionModel(8, (4, 8), 1)
    try:
        model.normalizer.adapt(images)
        model.compile()
        model.fit(images, batch_size=16, epochs=1, verbose=0)
    except ValueError as error:
        raise SystemExit(f"refused: {error}") from error
    raise SystemExit("was taken")
