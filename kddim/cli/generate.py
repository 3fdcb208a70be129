"""`kddim generate`."""

from pathlib import Path

import click

from kddim.cli.common import interactive, make_sampler, runtime_options, sampler_options


@click.command()
@click.argument("model", type=click.Path())
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(),
    help="A folder, a .png (grid), a .npz; with --animate a folder, a .gif or a .webp.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--num-images", "-n", type=int, default=18, show_default=True, help="How many.")
@click.option(
    "--animate", is_flag=True, help="Show how the first 8 come about: noisy above, predicted below."
)
@sampler_options
@runtime_options
def generate(
    model, output, overwrite, num_images, animate, diffusion_steps, sampler, eta, **common
):
    """Generate images with MODEL, a .keras file or a run folder.

    A folder as output receives one PNG an image, 00000.png and on, and grid.png; a .npz
    file an array "images", uint8. Stopped, the same command goes on where it was.

    \b
    Examples:
      kddim generate runs/digits --output digits.png
      kddim generate runs/digits -n 1000 --diffusion-steps 50 --eta 1 --output samples
      kddim generate runs/digits --animate --output digits.gif
    """
    from kddim import runs
    from kddim.experiments import Animation, Generation
    from kddim.experiments.image_files import check_images_output
    from kddim.files import check_output

    output = Path(output)
    alone = animate and output.suffix.lower() in Animation.products
    if animate and not alone and output.suffix.lower() in (".png", ".npz"):
        raise ValueError(
            f"Expected a folder, a .gif or a .webp file with --animate. Received: {output}"
        )
    check = check_output if alone else check_images_output
    check(output, overwrite)
    options = {"diffusion_steps": diffusion_steps, "sampler": make_sampler(sampler, eta), **common}
    loaded = runs.load_model(model)
    experiment: Animation | Generation
    if alone:
        experiment = Animation(model=loaded, num_images=min(8, num_images), **options)
    else:
        experiment = Generation(model=loaded, num_images=num_images, animate=animate, **options)
    experiment.run(output, overwrite=overwrite, verbose=interactive())
    click.echo(f"{experiment.num_images} images: {output}")
