"""Layers that compute faster than Keras' own give their results and gradients."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kddim import backend
from kddim.backend import to_numpy
from kddim.networks import layers as fast

pytestmark = pytest.mark.backend
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="gradients of TensorFlow"
)


def images(shape=(4, 6, 4, 5), mean=2.0):
    return np.random.default_rng(0).normal(mean, 3.0, shape).astype("float32")


def gradient_of(function, x, upstream):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x, upstream)


@pytest.mark.parametrize("options", [{}, {"center": False, "scale": False, "momentum": 0.5}])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "bfloat16", "float64"])
def test_batches_are_normalised_as_keras_does(dtype, options):
    found = []
    for kind in (layers.BatchNormalization, fast.BatchNormalization):
        layer = kind(dtype=dtype, **options)
        outputs = layer(images(), training=True)
        averages = (layer.moving_mean.value, layer.moving_variance.value)
        resting = layer(images(), training=False)
        assert outputs.dtype == resting.dtype
        found.append([to_numpy(ops.cast(v, "float32")) for v in (outputs, *averages, resting)])
    for actual, expected in zip(found[1], found[0]):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options"),
    [((1, 1, 1, 3), {}), ((5, 3), {}), ((2, 4, 4, 3), {"axis": 1}), ((2, 4, 4, 3), {"epsilon": 0})],
)
def test_unusual_batches_are_normalised_as_keras_does(shape, options):
    """One pixel, other ranks and axes, and no epsilon."""
    found = []
    for kind in (layers.BatchNormalization, fast.BatchNormalization):
        layer = kind(**options)
        outputs = layer(images(shape), training=True)
        found.append([to_numpy(v) for v in (outputs, layer.moving_variance.value)])
    for actual, expected in zip(found[1], found[0]):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_frozen_normalisation_keeps_its_statistics():
    layer = fast.BatchNormalization()
    layer.build((None, 6, 4, 5))
    layer.trainable = False
    layer(images(), training=True)
    np.testing.assert_array_equal(to_numpy(layer.moving_mean.value), 0.0)


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_gradient_of_the_normalisation_is_that_of_keras(dtype):
    x, upstream = (ops.cast(images(mean=mean), dtype) for mean in (2.0, 0.0))
    kinds = (layers.BatchNormalization, fast.BatchNormalization)
    expected, actual = (
        gradient_of(lambda x, kind=kind: kind(dtype=dtype)(x, training=True), x, upstream)
        for kind in kinds
    )
    expected, actual = (to_numpy(ops.cast(v, "float32")) for v in (expected, actual))
    np.testing.assert_allclose(
        actual, expected, rtol=1e-2 if dtype == "bfloat16" else 1e-5, atol=1e-5
    )


@on_tensorflow
@pytest.mark.parametrize(
    ("dtype", "rounding"), [("float32", 1e-6), ("bfloat16", 8e-3), ("float64", 1e-15)]
)
def test_the_gradient_of_swish_is_its_derivative(dtype, rounding):
    x = ops.cast(np.linspace(-30.0, 30.0, 1201), dtype)
    actual = to_numpy(ops.cast(gradient_of(backend.swish, x, ops.ones_like(x)), "float64"))
    x = to_numpy(ops.cast(x, "float64"))
    share = 1.0 / (1.0 + np.exp(-x))
    np.testing.assert_allclose(actual, share * (1.0 + x * (1.0 - share)), atol=2 * rounding)


@on_tensorflow
def test_swish_has_a_second_derivative():
    x = ops.convert_to_tensor([0.0, 1.0, -2.0])
    ones = ops.ones_like(x)
    functions = (keras.activations.silu, backend.swish)
    expected, actual = (
        gradient_of(lambda x, f=f: gradient_of(f, x, ones), x, ones) for f in functions
    )
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_convolution_with_swish_is_that_of_keras(use_bias):
    options = {"padding": "same", "activation": "swish", "use_bias": use_bias}
    plain, layer = layers.Conv2D(3, 3, **options), fast.Conv2D(3, 3, **options)
    expected = plain(images())
    layer.build((None, 6, 4, 5))
    layer.set_weights([w + 0.1 for w in plain.get_weights()])
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(to_numpy(layer(images())), to_numpy(plain(images())), atol=1e-4)
    assert layer(images()).shape == expected.shape


@pytest.mark.parametrize("size", [2, (3, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_images_are_enlarged_as_keras_does(dtype, interpolation, size):
    options = {"interpolation": interpolation, "dtype": dtype}
    expected, actual = (
        kind(size, **options)(images()) for kind in (layers.UpSampling2D, fast.UpSampling2D)
    )
    assert actual.dtype == expected.dtype
    expected, actual = (to_numpy(ops.cast(v, "float32")) for v in (expected, actual))
    np.testing.assert_array_equal(actual, expected)
