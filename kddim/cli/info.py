"""Verb `kddim info`."""

from pathlib import Path

import click

from kddim.cli import options as shared
from kddim.cli.runtime import starts_keras
from kddim.files import check_output

PICTURE = Path("comparison.png")


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path())
@click.option("--output", "-o", type=shared.PATH, help=f"PNG file for the curves of several runs.  [default: {PICTURE}]")  # fmt: skip
@shared.OVERWRITE
@starts_keras
@shared.ignored_dtype
@shared.ignored_seed
def info(models, output, overwrite):
    """Describe MODEL, and how it was trained.

    MODEL is a .keras file, a run folder, or a preset: its name, its folder or hf://user/repo.

    A run folder has a state as well: how far the run is, how to go on with it, its speed, the
    time left and its best KID. Several run folders are compared: the settings that differ, and
    all losses and KIDs in one picture.

    \b
    Examples:
      kddim info runs/digits
      kddim info flowers
      kddim info runs/digits runs/wider --output wider.png
    """
    if len(models) > 1:
        return _compare(models, output or PICTURE, overwrite)
    if output:
        raise click.UsageError("Expected several runs for --output. Received: one")
    from kddim.presets.description import describe

    for key, value in describe(models[0]).items():
        click.echo(f"{key + ':':<20} {value}")
    return None


def _compare(folders: tuple[str, ...], output: Path, overwrite: bool) -> None:
    from tabulate import tabulate

    from kddim.run_comparison import RunComparison

    if output.suffix != ".png":
        raise click.UsageError(f"Expected a .png file for --output. Received: {output}")
    comparison = RunComparison(folders)
    picture = comparison.plot(check_output(output, overwrite))
    for table in filter(None, (comparison.settings(), comparison.results())):
        # Paths and numbers stay as they are written.
        click.echo(tabulate(table, headers="keys", disable_numparse=True) + "\n")
    for remark in comparison.remarks():
        click.echo(f"note: {remark}")
    click.echo(f"curves: {picture}")
