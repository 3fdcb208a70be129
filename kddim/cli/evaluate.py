"""`kddim evaluate`."""

from pathlib import Path

import click

from kddim.cli.common import (
    interactive,
    make_reference,
    make_sampler,
    reference_options,
    runtime_options,
    sampler_options,
)


@click.command()
@click.argument("model", type=click.Path())
@click.argument("source")
@click.option(
    "--num-images",
    "-n",
    type=int,
    default=1000,
    show_default=True,
    help="Generated, and at most so many real ones.",
)
@reference_options
@click.option("--output", "-o", type=click.Path(), help="A .json file for the result.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@sampler_options
@runtime_options
def evaluate(model, source, output, overwrite, diffusion_steps, sampler, eta, seed, **options):
    """Measure the quality of MODEL's images against real images of SOURCE.

    Lower KID and FID are better. Values compare only where the whole protocol, which is
    printed with them, is the same.

    \b
    Examples:
      kddim evaluate runs/digits digits --diffusion-steps 20
      kddim evaluate runs/mine ~/pictures --metric kid,fid,prdc --output score.json
    """
    from kddim import runs
    from kddim.evaluation import check_metrics, evaluate

    target = runs.check_output(output, overwrite) if output else None
    chosen = make_sampler(sampler, eta)
    metrics = check_metrics(options.pop("metric").split(","))
    loaded = runs.load_model(model)
    reference = make_reference(model, source, loaded.image_shape, options)
    result = evaluate(
        loaded,
        reference,
        diffusion_steps=diffusion_steps,
        sampler=chosen,
        metrics=metrics,
        seed=seed,
        verbose=interactive(),
        **options,
    )
    protocol = result.pop("protocol")
    _print_scores(result)
    for key, value in protocol.items():
        click.echo(f"  {key.replace('_', ' ')}: {value}")
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(Path(target), result | {"protocol": protocol})


def _print_scores(scores: dict[str, float]) -> None:
    if "kid" in scores:
        mean, deviation = scores["kid_subsets_mean"], scores["kid_subsets_std"]
        click.echo(f"KID {scores['kid']:.6g}")
        click.echo(f"subsets {mean:.6g} +- {deviation:.2g} (standard deviation)")
    if "fid" in scores:
        click.echo(f"FID {scores['fid']:.6g} +- {scores['fid_std']:.2g} (standard error)")
    for name in ("precision", "recall", "density", "coverage"):
        if name in scores:
            click.echo(f"{name} {scores[name]:.4g}")
