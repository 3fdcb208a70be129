"""Verb `kddim ema`."""

from pathlib import Path
from typing import Any

import click

from kddim.cli import options as shared
from kddim.cli.report import reserve_file
from kddim.cli.runtime import interactive, starts_keras
from kddim.cli.values import negate, parse_numbers
from kddim.files import check_output
from kddim.locks import output_lock


@click.command()
@click.argument("run", type=click.Path())
@click.option("--length", "lengths", default="0.03,0.05,0.1,0.15,0.2", callback=parse_numbers, help="Lengths of averages, separated by commas: standard deviations relative to the number of steps, each in (0, 0.2887).")  # fmt: skip
@click.option("--source", help="Source of real images.  [default: that of the run]")  # fmt: skip
@click.option("--num-images", "-n", type=click.IntRange(min=4), help="Number of images to generate for each KID, and maximum number of real ones.  [default: as in the run]")  # fmt: skip
@click.option("--diffusion-steps", type=click.IntRange(min=1), help="Number of diffusion steps for each KID.  [default: as in the run]")  # fmt: skip
@click.option("--encoder", "--kid-encoder", help=f"Feature encoder: {shared.ENCODER_HELP}  [default: as in the run]")  # fmt: skip
@click.option("--encoder-weights", "weights", type=click.Path(), help="Local file with weights for the encoder.")  # fmt: skip
@click.option("--seed", type=int, help="Seed of the generated images.  [default: the seed of the run]")  # fmt: skip
@shared.batch_size_option("Number of images per batch.")
@click.option("--no-kid", "kid", is_flag=True, callback=negate, help="Measure nothing. For a single --length.")  # fmt: skip
@click.option("--output", "-o", type=shared.PATH, help="A .keras file for the average with the lowest KID. --overwrite without it replaces RUN's model.keras.")  # fmt: skip
@shared.OVERWRITE
@starts_keras
@shared.ignored_dtype
def ema(run, lengths, kid, output, overwrite, **options):
    """Reconstruct averages of any length of a RUN, and measure them.

    RUN is a run folder that was trained with --power-ema. The averages end at the end of the
    run. The table shows the KID of each, measured as the run measures its own, and first that
    of model.keras. The average with the lowest KID is written to --output, even if model.keras
    is better.

    \b
    Examples:
      kddim ema runs/mine
      kddim ema runs/mine --length 0.05,0.1,0.15 --num-images 500 --output best.keras
      kddim ema runs/mine --length 0.1 --no-kid --output average.keras
    """
    from kddim import averages
    from kddim.power_average import check_length

    lengths = [check_length(length) for length in lengths]
    if not kid and len(lengths) > 1:
        raise click.UsageError("Expected one --length for --no-kid. Received: several")
    _reserve(run, output, overwrite)
    rows = averages.measure(run, lengths, verbose=interactive(), **options) if kid else []
    if rows:
        _report(rows)
    # The first row is that of the run's model.
    best = min(zip(rows[1:], lengths), key=lambda pair: pair[0].kid, default=(None, lengths[0]))
    measured, length = best
    if not (output or overwrite):
        click.echo("nothing was written: give --output FILE, or --overwrite for RUN's model.keras")
        return
    model = averages.reconstruct(run, length)
    if output:
        model.save(output)
    else:
        output = averages.replace_model(run, model, measured, length)
    click.echo(f"average of length {length:g}: {output}")


def _reserve(run: str, output: Path | None, overwrite: bool) -> None:
    """Lock what will be written, and check that it may be."""
    if output is not None:
        if output.suffix != ".keras":
            raise ValueError(f"Expected a file that ends in .keras. Received: {output}")
        reserve_file(output, overwrite)
    elif overwrite:
        click.get_current_context().with_resource(output_lock(check_output(run, True)))


def _report(rows: list[Any]) -> None:
    from tabulate import tabulate

    names = ["model.keras" if row.length is None else f"{row.length:g}" for row in rows]
    cells = [(name, f"{r.kid:.6g}", f"{r.kid_std:.2g}") for name, r in zip(names, rows)]
    heads = ("length", "KID", "standard error")
    click.echo(tabulate(cells, heads, disable_numparse=True) + "\n")
    for key, value in rows[0].protocol.items():
        click.echo(f"  {key.replace('_', ' ')}: {value}")
