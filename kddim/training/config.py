"""Settings of a training run, as objects for Python."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any

from kddim.checks import check_image_size
from kddim.networks.blocks import check_attention_levels
from kddim.networks.residual_unet import check_structure
from kddim.settings import (
    DIGITS_DEFAULTS,
    EXAMPLE_DEFAULTS,
    Settings,
    describe_arguments,
    read_settings,
    validate,
)
from kddim.settings.kinds import Count, ImageSize, Width
from kddim.training.estimate import check_fits


@describe_arguments
@dataclasses.dataclass(frozen=True)
class TrainingConfig(Settings):
    """Settings of a training run.

    Each setting is validated: types are strict, lists become tuples, and `image_size` may be
    text such as "64x48".

    Raises:
        ValueError: If a setting is of another type or out of range.

    Example:
        >>> TrainingConfig("digits", widths=[32, 64], epochs=20).resolved()
    """

    def __post_init__(self):
        for name, value in validate(type(self), vars(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "TrainingConfig":
        """Return the settings of a file. Its output, backend and dtype are left out.

        Args:
            path: A .toml, .yaml or .json file, or a run folder.

        Raises:
            ValueError: If the file cannot be read, or if a setting is not valid.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        values = read_settings(path).values
        return cls(**{name: values[name] for name in values if name in names})

    def resolved(self) -> "ResolvedConfig":
        """Return these settings with the defaults of the source in place of None.

        Raises:
            ValueError: If settings do not fit together, or do not fit in memory.
        """
        defaults = DIGITS_DEFAULTS if self.source == "digits" else EXAMPLE_DEFAULTS
        missing = {key: value for key, value in defaults.items() if getattr(self, key) is None}
        return ResolvedConfig(**(vars(self) | missing))

    def arguments_of(self, function: Callable) -> dict[str, Any]:
        """Return the settings that a function has parameters for, by their names."""
        parameters = inspect.signature(function).parameters
        return {name: value for name, value in vars(self).items() if name in parameters}


@dataclasses.dataclass(frozen=True)
class ResolvedConfig(TrainingConfig):
    """Settings of a training run, with the defaults of the source filled in.

    Raises:
        ValueError: If a setting that can be checked without the data is of another type or out
            of range, or if the run would not fit in the free memory.
    """

    image_size: ImageSize = EXAMPLE_DEFAULTS["image_size"]
    widths: tuple[Width, ...] = EXAMPLE_DEFAULTS["widths"]
    epochs: Count = EXAMPLE_DEFAULTS["epochs"]
    repeats: Count = EXAMPLE_DEFAULTS["repeats"]
    every: Count = EXAMPLE_DEFAULTS["every"]

    def __post_init__(self):
        super().__post_init__()
        size = check_image_size(self.image_size)
        channels = self.channels or 3
        check_structure(size, self.widths, self.block_depth, channels, self.patch_size)
        check_attention_levels(self.attention_levels, len(self.widths))
        if self.distill_steps is not None:
            self._check_distillation()
        check_fits(self)

    def _check_distillation(self) -> None:
        """Raise unless the run can teach a model to sample in a number of steps."""
        if self.init is None:
            raise ValueError(
                "Expected a model to distill (init) with distill_steps. Received: none"
            )
        if self.prediction_type == "noise":
            raise ValueError(
                "Expected a prediction_type such as velocity with distill_steps. Received: noise"
            )
