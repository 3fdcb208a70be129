"""Weights of the loss as a function of the signal-to-noise ratio."""

import abc
import dataclasses
from typing import Any

import keras
from keras import ops

from kddim import names, registry


class Weighting(registry.Configurable, abc.ABC):
    """Weight of the loss at each noise level. Subclasses are frozen dataclasses."""

    @abc.abstractmethod
    def weights(self, noise_rates: Any, signal_rates: Any, loss_type: str) -> Any:
        """Return the weights of the loss.

        Args:
            noise_rates: Noise rates, tensor `(batch, 1, 1, 1)`.
            signal_rates: Signal rates of the same shape.
            loss_type: Quantity that the loss compares: "noise", "image", "velocity" or "flow".

        Returns:
            Factors of the loss of each image, tensor `(batch, 1, 1, 1)`.
        """


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class ConstantWeighting(Weighting):
    """The same weight for all times, as in DDPM's simple objective."""

    def weights(self, noise_rates: Any, signal_rates: Any, loss_type: str) -> Any:
        """Return ones."""
        return ops.ones_like(noise_rates)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class ImageWeighting(Weighting):
    """Base of weightings that are stated for a squared error of the predicted image.

    A squared error of the image is `1 / SNR` times that of the noise, `noise_rate**2` times that
    of the velocity, and `(noise_rate / (noise_rate + signal_rate))**2` times that of the flow.
    """

    def image_weights(self, snr: Any) -> Any:
        """Return the weight of a squared error of the image at signal-to-noise ratios `snr`."""
        raise NotImplementedError

    def weights(self, noise_rates: Any, signal_rates: Any, loss_type: str) -> Any:
        """Return `image_weights`, converted to the quantity that the loss compares."""
        noise, signal = ops.maximum(noise_rates, 1e-4), ops.maximum(signal_rates, 1e-4)
        to_image = {
            "noise": noise / signal,
            "image": ops.ones_like(noise),
            "velocity": noise,
            "flow": noise / (noise + signal),
        }[loss_type]
        return self.image_weights((signal / noise) ** 2) * to_image**2


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class MinSNR(ImageWeighting):
    """Weight `min(SNR, gamma)` for a squared error of the image.

    It is `min(SNR, gamma) / SNR` for the noise, and `min(SNR, gamma) / (SNR + 1)` for the
    velocity (Hang et al., ICCV 2023, arXiv 2303.09556, section 3.4).

    Args:
        gamma: Highest weight, above 0.

    Raises:
        ValueError: If `gamma` is not above 0.
    """

    gamma: float = 5.0

    def __post_init__(self):
        if not self.gamma > 0.0:
            raise ValueError(f"Expected gamma > 0. Received: gamma={self.gamma!r}")

    def image_weights(self, snr: Any) -> Any:
        """Return the SNR, at most `gamma`."""
        return ops.minimum(snr, self.gamma)


@keras.saving.register_keras_serializable(package="kddim")
@dataclasses.dataclass(frozen=True)
class SigmoidWeighting(ImageWeighting):
    """Weight `sigmoid(bias - log SNR)` for a squared error of the noise.

    It falls steadily with the signal-to-noise ratio, so that little is spent on details that
    nobody sees (Hoogeboom et al. 2024, arXiv 2410.19324, section 3.1).

    Args:
        bias: Log signal-to-noise ratio at which the weight of the noise is one half.
    """

    bias: float = 0.0

    def image_weights(self, snr: Any) -> Any:
        """Return the SNR times `sigmoid(bias - log SNR)`."""
        return snr * ops.sigmoid(self.bias - ops.log(snr))


NAMES: dict[str, type[Weighting]] = registry.load_table(names.WEIGHTINGS)


def get(identifier: Any) -> Weighting:
    """Return a weighting.

    Args:
        identifier: Name of a weighting, its configuration, or a `Weighting`.

    Raises:
        ValueError: If `identifier` is none of these.
    """
    return registry.resolve(identifier, "weighting", Weighting, NAMES)
