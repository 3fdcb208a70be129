"""Networks: Keras models `[noisy_images, noise_variances] -> prediction`."""

from kddim.networks.describe import describe_network
from kddim.networks.residual_unet import residual_unet

__all__ = ["describe_network", "residual_unet"]
