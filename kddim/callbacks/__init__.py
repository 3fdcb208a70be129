"""Callbacks for `fit`, one per file."""

from kddim.callbacks.best_model import BestModelCallback
from kddim.callbacks.health import DivergenceError, HealthCallback
from kddim.callbacks.history import HistoryCallback
from kddim.callbacks.image_grid import ImageGridCallback
from kddim.callbacks.kid import KIDCallback
from kddim.callbacks.power_average import PowerAverageCallback
from kddim.callbacks.progress import TrainingProgress
from kddim.callbacks.run_checkpoint import RunCheckpoint
from kddim.callbacks.tensorboard import TensorBoardCallback
from kddim.callbacks.time_limit import TimeLimitCallback
from kddim.callbacks.tracker import TrackerCallback
from kddim.callbacks.tracking import trackers

__all__ = [
    "BestModelCallback",
    "DivergenceError",
    "HealthCallback",
    "HistoryCallback",
    "ImageGridCallback",
    "KIDCallback",
    "PowerAverageCallback",
    "RunCheckpoint",
    "TensorBoardCallback",
    "TimeLimitCallback",
    "TrackerCallback",
    "TrainingProgress",
    "trackers",
]
