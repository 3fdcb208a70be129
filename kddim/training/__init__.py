"""Training runs, from a source of images to a run folder."""

from kddim.settings import DIGITS_DEFAULTS, EXAMPLE_DEFAULTS
from kddim.training.config import TrainingConfig
from kddim.training.dry_run import describe_run, lines_of
from kddim.training.run import resume, train

__all__ = [
    "DIGITS_DEFAULTS",
    "EXAMPLE_DEFAULTS",
    "TrainingConfig",
    "describe_run",
    "lines_of",
    "resume",
    "train",
]
