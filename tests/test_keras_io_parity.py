"""The default network and sampler are those of the keras.io example."""

import numpy as np
import pytest
import reference_example

import kddim
from kddim.backend import to_numpy
from kddim.networks import residual_unet

pytestmark = pytest.mark.backend


def test_default_network_has_the_parameters_of_the_example():
    assert residual_unet(64).count_params() == 1_953_507


@pytest.mark.parametrize(
    ("size", "widths", "depth"), [(64, (32, 64, 96, 128), 2), (16, (8, 24), 3)]
)
def test_weights_of_the_example_give_its_outputs(size, widths, depth):
    example = reference_example.network(size, widths, depth)
    reference_example.randomise(example)
    model = kddim.DiffusionModel(size, widths, depth)
    assert [w.shape for w in model.network.weights] == [w.shape for w in example.weights]
    model.network.set_weights(example.get_weights())
    random = np.random.default_rng(0)
    noisy = random.standard_normal((2, size, size, 3)).astype("float32")
    variances = random.random((2, 1, 1, 1)).astype("float32")
    expected = to_numpy(example([noisy, variances], training=False))
    actual = to_numpy(model.network([noisy, variances], training=False))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(actual, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_the_same_noise_gives_the_images_of_the_example(steps):
    size, widths = 32, (32, 64, 96, 128)
    example = reference_example.network(size, widths, 2)
    reference_example.randomise(example, scale=0.5)
    model = kddim.DiffusionModel(size, widths, 2)
    model.ema_network.set_weights(example.get_weights())
    model.normalizer.adapt(np.random.default_rng(0).random((8, size, size, 3), "float32"))
    noise = kddim.latents.initial_noise(4, (size, size, 3), seed=1)
    expected = reference_example.reverse_diffusion(example, noise, steps)
    actual = to_numpy(model.reverse_diffusion(noise, steps))
    assert np.std(expected) > 0.1
    pixels = [to_numpy(model.denormalize(x)) for x in (expected, actual)]
    assert np.abs(pixels[0] - pixels[1]).max() < 1e-4
