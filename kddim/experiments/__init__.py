"""The paper's evidence for one's own model: each experiment one class, all one loop."""

from kddim.experiments.base import Experiment
from kddim.experiments.consistency import Consistency
from kddim.experiments.generation import Animation, Generation
from kddim.experiments.interpolation import Interpolation
from kddim.experiments.reconstruction import Reconstruction
from kddim.experiments.sweep import Sweep, samplers_of_etas

__all__ = [
    "Animation",
    "Consistency",
    "Experiment",
    "Generation",
    "Interpolation",
    "Reconstruction",
    "Sweep",
    "samplers_of_etas",
]
