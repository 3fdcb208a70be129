"""Networks: functional Keras models `[noisy_images, noise_variances] -> prediction`."""

from kddim.networks.residual_unet import residual_unet

__all__ = ["residual_unet"]
