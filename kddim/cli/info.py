"""Verb `kddim info`."""

import click

from kddim.cli import options as shared
from kddim.cli.runtime import starts_keras


@click.command()
@shared.MODEL
@starts_keras
@shared.ignored_dtype
@shared.ignored_seed
def info(model):
    """Describe MODEL, a .keras file or a run folder, and how it was trained."""
    from kddim import runs

    for key, value in runs.describe(model).items():
        click.echo(f"{key + ':':<20} {value}")
