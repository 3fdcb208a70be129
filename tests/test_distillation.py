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
from kddim.distillation import TrajectoryDistillation, substeps_of
from kddim.training import TrainingConfig, resume, train


@pytest.fixture
def student(images):
    return make_model(images, prediction_type="velocity")


def distil(student, steps=2, teacher_type="velocity"):
    objective = TrajectoryDistillation(student, steps, teacher_type)
    student.compile(keras.optimizers.Adam(1e-3), loss="mean_squared_error", objective=objective)
    return objective


@pytest.mark.parametrize(("steps", "substeps"), [(1, 16), (2, 8), (3, 5), (4, 4), (8, 2), (20, 2)])
def test_the_teacher_takes_sixteen_steps_or_two_for_each(steps, substeps):
    assert substeps_of(steps) == substeps


@pytest.mark.backend
@pytest.mark.parametrize("teacher_type", ["velocity", "noise", "image"])
@pytest.mark.parametrize(("steps", "step"), [(2, 0), (2, 1), (1, 0), (8, 3)])
def test_the_target_leads_where_the_steps_of_the_teacher_lead(student, teacher_type, steps, step):
    """The teacher's steps are those that `generate` takes."""
    objective = distil(student, steps, teacher_type)
    teacher = type(student).from_config({**student.get_config(), "prediction_type": teacher_type, "loss_type": None})  # fmt: skip
    teacher.ema_network.set_weights(objective.teacher.get_weights())
    noises = kddim.latents.initial_noise(3, student.image_shape, 1)
    images = kddim.latents.initial_noise(3, student.image_shape, 2)
    substeps = objective.substeps
    times = [1.0 - (step + index / substeps) / steps for index in range(substeps + 1)]
    (noise, signal), (end_noise, end_signal) = (student.schedule(np.array(t)) for t in (times[0], times[-1]))  # fmt: skip
    noisy = (signal * images + noise * noises).astype("float32")
    ends = {}
    sampler = kddim.samplers.DDIM(times=[max(time, 0.0) for time in times])
    pred = sampler.sample(
        lambda *a: teacher.denoise(*a), student.schedule, noisy, substeps,
        callback=lambda i, noisy, pred: ends.update(noisy=to_numpy(noisy)),
    )  # fmt: skip
    found = objective.examples(
        lambda *rates: student.denoise(*rates),
        student.diffusion_schedule,
        *(ops.convert_to_tensor(v) for v in (images, noises, np.full((3, 1, 1, 1), times[0], "float32"))),
    )  # fmt: skip
    target = to_numpy(found["images"])
    if step == steps - 1:  # sampling returns the last prediction
        np.testing.assert_allclose(target, to_numpy(pred), atol=1e-3)
    else:
        led = end_signal * target + end_noise * to_numpy(found["noises"])
        np.testing.assert_allclose(led, ends["noisy"], atol=2e-3)
    velocity = signal * to_numpy(found["noises"]) - noise * target
    np.testing.assert_allclose(to_numpy(found["target"]), velocity, atol=1e-3)


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
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_times_of_the_student_are_those_of_its_steps(student, steps):
    objective = distil(student, steps)
    generator = keras.random.SeedGenerator(0)
    images = ops.zeros((400, *student.image_shape))
    _, times = objective.draw(images, student.schedule, generator)
    found = np.unique(to_numpy(times).round(5))
    np.testing.assert_allclose(found, np.arange(1, steps + 1) / steps, atol=1e-5)


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
        TrajectoryDistillation(model, 2, "noise")


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
    assert "distill_steps: 2" in " ".join(f"{k}: {v}" for k, v in runs.describe(part).items()).replace("training ", "")  # fmt: skip


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
    wanted = {"limit": 100, "epochs": 2, "widths": [4, 8], "distill_from": "noise", "kid_steps": 2}
    assert settings.items() >= (wanted | {"loss": "mean_squared_error", "ema": 0.995}).items()
    assert config["init"]["model"] == str(teacher)
    assert "diffusion steps 2" in capsys.readouterr().err or settings["kid_steps"] == 2
    assert runs.load_model(output).generate(1, 2).shape == (1, 8, 8, 1)


@pytest.mark.backend
def test_the_teacher_sees_the_labels_of_the_student(images):
    """The targets of hidden labels are those of a teacher without labels."""
    model = make_model(images, prediction_type="velocity", num_classes=3)
    objective = distil(model)
    seen = []
    teach = objective._teach
    objective._teach = lambda labels, *args: seen.append(to_numpy(labels)) or teach(labels, *args)
    model.label_dropout = 0.0
    labels = np.array([0, 2, 1, 1])
    found = model.call((ops.convert_to_tensor(images[:4]), ops.convert_to_tensor(labels)), training=True)  # fmt: skip
    assert seen
    assert all(one.tolist() == labels.tolist() for one in seen)
    assert found["target"].shape == (4, *model.image_shape)
    model.label_dropout = 1.0
    model.call((ops.convert_to_tensor(images[:4]), ops.convert_to_tensor(labels)), training=True)
    assert seen[-1].tolist() == [-1] * 4


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
