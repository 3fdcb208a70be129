"""Distillation: its target against DDIM, its runs and its files."""

import json

import keras
import numpy as np
import pytest
from conftest import make_model
from keras import ops

import kddim
from kddim import cli, runs
from kddim.backend import to_numpy
from kddim.checkpoints import newest, read_checkpoint
from kddim.distillation import PathDistillation, paths_of_epoch, substeps_of
from kddim.fitting import BatchDenoiser
from kddim.training import TrainingConfig, resume, train


@pytest.fixture
def student(images):
    return make_model(images, prediction_type="velocity")


def distil(student, steps=2, teacher_type="velocity", num_paths=64, seed=5):
    objective = PathDistillation(student, steps, teacher_type, num_paths, seed)
    student.compile(keras.optimizers.Adam(1e-3), loss="mean_squared_error", objective=objective)
    return objective


@pytest.mark.parametrize(("steps", "substeps"), [(1, 16), (2, 8), (3, 5), (4, 4), (8, 2), (20, 2)])
def test_the_teacher_takes_sixteen_steps_or_two_for_each(steps, substeps):
    assert substeps_of(steps) == substeps


@pytest.mark.backend
@pytest.mark.parametrize("teacher_type", ["velocity", "noise", "image"])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_images_lead_where_the_steps_of_the_teacher_lead(student, teacher_type, steps):
    """The teacher's steps are those that `generate` takes."""
    objective = distil(student, steps, teacher_type, num_paths=3)
    teacher = type(student).from_config({**student.get_config(), "prediction_type": teacher_type, "loss_type": None})  # fmt: skip
    teacher.ema_network.set_weights(objective.teacher.get_weights())
    noises = kddim.latents.initial_noise(3, student.image_shape, 5, start=2 * 3)
    seen, last = [noises], []

    def keep(step, noisy_images, pred_images):
        seen.append(to_numpy(noisy_images))
        last.append(to_numpy(pred_images))

    teacher.generate(3, steps * objective.substeps, initial_noise=noises, callback=keep)
    objective.begin_epoch(2)
    starts, targets = (to_numpy(v.value).reshape(steps, 3, *student.image_shape) for v in objective.unsaved_variables)  # fmt: skip
    for step in range(steps):
        np.testing.assert_allclose(starts[step], seen[step * objective.substeps], atol=1e-4)
        if step == steps - 1:  # sampling returns the last prediction
            np.testing.assert_allclose(targets[step], last[-1], atol=1e-4)
            continue
        (noise, signal), (end_noise, end_signal) = (student.schedule(np.array(1.0 - k / steps)) for k in (step, step + 1))  # fmt: skip
        led = (
            end_signal * targets[step] + end_noise * (starts[step] - signal * targets[step]) / noise
        )
        np.testing.assert_allclose(led, seen[(step + 1) * objective.substeps], atol=1e-3)


@pytest.mark.backend
@pytest.mark.parametrize("steps", [1, 2])
def test_a_start_below_one_teaches_the_steps_from_there(images, steps):
    """The teacher's steps are those of the sampler that begins with the Gaussian."""
    student = make_model(images, prediction_type="velocity")
    student.fit_gaussian(images)
    objective = PathDistillation(student, steps, "velocity", 3, 5, start=0.8)
    objective.teacher.set_weights(student.ema_network.get_weights())
    seen, last = [], []

    def keep(step, noisy_images, pred_images):
        seen.append(to_numpy(noisy_images))
        last.append(to_numpy(pred_images))

    sampler = kddim.samplers.GaussianStart(start=0.8)
    student.generate(3, steps * objective.substeps, sampler, seed=5, callback=keep)
    objective.begin_epoch(0)
    starts, targets = (to_numpy(v.value).reshape(steps, 3, *student.image_shape) for v in objective.unsaved_variables)  # fmt: skip
    np.testing.assert_allclose(targets[-1], last[-1], atol=1e-4)
    for step in range(1, steps):
        np.testing.assert_allclose(starts[step], seen[step * objective.substeps - 1], atol=1e-4)
    rows, times = objective.draw(np.zeros((64, 1, 1, 1)), student.schedule, keras.random.SeedGenerator(0))  # fmt: skip
    begins = 0.8 * (1.0 - to_numpy(rows) // 3 / steps)
    np.testing.assert_allclose(to_numpy(times).ravel(), begins, atol=1e-6)


@pytest.mark.backend
def test_paths_depend_on_the_epoch_and_the_seed(student):
    def starts(epoch, seed=0):
        objective = distil(student, 2, num_paths=4, seed=seed)
        assert objective.unsaved_variables[0].path.endswith("starts")
        objective.begin_epoch(epoch)
        return to_numpy(objective.unsaved_variables[0].value)

    np.testing.assert_array_equal(starts(3), starts(3))
    assert not np.allclose(starts(3), starts(4))
    assert not np.allclose(starts(3), starts(3, seed=1))


@pytest.mark.backend
def test_a_batch_holds_stored_steps_with_their_times(student):
    objective = distil(student, 4, num_paths=5)
    objective.begin_epoch(0)
    generator = keras.random.SeedGenerator(0)
    images = ops.zeros((400, *student.image_shape))
    rows, times = objective.draw(images, student.schedule, generator)
    assert set(to_numpy(rows).tolist()) == set(range(20))
    np.testing.assert_allclose(
        to_numpy(times)[:, 0, 0, 0], 1.0 - to_numpy(rows) // 5 / 4, atol=1e-6
    )
    seen = {}

    def denoise(noisy_images, noise_rates, signal_rates):
        seen.update(noisy=noisy_images, rates=(noise_rates, signal_rates))
        return student.denoise(noisy_images, noise_rates, signal_rates)

    found = objective.examples(denoise, student.diffusion_schedule, images, rows, times)
    starts, targets = (to_numpy(v.value) for v in objective.unsaved_variables)
    np.testing.assert_array_equal(to_numpy(seen["noisy"]), starts[to_numpy(rows)])
    noise, signal = map(to_numpy, seen["rates"])
    image, noises = to_numpy(found["images"]), to_numpy(found["noises"])
    np.testing.assert_array_equal(image, targets[to_numpy(rows)])
    np.testing.assert_allclose(signal * image + noise * noises, starts[to_numpy(rows)], atol=1e-4)
    np.testing.assert_allclose(
        to_numpy(found["target"]), signal * noises - noise * image, atol=1e-4
    )


def test_a_small_epoch_has_few_paths_and_a_large_one_no_more_than_memory():
    assert paths_of_epoch(1, 1, (8, 8, 1)) == 1
    assert paths_of_epoch(1200, 2, (8, 8, 1)) == 100
    most = paths_of_epoch(10**7, 2, (64, 64, 3))
    assert 2 * most * 2 * 4 * 64 * 64 * 3 <= 2**29


@pytest.mark.backend
def test_the_teacher_stays_as_it_is(student, images):
    objective = distil(student)
    first = [np.array(weight) for weight in objective.teacher.get_weights()]
    before = [np.array(weight) for weight in student.network.get_weights()]
    student.fit(images, batch_size=32, epochs=2, verbose=0)
    for one, other in zip(objective.teacher.get_weights(), first):
        np.testing.assert_array_equal(one, other)
    assert any(np.any(one != other) for one, other in zip(student.network.get_weights(), before))


@pytest.mark.backend
def test_files_of_the_model_hold_no_teacher(student, images, tmp_path):
    plain = make_model(images, prediction_type="velocity")
    plain.save(tmp_path / "plain.keras")
    objective = distil(student)
    student.fit(images, batch_size=32, epochs=1, verbose=0)
    for options in ({}, {"include_optimizer": False}):
        student.save(tmp_path / "student.keras", **options)
        assert student.objective is objective
        loaded = runs.load_model(tmp_path / "student.keras")
        assert len(loaded.weights) == len(plain.weights)
        wanted = student.generate(2, 2, seed=0)
        np.testing.assert_allclose(loaded.generate(2, 2, seed=0), wanted, atol=1e-5)
    student.save(tmp_path / "student.keras")
    # Keras' Adam has two more numbers per weight, and so has the AdamW of the plain model.
    sizes = [(tmp_path / name).stat().st_size for name in ("student.keras", "plain.keras")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
    compiled = keras.saving.load_model(tmp_path / "student.keras")
    assert compiled.objective == kddim.objective.Regression("velocity")
    student.fit(images, batch_size=32, epochs=1, verbose=0)  # it goes on with its teacher
    assert student.objective is objective
    student.compile()  # and without one
    assert len(student.weights) == len(plain.weights)


def test_a_model_of_noises_is_refused(model):
    with pytest.raises(ValueError, match="another quantity than the noise"):
        PathDistillation(model, 2, "noise")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    config = TrainingConfig("digits", limit=100, widths=[4, 8], block_depth=1, epochs=10, kid_encoder="none")  # fmt: skip
    return train(config, folder, verbose=0)


def test_a_run_of_distillation_and_its_resumption(teacher, tmp_path):
    options = {"init": str(teacher), "distill_steps": 2, "epochs": 3, "limit": 100}
    config = TrainingConfig("digits", kid_encoder="none", checkpoint_steps=1, **options)
    whole = train(config, tmp_path / "whole", verbose=0)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations >= 3:
                raise KeyboardInterrupt

    part = tmp_path / "part"
    original = kddim.training.run._Run._callbacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kddim.training.run._Run, "_callbacks", lambda run: [*original(run), Stop()])
        with pytest.raises(KeyboardInterrupt):
            train(config, part, verbose=0)
    resume(part, verbose=0)
    one, other = (runs.load_model(folder) for folder in (whole, part))
    assert one.prediction_type == "velocity"
    for weight, same in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(weight, same, atol=1e-6)
    names = read_checkpoint(newest(part / "checkpoints").path)[2]["model"]
    assert not any(name.endswith(("starts", "targets")) for name, *_ in names)
    assert "distill_steps: 2" in " ".join(f"{k}: {v}" for k, v in runs.describe(part).items()).replace("training ", "")  # fmt: skip


def test_a_run_from_a_start_keeps_the_sampler_that_it_was_taught_for(teacher, tmp_path):
    config = TrainingConfig("digits", init=str(teacher), distill_steps=2, distill_start=0.8, epochs=1, limit=100, kid_encoder="random_conv", kid_images=8, kid_steps=2)  # fmt: skip
    model = runs.load_model(train(config, tmp_path / "run", verbose=0))
    sampler = kddim.samplers.GaussianStart(start=0.8)
    assert model.tuned_samplers == {2: sampler}
    images = (model.generate(2, 2, one, seed=0) for one in (sampler, "tuned"))
    np.testing.assert_array_equal(*images)
    assert "GaussianStart" in json.dumps(runs.read_config(tmp_path / "run")["kid"])


def test_a_distillation_without_a_model_is_refused(tmp_path):
    config = TrainingConfig("digits", prediction_type="velocity", distill_steps=2)
    with pytest.raises(ValueError, match="a model to distill"):
        train(config, tmp_path / "x", verbose=0)
    assert not (tmp_path / "x").exists()


def test_the_verb_takes_the_settings_of_the_model(teacher, tmp_path, capsys):
    output = tmp_path / "two"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["distill", str(teacher), "digits", "--diffusion-steps", "2", "--output", str(output), "--encoder", "random_conv", "--kid-images", "8", "--every", "1"])  # fmt: skip
    assert stopped.value.code == 0, capsys.readouterr().err
    config = json.loads((output / "config.json").read_text())
    settings = config["training"]
    wanted = {"limit": 100, "epochs": 4, "widths": [4, 8], "distill_from": "noise", "kid_steps": 2}
    assert settings.items() >= (wanted | {"loss": "mean_squared_error", "ema": 0.995}).items()
    assert config["init"]["model"] == str(teacher)
    assert "diffusion steps 2" in capsys.readouterr().err or settings["kid_steps"] == 2
    assert runs.load_model(output).generate(1, 2).shape == (1, 8, 8, 1)


@pytest.mark.backend
def test_the_student_sees_the_labels_of_its_teacher(images):
    """The labels of the batch do not count: the paths have their own."""
    model = make_model(images, prediction_type="velocity", num_classes=3)
    model.label_dropout = 0.25
    objective = distil(model, 2, num_paths=40)
    objective.begin_epoch(0)
    starts, targets, labels = (to_numpy(v.value) for v in objective.unsaved_variables)
    assert labels[:40].tolist() == labels[40:].tolist()
    assert set(labels.tolist()) == {-1, 0, 1, 2}
    teacher = type(model).from_config(model.get_config())
    teacher.ema_network.set_weights(objective.teacher.get_weights())
    for row in (0, 7):
        last = []
        given = {} if labels[row] < 0 else {"labels": int(labels[row])}
        teacher.generate(
            1, 16, initial_noise=starts[row : row + 1], **given,
            callback=lambda step, noisy, pred, last=last: last.append(pred),
        )  # fmt: skip
        np.testing.assert_allclose(targets[40 + row], to_numpy(last[-1])[0], atol=1e-4)
    seen = []
    denoise = BatchDenoiser(lambda *args, labels, **kw: seen.append(to_numpy(labels)) or model.denoise(*args, labels=labels, **kw), True, np.zeros(4, "int32"))  # fmt: skip
    rows = ops.convert_to_tensor(np.array([0, 3, 45, 60], "int32"))
    times = ops.convert_to_tensor(np.array([1, 1, 0.5, 0.5], "float32").reshape(4, 1, 1, 1))
    objective.examples(denoise, model.diffusion_schedule, None, rows, times)
    assert seen[0].tolist() == labels[[0, 3, 45, 60]].tolist()


@pytest.mark.backend
def test_a_labelled_student_learns_its_teacher(images):
    model = make_model(images, prediction_type="velocity", num_classes=3)
    distil(model)
    labels = np.arange(len(images)) % 3
    history = model.fit(images, labels, batch_size=16, epochs=3, verbose=0)  # fmt: skip
    assert np.all(np.isfinite(history.history["loss"]))
    assert model.generate(3, 2, labels=[0, 1, 2], seed=0).shape == (3, *model.image_shape)
    assert model.generate(2, 2, labels=1, guidance_scale=2.0, seed=0).shape == (2, *model.image_shape)  # fmt: skip


def test_a_labelled_run_is_distilled(tmp_path, capsys):
    config = TrainingConfig("digits", labels=True, limit=100, widths=[4, 8], block_depth=1, epochs=10, kid_encoder="none")  # fmt: skip
    run = train(config, tmp_path / "run", verbose=0)
    output = tmp_path / "two"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["distill", str(run), "digits", "--diffusion-steps", "2", "--output", str(output), "--encoder", "none"])  # fmt: skip
    assert stopped.value.code == 0, capsys.readouterr().err
    student = runs.load_model(output)
    assert student.class_names == runs.load_model(run).class_names
    assert student.generate(2, 2, labels="7").shape == (2, 8, 8, 1)
