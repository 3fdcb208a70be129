"""Verb `kddim stats`."""

import click

from kddim.cli import options as shared
from kddim.cli.report import reserve_file
from kddim.cli.runtime import interactive, starts_keras
from kddim.cli.values import parse_size_or_native


@click.command()
@click.argument("source")
@click.option("--output", "-o", required=True, type=shared.PATH, help="A .npz file.")
@shared.OVERWRITE
@click.option("--image-size", default="native", callback=parse_size_or_native, help="Size to crop and resize images to, usually the size of a model: a side in pixels, or HEIGHTxWIDTH. native keeps the images as they are.")  # fmt: skip
@click.option("--num-images", "-n", type=int, help="Maximum number of images.  [default: all]")
@shared.encoder_options
@shared.split_option("all")
@click.option("--validation-split", type=float, default=0.2, help="Fraction of the validation images, as in training.")  # fmt: skip
@click.option("--split-seed", type=int, help="Seed of the training run, which decides the parts of --split.  [default: 0]")  # fmt: skip
@click.option("--seed", type=int, default=0, hidden=True)  # the older name of --split-seed
@shared.batch_size_option("Number of images per batch of the encoder.")
@starts_keras
@shared.ignored_dtype
def stats(output, overwrite, image_size, split_seed, seed, **options):
    """Write the features of SOURCE's images to a file, to measure other images against.

    kddim evaluate and kddim compare take the file instead of the images. It holds the
    features of the first 10,000 images, and the mean and covariance of the features of all.

    \b
    Examples:
      kddim stats ~/pictures -o pictures.npz --protocol standard
      kddim stats oxford_flowers102 -o flowers.npz --image-size 64
    """
    from kddim.evaluation import make_reference
    from kddim.metrics import save_reference

    reserve_file(output, overwrite)
    if output.suffix != ".npz":
        raise ValueError(f"Expected a file that ends in .npz. Received: {output}")
    shape = None if image_size is None else (*image_size, None)
    reference = make_reference(
        image_shape=shape,
        data_seed=seed if split_seed is None else split_seed,
        verbose=interactive(),
        **options,
    )
    save_reference(reference, output)
    for remark in reference.remarks:
        click.echo(f"note: {remark}")
    click.echo(f"{reference.count:,} images, {reference.encoder.description}: {output}")
