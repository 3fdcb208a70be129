"""Settings of a training run: what there is, what is valid, and files of them.

Nothing here imports Keras, so that `kddim train --help` answers at once.
"""

from kddim.settings.declared import (
    BACKENDS,
    DIGITS_DEFAULTS,
    DTYPES,
    EXAMPLE_DEFAULTS,
    RunSettings,
    Settings,
    default_words,
    describe_arguments,
    text_of,
)
from kddim.settings.files import SettingsFile, read_settings
from kddim.settings.kinds import annotations_of, choices_of, description_of, is_path, plain_type
from kddim.settings.validation import parse_size, unknown_setting, validate

__all__ = [
    "BACKENDS",
    "DIGITS_DEFAULTS",
    "DTYPES",
    "EXAMPLE_DEFAULTS",
    "RunSettings",
    "Settings",
    "SettingsFile",
    "annotations_of",
    "choices_of",
    "default_words",
    "describe_arguments",
    "parse_size",
    "description_of",
    "is_path",
    "plain_type",
    "read_settings",
    "text_of",
    "unknown_setting",
    "validate",
]
