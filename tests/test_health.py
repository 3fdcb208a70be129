"""Health of a training: divergence, no progress, and the figures in the logs."""

import json
import math
import re

import keras
import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import cli, training
from kddim.backend import to_numpy
from kddim.callbacks import DivergenceError, HealthCallback
from kddim.callbacks.loss_watch import LossWatch
from kddim.callbacks.zero_loss import loss_of_zero
from kddim.data import ImageDataset
from kddim.training import TrainingConfig

LOGS = {"loss", "n_loss", "i_loss"}
FIGURES = {"gradient_norm", "learning_rate", "ema_distance", "images_per_second"}


class Batches(keras.utils.PyDataset):
    """Given batches, in their order with `shuffle=False`."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def small(images, **options):
    """A model that predicts zero at first, as users have it."""
    model = kddim.DiffusionModel(
        images.shape[1:3], (8, 16), 1, channels=images.shape[-1], seed=0, **options
    )
    model.normalizer.adapt(images)
    model.compile()
    return model


@pytest.fixture
def digits():
    return kddim.data.load("digits", 8, 16, limit=400)[0]


def health_of(model, callback=None):
    """A callback of a model that trains, without a fit."""
    callback = callback or HealthCallback()
    callback.set_model(model)
    callback.set_params({"epochs": 1, "steps": 10})
    return callback


# Figures


@pytest.mark.backend
@pytest.mark.parametrize("scale", ["none", "fixed", "dynamic"])
def test_the_gradient_norm_is_the_length_of_a_step_of_gradient_descent(model, images, scale):
    optimizer = keras.optimizers.SGD(1.0, loss_scale_factor=8.0 if scale == "fixed" else None)
    if scale == "dynamic":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model.compile(optimizer=optimizer)
    before = [to_numpy(v.value).copy() for v in model.trainable_variables]
    logs = model.fit(images[:16], batch_size=16, verbose=0, callbacks=[HealthCallback()]).history
    steps = [to_numpy(v.value) - b for v, b in zip(model.trainable_variables, before)]
    expected = math.sqrt(sum(float(np.sum(s.astype("float64") ** 2)) for s in steps))
    assert logs["gradient_norm"] == [pytest.approx(expected, rel=1e-4)]


@pytest.mark.backend
def test_the_figures_change_neither_the_training_nor_a_plain_fit(images):
    histories, weights = [], []
    for callbacks in ([], [HealthCallback()]):
        keras.utils.set_random_seed(0)
        model = make_model(images, seed=0)
        options = {"batch_size": 16, "epochs": 2, "verbose": 0, "validation_data": images[:16]}
        histories.append(model.fit(images, callbacks=callbacks, **options).history)
        weights.append(model.get_weights())
    plain, watched = histories
    assert set(plain) == LOGS | {f"val_{name}" for name in LOGS}
    assert set(watched) == set(plain) | FIGURES
    for name in plain:
        assert plain[name] == watched[name]
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)
    assert watched["learning_rate"] == [pytest.approx(1e-3)] * 2
    assert all(value > 0 for name in FIGURES for value in watched[name])
    # Nothing of it stays behind.
    assert set(model.fit(images[:32], batch_size=16, verbose=0).history) == LOGS


def test_the_distance_of_the_average_is_relative_and_over_the_weights(images):
    model = small(images)
    health = HealthCallback()
    model.fit(images, batch_size=16, verbose=0, callbacks=[health])
    pairs = zip(model.network.variables, model.ema_network.variables)
    pairs = [(to_numpy(w.value), to_numpy(e.value)) for w, e in pairs if w.trainable]
    flat, average = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    expected = np.linalg.norm(average - flat) / np.linalg.norm(flat)
    assert kddim.ema.distance(model.network, model.ema_network) == pytest.approx(expected, rel=1e-5)


def test_the_speed_counts_images_of_any_data_set(images):
    model = make_model(images)
    health = HealthCallback()
    for data in (images[:40], ((batch,) for batch in np.split(images, 4))):
        model.fit(
            data, batch_size=None if hasattr(data, "send") else 16, verbose=0, callbacks=[health]
        )
        counted = health._images
        assert counted == (40 if isinstance(data, np.ndarray) else 64)


# Divergence


@pytest.mark.backend
@pytest.mark.parametrize("step", [0, 3])
def test_nan_stops_training_at_its_step(images, step):
    batches = [images[:16].copy() for _ in range(6)]
    model = small(images)
    model.fit(images[:16], batch_size=16, verbose=0)
    ended, health = [], HealthCallback()
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ended.append(batch)
    )
    data = Batches(batches)
    start = keras.callbacks.LambdaCallback(  # after the look at the first batch
        on_train_begin=lambda logs: batches[step].__setitem__((5, 2, 2, 0), np.nan)
    )
    with pytest.raises(DivergenceError, match=rf"finite loss.*nan in epoch 1 at step {step + 1}, "):
        model.fit(data, shuffle=False, verbose=0, callbacks=[count, health, start])
    assert ended == list(range(step + 1))
    assert not model.logs_gradient_norm
    assert set(model.fit(images[:16], batch_size=16, verbose=0).history) == LOGS


@pytest.mark.backend
def test_the_batch_that_did_it_is_kept_and_judged(images, tmp_path):
    data = ImageDataset(images.copy(), 8, training=True, repeats=3)
    health = HealthCallback(tmp_path)

    class Damage(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                data.images[13, 1, 1, 1] = np.inf

    model = small(images)
    with pytest.raises(
        DivergenceError, match=r"epoch 2.*bad_batch\.npz\..*NaN or infinite"
    ) as error:
        model.fit(data, epochs=3, verbose=0, callbacks=[health, Damage()])
    kept = np.load(tmp_path / "bad_batch.npz")["images"]
    assert kept.shape == (8, 16, 16, 3)
    assert np.isinf(kept).sum() == 1
    assert np.isinf(kept[:, 1, 1, 1]).any()
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad_batch.npz"]


@pytest.mark.backend
def test_a_loss_that_explodes_without_becoming_infinite_is_divergence(digits):
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    model.normalizer.adapt(digits)
    model.compile(optimizer=keras.optimizers.AdamW(1000.0))
    match = r"finite loss, near the 0\.\d+ of.*learning rate 1000 and gradient norm \d.*smaller"
    with pytest.raises(DivergenceError, match=match):
        model.fit(digits, verbose=0, callbacks=[HealthCallback()])


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_the_advice_names_the_dtype_of_half_precision(images, dtype):
    health = health_of(small(images, dtype=dtype))
    found = health._advice()
    assert "Try a smaller learning rate" in found
    if dtype == "float32":
        assert "dtype" not in found
    else:
        assert f"float32 instead of {dtype.removeprefix('mixed_')}" in found


def test_gradients_that_are_not_finite_are_divergence_unless_the_loss_is_scaled(images):
    model = small(images)
    logs = {"loss": 0.5, "n_loss": 0.5, "i_loss": 0.5, "gradient_norm": math.inf}
    with pytest.raises(DivergenceError, match="finite gradients"):
        health_of(model).on_train_batch_end(0, logs)
    model.compile(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    health = health_of(model)
    health.on_train_batch_end(0, logs)
    health.on_train_batch_end(1, logs | {"gradient_norm": 2.0})
    assert health._figures()["gradient_norm"] == 2.0


@pytest.mark.parametrize(
    ("found", "match"),
    [
        ({"val_kid": math.nan}, r"finite val_kid\. Received: nan after epoch 1\."),
        ({"val_loss": math.inf, "val_kid": 1.0}, r"finite val_loss\. Received: inf"),
        ({"val_kid": math.inf}, None),  # `KIDCallback(carry=True)` before the first measurement
    ],
)
def test_what_an_epoch_measured_is_looked_at(images, found, match):
    health = health_of(small(images))
    if match is None:
        health.on_epoch_end(0, found)
    else:
        with pytest.raises(DivergenceError, match=match):
            health.on_epoch_end(0, found)


@pytest.mark.backend
@pytest.mark.parametrize("network", ["network", "ema_network"])
def test_weights_that_are_not_finite_end_training_after_the_epoch(images, network):
    model = small(images)

    class Damage(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weight = getattr(self.model, network).trainable_variables
            weight = weight or getattr(self.model, network).variables
            weight[2].assign(np.full(weight[2].shape, np.nan))

    with pytest.raises(
        DivergenceError, match=r"finite weights.*NaN or infinity in .* after epoch 1"
    ):
        model.fit(images[:16], epochs=2, verbose=0, callbacks=[Damage(), HealthCallback()])


@pytest.mark.backend
def test_generated_images_that_are_not_finite_end_training(images):
    class Bad(kddim.DiffusionModel):
        def denoise(self, noisy_images, noise_rates, signal_rates, training=False):
            found = super().denoise(noisy_images, noise_rates, signal_rates, training)
            return found if training else (found[0], found[1] * np.inf)

    model = Bad(16, (8, 16), 1, seed=0)
    model.normalizer.adapt(images)
    model.compile()
    with pytest.raises(DivergenceError, match=r"finite images.*after epoch 1"):
        model.fit(images[:16], epochs=2, verbose=0, callbacks=[HealthCallback()])


@pytest.mark.parametrize(
    "options",
    [
        {"kid_encoder": "random_conv", "learning_rate": 1000.0},
        {"kid_encoder": "none", "learning_rate": 1000.0},
        {"kid_encoder": "random_conv", "learning_rate": 1e38},
        {"kid_encoder": "none", "learning_rate": 1000.0, "epochs": 1},
    ],
)
def test_a_run_that_diverges_fails_and_saves_no_model(tmp_path, options):
    settings = {
        "source": "digits", "limit": 200, "widths": (8, 16), "block_depth": 1, "batch_size": 16,
        "epochs": 2, "every": 1, "kid_images": 32, **options,
    }  # fmt: skip
    with pytest.raises(DivergenceError, match=r"finite loss.*in epoch 1.*smaller.*bad_batch"):
        training.train(TrainingConfig(**settings), tmp_path / "R", verbose=0)
    assert not list(tmp_path.rglob("*.keras"))
    assert np.load(tmp_path / "R" / "bad_batch.npz")["images"].shape == (16, 8, 8, 1)


def test_the_command_says_it_in_one_line(tmp_path, capsys):
    arguments = [
        "train", "digits", "--limit", "200", "--widths", "8,16", "--block-depth", "1", "--batch-size",
        "16", "--epochs", "2", "--every", "1", "--kid-encoder", "none", "--learning-rate", "1e38",
        "-o", str(tmp_path / "R"),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    answer = capsys.readouterr()
    assert "try: kddim generate" not in answer.out
    line = answer.err.strip().splitlines()[-1]
    assert line.startswith("kddim: error: Expected a finite loss")
    assert "Traceback" not in answer.err
    assert "holds" not in line


# No progress


@pytest.mark.parametrize("loss", ["mean_absolute_error", "mean_squared_error"])
@pytest.mark.parametrize(
    ("prediction_type", "loss_type"),
    [("noise", "noise"), ("image", "image"), ("velocity", "velocity"), ("noise", "image"),
     ("image", "velocity"), ("velocity", "noise")],
)  # fmt: skip
def test_the_level_is_the_loss_of_a_model_that_predicts_zero(
    images, prediction_type, loss_type, loss
):
    model = small(images, prediction_type=prediction_type, loss_type=loss_type)
    model.compile(loss=loss, run_eagerly=True)
    before = to_numpy(model.seed_generator.state.value).copy()
    level = loss_of_zero(model, images)
    measured = model.evaluate(images, batch_size=64, verbose=0, return_dict=True)["loss"]
    assert level == pytest.approx(measured, rel=0.15)
    if prediction_type == loss_type == "noise":
        expected = math.sqrt(2 / math.pi) if loss == "mean_absolute_error" else 1.0
        assert level == pytest.approx(expected, rel=0.005)
    np.testing.assert_array_equal(to_numpy(model.seed_generator.state.value), before)


def test_an_overridden_draw_decides_the_level(images):
    class Half(kddim.DiffusionModel):
        def draw(self, images):
            noises, times = super().draw(images)
            return 0.5 * noises, times

    model = Half(16, (8, 16), 1, seed=0)
    model.normalizer.adapt(images)
    model.compile()
    before = to_numpy(model.seed_generator.state.value).copy()
    assert loss_of_zero(model, images) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.005)
    np.testing.assert_array_equal(to_numpy(model.seed_generator.state.value), before)


@pytest.mark.backend
@pytest.mark.parametrize(("learning_rate", "lines"), [(1e-9, 1), (1e-3, 0)])
def test_a_model_that_learns_nothing_is_reported_once(digits, caplog, learning_rate, lines):
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    model.normalizer.adapt(digits)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate))
    health = HealthCallback()
    with caplog.at_level("WARNING", "kddim"):
        for _ in range(2):  # over several fits
            model.fit(digits, epochs=3, verbose=0, callbacks=[health])
    assert health.watch.steps > 100
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == lines
    if lines:
        pattern = (
            r"after 100 steps the loss is (0\.\d+), and predicting zero gives (0\.\d+): the model"
        )
        values = [float(value) for value in re.match(pattern, said[0]).groups()]
        assert values == pytest.approx([math.sqrt(2 / math.pi)] * 2, abs=0.01)
        assert "learning rate (1e-09)" in said[0]


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("content", ["black", "same", "varied"])
def test_images_that_are_all_alike_are_reported(images, caplog, kind, content):
    shown = {"black": 0.0 * images, "same": 0.0 * images + images[:1], "varied": images}[content]
    if kind == "uint8":
        shown = np.round(255 * shown).astype("uint8")
    data = ImageDataset(shown, 16, training=True)
    with caplog.at_level("WARNING", "kddim"):
        small(data[0]).fit(data, verbose=0, callbacks=[HealthCallback()])
    said = [record.getMessage() for record in caplog.records]
    expected = {
        "black": ["the images are all alike: every pixel has the value 0"],
        "same": ["the 64 images are all alike"],
        "varied": [],
    }
    assert [line.startswith(start) for line, start in zip(said, expected[content])] == [True] * len(
        expected[content]
    )
    assert len(said) == len(expected[content])


# Losses of single steps


def running_means(losses):
    return np.cumsum(losses) / np.arange(1, len(losses) + 1)


def test_the_losses_of_steps_are_found_from_the_means():
    random = np.random.default_rng(0)
    losses = random.random(50)
    watch, found = LossWatch(), []
    for epoch in np.split(losses, 2):
        watch.begin_epoch()
        found += [watch.note(i + 1, mean) for i, mean in enumerate(running_means(epoch))]
    np.testing.assert_allclose(found, losses, atol=1e-9)
    assert watch.steps == 50
    pairs = LossWatch()  # Keras reports each second step with `steps_per_execution=2`
    found = [pairs.note(i, running_means(losses)[i - 1]) for i in range(2, 51, 2)]
    np.testing.assert_allclose(found, losses.reshape(-1, 2).mean(1), atol=1e-9)


def test_peaks_that_pass_are_no_explosion():
    watch = LossWatch(level=0.8)
    for step, (loss, exploded) in enumerate(
        [(0.8, False), (5e3, False), (9e3, True), (0.5, False)]
    ):
        watch.begin_epoch()
        assert watch.is_exploded(watch.note(1, loss)) == exploded, step
    # A model that begins far away is given the distance it begins with.
    watch = LossWatch(level=0.8)
    assert not watch.is_exploded(watch.note(1, 1e5))
    assert not LossWatch(first=1e-9).is_exploded(1.0)


def test_the_state_goes_on_within_an_epoch_in_another_process(images):
    random = np.random.default_rng(0)
    means = running_means(0.8 + 0.001 * random.random(120))
    model, messages = small(images), []
    for stop in (0, 30, 70):
        health = health_of(model)
        health.watch.level = 0.8
        health.on_epoch_begin(0)
        for step in range(stop):
            health.on_train_batch_end(step, {"loss": means[step], "gradient_norm": 1.0 + step})
        other = health_of(model)
        other.set_state(json.loads(json.dumps(health.get_state())))
        assert other.get_state() == health.get_state()
        other.on_train_begin()
        other.on_epoch_begin(0)
        for step in range(len(means)):  # the first ones are passed over
            other.on_train_batch_end(step, {"loss": means[step], "gradient_norm": 1.0 + step})
        messages.append((other.watch, other._norms))
    assert messages[0] == messages[1] == messages[2]
    assert messages[0][0].judged
    assert messages[0][0].is_stuck()
    ended = health_of(model)  # at the last step of an epoch
    ended.set_state(other.get_state())
    ended.on_train_begin()
    ended.on_epoch_begin(0)
    ended.on_train_batch_end(len(means) - 1, {"loss": means[-1], "gradient_norm": 1.0})
    assert ended._figures()["gradient_norm"] == other._figures()["gradient_norm"]
    assert "images_per_second" not in ended._figures()
