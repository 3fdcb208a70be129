"""`kddim consistency`, `kddim interpolate`, `kddim reconstruct`."""

import click

from kddim.cli.common import (
    experiment_output,
    generation_options,
    interactive,
    make_sampler,
    output_options,
    parse_numbers,
    runtime_options,
    sampler_options,
    split_option,
)

_MODEL = click.argument("model", type=click.Path())
_SAMPLER = click.option(
    "--sampler", default="ddim", show_default=True, help="As for kddim generate; deterministic."
)


def _steps(default: str):
    return click.option(
        "--steps",
        default=default,
        show_default=True,
        callback=parse_numbers,
        help="Numbers of steps.",
    )


@click.command()
@_MODEL
@output_options
@_steps("5,10,20,50,100,200")
@click.option("--num-images", "-n", type=int, default=8, show_default=True, help="Noises.")
@_SAMPLER
@generation_options
@runtime_options
def consistency(model, output, overwrite, sampler, **options):
    """Draw the images of the same noises with few and with many steps.

    The folder receives consistency.png (one row a number of steps) and consistency.csv
    (how alike the rows are). As in the DDIM paper, Sec. 5.2.

    \b
    Example:
      kddim consistency runs/digits --steps 5,20,100
    """
    from kddim import runs
    from kddim.experiments import Consistency

    sampler = make_sampler(sampler)
    experiment = Consistency(model=runs.load_model(model), sampler=sampler, **options)
    target = experiment_output(output, model, "consistency")
    rows = experiment.run(target, overwrite=overwrite, verbose=interactive())
    click.echo(f"{len(rows)} rows of images: {target}")


@click.command()
@_MODEL
@output_options
@click.option("--num-pairs", type=int, default=4, show_default=True, help="Pairs of noises.")
@click.option("--num-images", "-n", type=int, default=11, show_default=True, help="From one to the other.")  # fmt: skip
@click.option("--grid-size", type=int, default=8, show_default=True, help="Rows and columns between four corners.")  # fmt: skip
@sampler_options
@runtime_options
def interpolate(model, output, overwrite, sampler, eta, **options):
    """Draw the images between noises, along arcs and on a grid of four corners.

    The folder receives strips.png, grid.png, animation.gif and animation.webp. As in the
    DDIM paper, Sec. 5.3.

    \b
    Examples:
      kddim interpolate runs/digits
      kddim interpolate runs/digits --num-pairs 1 --output walk.gif
    """
    from kddim import runs
    from kddim.experiments import Interpolation

    sampler = make_sampler(sampler, eta)
    experiment = Interpolation(model=runs.load_model(model), sampler=sampler, **options)
    target = experiment_output(output, model, "interpolation")
    experiment.run(target, overwrite=overwrite, verbose=interactive())
    click.echo(f"images between {2 * experiment.num_pairs} noises: {target}")


@click.command()
@_MODEL
@click.argument("source")
@output_options
@_steps("10,20,50,100,200")
@click.option("--num-images", "-n", type=int, default=64, show_default=True, help="Real images.")
@split_option
@_SAMPLER
@generation_options
@runtime_options
def reconstruct(model, source, output, overwrite, num_images, split, sampler, **options):
    """Encode real images of SOURCE, decode them, and measure the error by steps.

    The folder receives reconstruction.md, .csv and .png. As in the DDIM paper, Sec. 5.4
    and Table 2: mean squared error per dimension on [0, 1].

    \b
    Example:
      kddim reconstruct runs/digits digits --steps 10,100,1000
    """
    from kddim import runs
    from kddim.evaluation import real_images
    from kddim.experiments import Reconstruction

    loaded, sampler = runs.load_model(model), make_sampler(sampler)
    images = real_images(
        source, loaded.image_shape, split=split, num_images=num_images, **runs.loading_of(model)
    )
    experiment = Reconstruction(
        model=loaded, images=images, source=f"{split} of {source}", sampler=sampler, **options
    )
    target = experiment_output(output, model, "reconstruction")
    rows = experiment.run(target, overwrite=overwrite, verbose=interactive())
    for row in rows:
        click.echo(
            f"S={row['diffusion_steps']:<5} error {row['mean_squared_error']:.2g}"
            f" ± {row['standard_error']:.1g}"
        )
    click.echo(f"tables and pictures: {target}")
