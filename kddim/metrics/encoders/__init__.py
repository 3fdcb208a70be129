"""Feature encoders, from images in [0, 1] to features.

Encoders are kept outside the model, so that they are saved in no checkpoint.
"""

from kddim.metrics.encoders.base import Encoder, from_model
from kddim.metrics.encoders.fidelity_inception import convert_pt_inception, pt_inception
from kddim.metrics.encoders.keras_inception import inception_v3
from kddim.metrics.encoders.keras_mobilenet import mobilenet
from kddim.metrics.encoders.lookup import NAMES, get, rebuild, same_encoder
from kddim.metrics.encoders.random_convolution import random_conv

__all__ = [
    "NAMES",
    "Encoder",
    "convert_pt_inception",
    "from_model",
    "get",
    "inception_v3",
    "mobilenet",
    "pt_inception",
    "random_conv",
    "rebuild",
    "same_encoder",
]
