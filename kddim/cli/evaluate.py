"""Verb `kddim evaluate`."""

import click

from kddim.cli import options as shared
from kddim.cli.report import report_scores, reserve_file
from kddim.cli.runtime import interactive
from kddim.cli.values import negate


@click.command()
@shared.MODEL
@click.argument("source")
@click.option("--num-images", "-n", type=int, help="Number of generated images, and maximum number of real ones.  [default: 1000; protocol standard: 10000]")  # fmt: skip
@shared.reference_options
@click.option("--no-floor", "floor", is_flag=True, callback=negate, help="Do not score real images against other real images.")  # fmt: skip
@click.option("--neighbours", type=shared.PATH, help="A .png file to write, with the generated images that are nearest to training images, beside these.")  # fmt: skip
@click.option("--labels", is_flag=True, help="Generate images with the labels of the real ones, and score each class too.")  # fmt: skip
@shared.guidance_options
@shared.JSON_OUTPUT
@shared.OVERWRITE
@shared.sampler_options
@shared.model_runtime
@shared.divides_batches
def evaluate(model, dtype, output, overwrite, neighbours, **options):
    """Measure the quality of MODEL's images against real images of SOURCE.

    SOURCE is a source of kddim train, or a file made by kddim stats. Lower KID and FID are
    better. Compare values only if their whole protocol is the same, which is printed with
    them. The floor of a score is the score of real images against other real images.

    \b
    Examples:
      kddim evaluate runs/digits digits --diffusion-steps 20
      kddim evaluate runs/mine ~/pictures --metric kid,fid,prdc --output score.json
      kddim evaluate runs/mine ~/pictures --protocol standard --neighbours sheet.png
    """
    from kddim import presets
    from kddim.evaluation import evaluate
    from kddim.presets.loading import loading_of
    from kddim.samplers.parse import make_sampler

    reserve_file(output, overwrite)
    if neighbours and neighbours.suffix.lower() != ".png":
        raise ValueError(f"Expected a .png file for --neighbours. Received: {neighbours}")
    reserve_file(neighbours, overwrite)
    if options["guide"] is not None:
        options["guide"] = presets.load_model(options["guide"], dtype)
    options["sampler"] = make_sampler(options["sampler"], options.pop("eta"))
    result = evaluate(
        presets.load_model(model, dtype),
        verbose=interactive(),
        neighbours=neighbours,
        **loading_of(model),
        **options,
    )
    report_scores(result, output)
    if neighbours:
        click.echo(f"neighbours: {neighbours}")
