"""Command line: one verb per function of the library.

No file of this package imports Keras at its top, so that `kddim --help` answers at once.
"""

import sys

import click

from kddim import __version__
from kddim.cli.compare import compare
from kddim.cli.evaluate import evaluate
from kddim.cli.experiments import consistency, interpolate, reconstruct
from kddim.cli.generate import generate
from kddim.cli.info import info
from kddim.cli.stats import stats
from kddim.cli.sweep import sweep
from kddim.cli.train import train

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(context_settings=SETTINGS)
@click.version_option(__version__, prog_name="kddim")
def app() -> None:
    """Denoising diffusion implicit models in Keras 3.

    Train a model on your pictures, generate new ones, and measure their quality.
    """


EXPERIMENTS = (sweep, consistency, interpolate, reconstruct)
for _command in (train, generate, evaluate, stats, compare, *EXPERIMENTS, info):
    app.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, then exit.

    Bad input gives one line on standard error and exit status 2. An interrupted command has
    exit status 130.

    Args:
        arguments: Arguments after the name of the program. None takes those of the process.
    """
    typed = sys.argv[1:] if arguments is None else arguments  # kept in the config.json of a run
    try:
        sys.exit(app.main(arguments, "kddim", standalone_mode=False, obj=typed) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except (ValueError, OSError) as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"kddim: error: {' '.join(message.split())}", err=True)
    sys.exit(2)
