"""`kddim info`."""

import click

from kddim.cli.common import start_backend


@click.command()
@click.argument("model", type=click.Path())
@click.option(
    "--backend", type=click.Choice(["tensorflow", "jax", "torch"]), help="Framework that loads it."
)
def info(model, backend):
    """Tell what MODEL, a .keras file or a run folder, is and how it was trained."""
    start_backend(backend, "float32")
    from kddim import runs

    for key, value in runs.describe(model).items():
        click.echo(f"{key + ':':<20} {value}")
