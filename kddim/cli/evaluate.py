"""`kddim evaluate`."""

from pathlib import Path

import click

from kddim.cli.common import (
    encoding,
    interactive,
    make_sampler,
    reference_options,
    runtime_options,
    sampler_options,
)
from kddim.cli.report import print_scores


@click.command()
@click.argument("model", type=click.Path())
@click.argument("source")
@click.option("--num-images", "-n", type=int, help="Generated, and at most so many real ones.  [default: 1000; protocol standard: 10000]")  # fmt: skip
@reference_options
@click.option("--no-floor", is_flag=True, help="Do not score real images against real ones.")
@click.option("--neighbours", type=click.Path(), help="A .png file for the generated images nearest to training images, beside those.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(), help="A .json file for the result.")
@click.option("--overwrite", is_flag=True, help="Replace these files.")
@sampler_options
@runtime_options
def evaluate(
    model, source, output, overwrite, neighbours, no_floor, diffusion_steps, sampler, eta, **options
):
    """Measure the quality of MODEL's images against real images of SOURCE.

    SOURCE is what kddim train takes, or a file that kddim stats made. Lower KID and FID
    are better. Values compare only where the whole protocol, which is printed with them,
    is the same. The floor beside a score is what real images score against other real
    ones.

    \b
    Examples:
      kddim evaluate runs/digits digits --diffusion-steps 20
      kddim evaluate runs/mine ~/pictures --metric kid,fid,prdc --output score.json
      kddim evaluate runs/mine ~/pictures --protocol standard --neighbours sheet.png
    """
    from kddim import runs
    from kddim.evaluation import check_metrics, evaluate
    from kddim.files import check_output, write_json

    target = check_output(output, overwrite) if output else None
    sheet = _check_sheet(neighbours, overwrite)
    chosen = make_sampler(sampler, eta)
    metrics = check_metrics(options.pop("metric").split(","))
    loaded = runs.load_model(model)
    result = evaluate(
        loaded,
        source,
        diffusion_steps=diffusion_steps,
        sampler=chosen,
        metrics=metrics,
        verbose=interactive(),
        floor=not no_floor,
        neighbours=sheet,
        **encoding(options),
        **runs.loading_of(model),
        **options,
    )
    print_scores(result)
    if sheet:
        click.echo(f"neighbours: {sheet}")
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(target), result)


def _check_sheet(path: str | None, overwrite: bool) -> Path | None:
    from kddim.files import check_output

    if path is None:
        return None
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"Expected a .png file for --neighbours. Received: {path}")
    return check_output(path, overwrite)
