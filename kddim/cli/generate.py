"""Verb `kddim generate`."""

from pathlib import Path

import click

from kddim.cli import options as shared
from kddim.cli.values import parse_shard


@click.command()
@shared.MODEL
@click.option("--output", "-o", type=shared.PATH, help="A folder, a .png file (a grid) or a .npz file. With --animate, a folder, a .gif or a .webp file.  [default: MODEL.png, with --animate MODEL.gif, in the working directory]")  # fmt: skip
@shared.OVERWRITE
@click.option("--num-images", "-n", type=int, default=18, help="Number of images.")  # fmt: skip
@click.option("--animate", is_flag=True, help="Show the steps of the first 8 images: noisy images above, predicted images below.")  # fmt: skip
@shared.label_option
@shared.guidance_options
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Generate one of N equal parts of the images. The N commands write to the same output, at once or one after the other, and the last one completes it.")  # fmt: skip
@shared.sampler_options
@shared.model_runtime
@shared.divides_batches
def generate(output, overwrite, animate, shard, **options):
    """Generate images with MODEL.

    MODEL is a .keras file, a run folder, or a preset: its name (kddim presets lists them), its
    folder or hf://user/repo.

    A folder receives one PNG file per image (00000.png, 00001.png ...) and grid.png. A .npz
    file receives a uint8 array "images". If the command is interrupted, run it again to
    continue.

    \b
    Examples:
      kddim generate flowers -n 40
      kddim generate runs/digits --output digits.png
      kddim generate runs/digits -n 1000 --diffusion-steps 50 --eta 1 --output samples
      kddim generate runs/digits --animate --output digits.gif
      kddim generate runs/labelled --label rose,sunflower --guidance-scale 2
      kddim generate runs/digits -n 50000 --shard 2/8 --output samples.npz
      kddim generate runs/digits -n 1000 --batch-size 256 --devices all --output samples
    """
    from kddim.experiments import Animation, Generation, GenerationShard
    from kddim.experiments.image_files import check_images_output
    from kddim.experiments.sharded_output import check_sharded_output
    from kddim.experiments.unfinished import prepare
    from kddim.files import check_output
    from kddim.locks import output_lock
    from kddim.presets.places import stem_of

    output = output or Path(stem_of(options["model"]) + (".gif" if animate else ".png"))
    only_animation = animate and output.suffix.lower() in Animation.products
    if animate and not only_animation and output.suffix.lower() in (".png", ".npz"):
        raise ValueError(
            f"Expected a folder, a .gif or a .webp file with --animate. Received: {output}"
        )
    if shard is not None and only_animation:
        raise ValueError(
            f"Expected a folder, a .png or a .npz file with --shard. Received: {output}"
        )
    check = check_output if only_animation else check_images_output
    if only_animation:
        options["num_images"] = min(8, options["num_images"])
    else:
        options["animate"] = animate
    options |= {"output": output, "overwrite": overwrite}
    if shard is not None:
        rows = shard.rows(options["num_images"])
        check_sharded_output(output, overwrite)
        options |= {"shard": shard, "exclusive": False}
        shared.run_experiment(GenerationShard, "generation", **options)
        click.echo(f"images {rows.start} to {rows.stop - 1} of {options['num_images']}: {output}")
        return
    make = Animation if only_animation else Generation
    with output_lock(output):
        prepare(output, overwrite, check)
        experiment, *_ = shared.run_experiment(make, make.name, **options)
    click.echo(f"{experiment.num_images} images: {output}")
