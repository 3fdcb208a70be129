"""`kddim stats`."""

import functools
from pathlib import Path

import click

from kddim.cli.common import (
    encoder_options,
    encoding,
    interactive,
    parse_size_or_native,
    runtime_options,
    split_option,
)


@click.command()
@click.argument("source")
@click.option("--output", "-o", required=True, type=click.Path(), help="A .npz file.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@click.option("--image-size", default="native", show_default=True, callback=parse_size_or_native, help="Side in pixels, or HEIGHTxWIDTH, that images are cropped and resized to, such as a model's; or native, as they are.")  # fmt: skip
@click.option("--num-images", "-n", type=int, help="At most so many.  [default: all]")
@encoder_options
@functools.partial(split_option, default="all")
@click.option("--validation-split", type=float, default=0.2, show_default=True, help="Fraction of that part, as in training.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images encoded at once.")  # fmt: skip
@runtime_options
def stats(source, output, overwrite, image_size, seed, **options):
    """Keep the features of SOURCE's images in a file, to measure others against.

    The file serves kddim evaluate and kddim compare in place of the images. It holds
    the features of the first 10,000 images, and mean and covariance of all.

    \b
    Examples:
      kddim stats ~/pictures -o pictures.npz --protocol standard
      kddim stats oxford_flowers102 -o flowers.npz --image-size 64
    """
    from kddim.evaluation import make_reference
    from kddim.files import check_output
    from kddim.metrics import save_reference

    target = check_output(output, overwrite)
    if target.suffix != ".npz":
        raise ValueError(f"Expected a file that ends in .npz. Received: {target}")
    shape = None if image_size is None else (*image_size, None)
    reference = make_reference(
        source, shape, data_seed=seed, verbose=interactive(), **encoding(options), **options
    )
    save_reference(reference, Path(target))
    for remark in reference.remarks:
        click.echo(f"note: {remark}")
    click.echo(f"{reference.count:,} images, {reference.encoder.description}: {target}")
