"""`kddim train`."""

import click

from kddim.cli.common import interactive, parse_size, parse_widths, runtime_options


@click.command()
@click.argument("source", default="digits")
@click.option("--output", "-o", required=True, type=click.Path(), help="Run folder to make.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier run in that folder.")
@click.option(
    "--image-size",
    callback=parse_size,
    help="Side in pixels, or HEIGHTxWIDTH.  [default: 64; digits: 8]",
)
@click.option("--channels", type=int, help="1 (grey) or 3 (colour).  [default: those of the data]")
@click.option(
    "--widths",
    callback=parse_widths,
    help="Channels of each level of the UNet.  [default: 32,64,96,128; digits: 32,64,96]",
)
@click.option(
    "--block-depth", type=int, default=2, show_default=True, help="Residual blocks a level."
)
@click.option(
    "--attention-levels",
    callback=lambda *arguments: parse_widths(*arguments) or (),
    help="Levels with self-attention, 0 the finest; such as 2,3.  [default: none]",
)
@click.option(
    "--normalization", default="batch", show_default=True, help="batch, or group for small batches."
)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Images a step.")
@click.option("--epochs", type=int, help="[default: 50; digits: 100]")
@click.option("--steps-per-epoch", type=int, help="[default: --repeats passes over the data]")
@click.option("--max-minutes", type=float, help="Stop before an epoch that would exceed them.")
@click.option("--repeats", type=int, help="Passes over the data an epoch.  [default: 5; digits: 1]")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="Of AdamW.")
@click.option("--weight-decay", type=float, default=1e-4, show_default=True, help="Of AdamW.")
@click.option(
    "--ema", type=float, default=0.999, show_default=True, help="Decay of the averaged weights."
)
@click.option(
    "--schedule",
    default="cosine",
    show_default=True,
    help="cosine, linear_beta, log_snr_linear, sigmoid or nichol_dhariwal.",
)
@click.option(
    "--prediction-type", default="noise", show_default=True, help="noise, image or velocity."
)
@click.option("--loss-type", help="What the loss compares, of the same words.  [default: the prediction type]")  # fmt: skip
@click.option("--remat", is_flag=True, help="Less memory for more time: compute activations twice.")
@click.option("--flip", is_flag=True, help="Mirror half of the training images.")
@click.option("--limit", type=int, help="Use at most so many images.")
@click.option(
    "--validation-split", type=float, default=0.2, show_default=True, help="Fraction held out."
)
@click.option(
    "--kid-encoder",
    "--encoder",
    "kid_encoder",
    default="auto",
    show_default=True,
    help="inception_v3, pt_inception, mobilenet, random_conv, none, or auto: Inception where its weights can be had, else random_conv.",
)
@click.option("--encoder-weights", type=click.Path(), help="A local file for that encoder.")
@click.option(
    "--kid-images", type=int, default=1000, show_default=True, help="Images generated for each KID."
)
@click.option(
    "--kid-steps", type=int, default=5, show_default=True, help="Diffusion steps of them."
)
@click.option("--kid-max-seconds", type=float, help="Lower --kid-images to what fits in them.  [default: no limit]")  # fmt: skip
@click.option(
    "--every", type=int, help="Epochs between KIDs and sample grids.  [default: 1; digits: 10]"
)
@runtime_options
def train(output: str, overwrite: bool, **options: object) -> None:
    """Train a model on SOURCE and leave a run folder.

    SOURCE is "digits" (1,797 embedded handwritten digits), a folder of pictures, a .npy
    or .npz file of images, or the name of a TensorFlow data set such as
    oxford_flowers102.

    The run folder holds model.keras (the best by KID, or the last), config.json,
    history.csv, history.png and samples/epoch_0001.png and on.

    \b
    Examples:
      kddim train digits --output runs/digits
      kddim train ~/pictures --image-size 64 --epochs 100 --output runs/mine
    """
    from kddim.training import TrainingConfig, train

    config = TrainingConfig(**options)  # type: ignore[arg-type]
    # One line a step would fill a log file; one line an epoch is enough there.
    verbose = 1 if interactive() else 2
    run = train(config, output, overwrite=overwrite, verbose=verbose)
    click.echo(f"run folder: {run}\ntry: kddim generate {run} --output {run}/generated")
