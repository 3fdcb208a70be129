"""Recipes of training at equal cost: which one gives the best pictures for the same minutes.

    python benchmarks/recipes.py costs                    # on an idle machine
    python benchmarks/recipes.py train --flowers FOLDER --encoder-weights FILE [NAME ...]
    python benchmarks/recipes.py train --stage full --seeds 0,1,2 --data flowers,cifar10 ...
    python benchmarks/recipes.py score NAME --stage full   # again, from its run folder
    python benchmarks/recipes.py report

The cost of a step is measured once, as a ratio to the step of the keras.io example (default
network, float32, batch 64, 32x32 pixels), with the two interleaved. From then on a recipe trains
for a number of steps whose cost is equal to that of all others, so that other work may run beside
it. Each trial is a run of `kddim train` in build/recipes. A trial that was interrupted goes on
when the command is given again, and results are kept in benchmarks/recipes.json.
"""

import argparse
import fcntl
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

HERE = Path(__file__).parent
LEDGER = HERE / "recipes.json"
BUILD = HERE.parent / "build" / "recipes"
SIZE = 32
EVALUATIONS = (5, 20)
# Samplers of the scores, and what the tables call them.
SAMPLERS = {
    "ddim": "",
    "gaussian_start": ", Gaussian start",
    "auto": ", as kddim generate",  # without tuning
    "tuned": ", Gaussian start, tuned",  # as `kddim tune --start 0.9`
}
BF16 = {"dtype": "mixed_bfloat16"}


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of a recipe, which may name the one that it builds on as `on`."""
    settings = dict(RECIPES[name])
    on = settings.pop("on", None)
    return (settings_of(on) if on else {}) | settings


# Steps of the example whose cost each trial of a stage has, number of images of a score, and
# number of epochs that the steps are divided into.
STAGES: dict[str, dict[str, int]] = {
    "screen": {"steps": 375, "images": 1000},
    "half": {"steps": 750, "images": 2000},
    "full": {"steps": 1500, "images": 2000},
}

# One change at a time to the small network, then changes together.
RECIPES: dict[str, dict[str, Any]] = {
    "example": {},
    "small": {"widths": [16, 32, 48, 64]},
    # Time on the machine.
    "bfloat16": {"on": "small", **BF16},
    "batch 32": {"on": "small", "batch_size": 32},
    "coarse": {"on": "small", "widths": [16, 32, 64, 96]},
    "attention": {"on": "small", "attention_levels": [2, 3]},
    "group": {"on": "small", "normalization": "group"},
    "patch": {"on": "small", "patch_size": 2, "widths": [48, 64, 96]},
    "patch, coarse": {"on": "small", "patch_size": 2, "widths": [32, 64, 128]},
    # What is learned.
    "velocity": {"on": "small", "prediction_type": "velocity"},
    "velocity, squared": {"on": "velocity", "loss": "mean_squared_error"},
    "edm": {"on": "velocity, squared", "training_times": "log_normal"},
    "image": {"on": "small", "prediction_type": "image"},
    "flow": {
        "on": "small", "prediction_type": "flow", "schedule": "flow_matching",
        "loss": "mean_squared_error", "training_times": "logit_normal",
    },
    "squared": {"on": "small", "loss": "mean_squared_error"},
    "huber": {"on": "small", "loss": "huber"},
    "min-snr": {"on": "squared", "weighting": "min_snr"},
    "sigmoid weighting": {"on": "squared", "weighting": "sigmoid"},
    "log-normal times": {"on": "small", "training_times": "log_normal"},
    "nearest of 4 noises": {"on": "small", "change": "nearest_noise"},
    # Averaging and rates.
    "decay": {"on": "small", "learning_rate_decay": 0.3},
    "rate 2e-3": {"on": "small", "learning_rate": 2e-3},
    "ema 0.995": {"on": "small", "ema": 0.995},
    # Data.
    "flip": {"on": "small", "flip": True},
    # Together: more and cheaper steps without patches, and the shape of the network.
    "more steps": {"on": "bfloat16", "batch_size": 32},
    "most steps": {"on": "bfloat16", "batch_size": 16},
    "more steps, wide": {"on": "more steps", "widths": [32, 64, 96, 128]},
    "more steps, middle": {"on": "more steps", "widths": [24, 48, 72, 96]},
    "most steps, middle": {"on": "most steps", "widths": [24, 48, 72, 96]},
    "most steps, wide": {"on": "most steps", "widths": [32, 64, 96, 128]},
    "most steps, coarse": {"on": "most steps", "widths": [16, 32, 64, 128]},
    "most steps, decay": {"on": "most steps", "learning_rate_decay": 0.3},
    "most steps, shallow": {
        "on": "most steps", "block_depth": 1, "widths": [32, 48, 64, 96],
    },
    # One change at a time to many small steps.
    "most steps, attention": {"on": "most steps", "attention_levels": [2, 3]},
    "most steps, log-normal": {"on": "most steps", "training_times": "log_normal"},
    "most steps, logit-normal": {"on": "most steps", "training_times": "logit_normal"},
    "most steps, min-snr": {"on": "most steps", "loss": "mean_squared_error", "weighting": "min_snr"},
    "most steps, min-snr, absolute": {"on": "most steps", "weighting": "min_snr"},
    "most steps, squared": {"on": "most steps", "loss": "mean_squared_error"},
    "most steps, sigmoid": {"on": "most steps, squared", "weighting": "sigmoid"},
    "most steps, huber": {"on": "most steps", "loss": "huber"},
    "most steps, huber, signal 0.99": {"on": "most steps, huber", "schedule": "fine_cosine"},
    "most steps, huber, signal 0.999": {"on": "most steps, huber", "change": "signal_0.999"},
    "most steps, huber, nichol_dhariwal": {"on": "most steps, huber", "schedule": "nichol_dhariwal"},
    "most steps, huber, log_snr_linear": {"on": "most steps, huber", "schedule": "log_snr_linear"},
    # The error of the samples comes from the highest noise (docs/recipes.md).
    "most steps, huber, high noise": {"on": "most steps, huber", "change": "high_noise"},
    "most steps, huber, stratified": {"on": "most steps, huber", "change": "stratified"},
    "most steps, huber, tilted": {"on": "most steps, huber", "change": "tilted"},
    "muon": {"on": "most steps, huber", "optimizer": "muon"},
    "muon, rate 2e-3": {"on": "muon", "learning_rate": 2e-3},
    "muon, rate 4e-3": {"on": "muon", "learning_rate": 4e-3},
    "muon, flip, decay": {
        "on": "muon, rate 2e-3", "flip": True, "learning_rate_decay": 0.5,
    },
    "muon, flip, decay, signal 0.99": {"on": "muon, flip, decay", "schedule": "fine_cosine"},
    "muon, signal 0.99": {"on": "muon, rate 2e-3", "schedule": "fine_cosine"},
    "muon, multiscale": {"on": "muon, rate 2e-3", "change": "multiscale"},
    "muon, multiscale, mild": {"on": "muon, rate 2e-3", "change": "multiscale_mild"},
    "muon, attention": {"on": "muon, rate 2e-3", "attention_levels": [2, 3]},
    "muon, coarse": {"on": "muon, rate 2e-3", "widths": [16, 32, 64, 128]},
    "muon, shallow": {
        "on": "muon, rate 2e-3", "block_depth": 1, "widths": [32, 48, 64, 96],
    },
    "muon, middle": {"on": "muon, rate 2e-3", "widths": [24, 48, 72, 96]},
    "muon, wide": {"on": "muon, rate 2e-3", "widths": [32, 64, 96, 128]},
    "most steps, huber, velocity of noise": {
        "on": "most steps, huber", "prediction_type": "velocity", "loss_type": "noise",
    },
    "most steps, huber, flip, decay": {
        "on": "most steps, huber", "flip": True, "learning_rate_decay": 0.5,
    },
    "more steps, wide, huber, flip, decay": {
        "on": "more steps, wide", "loss": "huber", "flip": True, "learning_rate_decay": 0.5,
    },
    "most steps, velocity": {"on": "most steps", "prediction_type": "velocity"},
    "most steps, image": {"on": "most steps", "prediction_type": "image"},
    "most steps, edm": {
        "on": "most steps", "prediction_type": "velocity", "loss": "mean_squared_error",
        "training_times": "log_normal",
    },
    "most steps, nearest": {"on": "most steps", "change": "nearest_noise"},
    "most steps, rate 2e-3": {"on": "most steps", "learning_rate": 2e-3},
    "most steps, rate 5e-4": {"on": "most steps", "learning_rate": 5e-4},
    "most steps, ema 0.9995": {"on": "most steps", "ema": 0.9995},
    "most steps, rate 4e-3": {"on": "most steps", "learning_rate": 4e-3},
    "most steps, wide, rate 2e-3": {"on": "most steps, wide", "learning_rate": 2e-3},
    "most steps, wide, min-snr, rate 2e-3": {
        "on": "most steps, wide", "loss": "mean_squared_error", "weighting": "min_snr",
        "learning_rate": 2e-3,
    },
    "most steps, wide, huber, rate 2e-3": {"on": "most steps, wide, rate 2e-3", "loss": "huber"},
    "most steps, wide, huber, min-snr, rate 2e-3": {
        "on": "most steps, wide, huber, rate 2e-3", "weighting": "min_snr",
    },
    "most steps, flip": {"on": "most steps", "flip": True},
    "most steps, augmentation": {"on": "most steps", "change": "augmentation"},
    # Together: what pays above, at three sizes of the network.
    "fast": {"on": "bfloat16", "patch_size": 2, "widths": [64, 96, 128], "flip": True},
    "fast, narrow": {"on": "fast", "widths": [48, 64, 96]},
    "fast, wide": {"on": "fast", "widths": [64, 128, 192]},
    "fast, batch 32": {"on": "fast", "batch_size": 32},
    "fast, attention": {"on": "fast", "attention_levels": [2]},
}  # fmt: skip


class Ledger:
    """Results and costs in a JSON file, written after each of them.

    Several processes may share the file.
    """

    def __init__(self, path: Path = LEDGER):
        self.path = path
        self.content = self.read()

    def read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"costs": {}, "trials": {}}
        return json.loads(self.path.read_text()) if self.path.is_file() else empty

    def add(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Add a cost or a trial to those that the file has by now."""
        BUILD.mkdir(parents=True, exist_ok=True)
        with open(BUILD / "ledger.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.content = self.read()
            self.content[kind][key] = value
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(self.content, indent=1, sort_keys=True) + "\n")
            partial.replace(self.path)

    def cost(self, name: str) -> float:
        """Return the cost of a step of a recipe, in steps of the example."""
        key = cost_key(settings_of(name))
        if key not in self.content["costs"]:
            raise SystemExit(f"Expected the cost of {name!r}. Run `recipes.py costs` first.")
        return self.content["costs"][key]["ratio"]


def cost_key(settings: dict[str, Any]) -> str:
    """Return the settings that decide the cost of a step, as text."""
    names = ("batch_size", "widths", "block_depth", "attention_levels", "normalization")
    names += ("patch_size", "dtype", "optimizer")
    return json.dumps({name: settings[name] for name in names if name in settings})


# Costs.


def prepare(settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return the compiled model of a recipe, and random images of seven steps."""
    import keras
    import numpy as np

    from kddim.data import ImageDataset
    from kddim.training import TrainingConfig, build

    settings = {k: v for k, v in settings.items() if k != "change"}
    keras.config.set_dtype_policy(settings.pop("dtype", "float32"))
    config = TrainingConfig("random", image_size=SIZE, channels=3, epochs=10**4, **settings)
    batch = config.batch_size
    images = np.random.default_rng(0).integers(0, 256, (7 * batch, SIZE, SIZE, 3), "uint8")
    data = ImageDataset(images, batch, training=True)
    return build.build_model(config.resolved(), data), data


def step_seconds(prepared: tuple[Any, Any]) -> float:
    """Return the median time of a training step."""
    import numpy as np
    from clock import StepClock

    model, data = prepared
    clock = StepClock()
    model.fit(data, verbose=0, callbacks=[clock])
    return float(np.median(np.diff(clock.ends)))


def measure_costs(ledger: Ledger, names: list[str], rounds: int, again: bool) -> None:
    """Measure the cost of each recipe's step against the example's, interleaved."""
    example = prepare({})
    step_seconds(example)
    for name in names:
        key = cost_key(settings_of(name))
        if key in ledger.content["costs"] and not again:
            continue
        recipe = prepare(settings_of(name))
        step_seconds(recipe)
        pairs = [(step_seconds(example), step_seconds(recipe)) for _ in range(rounds)]
        ratios = sorted(float(mine / other) for other, mine in pairs)
        found = {
            "ratio": round(statistics.median(ratios), 4),
            "range": [round(ratios[0], 4), round(ratios[-1], 4)],
            "ms": round(1e3 * min(mine for _, mine in pairs), 1),
            "example_ms": round(1e3 * min(other for other, _ in pairs), 1),
        }
        ledger.add("costs", key, found)
        print(f"{name}: {found}", flush=True)


# Trials.


def source_of(data: str, options: argparse.Namespace) -> str:
    """Return the source of a data set; CIFAR-10 is unpacked first."""
    if data == "flowers":
        return options.flowers
    folder = BUILD / "cifar10"
    if not folder.is_dir():
        import zipfile

        with zipfile.ZipFile(options.cifar10) as archive:
            archive.extractall(folder.with_suffix(".partial"))
        folder.with_suffix(".partial").rename(folder)
    return str(folder)


def steps_of(name: str, stage: str, ledger: Ledger) -> int:
    """Return the number of steps that a recipe has for the budget of a stage."""
    return round(STAGES[stage]["steps"] / ledger.cost(name))


def run_trial(name: str, data: str, seed: int, ledger: Ledger, options: argparse.Namespace) -> None:
    """Train and score one recipe, or go on with it, unless the ledger has its result."""
    key = f"{options.stage}/{data}/{seed}/{name}"
    folder = BUILD / "runs" / key.replace(" ", "_").replace(",", "")
    if options.verb == "score":
        found = ledger.content["trials"][key]
        source = source_of(data, options)
        found["scores"] |= score(folder, source, STAGES[options.stage]["images"], options)
        ledger.add("trials", key, found)
        print(f"{key}: {found['scores']}", flush=True)
        return
    if key in ledger.content["trials"]:
        return
    steps = steps_of(name, options.stage, ledger)
    source = source_of(data, options)
    began = time.perf_counter()
    if not (folder / "state.json").is_file():
        train(name, folder, source, seed, steps, options.dtype)
    elif not json.loads((folder / "state.json").read_text()).get("finished"):
        subprocess.run([sys.executable, "-m", "kddim", "train", "--resume", folder], check=True)
    seconds = time.perf_counter() - began
    found = {"steps": steps, "seconds": round(seconds), "settings": settings_of(name)}
    found["dtype"] = json.loads((folder / "config.json").read_text()).get("dtype")
    found["cost"] = round(STAGES[options.stage]["steps"] / steps, 4)
    found["scores"] = score(folder, source, STAGES[options.stage]["images"], options)
    ledger.add("trials", key, found)
    print(f"{key}: {found['scores']}", flush=True)


def train(
    name: str, folder: Path, source: str, seed: int, steps: int, dtype: str | None = None
) -> None:
    """Train in a process of its own, through the command line.

    `dtype` replaces the precision of the recipe, for a processor that lacks it.
    """
    settings = settings_of(name)
    if dtype:
        settings["dtype"] = dtype
    change = settings.pop("change", None)
    settings |= {
        "source": source, "image_size": SIZE, "seed": seed, "kid_encoder": "none",
        "epochs": 1, "steps_per_epoch": steps, "repeats": 1, "output": str(folder),
    }  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.settings.json"
    file.write_text(json.dumps(settings))
    command = ["train", "--config", str(file), "--overwrite"]
    if change is None:
        subprocess.run([sys.executable, "-m", "kddim", *command], check=True)
    else:  # `kddim train` has no such setting
        subprocess.run([sys.executable, __file__, "changed", change, *command], check=True)


def score(
    folder: Path, source: str, num_images: int, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Score the model of a run against held-out images, at few and at many evaluations."""
    import keras

    from kddim import evaluation, runs, tuning
    from kddim.data import load

    keras.config.set_dtype_policy("float32")
    model = runs.load_model(folder, dtype="float32")
    if model.gaussian is None:  # a run of an earlier version
        model.fit_gaussian(load(source, SIZE, 256)[0])
    reference = evaluation.make_reference(
        source, model.image_shape, encoder="mobilenet", weights=options.encoder_weights,
        split="validation",
    )  # fmt: skip
    chosen = options.samplers.split(",")
    found = {}
    for sampler, words in SAMPLERS.items():
        if sampler not in chosen:
            continue
        if sampler == "tuned":
            tuning.tune(model, EVALUATIONS, num_images=128, start=0.9)
        for steps in EVALUATIONS:
            scores = evaluation.evaluate(
                model, reference, num_images=num_images, diffusion_steps=steps, sampler=sampler,
                metrics=("kid", "fid", "prdc"), seed=1000, floor=False,
            )  # fmt: skip
            names = ("kid", "kid_std", "fid", "fid_std", "precision", "recall")
            found[f"{steps}{words}"] = {key: round(scores[key], 5) for key in names}
    return found


def train_changed(change: str, arguments: list[str]) -> None:
    """Run `kddim train` after a change of this file to the package."""
    from kddim.__main__ import main as kddim_main

    CHANGES[change]()
    sys.argv = ["kddim", *arguments]
    kddim_main()


def nearest_noise() -> None:
    """Give each image the nearest of four noises (arXiv 2505.18521)."""
    import keras
    from keras import ops

    from kddim.objective import Regression
    from kddim.training import build

    class NearestNoise(Regression):
        def draw(self, images, schedule, seed_generator):
            _, times = super().draw(images, schedule, seed_generator)
            shape = (4, *images.shape[1:])
            others = keras.random.normal((ops.shape(images)[0], *shape), seed=seed_generator)
            distances = ops.sum((others - images[:, None]) ** 2, axis=(2, 3, 4))
            chosen = ops.one_hot(ops.argmin(distances, axis=1), 4)
            return ops.sum(others * chosen[:, :, None, None, None], axis=1), times

    build.Regression = NearestNoise


def augmentation() -> None:
    """Flip and turn a part of the images, and tell the network how (after EDM, Appendix F.2).

    The network has a class for each of the seven ways to flip or turn a square. An image as it is
    has no label, so that the model generates images as they are.
    """
    import keras
    from keras import ops

    from kddim.model import DiffusionModel

    make, call, checked = DiffusionModel.__init__, DiffusionModel.call, DiffusionModel._checked

    def augmented_call(self, images, training=False):
        if not training:
            return call(self, images)
        number = ops.shape(images)[0]
        draws = keras.random.uniform((2, number), seed=self.seed_generator)
        turns = ops.cast(1 + ops.floor(7 * draws[1]), "int32")
        turns = ops.where(draws[0] < 0.3, turns, 0)
        ways = {
            1: lambda one: ops.transpose(one, (0, 2, 1, 3)),
            2: lambda one: ops.flip(one, axis=1),
            4: lambda one: ops.flip(one, axis=2),
        }
        for bit, way in ways.items():
            chosen = (turns // bit % 2 == 1)[:, None, None, None]
            images = ops.where(chosen, way(images), images)
        return call(self, (images, turns - 1), training=True)

    @functools.wraps(make)
    def with_classes(self, *arguments, **options):
        make(self, *arguments, **(options | {"num_classes": 7, "label_dropout": 0.0}))

    def unlabelled(self, *arguments, **options):
        return checked(self, *arguments, **(options | {"needs_labels": False}))

    DiffusionModel.call, DiffusionModel._checked = augmented_call, unlabelled
    DiffusionModel.__init__ = with_classes


def high_noise() -> None:
    """Draw times with a density that rises from 0 at time 0 to 2 at time 1."""
    from keras import ops

    from kddim.training_times import UniformTimes

    UniformTimes.times = lambda self, uniform, schedule: ops.sqrt(uniform)


def tilted() -> None:
    """Weight an error of the noise with one over the signal rate, but at most with ten."""
    from keras import ops

    from kddim.weightings import ConstantWeighting

    ConstantWeighting.weights = lambda self, noise_rates, signal_rates, loss_type: (
        1.0 / ops.maximum(signal_rates, 0.1)
    )


def stratified() -> None:
    """Draw one time from each of as many equal parts of [0, 1] as the batch has images."""
    import keras
    from keras import ops

    from kddim.objective import Regression
    from kddim.training import build

    class Stratified(Regression):
        def draw(self, images, schedule, seed_generator):
            noises, _ = super().draw(images, schedule, seed_generator)
            number = ops.shape(images)[0]
            start = keras.random.uniform((1,), seed=seed_generator)
            parts = ops.cast(ops.arange(number), "float32") / ops.cast(number, "float32")
            uniform = ops.mod(parts + start, 1.0)[:, None, None, None]
            return noises, self._times(uniform, schedule)

    build.Regression = Stratified


def end_at_signal_rate(rate: float) -> None:
    """Let the cosine schedule end at another signal rate than the example's 0.95."""
    from kddim.schedules import CosineSchedule

    CosineSchedule.__init__.__defaults__ = (0.02, rate)


def multiscale(power: float = 0.0) -> None:
    """Also compare the averages of squares of 2, 4, ... pixels (Hoogeboom et al. 2023, section 3.3).

    The average of noise in a square of s x s pixels is s times smaller than noise. It is scaled up,
    so that an error counts alike at all sizes, times `s ** power`.
    """
    from keras import ops

    from kddim.objective import Regression

    def loss(self, examples, pixel_loss):
        target, prediction = examples["target"], examples["prediction"]
        total, weights, size = 0.0, 0.0, 1
        while size <= target.shape[1]:
            if size > 1:
                target = 2.0 * ops.average_pool(target, 2)
                prediction = 2.0 * ops.average_pool(prediction, 2)
            total = total + size**power * ops.mean(pixel_loss(target, prediction))
            weights += size**power
            size *= 2
        return total / weights

    Regression.loss = loss


CHANGES = {
    "multiscale": multiscale,
    "multiscale_mild": functools.partial(multiscale, -1.0),
    "nearest_noise": nearest_noise,
    "augmentation": augmentation,
    "high_noise": high_noise,
    "stratified": stratified,
    "tilted": tilted,
    "signal_0.999": functools.partial(end_at_signal_rate, 0.999),
}


# Report.


def trials_of(ledger: Ledger, stage: str, data: str) -> dict[str, list[dict[str, Any]]]:
    """Return the trials of a stage on a data set by recipe, one per seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key, trial in sorted(ledger.content["trials"].items()):
        where = key.split("/")
        if where[:2] == [stage, data]:
            found.setdefault(where[3], []).append(trial)
    return found


def mean_and_error(trials: list[dict[str, Any]], steps: Any, name: str) -> tuple[float, float]:
    """Return a score's mean over seeds and its standard error.

    With one seed, the error is the deviation of the estimate over subsets of the images.
    """
    values = [trial["scores"][str(steps)][name] for trial in trials]
    if len(values) == 1:
        return values[0], trials[0]["scores"][str(steps)].get(f"{name}_std", 0.0)
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def table(ledger: Ledger, stage: str, data: str) -> list[str]:
    """Return the table of the trials of a stage on a data set, the best recipe first."""
    lines = ["| recipe | cost of a step | steps | seeds | KID at 20 | KID at 5 | FID at 20 | FID at 5 | precision, recall at 20 |", "|" + "---|" * 9]  # fmt: skip
    rows = []
    found = trials_of(ledger, stage, data).items()
    for (name, trials), words in itertools.product(found, SAMPLERS.values()):
        few, many = (f"{steps}{words}" for steps in EVALUATIONS)
        trials = [trial for trial in trials if many in trial["scores"]]
        if not trials:
            continue
        cells = [
            f"{name}{words}",
            f"{trials[0]['cost']:.3f}",
            f"{trials[0]['steps']:,}",
            str(len(trials)),
        ]
        for score, digits in (("kid", 2), ("fid", 0)):
            for steps in (many, few):
                mean, error = mean_and_error(trials, steps, score)
                cells.append(f"{mean:.{digits}f} ± {error:.{digits}f}")
        shares = (mean_and_error(trials, many, kind)[0] for kind in ("precision", "recall"))
        cells.append(", ".join(f"{share:.3f}" for share in shares))
        rows.append((mean_and_error(trials, many, "kid")[0], "| " + " | ".join(cells) + " |"))
    return lines + [line for _, line in sorted(rows)]


def plot(ledger: Ledger, names: list[tuple[str, str]], data: list[str], path: Path) -> None:
    """Draw KID against the cost of training, for some recipes with the words of a sampler.

    A name may be several, separated by `|`: each stage shows the first one that it has.
    """
    from matplotlib import pyplot

    data = [one for one in data if sum(bool(trials_of(ledger, s, one)) for s in STAGES) > 1]
    figure, axes = pyplot.subplots(1, len(data), figsize=(5.2 * len(data), 5.0), squeeze=False)
    for axis, one in zip(axes[0], data):
        for number, (name, words) in enumerate(names):
            for steps, style in zip(EVALUATIONS, ("--", "-")):
                points = []
                for stage, about in STAGES.items():
                    found = trials_of(ledger, stage, one)
                    trials = next((found[n] for n in name.split("|") if n in found), [])
                    key = f"{steps}{words}"
                    trials = [trial for trial in trials if key in trial["scores"]]
                    if trials:
                        points.append((about["steps"], *mean_and_error(trials, key, "kid")))
                if points:
                    axis.errorbar(
                        *zip(*points), fmt=style, marker="o", capsize=3, color=f"C{number}",
                        label=f"{name.partition('|')[0]}{words}, {steps} evaluations",
                    )  # fmt: skip
        axis.set(title=one, xlabel="cost of the training, in steps of the example", ylabel="KID")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def report(ledger: Ledger, page: Path, best: str) -> None:
    """Write the tables between the marks of a page, and the plot beside it."""
    text = page.read_text()
    for stage in STAGES:
        for data in ("flowers", "cifar10"):
            begin, end = f"<!-- {stage}, {data} -->", f"<!-- /{stage}, {data} -->"
            if begin not in text:
                continue
            before, _, rest = text.partition(begin)
            lines = [begin, "", *table(ledger, stage, data), "", end]
            text = before + "\n".join(lines) + rest.partition(end)[2]
    page.write_text(text)
    recipes = [("example", ""), (best, ""), (best, ", Gaussian start, tuned")]
    plot(ledger, recipes, ["flowers", "cifar10"], page.parent / "recipes" / "cost.png")


def main() -> None:
    if sys.argv[1:2] == ["changed"]:
        train_changed(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["costs", "train", "score", "report"])
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    parser.add_argument("--stage", choices=list(STAGES), default="screen")
    parser.add_argument("--data", default="flowers")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--flowers", default="oxford_flowers102")
    parser.add_argument("--cifar10", help="zip file of pictures")
    parser.add_argument("--encoder-weights", help="Keras weights of MobileNet, without top")
    parser.add_argument("--samplers", default=",".join(SAMPLERS), help="samplers of the scores")
    parser.add_argument("--dtype", help="precision to train in, where the recipe's own is slow")
    parser.add_argument("--page", default="docs/recipes.md", help="page of the tables")
    parser.add_argument("--best", default="most steps", help="recipe that the plot shows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="measure known costs again")
    options = parser.parse_args()
    ledger = Ledger()
    if options.verb == "costs":
        measure_costs(ledger, options.names, options.rounds, options.again)
    elif options.verb == "report":
        report(ledger, Path(options.page), options.best)
    else:
        for seed in map(int, options.seeds.split(",")):
            for data in options.data.split(","):
                for name in options.names:
                    run_trial(name, data, seed, ledger, options)


if __name__ == "__main__":
    main()
