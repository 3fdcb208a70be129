"""Verbs `kddim consistency`, `kddim interpolate` and `kddim reconstruct`."""

import click

from kddim.cli import options as shared


@click.command()
@shared.MODEL
@shared.output_options
@shared.steps_option("5,10,20,50,100,200")
@click.option("--num-images", "-n", type=int, default=8, help="Number of noises.")  # fmt: skip
@shared.DETERMINISTIC_SAMPLER
@shared.generation_options
@shared.model_runtime
def consistency(**options):
    """Draw the images of the same noises with few and with many steps.

    The folder receives consistency.png, with one row of images per number of steps, and
    consistency.csv, with measures of how alike the rows are. This is the experiment of
    Sec. 5.2 of the DDIM paper.

    \b
    Example:
      kddim consistency runs/digits --steps 5,20,100
    """
    from kddim.experiments import Consistency

    _, target, rows = shared.run_experiment(Consistency, "consistency", **options)
    click.echo(f"{len(rows)} rows of images: {target}")


@click.command()
@shared.MODEL
@shared.output_options
@click.option("--num-pairs", type=int, default=4, help="Number of pairs of noises.")  # fmt: skip
@click.option("--num-images", "-n", type=int, default=11, help="Number of images per pair, from one noise to the other.")  # fmt: skip
@click.option("--grid-size", type=int, default=8, help="Number of rows and of columns of the grid between four noises.")  # fmt: skip
@shared.sampler_options
@shared.model_runtime
def interpolate(**options):
    """Draw the images between noises, in strips and on a grid between four noises.

    The folder receives strips.png, grid.png, animation.gif and animation.webp. This is the
    experiment of Sec. 5.3 of the DDIM paper, with spherical interpolation.

    \b
    Examples:
      kddim interpolate runs/digits
      kddim interpolate runs/digits --num-pairs 1 --output walk.gif
    """
    from kddim.experiments import Interpolation

    experiment, target, _ = shared.run_experiment(Interpolation, "interpolation", **options)
    click.echo(f"images between {2 * experiment.num_pairs} noises: {target}")


@click.command()
@shared.MODEL
@click.argument("source")
@shared.output_options
@shared.steps_option("10,20,50,100,200")
@click.option("--num-images", "-n", type=int, default=64, help="Number of real images.")  # fmt: skip
@shared.split_option("validation")
@shared.ENCODING_SAMPLER
@shared.generation_options
@shared.model_runtime
def reconstruct(source, num_images, split, **options):
    """Encode real images of SOURCE, decode them, and measure the error for numbers of steps.

    The folder receives reconstruction.md, .csv and .png. This is the experiment of Sec. 5.4
    and Table 2 of the DDIM paper. Its error is the mean squared error per dimension of
    images in [0, 1].

    \b
    Example:
      kddim reconstruct runs/digits digits --steps 10,100,1000
    """
    from kddim.evaluation import real_images
    from kddim.experiments import Reconstruction
    from kddim.experiments.base import check_several_steps
    from kddim.presets.loading import loading_of

    check_several_steps(options["steps"])  # before real images are decoded
    real = {"split": split, "num_images": num_images} | loading_of(options["model"])

    def make(model, **settings):
        images = real_images(source, model.image_shape, **real)
        return Reconstruction(model=model, images=images, source=f"{split} of {source}", **settings)

    _, target, rows = shared.run_experiment(make, "reconstruction", **options)
    for row in rows:
        click.echo(
            f"S={row['diffusion_steps']:<5} error {row['mean_squared_error']:.2g}"
            f" ± {row['standard_error']:.1g}"
        )
    click.echo(f"tables and pictures: {target}")
