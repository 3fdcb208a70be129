"""The network that samples computes what the averaged network computes."""

import keras
import numpy as np
import pytest
from keras import layers

import kddim
from kddim import backend
from kddim.networks import residual_unet
from kddim.networks.folding import FoldedNetwork

pytestmark = pytest.mark.backend


def with_random_weights(network, seed=0):
    """Weights of every kind far from their start, variances positive."""
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        shape = tuple(variable.shape)
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.2, 2.0, shape))
        else:
            fan_in = max(int(np.prod(shape[:-1])), 1)
            variable.assign(rng.normal(0.3 if len(shape) == 1 else 0.0, fan_in**-0.5, shape))
    return network


def both(network, image_shape, seed=1):
    folded = FoldedNetwork(network, backend.compile_step)
    folded.refresh()
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(3, *image_shape)).astype("float32"), np.full((3, 1, 1, 1), 0.4)]
    answers = [backend.to_numpy(n(inputs, training=False)) for n in (network, folded.network)]
    return folded, *answers


@pytest.mark.parametrize("image_shape", [(16, 16, 3), (8, 4, 1)])
def test_the_folded_unet_computes_the_same_down_to_one_pixel(image_shape):
    network = residual_unet(image_shape[:2], (8, 12, 16), 2, channels=image_shape[2])
    network = with_random_weights(network)
    folded, expected, received = both(network, image_shape)
    assert not any(isinstance(x, layers.BatchNormalization) for x in folded.network.layers)
    assert expected.std() > 0.1
    np.testing.assert_allclose(received, expected, atol=2e-5 * np.abs(expected).max())


def test_scale_and_centre_fold_and_even_kernels_pad_alike():
    image = keras.Input((6, 5, 2))
    variance = keras.Input((1, 1, 1))
    x = layers.BatchNormalization()(image)
    x = layers.Conv2D(4, (2, 3), padding="same", activation="swish")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(2, (4, 1), padding="same", use_bias=False)(x)
    network = with_random_weights(keras.Model([image, variance], x))
    folded, expected, received = both(network, (6, 5, 2))
    assert len(folded._pairs) == 2
    np.testing.assert_allclose(received, expected, atol=2e-5 * np.abs(expected).max())


def test_what_cannot_be_folded_stays():
    image = keras.Input((6, 6, 2))
    variance = keras.Input((1, 1, 1))
    normalized = layers.BatchNormalization()(image)  # used twice
    x = layers.Conv2D(2, 3, padding="same")(normalized)
    x = layers.Add()([x, normalized])
    x = layers.BatchNormalization()(x)  # of a strided convolution
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)
    network = with_random_weights(keras.Model([image, variance], x))
    folded, expected, received = both(network, (6, 6, 2))
    assert folded.network is network
    np.testing.assert_array_equal(received, expected)


def test_a_network_of_group_normalisation_is_used_as_it_is():
    network = residual_unet(8, (8, 16), 1, normalization="group")
    assert FoldedNetwork(network, backend.compile_step).network is network


def test_generation_sees_weights_and_statistics_that_changed():
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network, seed=2)
    before = model.generate(2, 2, seed=0)
    with_random_weights(model.ema_network, seed=3)
    after = model.generate(2, 2, seed=0)
    fresh = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(fresh.ema_network, seed=3)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(after, fresh.generate(2, 2, seed=0))


def test_sampling_leaves_the_files_of_the_model_alone(tmp_path):
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network)
    count = len(model.variables)
    images = model.generate(2, 2, seed=0)
    assert len(model.variables) == count
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.generate(2, 2, seed=0), images, atol=1e-6)


def test_a_mean_far_from_zero_cancels_in_half_precision_too():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = residual_unet(8, (8, 16), 1)
    finally:
        keras.config.set_dtype_policy("float32")
    with_random_weights(network)
    _, expected, received = both(network, (8, 8, 3))
    assert np.abs(received - expected).mean() < 0.02 * np.abs(expected).mean() + 0.02


def test_a_model_with_its_own_denoise_samples_with_it():
    class Silent(kddim.DiffusionModel):
        def denoise(self, *args, **kwargs):
            noises, images = super().denoise(*args, **kwargs)
            return noises, images * 0.0

    model = Silent(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network)
    grey = model.reverse_diffusion(np.ones((1, 8, 8, 1), "float32"), 2)
    np.testing.assert_array_equal(backend.to_numpy(grey), 0.0)
