"""Verb `kddim timetable`."""

import dataclasses
from typing import Any

import click

from kddim import settings
from kddim.cli import options as shared
from kddim.cli.runtime import interactive, starts_keras
from kddim.cli.values import parse_words


@click.command()
@shared.MODEL
@click.argument("source", required=False)
@shared.output_options
@click.option("--sample-size", type=int, default=50_000, help="Number of images that the times are for.")  # fmt: skip
@shared.steps_option("100,50,20")
@click.option("--distilled", type=click.Path(), multiple=True, help="Run folder of a model that kddim distill made from MODEL. May be given several times.")  # fmt: skip
@click.option("--dtypes", "--dtype", default="float32,mixed_bfloat16", callback=parse_words, help=f"Precisions of the network, separated by commas, among {', '.join(settings.DTYPES)}.")  # fmt: skip
@click.option("--measured-steps", type=int, default=4, help="Largest number of steps of a batch that are measured.")  # fmt: skip
@click.option("--repeats", type=int, default=3, help="Number of measurements, of which the median counts.")  # fmt: skip
@shared.batch_size_option("Number of images per batch.")
@click.option("--num-images", "-n", type=int, default=1000, help="Number of images for the KID of each row, with SOURCE.")  # fmt: skip
@click.option("--ddpm-images", type=int, help="Number of images for the KID of DDPM, with SOURCE. With 1,000 steps they take long.  [default: no KID of DDPM]")  # fmt: skip
@shared.split_option("validation")
@shared.encoder_options
@starts_keras
@click.option("--seed", type=int, default=0, help="Seed of the noises. The same seed gives the same images.")  # fmt: skip
def timetable(source, split, encoder, weights, protocol, use_cache, distilled, **options):
    """Estimate how long MODEL takes for 50,000 images on this machine, and measure KID.

    The rows are DDPM with 1,000 steps, DDIM with the numbers of --steps, the tuned samplers of
    MODEL, the models of --distilled, and the generator of a DCGAN with as many parameters. The
    times are extrapolated from a few steps of one batch, so that the table takes minutes. With
    SOURCE, the KID of each row is measured as well.

    The folder receives timetable.csv and timetable.md. If the command is interrupted, run it
    again to continue. Run nothing else on the machine meanwhile.

    \b
    Examples:
      kddim timetable flowers
      kddim timetable runs/mine ~/pictures --distilled runs/mine2 --distilled runs/mine1
      kddim timetable runs/mine --steps 20,10 --dtypes float32 --sample-size 10000
    """
    from kddim.evaluation import make_reference
    from kddim.experiments import Timetable
    from kddim.experiments.timetable_page import tables
    from kddim.presets.loading import loading_of

    encoding = {"encoder": encoder, "weights": weights, "protocol": protocol}
    encoding |= {"split": split, "use_cache": use_cache, "verbose": interactive()}
    encoding |= {name: options[name] for name in ("num_images", "batch_size")}

    def make(model, **values):
        experiment = Timetable(model=model, distilled=_load(distilled), **values)
        if source is None:
            return experiment
        reference = make_reference(source, model.image_shape, **encoding, **loading_of(path))
        return dataclasses.replace(experiment, reference=reference)

    path = options["model"]
    experiment, target, rows = shared.run_experiment(make, "timetable", dtype=None, **options)
    for dtype, table in tables(rows).items():
        click.echo(f"{dtype}\n{table}\n")
    for note in experiment.notes():
        click.echo(f"note: {note}")
    click.echo(f"tables: {target}")


def _load(folders: tuple[str, ...]) -> dict[int, Any]:
    """Return distilled models by their numbers of steps."""
    from kddim import presets
    from kddim.training.starting import distilled_steps

    found: dict[int, Any] = {}
    for folder in folders:
        steps = distilled_steps(folder)
        if steps in found:
            raise ValueError(
                "Expected distilled models for different numbers of steps. Received: two for "
                f"{steps}. Give each to a timetable of its own."
            )
        found[steps] = presets.load_model(folder)
    return found
