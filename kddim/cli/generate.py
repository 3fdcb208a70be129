"""`kddim generate`."""

import click

from kddim.cli.common import interactive, make_sampler, runtime_options, sampler_options


@click.command()
@click.argument("model", type=click.Path())
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(),
    help="A folder, a .png (grid) or a .npz file.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--num-images", "-n", type=int, default=18, show_default=True, help="How many.")
@sampler_options
@runtime_options
def generate(model, output, overwrite, num_images, diffusion_steps, sampler, eta, batch_size, seed):
    """Generate images with MODEL, a .keras file or a run folder.

    A folder as output receives one PNG an image, 00000.png and on, and grid.png; a .npz
    file an array "images", uint8.

    \b
    Examples:
      kddim generate runs/digits --output digits.png
      kddim generate runs/digits -n 1000 --diffusion-steps 50 --eta 1 --output samples
    """
    from kddim import runs
    from kddim.generation import check_images_output, write_images

    check_images_output(output, overwrite)
    chosen = make_sampler(sampler, eta)
    images = runs.load_model(model).generate(
        num_images, diffusion_steps, chosen, seed=seed, batch_size=batch_size, verbose=interactive()
    )
    click.echo(f"{num_images} images: {write_images(images, output, overwrite=overwrite)}")
