"""`kddim sweep`."""

import click

from kddim.cli.common import (
    SPECIFICATION,
    experiment_output,
    generation_options,
    interactive,
    make_reference,
    make_sampler,
    output_options,
    parse_etas,
    parse_numbers,
    reference_options,
    runtime_options,
)


@click.command()
@click.argument("model", type=click.Path())
@click.argument("source")
@output_options
@click.option("--steps", default="10,20,50", show_default=True, callback=parse_numbers, help="Numbers of steps, S.")  # fmt: skip
@click.option("--eta", callback=parse_etas, help="Values of eta; large is DDPM's larger variance, sigma-hat.  [default: 0,0.5,1]")  # fmt: skip
@click.option("--times", default="uniform", show_default=True, help="Grid of the etas: uniform, quadratic or log_snr.")  # fmt: skip
@click.option("--sampler", "sampler", multiple=True, help=f"A sampler more, or instead of the etas: {SPECIFICATION}")  # fmt: skip
@click.option("--num-images", "-n", type=int, default=1000, show_default=True, help="For each setting.")  # fmt: skip
@reference_options
@generation_options
@runtime_options
def sweep(model, source, output, overwrite, eta, times, sampler, **options):
    """Measure MODEL's quality over samplers and numbers of steps.

    The folder receives sweep.csv, sweep.md (one row a sampler, one column a number of
    steps, as in the DDIM paper's Table 1) and sweep.png (quality and seconds against
    steps). Each result is kept when it is there: stopped, the same command goes on.

    \b
    Examples:
      kddim sweep runs/digits digits --steps 10,20,50 --eta 0,0.5,1,large
      kddim sweep runs/digits digits --steps 5 --sampler heun --sampler dpm_solver_pp:order=2
    """
    from kddim import runs
    from kddim.evaluation import check_metrics
    from kddim.experiments import Sweep, samplers_of_etas

    etas = eta or (() if sampler else (0.0, 0.5, 1.0))
    chosen = samplers_of_etas(etas, times) | {name: make_sampler(name) for name in sampler}
    metrics = check_metrics(options.pop("metric").split(","))
    loaded = runs.load_model(model)
    reference = make_reference(model, source, loaded.image_shape, options)
    experiment = Sweep(
        model=loaded, reference=reference, samplers=chosen, metrics=metrics, **options
    )
    target = experiment_output(output, model, "sweep")
    rows = experiment.run(target, overwrite=overwrite, verbose=interactive())
    for table in experiment.tables(rows).values():
        click.echo(f"{table}\n")
    click.echo(f"tables and plot: {target}")
