"""A GAN with as many parameters as a model, to compare the times of both."""

from collections.abc import Callable

import numpy as np
from keras import ops

from kddim import backend, latents
from kddim.model import DiffusionModel
from kddim.networks.dcgan import LATENT_DIMS, count_parameters, dcgan_of_size, nearest_width


def gan_parameters(model: DiffusionModel) -> int:
    """Return the number of parameters of the GAN of `gan_like`."""
    shape, size = model.image_shape, model.sampling_network.count_params()
    return count_parameters(shape, nearest_width(shape, size))


def gan_like(model: DiffusionModel, dtype: str, seed: int) -> Callable[[int, Callable], np.ndarray]:
    """Return a function that generates one batch of images with a GAN.

    The GAN is a DCGAN with random weights, and with as many parameters as the network of a model.

    Args:
        model: The model.
        dtype: Dtype policy of the GAN.
        seed: Seed of its noises.

    Returns:
        Function of a number of images and a callback of samplers, which is called once. It
        returns images `(num_images, height, width, channels)` in [0, 1].
    """
    size = model.sampling_network.count_params()
    network = dcgan_of_size(model.image_shape, size, dtype=dtype)

    def step(noise):
        """Return the images of noises, in [0, 1]."""
        return (network(noise, training=False) + 1.0) / 2.0

    compiled = backend.compile_step(step, network.variables)

    def generate(num_images: int, callback: Callable) -> np.ndarray:
        """Generate images, and call the callback once as after a step."""
        noise = latents.initial_noise(num_images, (1, 1, LATENT_DIMS), seed)[:, 0, 0]
        images = backend.to_numpy(compiled(ops.convert_to_tensor(noise)))
        callback(0, images, images)
        return images

    return generate
