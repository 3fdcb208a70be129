"""The keras.io example's network and sampling loop, written again as an oracle.

Independent of `kddim`: plain Keras layers in the order that the example names them,
and the loop of its `reverse_diffusion`.
"""

import math

import keras
import numpy as np
from keras import layers, ops


def _embed(x):
    if keras.backend.backend() == "tensorflow":
        frequencies = ops.exp(ops.linspace(ops.log(1.0), ops.log(1000.0), 16))
    else:
        # The example is TensorFlow's. Other frameworks round the exponentials otherwise,
        # by up to 9 units in the last place: at 1,000 turns, milliradians of phase.
        exponents = np.linspace(0.0, np.log(np.float32(1000.0)), 16, dtype="float32")
        frequencies = ops.convert_to_tensor(np.exp(exponents.astype("float64")), "float32")
    speeds = ops.cast(2.0 * math.pi * frequencies, "float32")
    return ops.concatenate([ops.sin(speeds * x), ops.cos(speeds * x)], axis=3)


def _residual(x, width):
    shortcut = x if x.shape[3] == width else layers.Conv2D(width, 1)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.Conv2D(width, 3, padding="same", activation=keras.activations.swish)(x)
    x = layers.Conv2D(width, 3, padding="same")(x)
    return layers.Add()([x, shortcut])


def network(image_size, widths, block_depth):
    """The example's residual UNet for square colour images."""
    noisy = keras.Input((image_size, image_size, 3))
    variance = keras.Input((1, 1, 1))
    e = layers.Lambda(_embed, output_shape=(1, 1, 32))(variance)
    e = layers.UpSampling2D(image_size, interpolation="nearest")(e)
    x = layers.Conv2D(widths[0], 1)(noisy)
    x = layers.Concatenate()([x, e])
    skips = []
    for width in widths[:-1]:
        for _ in range(block_depth):
            x = _residual(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(block_depth):
        x = _residual(x, widths[-1])
    for width in reversed(widths[:-1]):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(block_depth):
            x = layers.Concatenate()([x, skips.pop()])
            x = _residual(x, width)
    x = layers.Conv2D(3, 1, kernel_initializer="zeros")(x)
    return keras.Model([noisy, variance], x)


def randomise(model, seed=0, scale=1.0):
    """Random weights everywhere, the zero ones and batch statistics included."""
    random = np.random.default_rng(seed)
    weights = []
    for weight in model.weights:
        value = random.standard_normal(weight.shape)
        if "variance" in weight.path:
            value = np.exp(0.3 * value)
        elif len(weight.shape) == 4:
            value *= scale / math.sqrt(np.prod(weight.shape[:3]))
        else:
            value *= 0.1
        weights.append(value.astype("float32"))
    model.set_weights(weights)


def reverse_diffusion(model, initial_noise, diffusion_steps):
    """The example's loop: times by subtracting a stride, rates by angles, eager calls."""
    start_angle, end_angle = math.acos(0.95), math.acos(0.02)
    stride = 1.0 / diffusion_steps
    next_noisy = initial_noise
    for step in range(diffusion_steps):
        noisy = next_noisy
        times = np.ones((len(initial_noise), 1, 1, 1), "float32") - np.float32(step * stride)
        angles = start_angle + times * (end_angle - start_angle)
        pred_noises = ops.convert_to_numpy(model([noisy, np.sin(angles) ** 2], training=False))
        pred_images = (noisy - np.sin(angles) * pred_noises) / np.cos(angles)
        angles = start_angle + (times - np.float32(stride)) * (end_angle - start_angle)
        next_noisy = np.cos(angles) * pred_images + np.sin(angles) * pred_noises
    return pred_images
