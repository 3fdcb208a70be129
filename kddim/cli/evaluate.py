"""`kddim evaluate`."""

import click

from kddim.cli.common import interactive, make_sampler, runtime_options, sampler_options


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
@click.option(
    "--kid-encoder", default="auto", show_default=True, help="inception_v3, random_conv or auto."
)
@click.option(
    "--split",
    type=click.Choice(["validation", "train", "all"]),
    default="validation",
    show_default=True,
    help="Real images to compare with.",
)
@click.option("--output", "-o", type=click.Path(), help="A .json file for the result.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@sampler_options
@runtime_options
def evaluate(
    model,
    source,
    num_images,
    kid_encoder,
    split,
    output,
    overwrite,
    diffusion_steps,
    sampler,
    eta,
    batch_size,
    seed,
):
    """Measure the KID of MODEL against real images of SOURCE.

    Lower is better. Values compare only where the whole protocol, which is printed with
    them, is the same.

    \b
    Example:
      kddim evaluate runs/digits digits --diffusion-steps 20
    """
    from pathlib import Path

    from kddim import runs
    from kddim.evaluation import evaluate

    target = runs.check_output(output, overwrite) if output else None
    chosen = make_sampler(sampler, eta)
    training = (runs.read_config(model) or {}).get("training", {})
    result = evaluate(
        runs.load_model(model),
        source,
        num_images=num_images,
        diffusion_steps=diffusion_steps,
        sampler=chosen,
        encoder=kid_encoder,
        split=split,
        validation_split=training.get("validation_split", 0.2),
        limit=training.get("limit"),
        batch_size=batch_size,
        seed=seed,
        data_seed=training.get("seed", 0),
        verbose=interactive(),
    )
    click.echo(f"KID {result['kid']:.6g}")
    click.echo(
        f"subsets {result['kid_subsets_mean']:.6g} +- {result['kid_subsets_std']:.2g} (standard deviation)"
    )
    for key, value in result["protocol"].items():
        click.echo(f"  {key.replace('_', ' ')}: {value}")
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(Path(target), result)
