"""Ways to teach a trained model few steps, at equal cost.

    python benchmarks/distillations.py --output build/distillations [--seeds 0,1,2] [--ways ...]

A teacher of digits (8x8) that predicts velocities trains for 150 epochs. Each way then has half of
the cost of this training: its step is timed against the teacher's training step, in turns, and the
number of its steps follows. The paths of the teacher are a part of the cost. KID compares generated digits with all 1,797 digits (encoder
random_conv), with three seeds of noise. Results are kept in the output folder, and what is known is
not computed again.
"""

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from keras import ops

from kddim import evaluation, predictions, runs
from kddim.backend import rows_of_replica
from kddim.data import load
from kddim.distillation import PathDistillation, paths_of_epoch, substeps_of
from kddim.learning_rates import ConstantThenLinear
from kddim.model import DiffusionModel
from kddim.networks.adopt import copy_network
from kddim.objective import Regression
from kddim.training import TrainingConfig, train

EPOCHS, SHARE, PHASES, BATCH = 150, 0.5, 12, 64


class Direct(keras.layers.Layer):
    """The teacher is followed in each training step, from noisy training images."""

    def __init__(self, model, diffusion_steps, teacher_type):
        super().__init__(dtype="float32", trainable=False)
        self.diffusion_steps, self.teacher_type = diffusion_steps, teacher_type
        self.substeps = substeps_of(diffusion_steps)
        self.for_files = Regression(model.loss_type)
        self.teacher = copy_network(model.network, model.image_shape)
        self.teacher.trainable = False
        self.built = True

    def draw(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises, and times at which a step of the student begins."""

        def draw(number: Any) -> tuple[Any, Any]:
            """Draw noises, and times at which steps of the student begin."""
            noises = keras.random.normal((number, *images.shape[1:]), seed=seed_generator)
            uniform = keras.random.uniform((number, 1, 1, 1), seed=seed_generator)
            step = ops.floor(uniform * self.diffusion_steps)
            step = ops.minimum(step, self.diffusion_steps - 1.0)
            return noises, 1.0 - step / self.diffusion_steps

        return rows_of_replica(draw, ops.shape(images)[0])

    def draw_validation(self, images: Any, schedule: Any, seed_generator: Any) -> tuple[Any, Any]:
        """Draw noises and times as `Regression` does."""
        return self.for_files.draw_validation(images, schedule, seed_generator)

    def examples(
        self, denoise: Any, schedule: Any, images: Any, noises: Any, times: Any
    ) -> dict[str, Any]:
        """Follow the teacher for one step of the student, and denoise as the student must."""
        length = 1.0 / self.diffusion_steps
        times = ops.maximum(times, length)  # validation has times between those of the steps
        rates, end_times = schedule(times), times - length
        noisy_images = rates[1] * images + rates[0] * noises
        reached, teacher_images = self._follow(schedule, noisy_images, times)
        end_rates = schedule(ops.maximum(end_times, 0.0))
        # The image with which one step of DDIM leads to the same place (Salimans and Ho, App. G).
        ratio = end_rates[0] / rates[0]
        target_images = (reached - ratio * noisy_images) / (end_rates[1] - ratio * rates[1])
        target_images = ops.where(end_times <= 1e-6, teacher_images, target_images)
        target_images = ops.stop_gradient(target_images)
        target_noises = (noisy_images - rates[1] * target_images) / rates[0]
        pair = denoise(noisy_images, *rates)
        found = [predictions.quantity("velocity", p, *rates) for p in (pair, (target_noises, target_images))]  # fmt: skip
        return {
            "images": target_images, "noises": target_noises, "pred_noises": pair[0],
            "pred_images": pair[1], "prediction": found[0], "target": found[1],
        }  # fmt: skip

    def _follow(self, schedule: Any, noisy_images: Any, times: Any) -> Any:
        """Return the noisy images where the teacher's steps end, and its last predicted images."""
        length = 1.0 / (self.diffusion_steps * self.substeps)

        def step(index: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
            """Take one step of the teacher. A loop is compiled once, whatever its length."""
            begin = times - ops.cast(index, "float32") * length
            noises, images = self._teach(found[0], *schedule(begin))
            noise_rates, signal_rates = schedule(ops.maximum(begin - length, 0.0))
            return signal_rates * images + noise_rates * noises, images

        return ops.fori_loop(0, self.substeps, step, (noisy_images, noisy_images))

    def _teach(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> tuple[Any, Any]:
        inputs = [noisy_images, noise_rates**2]
        output = ops.cast(self.teacher(inputs, training=False), "float32")
        return predictions.split(self.teacher_type, output, noisy_images, noise_rates, signal_rates)

    def loss(self, examples: dict[str, Any], pixel_loss: Any) -> Any:
        """Return the loss of a batch, a scalar: that of the velocities."""
        return self.for_files.loss(examples, pixel_loss)


class Progressive(Direct):
    """Students of 8, 4, 2 and 1 steps, each the teacher of the next (arXiv 2202.00512)."""

    def __init__(self, model, diffusion_steps, teacher_type):
        super().__init__(model, diffusion_steps, teacher_type)
        self.last, self.substeps = diffusion_steps, 2
        self.num_stages = 1 + int(math.log2(8 / diffusion_steps))
        self.stage = self.add_weight(name="stage", shape=(), initializer="zeros", trainable=False)

    @property
    def diffusion_steps(self):
        """Number of steps of the present student, a tensor."""
        if not hasattr(self, "stage"):  # while it is made
            return self.last
        return self.last * ops.power(2.0, self.num_stages - 1 - self.stage)

    @diffusion_steps.setter
    def diffusion_steps(self, steps):
        self.last = steps

    def begin_phase(self, model, phase):
        """Let the student become the teacher where a stage begins."""
        wanted = phase * self.num_stages // PHASES
        if int(self.stage) < wanted:
            self.teacher.set_weights(model.ema_network.get_weights())
            self.stage.assign(wanted)


class Consistency(Regression):
    """Consistency tuning (Geng et al., ECT, arXiv 2406.14548).

    The image that is predicted at one noise level is that at a lower one, of the same image and
    noise, and at the lowest the image itself. The levels move together in eight stages.
    """

    def __init__(self, iterations, total):
        super().__init__("image")
        self.__dict__.update(iterations=iterations, total=total)

    def draw(self, images, schedule, seed_generator):
        number = ops.shape(images)[0]
        noises = keras.random.normal(ops.shape(images), seed=seed_generator)
        log_sigma = -1.1 + 2.0 * keras.random.normal((number, 1, 1, 1), seed=seed_generator)
        log_sigma = ops.clip(log_sigma, -4.0, 3.9)  # of the schedule
        return noises, ops.clip(schedule.time_at_log_snr(-2.0 * log_sigma), 1e-4, 1.0)

    def examples(self, denoise, schedule, images, noises, times):
        rates = schedule(times)
        sigma = rates[0] / rates[1]
        done = ops.cast(self.iterations.value, "float32") / self.total
        stage = ops.floor(8.0 * ops.minimum(done, 0.999)) + 1.0
        shrink = 1.0 - ops.power(2.0, -stage) * (1.0 + 8.0 * ops.sigmoid(-sigma))
        lower = sigma * ops.maximum(shrink, 0.0)
        signal = 1.0 / ops.sqrt(1.0 + lower**2)
        lower_rates = (lower * signal, signal)
        found = denoise(rates[1] * images + rates[0] * noises, *rates)
        # ECT gives both levels the same dropout. This network has none.
        known = denoise(lower_rates[1] * images + lower_rates[0] * noises, *lower_rates)[1]
        target = ops.where(lower <= 0.003, images, known)
        target = ops.stop_gradient(target)
        scale = ops.sqrt(sigma - lower)
        return {
            "images": images, "noises": noises, "pred_noises": found[0], "pred_images": found[1],
            "prediction": found[1] / scale, "target": target / scale,
        }  # fmt: skip


def compare(denoise, target_images, noisy_images, rates) -> dict[str, Any]:
    """Return the tensors of a loss between velocities."""
    target_images = ops.stop_gradient(target_images)
    target_noises = (noisy_images - rates[1] * target_images) / rates[0]
    pair = denoise(noisy_images, *rates)
    found, wanted = (
        predictions.quantity("velocity", one, *rates)
        for one in (pair, (target_noises, target_images))
    )
    return {
        "images": target_images, "noises": target_noises, "pred_noises": pair[0],
        "pred_images": pair[1], "prediction": found, "target": wanted,
    }  # fmt: skip


# Runs.


def teacher_of(folder: Path) -> DiffusionModel:
    """Train the teacher, or load it."""
    if not (folder / "model.keras").is_file():
        config = TrainingConfig(
            "digits", epochs=EPOCHS, prediction_type="velocity", loss="mean_squared_error",
            kid_encoder="none",
        )  # fmt: skip
        train(config, folder, verbose=0, overwrite=True)
    return runs.load_model(folder)


def student_of(teacher: DiffusionModel) -> DiffusionModel:
    """Return a model with the weights of the teacher, and an average of its own."""
    model = DiffusionModel.from_config(teacher.get_config() | {"ema": 0.995})
    for network in (model.network, model.ema_network):
        network.set_weights(teacher.ema_network.get_weights())
    model.normalizer.set_weights(teacher.normalizer.get_weights())
    return model


def objective_of(way: str, model: DiffusionModel, teacher: DiffusionModel, steps: int, total: int):
    """Return the objective of a way of teaching."""
    if way == "consistency":
        return Consistency(model.optimizer.iterations, total)
    if way == "paths":
        images = BATCH * (total // PHASES)
        paths = paths_of_epoch(images, steps, model.image_shape)
        found = PathDistillation(model, steps, "velocity", paths)
    else:
        found = {"progressive": Progressive, "direct": Direct}[way](model, steps, "velocity")
    found.teacher.set_weights(teacher.ema_network.get_weights())
    return found


def prepare(way: str, teacher: DiffusionModel, steps: int, total: int) -> DiffusionModel:
    """Return a compiled student."""
    model = student_of(teacher)
    rate = ConstantThenLinear(1e-3, total, 0.3)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4)
    model.compile(optimizer, loss="mean_squared_error")
    objective = objective_of(way, model, teacher, steps, total)
    model.compile(optimizer, loss="mean_squared_error", objective=objective)
    return model


def cost_of(way: str, teacher: DiffusionModel, steps: int, data: Any) -> float:
    """Return the cost of a step of a way in training steps of the teacher, timed in turns."""
    models = [prepare(way, teacher, steps, PHASES * len(data)), student_of(teacher)]
    models[1].compile(loss="mean_squared_error")
    seconds: list[list[float]] = [[], []]
    for _ in range(8):
        for model, each in zip(models, seconds):
            begin = time.process_time()
            model.fit(data, epochs=1, verbose=0)
            each.append(time.process_time() - begin)
    return statistics.median(a / b for a, b in zip(seconds[0][1:], seconds[1][1:]))


def score(model: DiffusionModel, steps: int, seed: int, sampler: Any = "ddim") -> dict[str, float]:
    """Return KID, precision and recall of generated digits."""
    found = evaluation.evaluate(
        model, "digits", num_images=1797, diffusion_steps=steps, sampler=sampler, seed=seed,
        encoder="random_conv", metrics=("kid", "prdc"), split="all", floor=False,
    )  # fmt: skip
    return {name: round(found[name], 5) for name in ("kid", "kid_std", "precision", "recall")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/distillations"))
    parser.add_argument("--ways", default="progressive,direct,paths,consistency")
    parser.add_argument("--steps", default="2,1", help="numbers of steps that are taught")
    parser.add_argument("--seeds", default="1000,1001,1002", help="of the noise of the images")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    ledger = options.output / "results.json"
    known = json.loads(ledger.read_text()) if ledger.is_file() else {}

    def once(key: str, compute: Any, *arguments: Any) -> Any:
        if key not in known:
            known[key] = compute(*arguments)
            ledger.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(key, known[key], flush=True)
        return known[key]

    teacher = teacher_of(options.output / "teacher")
    data = load("digits", 8, BATCH)[0]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for steps in (1, 2, 5, 20, 50):
        for seed in seeds:
            once(f"ddim/{steps}/{seed}", score, teacher, steps, seed)
    for steps in map(int, options.steps.split(",")):
        for way in options.ways.split(","):
            cost = once(f"cost/{way}/{steps}", cost_of, way, teacher, steps, data)
            budget = SHARE * EPOCHS * len(data)
            total = math.floor(budget / cost)
            file = options.output / f"{way}_{steps}.keras"
            if not file.is_file():
                model = prepare(way, teacher, steps, total)
                phase = load("digits", 8, BATCH, steps_per_epoch=total // PHASES)[0]
                stages = keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs, model=model: model.objective.begin_phase(
                        model, epoch
                    )
                )
                callbacks = [stages] if way == "progressive" else []
                model.fit(phase, epochs=PHASES, verbose=0, callbacks=callbacks)
                model.averaged().save(file)
            model = keras.saving.load_model(file)
            for seed in seeds:
                once(f"{way}/{steps}/{seed}", score, model, steps, seed)


if __name__ == "__main__":
    main()
