"""Run folders: paths, models and settings of training runs."""

from kddim.runs.description import describe, describe_training, model_lines
from kddim.runs.folder import (
    AVERAGES,
    CONFIG,
    EARLIER,
    MODEL,
    SAMPLES,
    check_run_output,
    model_path,
)
from kddim.runs.models import load_model, read_model, with_dtype
from kddim.runs.settings import loading_from, loading_of, read_config, versions

__all__ = [
    "AVERAGES",
    "CONFIG",
    "EARLIER",
    "MODEL",
    "SAMPLES",
    "check_run_output",
    "describe",
    "describe_training",
    "load_model",
    "loading_from",
    "loading_of",
    "model_lines",
    "model_path",
    "read_config",
    "read_model",
    "versions",
    "with_dtype",
]
