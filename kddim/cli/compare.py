"""`kddim compare`."""

import click

from kddim.cli.common import (
    encoder_options,
    encoding,
    interactive,
    runtime_options,
)
from kddim.cli.report import print_scores


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--metric", default="kid,fid,prdc", show_default=True, help="Among kid, fid and prdc: precision, recall, density and coverage.")  # fmt: skip
@click.option("--num-images", "-n", type=int, help="At most so many of each.  [default: all]")
@encoder_options
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images encoded at once.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(), help="A .json file for the result.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@runtime_options
def compare(first, second, output, overwrite, seed, **options):
    """Measure the images of B against those of A, from anywhere.

    Each is a folder of pictures of any sizes, a .npy or .npz file of images, or a file
    that kddim stats made. Pictures are neither cropped nor resized before the encoder
    sees them.

    \b
    Examples:
      kddim compare real_pictures generated_pictures
      kddim compare real.npz pictures --metric fid --encoder pt_inception --encoder-weights inception.npz
    """
    from kddim.evaluation import check_metrics, compare
    from kddim.files import check_output, write_json

    target = check_output(output, overwrite) if output else None
    metrics = check_metrics(options.pop("metric").split(","))
    result = compare(
        first, second, metrics=metrics, verbose=interactive(), **encoding(options), **options
    )
    print_scores(result)
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, result)
