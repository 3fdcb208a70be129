"""Verb `kddim compare`."""

import click

from kddim.cli import options as shared
from kddim.cli.report import report_scores, reserve_file
from kddim.cli.runtime import interactive, starts_keras


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@shared.metric_option("kid,fid,prdc")
@click.option("--num-images", "-n", type=int, help="Maximum number of images of each.  [default: all]")  # fmt: skip
@shared.encoder_options
@shared.batch_size_option("Number of images per batch of the encoder.")
@shared.JSON_OUTPUT
@shared.OVERWRITE
@starts_keras
@shared.ignored_dtype
@shared.ignored_seed
def compare(first, second, output, overwrite, **options):
    """Measure the images of B against the images of A, whatever made them.

    A and B are each a folder of pictures of any sizes, a .npy or .npz file of images, or a
    file made by kddim stats. Pictures are neither cropped nor resized before the encoder
    resizes them to its own size.

    \b
    Examples:
      kddim compare real_pictures generated_pictures
      kddim compare real.npz pictures --metric fid --encoder pt_inception --encoder-weights inception.npz
    """
    from kddim.evaluation import compare

    reserve_file(output, overwrite)
    report_scores(compare(first, second, verbose=interactive(), **options), output)
