"""Verb `kddim presets`."""

import click

from kddim.cli import options as shared


@click.command()
@shared.ignored_backend
@shared.ignored_dtype
@shared.ignored_seed
def presets():
    """List the models in the package, and the recipes of kddim train --preset.

    The name of a model can stand wherever a MODEL can, and for kddim train --init.

    \b
    Examples:
      kddim presets
      kddim generate flowers -n 40
    """
    from tabulate import tabulate

    from kddim.presets import recipe, recipe_names
    from kddim.presets.table import notes, rows
    from kddim.settings import text_of

    if found := rows():
        click.echo(f"{tabulate(found, headers='keys', disable_numparse=True)}\n")
    else:
        click.echo("no model is in this package\n")
    for line in notes():
        click.echo(line)
    for name in recipe_names():
        words = ", ".join(f"{key} {text_of(key, value)}" for key, value in recipe(name).items())
        click.echo(f"recipe {name}: {words}")
