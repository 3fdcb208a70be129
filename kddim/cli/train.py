"""Verb `kddim train`."""

import click

from kddim.cli import options as shared
from kddim.cli.runtime import starts_keras
from kddim.cli.values import parse_integers, parse_size
from kddim.names import ENCODERS, join_names
from kddim.predictions import PREDICTION_TYPES

# fmt: off
settings = shared.group(
    click.option("--output", "-o", required=True, type=click.Path(), help="Run folder to create."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier run in that folder."),
    click.option("--image-size", callback=parse_size, help="Side in pixels, or HEIGHTxWIDTH.  [default: 64; digits: 8]"),
    click.option("--channels", type=int, help="Number of channels: 1 (grey) or 3 (colour).  [default: as in the data]"),
    click.option("--flip", is_flag=True, help="Mirror each training image with probability 1/2."),
    click.option("--limit", type=int, help="Maximum number of images.  [default: all]"),
    click.option("--validation-split", default=0.2, help="Fraction of the images for validation."),
    click.option("--widths", callback=parse_integers, help="Number of channels of each level of the UNet.  [default: 32,64,96,128; digits: 32,64,96]"),
    click.option("--block-depth", default=2, help="Number of residual blocks per level."),
    click.option("--attention-levels", callback=lambda *arguments: parse_integers(*arguments) or (), help="Levels with self-attention, such as 2,3. Level 0 is the finest.  [default: none]"),
    click.option("--normalization", default="batch", help="Normalisation layers: batch, or group for small batches."),
    click.option("--batch-size", default=64, help="Number of images per step."),
    click.option("--epochs", type=int, help="Number of epochs.  [default: 50; digits: 100]"),
    click.option("--steps-per-epoch", type=int, help="Number of steps per epoch.  [default: --repeats passes over the data]"),
    click.option("--repeats", type=int, help="Number of passes over the data per epoch.  [default: 5; digits: 1]"),
    click.option("--max-minutes", type=float, help="Stop before an epoch that would exceed this time.  [default: no limit]"),
    click.option("--learning-rate", default=1e-3, help="Learning rate of AdamW."),
    click.option("--weight-decay", default=1e-4, help="Weight decay of AdamW."),
    click.option("--ema", default=0.999, help="Decay of the moving average of the weights."),
    click.option("--schedule", default="cosine", help=f"Noise schedule: {shared.SCHEDULE_HELP}"),
    click.option("--prediction-type", default="noise", help=f"Quantity that the network predicts: {join_names(PREDICTION_TYPES)}."),
    click.option("--loss-type", help=f"Quantity that the loss compares: {join_names(PREDICTION_TYPES)}.  [default: --prediction-type]"),
    click.option("--remat", is_flag=True, help="Use less memory and more time: compute activations again for the gradients."),
    click.option("--kid-encoder", "--encoder", "kid_encoder", default="auto", help=f"Feature encoder of KID: {join_names([*ENCODERS, 'none'])}. auto is inception_v3 if its weights are available, else random_conv. none measures no KID."),
    click.option("--encoder-weights", type=click.Path(), help="Local file with weights for the encoder."),
    click.option("--kid-images", default=1000, help="Number of images to generate for each KID."),
    click.option("--kid-steps", default=5, help="Number of diffusion steps for each KID."),
    click.option("--kid-max-seconds", type=float, help="Lower --kid-images until a KID takes at most this time.  [default: no limit]"),
    click.option("--every", type=int, help="Number of epochs between KIDs, and between sample grids.  [default: 1; digits: 10]"),
)
# fmt: on


@click.command()
@click.argument("source", default="digits")
@settings
@starts_keras
@click.option("--dtype", type=shared.DTYPES, default="float32", help="Precision of the network.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Seed of everything random. The same seed gives the same run.")  # fmt: skip
def train(output, overwrite, dtype, **options):
    """Train a model on SOURCE, and write a run folder.

    SOURCE is "digits" (1,797 embedded handwritten digits), a folder of pictures, a .npy or
    .npz file of images, or the name of a TensorFlow data set such as oxford_flowers102.

    The run folder receives model.keras (the model with the best KID, or the last one),
    config.json, history.csv, history.png, and samples/epoch_0001.png and so on.

    \b
    Examples:
      kddim train digits --output runs/digits
      kddim train ~/pictures --image-size 64 --epochs 100 --output runs/mine
    """
    import keras

    from kddim.training import TrainingConfig, train

    keras.config.set_dtype_policy(dtype)
    run = train(TrainingConfig(**options), output, overwrite=overwrite)
    click.echo(f"run folder: {run}\ntry: kddim generate {run} --output {run}/generated")
