"""Tests of the optimiser whose updates are orthogonal."""

import keras
import numpy as np
import pytest
from keras import ops

import kddim
from kddim.backend import to_numpy
from kddim.optimizers import Muon, orthogonalize
from kddim.training import TrainingConfig, build

pytestmark = pytest.mark.backend


def updates(optimizer, values, gradients):
    """Return what one step subtracts from variables with these values."""
    variables = [keras.Variable(value) for value in values]
    optimizer.apply([ops.convert_to_tensor(g) for g in gradients], variables)
    return [value - to_numpy(v.value) for value, v in zip(values, variables)]


@pytest.mark.parametrize("shape", [(36, 8), (8, 36), (9, 9)])
def test_singular_values_become_about_one_and_their_vectors_stay(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("float32")
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    found = to_numpy(orthogonalize(ops.convert_to_tensor(matrix)))
    rotated = left.T @ found @ right.T
    np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-4)
    np.testing.assert_allclose(np.diag(rotated), 0.95, atol=0.3)


@pytest.mark.parametrize("shape", [(300, 32), (32, 300)])
def test_the_iteration_is_that_on_the_matrix_itself_also_where_directions_have_no_gradient(shape):
    rng = np.random.default_rng(5)
    scales = np.geomspace(1.0, 1e-9, 32)
    matrix = rng.normal(size=shape) * (scales if shape[1] == 32 else scales[:, None])
    expected = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    found = to_numpy(orthogonalize(ops.convert_to_tensor(matrix.astype("float32"))))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_matrix_of_zeros_stays_zero():
    found = to_numpy(orthogonalize(ops.zeros((3, 2))))
    np.testing.assert_array_equal(found, np.zeros((3, 2)))


def test_the_update_of_a_kernel_is_orthogonal_and_has_the_size_of_one_of_adamw():
    rng = np.random.default_rng(1)
    kernel, gradient = (rng.normal(size=(3, 3, 16, 8)).astype("float32") for _ in range(2))
    (found,) = updates(Muon(0.01, weight_decay=0.0), [kernel], [gradient])
    singular = np.linalg.svd(found.reshape(-1, 8), compute_uv=False) / (0.01 * 0.2 * 144**0.5)
    np.testing.assert_allclose(singular, 0.95, atol=0.3)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.01 * 0.2, rel=0.2)
    assert np.sum(found * gradient) > 0


def test_the_gradients_of_earlier_steps_count():
    """A gradient that vanishes leaves the direction of the momentum."""
    gradient = np.random.default_rng(2).normal(size=(1, 1, 8, 8)).astype("float32")
    variable = keras.Variable(np.zeros((1, 1, 8, 8), "float32"))
    optimizer = Muon(0.01, weight_decay=0.0)
    optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    first = to_numpy(variable.value)
    optimizer.apply([ops.zeros((1, 1, 8, 8))])
    np.testing.assert_allclose(to_numpy(variable.value), 2 * first, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 3, 16), (1, 1, 16, 3), (16,), (16, 16)])
def test_other_weights_are_updated_by_adamw(shape):
    rng = np.random.default_rng(3)
    value, gradient = (rng.normal(size=shape).astype("float32") for _ in range(2))
    found, expected = (
        updates(make(0.01, weight_decay=0.1), [value], [gradient])[0]
        for make in (Muon, keras.optimizers.AdamW)
    )
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_weights_decay():
    """With a gradient of zero, only the decay is left."""
    kernel = np.ones((3, 3, 8, 8), "float32")
    (found,) = updates(Muon(0.1, weight_decay=0.5), [kernel], [np.zeros_like(kernel)])
    np.testing.assert_allclose(found, 0.05 * kernel, rtol=1e-5)


def test_a_saved_model_has_its_optimiser(tmp_path):
    images = np.random.default_rng(4).random((8, 8, 8, 3), "float32")
    model = kddim.DiffusionModel(8, widths=(8, 8), block_depth=1, seed=0)
    model.normalizer.adapt(images)
    model.compile(Muon(1e-2, weight_decay=1e-4))
    model.fit(images, batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is Muon
    pairs = zip(again.optimizer.variables, model.optimizer.variables, strict=True)
    for found, expected in pairs:
        np.testing.assert_array_equal(to_numpy(found.value), to_numpy(expected.value))
    assert np.isfinite(again.fit(images, batch_size=4, verbose=0).history["n_loss"]).all()


def test_a_run_is_trained_with_it():
    images = np.zeros((4, 8, 8, 1), "uint8")
    data = kddim.data.ImageDataset(images, 2)
    config = TrainingConfig("digits", channels=1, optimizer="muon", weight_decay=0.25)
    model = build.build_model(config.resolved(), data)
    assert type(model.optimizer) is Muon
    assert model.optimizer.weight_decay == 0.25
