"""All settings of a training run: names, types, ranges, defaults and descriptions.

A setting is added here and nowhere else. The command line, the files of settings, the table in
docs/settings.md and the docstring of `TrainingConfig` follow.
"""

# ruff: noqa: RUF009 (`setting` returns a dataclass field)

import dataclasses
import textwrap
from typing import Annotated, Any, Literal, get_args

from kddim.names import (
    DEFAULT_RECIPE,
    ENCODERS,
    OPTIMIZERS,
    RECIPES,
    SCHEDULES,
    TIME_DISTRIBUTIONS,
    WEIGHTINGS,
    join_names,
)
from kddim.predictions import PREDICTION_TYPES
from kddim.settings.kinds import (
    BatchSize,
    Channels,
    Count,
    Decay,
    Depth,
    DistillSteps,
    Fraction,
    ImageSize,
    Integer,
    Level,
    NotNegative,
    OneOf,
    PatchSize,
    Path,
    Positive,
    Several,
    Share,
    Start,
    TuneSteps,
    Width,
    annotations_of,
    description_of,
    setting,
)

Backend = Literal["tensorflow", "jax", "torch"]
Dtype = Literal["float32", "mixed_bfloat16", "mixed_float16"]
BACKENDS: tuple[str, ...] = get_args(Backend)
DTYPES: tuple[str, ...] = get_args(Dtype)

KID_ENCODERS = (*ENCODERS, "none")
NORMALIZATIONS = ("batch", "group")
LOSSES = ("mean_absolute_error", "mean_squared_error", "huber")

# Images of 8x8 pixels need fewer levels, and minutes instead of hours.
DIGITS_DEFAULTS: dict[str, Any] = {
    "image_size": 8,
    "widths": (32, 64, 96),
    "epochs": 100,
    "repeats": 1,
    "every": 10,
}
# The settings of the keras.io example.
EXAMPLE_DEFAULTS: dict[str, Any] = {
    "image_size": 64,
    "widths": (32, 64, 96, 128),
    "epochs": 50,
    "repeats": 5,
    "every": 1,
}


# fmt: off
@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that decide the numbers of a training run."""

    source: str = setting("digits", "Source of images, as for `kddim.data.load`.", cli=False)
    image_size: ImageSize | None = setting(None, "Side in pixels, or HEIGHTxWIDTH. Both are divisible by `patch_size` times 2 for each level after the first: by 8 with four levels.")
    channels: Channels | None = setting(None, "Number of channels: 1 (grey) or 3 (colour).", unset="as in the data")
    widths: tuple[Width, ...] | None = setting(None, "Number of channels of each level of the UNet.")
    block_depth: Depth = setting(2, "Number of residual blocks per level.")
    patch_size: PatchSize = setting(1, "Side of the patches that the UNet sees as one pixel: 2 pays for wider levels in the same time.")
    attention_levels: tuple[Level, ...] = setting((), "Levels with self-attention, such as 2,3. Level 0 is the finest.", unset="none")
    normalization: Annotated[str, OneOf("normalization", NORMALIZATIONS)] = setting("batch", "Normalisation layers: batch, or group for small batches.")
    labels: bool = setting(False, "Train with the classes of the images: the folders that pictures are in, or the labels of a data set.")
    label_dropout: Share = setting(0.1, "Share of the training images whose label is hidden, which guidance needs.")
    init: Path | None = setting(None, "Preset, run, .keras file or hf://user/repo to start from: its averaged weights, and its network.", unset="random weights")
    distill_steps: DistillSteps | None = setting(None, "Teach the model of `init` to sample in this number of DDIM steps. kddim distill sets it.", unset="no distillation")
    distill_start: Start = setting(1.0, "Time at which the steps of the model that is taught begin. Below 1, the Gaussian of the data leads there without the network. kddim distill --start sets it.")
    distill_from: Annotated[str, OneOf("prediction_type", PREDICTION_TYPES)] | None = setting(None, "Prediction type of the model of `init`, if the model that is taught has another one. kddim distill sets it.", unset="`prediction_type`")
    tune_steps: tuple[TuneSteps, ...] = setting((), "Numbers of steps that the model is tuned to after the training, as by kddim tune, such as 5. It then generates good images with so few.", unset="none")
    batch_size: BatchSize = setting(64, "Number of images per step.")
    epochs: Count | None = setting(None, "Number of epochs.")
    steps_per_epoch: Count | None = setting(None, "Number of steps per epoch.", unset="`repeats` passes over the data")
    repeats: Count | None = setting(None, "Number of passes over the data per epoch.")
    max_minutes: Positive | None = setting(None, "Stop before an epoch that would exceed this time.", unset="no limit")
    optimizer: Annotated[str, OneOf("optimizer", tuple(OPTIMIZERS))] = setting("adamw", f"Optimiser: {join_names(OPTIMIZERS)}. muon gives the kernels of convolutions orthogonal updates.")
    learning_rate: Positive = setting(1e-3, "Learning rate.")
    learning_rate_decay: Share = setting(0.0, "Share of the steps, at the end of the run, in which the learning rate falls to zero.")
    weight_decay: NotNegative = setting(1e-4, "Weight decay.")
    ema: Decay = setting(0.999, "Decay of the moving average of the weights.")
    power_ema: bool = setting(False, "Also keep averages from which kddim ema reconstructs the average of any length after training.")
    schedule: Annotated[str, OneOf("schedule", tuple(SCHEDULES))] = setting("cosine", f"Noise schedule: {join_names(SCHEDULES)}.")
    prediction_type: Annotated[str, OneOf("prediction_type", PREDICTION_TYPES)] = setting("noise", f"Quantity that the network predicts: {join_names(PREDICTION_TYPES)}.")
    loss_type: Annotated[str, OneOf("loss_type", PREDICTION_TYPES)] | None = setting(None, f"Quantity that the loss compares: {join_names(PREDICTION_TYPES)}.", unset="`prediction_type`")
    loss: Annotated[str, OneOf("loss", LOSSES)] = setting("mean_absolute_error", f"Loss per pixel: {join_names(LOSSES)}.")
    training_times: Annotated[str, OneOf("distribution of times", tuple(TIME_DISTRIBUTIONS))] = setting("uniform", f"Distribution of the diffusion times in training: {join_names(TIME_DISTRIBUTIONS)}.")
    weighting: Annotated[str, OneOf("weighting", tuple(WEIGHTINGS))] = setting("constant", f"Weights of the loss over noise levels: {join_names(WEIGHTINGS)}.")
    remat: bool = setting(False, "Use less memory and more time: compute activations again for the gradients.")
    stream: bool | None = setting(None, "Read the images from a file in the cache, batch by batch, instead of keeping all in memory.", unset="if they take more than half of the free memory")
    flip: bool = setting(False, "Mirror each training image with probability 1/2.")
    limit: Several | None = setting(None, "Maximum number of images.", unset="all")
    validation_split: Fraction = setting(0.2, "Fraction of the images for validation.")
    kid_encoder: Annotated[str, OneOf("encoder", KID_ENCODERS)] = setting("auto", f"Feature encoder of KID: {join_names(KID_ENCODERS)}. auto is inception_v3 if its weights are available, else random_conv. none measures no KID.", flags=("--encoder",))
    encoder_weights: Path | None = setting(None, "Local file with weights for the encoder.", unset="those of the encoder")
    kid_images: Several = setting(1000, "Number of images to generate for each KID.")
    kid_steps: Count = setting(5, "Number of diffusion steps for each KID.")
    kid_max_seconds: Positive | None = setting(None, "Lower `kid_images` until a KID takes at most this time.", unset="no limit")
    every: Count | None = setting(None, "Number of epochs between KIDs, and between sample grids.")
    seed: Integer = setting(0, "Seed of everything random. The same seed gives the same run.")
    strict: bool = setting(False, "Stop at the first picture that cannot be read, instead of skipping it.")
    tensorboard: bool = setting(False, "Write scalars and sample grids for TensorBoard to the run folder's logs.")
    track: Literal["wandb", "trackio"] | None = setting(None, "Service that receives the scalars and sample grids too.", unset="none")
    checkpoint_minutes: Positive = setting(5.0, "Time in minutes between checkpoints.")
    checkpoint_steps: Count | None = setting(None, "Number of steps between checkpoints, besides `checkpoint_minutes`.", unset="no limit")


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    """Settings of a training run, and the place and the framework of its computation."""

    output: Path | None = setting(None, "Run folder to create.", flags=("-o",), unset="required")
    backend: Backend | None = setting(None, "Framework that computes.", unset="Keras' own choice, such as KERAS_BACKEND")
    preset: Annotated[str, OneOf("preset", tuple(RECIPES))] | None = setting(None, f"Recipe, which sets what the command line and the file do not: {join_names(RECIPES)}.", unset=f"{DEFAULT_RECIPE}; digits, and with `init`: none")
    dtype: Dtype = setting("float32", "Precision of the network.")
# fmt: on


def default_words(field: dataclasses.Field) -> str:
    """Return words for the default of a setting, such as `64; digits: 8`."""
    if field.name in EXAMPLE_DEFAULTS:
        defaults = (EXAMPLE_DEFAULTS, DIGITS_DEFAULTS)
        example, digits = (text_of(field.name, found[field.name]) for found in defaults)
        return f"{example}; digits: {digits}"
    return field.metadata["unset"] or text_of(field.name, field.default)


def text_of(name: str, value: Any) -> str:
    """Return the value of a setting as it is written on the command line.

    Args:
        name: Name of the setting.
        value: Its value.
    """
    if isinstance(value, tuple):
        return ("x" if name == "image_size" else ",").join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def describe_arguments(settings: type) -> type:
    """Add the descriptions of all settings to the docstring of a dataclass."""
    if settings.__doc__ is None:  # Python drops docstrings with -OO
        return settings
    types = annotations_of(settings)
    lines = []
    for field in dataclasses.fields(settings):
        words = description_of(types[field.name])
        told = f"{words[0].upper()}{words[1:]}. {field.metadata['help']} Default: {default_words(field)}."  # fmt: skip
        lines += textwrap.wrap(
            f"{field.name}: {told}", 92, initial_indent=" " * 8, subsequent_indent=" " * 12
        )
    settings.__doc__ = "\n".join([settings.__doc__.rstrip(), "", "    Args:", *lines, ""])
    return settings
