"""Verb `kddim tune`."""

from pathlib import Path
from typing import Any

import click

from kddim.cli import options as shared
from kddim.cli.runtime import interactive
from kddim.cli.values import parse_integers


@click.command()
@shared.MODEL
@click.option("--diffusion-steps", default="3,5,8", callback=parse_integers, help="Numbers of steps, each 1 to 20, separated by commas.")  # fmt: skip
@click.option("--sampler", default="fitted", help="fitted: fit the weights of each step as well as the times. Or a deterministic sampler, written as for kddim generate, whose times are searched.")  # fmt: skip
@click.option("--num-images", "-n", type=click.IntRange(min=8), default=256, help="Number of noises that are followed accurately.")  # fmt: skip
@shared.START
@click.option("--output", "-o", type=shared.PATH, help="A .keras file for the tuned model.  [default: MODEL itself is changed]")  # fmt: skip
@shared.OVERWRITE
@shared.model_runtime
def tune(model, diffusion_steps, sampler, output, overwrite, dtype, **options):
    """Find the best few steps for MODEL, without any training.

    A few hundred noises are followed accurately. Then times and weights of a few steps are
    searched that lead nearest to the same images. What is found is kept in the model's file,
    and in a run folder also in samplers.json. kddim generate with that number of steps uses it.

    The table shows errors: the root mean square of the distance per pixel from the accurate
    images, of noises that the search did not see. Images are normalised, with variance 1. With
    fitted weights, fine grain counts more than in a plain mean, as it does for the eye.

    MODEL is a .keras file, a run folder, or a preset. A preset needs --output.

    \b
    Examples:
      kddim tune runs/mine --diffusion-steps 3,5,8
      kddim generate runs/mine --diffusion-steps 5
      kddim tune runs/mine --diffusion-steps 5 --start 0.9
      kddim tune flowers --diffusion-steps 5 --output flowers_tuned.keras
      kddim sweep runs/mine ~/pictures --sampler ddim --sampler tuned --steps 3,5,8
    """
    from kddim import presets, tuning
    from kddim.cli.report import reserve_file
    from kddim.presets.loading import find
    from kddim.samplers.parse import make_sampler

    if output is None and find(model).is_preset:
        raise click.UsageError("Expected --output FILE.keras for the tuned copy of a preset")
    if output is not None:
        _check_output(output)
        reserve_file(output, overwrite)
    kind: Any = sampler if sampler == tuning.FITTED else make_sampler(sampler)
    for steps in diffusion_steps:
        tuning.check(steps, kind)
    loaded = presets.load_model(model, dtype)
    search = tuning.make_search(loaded, kind, verbose=interactive(), **options)
    found = []
    for steps in diffusion_steps:
        found.append(search.find(steps))
        click.echo(f"{steps} steps: {found[-1].sampler}")
    click.echo()
    _report(tuning.compare(search, found))
    if output is not None:
        loaded.tuned_samplers = loaded.tuned_samplers | {f.diffusion_steps: f.sampler for f in found}  # fmt: skip
        loaded.save(output)
    else:
        output = tuning.keep(model, found)
    click.echo(f"\ntuned samplers are kept in {output}: kddim generate uses them")


def _check_output(output: Path) -> None:
    if output.suffix != ".keras":
        raise ValueError(f"Expected a file that ends in .keras. Received: {output}")


def _report(rows: list[dict[str, Any]]) -> None:
    from tabulate import tabulate

    click.echo(tabulate(rows, headers="keys", floatfmt=".4f"))
