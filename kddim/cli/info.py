"""`kddim info`."""

import click

from kddim.cli.common import runtime_options


@click.command()
@click.argument("model", type=click.Path())
@runtime_options
def info(model, seed):
    """Tell what MODEL, a .keras file or a run folder, is and how it was trained."""
    from kddim import runs

    for key, value in runs.describe(model).items():
        click.echo(f"{key + ':':<20} {value}")
