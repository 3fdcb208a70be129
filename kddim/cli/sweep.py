"""Verb `kddim sweep`."""

from typing import Any

import click

from kddim.cli import options as shared
from kddim.cli.runtime import interactive
from kddim.cli.values import parse_etas, parse_interval, parse_numbers


@click.command()
@shared.MODEL
@click.argument("source")
@shared.output_options
@shared.steps_option("10,20,50")
@click.option("--eta", callback=parse_etas, help="Values of eta, separated by commas. large is DDPM with the larger variance, sigma-hat.  [default: 0,0.5,1]")  # fmt: skip
@click.option("--times", default="uniform", help="Time grid of the samplers of --eta: uniform, quadratic, log_snr or karras.")  # fmt: skip
@click.option("--sampler", "samplers", multiple=True, help=f"Another sampler. May be given several times. Without --eta, only these are measured: {shared.SAMPLER_HELP}")  # fmt: skip
@click.option("--num-images", "-n", type=int, default=1000, help="Number of images to generate for each result.")  # fmt: skip
@click.option("--guidance", callback=parse_numbers, help="Scales of guidance to compare, such as 1,1.5,2,3, with the first of --steps and of --sampler. Images have the labels of the real ones.")  # fmt: skip
@click.option("--guidance-interval", callback=parse_interval, help="Noise levels LOW,HIGH that are guided.  [default: all]")  # fmt: skip
@click.option("--guide", type=click.Path(), help="Weaker model of the same images to guide with.")
@shared.reference_options
@shared.generation_options
@shared.model_runtime
def sweep(source, eta, times, samplers, guidance, guidance_interval, guide, **options):
    """Measure the quality of MODEL's images for several samplers and numbers of steps.

    The folder receives sweep.csv, sweep.md with one row per sampler and one column per number
    of steps, as in Table 1 of the DDIM paper, and sweep.png, which plots quality and seconds
    against steps. If the command is interrupted, run it again to continue.

    With --guidance, scales of guidance are compared instead. The folder then receives
    guidance.csv, guidance.md and guidance.png, which plots KID, precision and recall against the
    scale.

    \b
    Examples:
      kddim sweep runs/digits digits --steps 10,20,50 --eta 0,0.5,1,large
      kddim sweep runs/digits digits --steps 5 --sampler heun --sampler dpm_solver_pp:order=2
      kddim sweep runs/labelled flowers --guidance 1,1.5,2,3 --steps 20 --metric kid,prdc
    """
    from kddim.checks import MOST_IMAGES, check_count
    from kddim.evaluation import check_metrics, make_reference
    from kddim.experiments import Sweep, samplers_of_etas
    from kddim.experiments.base import check_several_steps
    from kddim.presets.loading import loading_of
    from kddim.samplers.parse import make_sampler

    etas = eta or (() if samplers else (0.0, 0.5, 1.0))
    measured = samplers_of_etas(etas, times) | {text: make_sampler(text) for text in samplers}
    check_metrics(options["metrics"])
    # The experiment checks these too, but only after the real images have been encoded.
    check_several_steps(options["steps"])
    check_count("num_images", options["num_images"], 4, MOST_IMAGES)
    check_count("batch_size", options["batch_size"], 1, MOST_IMAGES)
    only_real = ("split", "encoder", "weights", "protocol", "use_cache")
    real = {name: options.pop(name) for name in only_real} | loading_of(options["model"])
    real |= {name: options[name] for name in ("num_images", "batch_size")}

    if guidance is not None:
        scale = {"scales": guidance, "guidance_interval": guidance_interval, "guide": guide}
        _sweep_guidance(source, real, scale, samplers, options)
        return
    if guidance_interval is not None or guide is not None:
        raise click.UsageError("Expected --guidance SCALES with --guidance-interval or --guide")

    def make(model, **settings):
        reference = make_reference(source, model.image_shape, verbose=interactive(), **real)
        return Sweep(model=model, reference=reference, samplers=measured, **settings)

    experiment, target, rows = shared.run_experiment(make, "sweep", **options)
    for table in experiment.tables(rows).values():
        click.echo(f"{table}\n")
    click.echo(f"tables and plot: {target}")


def _sweep_guidance(
    source: str,
    real: dict[str, Any],
    guidance: dict[str, Any],
    samplers: tuple[str, ...],
    options: dict[str, Any],
) -> None:
    """Compare scales of guidance, and print the table."""
    import numpy as np

    from kddim.evaluation.real_parts import RealParts
    from kddim.evaluation.scoring import real_labels
    from kddim.experiments import GuidanceSweep

    steps, *_ = options.pop("steps")
    number = real["num_images"]
    encoding = {name: value for name, value in real.items() if name != "num_images"}
    options |= {"sampler": samplers[0] if samplers else "ddim", "diffusion_steps": steps}
    options |= {"eta": None, **guidance}

    def make(model: Any, guide: Any, **settings: Any) -> Any:
        labelled = model.num_classes is not None
        encoding["verbose"] = interactive()
        parts = RealParts(source, model.image_shape, number, encoding, labelled=labelled)
        labels = np.resize(real_labels(parts, model), number) if labelled else None
        settings |= {"reference": parts.reference, "labels": labels, "guide": guide}
        return GuidanceSweep(model=model, **settings)

    experiment, target, rows = shared.run_experiment(make, "guidance", **options)
    click.echo(f"{experiment.table(rows)}\n")
    click.echo(f"table and plot: {target}")
