"""Experiments of the DDIM paper, repeated with a trained model.

Each experiment is one class. All of them share the loop of `Experiment`, which keeps every
result on disk and resumes an interrupted run.
"""

from kddim.experiments.base import Experiment
from kddim.experiments.consistency import Consistency
from kddim.experiments.edits import Inpainting, Variation
from kddim.experiments.generation import Animation, Generation
from kddim.experiments.generation_shard import GenerationShard
from kddim.experiments.guidance_sweep import GuidanceSweep
from kddim.experiments.interpolation import Interpolation
from kddim.experiments.reconstruction import Reconstruction
from kddim.experiments.sweep import Sweep, samplers_of_etas
from kddim.experiments.timetable import Timetable

__all__ = [
    "Animation",
    "Consistency",
    "Experiment",
    "Generation",
    "GenerationShard",
    "GuidanceSweep",
    "Inpainting",
    "Interpolation",
    "Reconstruction",
    "Sweep",
    "Timetable",
    "Variation",
    "samplers_of_etas",
]
