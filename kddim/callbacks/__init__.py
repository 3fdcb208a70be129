"""Callbacks for `fit`, one per file."""

from kddim.callbacks.best_model import BestModelCallback
from kddim.callbacks.health import DivergenceError, HealthCallback
from kddim.callbacks.history import HistoryCallback
from kddim.callbacks.image_grid import ImageGridCallback
from kddim.callbacks.kid import KIDCallback
from kddim.callbacks.time_limit import TimeLimitCallback

__all__ = [
    "BestModelCallback",
    "DivergenceError",
    "HealthCallback",
    "HistoryCallback",
    "ImageGridCallback",
    "KIDCallback",
    "TimeLimitCallback",
]
