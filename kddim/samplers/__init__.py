"""Samplers: algorithms that turn noise into images with a denoiser.

A denoiser is any function `(noisy_images, noise_rates, signal_rates) -> (pred_noises,
pred_images)`. Each algorithm has its own file.
"""

from typing import Any

import keras

from kddim import names, registry
from kddim.samplers.adams_bashforth import AdamsBashforth
from kddim.samplers.annealed_langevin import AnnealedLangevin
from kddim.samplers.base import Rates, Sampler
from kddim.samplers.ddim import DDIM
from kddim.samplers.ddpm import DDPM
from kddim.samplers.dpm_solver import DPMSolverPP
from kddim.samplers.gaussian_start import GaussianStart
from kddim.samplers.heun import Heun
from kddim.samplers.inverse import DDIMInverse, inverse_of
from kddim.samplers.ipndm import IPNDM
from kddim.samplers.linear_multistep import LinearMultistep
from kddim.samplers.of_model import SamplerOfModel
from kddim.samplers.predictor_corrector import PredictorCorrector
from kddim.samplers.repaint import RePaint
from kddim.samplers.tuned import Auto, Tuned

__all__ = [
    "DDIM",
    "DDPM",
    "IPNDM",
    "NAMES",
    "AdamsBashforth",
    "AnnealedLangevin",
    "Auto",
    "DDIMInverse",
    "DPMSolverPP",
    "GaussianStart",
    "Heun",
    "LinearMultistep",
    "PredictorCorrector",
    "Rates",
    "RePaint",
    "Sampler",
    "SamplerOfModel",
    "Tuned",
    "get",
    "inverse_of",
    "serialize_sampler",
]

# What these do depends on a model, so that they are none of the samplers that stand for themselves.
OF_MODELS: dict[str, type[Sampler]] = {
    "auto": Auto,
    "tuned": Tuned,
    "gaussian_start": GaussianStart,
}
NAMES: dict[str, type[Sampler]] = registry.load_table(names.SAMPLERS)


def get(identifier: Any) -> Sampler:
    """Return a sampler.

    Args:
        identifier: Name of a sampler, configuration of one, or a `Sampler`, which is returned as
            it is. "tuned" is the sampler that `kddim tune` found for the model, "gaussian_start" begins
            where the Gaussian of the model's data leads, and "auto" chooses one of them or `DDIM`.

    Raises:
        ValueError: If `identifier` is none of these.
    """
    if isinstance(identifier, str) and identifier in OF_MODELS:
        return OF_MODELS[identifier]()
    return registry.resolve(identifier, "sampler", Sampler, NAMES)


def serialize_sampler(sampler: Sampler) -> dict[str, Any]:
    """Return the configuration of a sampler as JSON values, for `get`.

    Args:
        sampler: The sampler. Its class is one of this package, or registered with Keras.
    """
    return keras.saving.serialize_keras_object(sampler)
