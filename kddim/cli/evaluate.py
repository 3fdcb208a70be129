"""Verb `kddim evaluate`."""

from pathlib import Path

import click

from kddim.cli import options as shared
from kddim.cli.report import report_scores
from kddim.cli.runtime import interactive


@click.command()
@shared.MODEL
@click.argument("source")
@click.option("--num-images", "-n", type=int, help="Number of generated images, and maximum number of real ones.  [default: 1000; protocol standard: 10000]")  # fmt: skip
@shared.reference_options
@click.option("--no-floor", is_flag=True, help="Do not score real images against other real images.")  # fmt: skip
@click.option("--neighbours", type=click.Path(), help="A .png file to write, with the generated images that are nearest to training images, beside these.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(), help="A .json file for the result.")
@shared.OVERWRITE
@shared.sampler_options
@shared.model_runtime
def evaluate(model, source, dtype, output, overwrite, neighbours, no_floor, **options):
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
    from kddim import runs
    from kddim.evaluation import evaluate
    from kddim.files import check_output

    target = check_output(output, overwrite) if output else None
    sheet = _check_sheet(neighbours, overwrite)
    sampler, metrics = shared.pop_sampler(options), shared.pop_metrics(options)
    result = evaluate(
        runs.load_model(model, dtype),
        source,
        sampler=sampler,
        metrics=metrics,
        verbose=interactive(),
        floor=not no_floor,
        neighbours=sheet,
        **shared.pop_encoding(options),
        **runs.loading_of(model),
        **options,
    )
    report_scores(result, target)
    if sheet:
        click.echo(f"neighbours: {sheet}")


def _check_sheet(path: str | None, overwrite: bool) -> Path | None:
    from kddim.files import check_output

    if path is None:
        return None
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"Expected a .png file for --neighbours. Received: {path}")
    return check_output(path, overwrite)
