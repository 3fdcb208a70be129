"""Training runs, from a source of images to a run folder."""

from kddim.training.config import DIGITS_DEFAULTS, EXAMPLE_DEFAULTS, TrainingConfig
from kddim.training.run import train

__all__ = ["DIGITS_DEFAULTS", "EXAMPLE_DEFAULTS", "TrainingConfig", "train"]
