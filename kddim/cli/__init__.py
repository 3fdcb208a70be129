"""Command line: one verb per function of the library.

No file of this package imports Keras at its top, so that `kddim --help` answers at once.
"""

import sys
from typing import Any, NoReturn

import click

from kddim import __version__, signals
from kddim.checks import printable
from kddim.cli.compare import compare
from kddim.cli.distill import distill
from kddim.cli.edit import image_to_image, inpaint
from kddim.cli.ema import ema
from kddim.cli.evaluate import evaluate
from kddim.cli.experiments import consistency, interpolate, reconstruct
from kddim.cli.generate import generate
from kddim.cli.info import info
from kddim.cli.presets import presets
from kddim.cli.stats import stats
from kddim.cli.sweep import sweep
from kddim.cli.timetable import timetable
from kddim.cli.train import train
from kddim.cli.tune import tune

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


class _Stopped(BaseException):
    """An interruption on its way through click, which would print a line for it."""

    def __init__(self, error: KeyboardInterrupt):
        super().__init__(str(error) or "interrupted")
        self.status = getattr(error, "status", 130)


class _Group(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            raise _Stopped(error) from error


@click.group(cls=_Group, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="kddim")
def app() -> None:
    """Denoising diffusion implicit models in Keras 3.

    Train a model on your pictures, generate new ones, and measure their quality.
    """


EXPERIMENTS = (sweep, timetable, consistency, interpolate, reconstruct)
for _command in (
    train,
    ema,
    tune,
    distill,
    generate,
    inpaint,
    image_to_image,
    evaluate,
    stats,
    compare,
    *EXPERIMENTS,
    info,
    presets,
):
    app.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, then exit.

    Bad input gives one line on standard error and exit status 2. A command that a signal
    interrupted has the exit status 128 plus the number of the signal: 130 after Ctrl-C.

    Args:
        arguments: Arguments after the name of the program. None takes those of the process.
    """
    with signals.handled():
        try:
            status = _run(arguments)
            signals.check()
        except _Stopped as stopped:
            _leave(stopped)
        except KeyboardInterrupt as error:
            _leave(_Stopped(error))
        sys.exit(status)


def _run(arguments: list[str] | None) -> int:
    """Run a verb, and return its exit status."""
    typed = sys.argv[1:] if arguments is None else arguments  # kept in the config.json of a run
    try:
        return app.main(arguments, "kddim", standalone_mode=False, obj=typed) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(error.format_message())
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except Exception:
        signals.check()  # a framework may have turned the interruption into an error of its own
        raise


def _fail(message: str) -> int:
    """Print an error in one line, and return the exit status."""
    signals.check()
    click.echo(f"kddim: error: {printable(' '.join(message.split()))}", err=True)
    return 2


def _leave(stopped: _Stopped) -> NoReturn:
    """Print why the command was interrupted, and leave."""
    mark = "\n" if sys.stderr.isatty() else ""  # the terminal has shown "^C"
    click.echo(f"{mark}{stopped}", err=True)
    signals.leave(stopped.status)
