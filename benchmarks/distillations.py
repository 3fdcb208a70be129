"""Ways to teach a trained model few steps, at equal cost.

    python benchmarks/distillations.py --output build/distillations [--seeds 0,1,2] [--ways ...]

A teacher of digits (8x8) that predicts velocities trains for 150 epochs. Each way then has half of
the cost of this training: its step is timed against the teacher's training step, in turns, and the
number of its steps follows. The stored paths of the teacher are a part of the cost. KID compares generated digits with all 1,797 digits (encoder
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
from kddim.backend import to_numpy
from kddim.data import load
from kddim.distillation import TrajectoryDistillation
from kddim.learning_rates import ConstantThenLinear
from kddim.model import DiffusionModel
from kddim.objective import Regression
from kddim.training import TrainingConfig, train

EPOCHS, SHARE, PHASES = 150, 0.5, 12
POOL, POOL_STEPS = 8192, 16


class Progressive(TrajectoryDistillation):
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


class Pool(Regression):
    """Regression on stored paths of the teacher, from its noise to its image (arXiv 2101.02388).

    Args:
        starts: Noisy images where a step of the student begins, `(rows, height, width, channels)`.
        targets: Images that the step is to predict.
        times: Diffusion times of the starts, `(rows, 1, 1, 1)`.
    """

    def __init__(self, starts, targets, times):
        super().__init__("velocity")
        self.__dict__["rows"] = tuple(map(ops.convert_to_tensor, (starts, targets, times)))

    def draw(self, images, schedule, seed_generator):
        shape, rows = (ops.shape(images)[0],), len(self.rows[0])
        drawn = keras.random.randint(shape, 0, rows, seed=seed_generator)
        return drawn, ops.take(self.rows[2], drawn, axis=0)

    def examples(self, denoise, schedule, images, noises, times):
        if len(noises.shape) > 1:  # validation
            return super().examples(denoise, schedule, images, noises, times)
        starts, targets = (ops.take(one, noises, axis=0) for one in self.rows[:2])
        return compare(denoise, targets, starts, schedule(times))


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


def paths_of(teacher: DiffusionModel, diffusion_steps: int) -> tuple[Any, Any, Any]:
    """Return the rows of `Pool` for a number of steps."""
    from kddim.latents import initial_noise
    from kddim.samplers import DDIM

    seen: list[tuple[float, Any, Any]] = []
    each = POOL_STEPS // diffusion_steps
    noises = initial_noise(POOL, teacher.image_shape, 77)
    states: list[Any] = []

    def keep(step, noisy_images, pred_images):
        states.append((to_numpy(noisy_images), to_numpy(pred_images)))

    teacher.generate(POOL, POOL_STEPS, DDIM(), initial_noise=noises, batch_size=POOL, callback=keep)
    for step in range(diffusion_steps):
        time_ = 1.0 - step / diffusion_steps
        start = noises if step == 0 else states[step * each - 1][0]
        reached, predicted = states[(step + 1) * each - 1]
        if step + 1 < diffusion_steps:
            end = 1.0 - (step + 1) / diffusion_steps
            (noise, signal), (end_noise, end_signal) = (
                [float(to_numpy(rate)) for rate in teacher.schedule(t)] for t in (time_, end)
            )
            ratio = end_noise / noise
            predicted = (reached - ratio * start) / (end_signal - ratio * signal)
        seen.append((time_, start, predicted))
    import numpy as np

    times = np.concatenate([np.full((POOL, 1, 1, 1), t, "float32") for t, _, _ in seen])
    return np.concatenate([s for _, s, _ in seen]), np.concatenate([p for _, _, p in seen]), times


def objective_of(way: str, model: DiffusionModel, teacher: DiffusionModel, steps: int, total: int):
    """Return the objective of a way of teaching."""
    if way in ("progressive", "direct"):
        kind = Progressive if way == "progressive" else TrajectoryDistillation
        found = kind(model, steps, "velocity")
        found.teacher.set_weights(teacher.ema_network.get_weights())
        return found
    if way == "pool":
        return Pool(*paths_of(teacher, steps))
    return Consistency(model.optimizer.iterations, total)


def prepare(way: str, teacher: DiffusionModel, steps: int, total: int) -> DiffusionModel:
    """Return a compiled student."""
    model = student_of(teacher)
    rate = ConstantThenLinear(1e-3, total, 0.3)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4)
    model.compile(optimizer, loss="mean_squared_error")
    objective = objective_of(way, model, teacher, steps, total)
    model.compile(optimizer, loss="mean_squared_error", objective=objective)
    return model


def cost_of_paths(teacher: DiffusionModel, steps: int, data: Any) -> float:
    """Return the cost of the stored paths in training steps of the teacher."""
    model = student_of(teacher)
    model.compile(loss="mean_squared_error")
    model.fit(data, epochs=1, verbose=0)
    begin = time.process_time()
    model.fit(data, epochs=3, verbose=0)
    step = (time.process_time() - begin) / (3 * len(data))
    begin = time.process_time()
    paths_of(teacher, steps)
    return (time.process_time() - begin) / step


def cost_of(way: str, teacher: DiffusionModel, steps: int, data: Any) -> float:
    """Return the cost of a step of a way in training steps of the teacher, timed in turns."""
    models = [prepare(way, teacher, steps, 100), student_of(teacher)]
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
    parser.add_argument("--ways", default="progressive,direct,pool,consistency")
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
    data = load("digits", 8, 64)[0]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for steps in (1, 2, 5, 20, 50):
        for seed in seeds:
            once(f"ddim/{steps}/{seed}", score, teacher, steps, seed)
    for steps in map(int, options.steps.split(",")):
        for way in options.ways.split(","):
            cost = once(f"cost/{way}/{steps}", cost_of, way, teacher, steps, data)
            budget = SHARE * EPOCHS * len(data)
            if way == "pool":
                budget -= once(f"cost of the paths/{steps}", cost_of_paths, teacher, steps, data)
            total = math.floor(budget / cost)
            file = options.output / f"{way}_{steps}.keras"
            if not file.is_file():
                model = prepare(way, teacher, steps, total)
                phase = load("digits", 8, 64, steps_per_epoch=total // PHASES)[0]
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
