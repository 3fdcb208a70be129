"""Verbs `kddim inpaint` and `kddim image-to-image`."""

from pathlib import Path
from typing import Any

import click

from kddim.cli import options as shared

OUTPUT = click.option("--output", "-o", type=shared.PATH, help="A folder, a .png file (a grid, with the pictures before) or a .npz file.  [default: MODEL_NAME.png in the working directory, with the name of the verb]")  # fmt: skip
NUMBER = click.option("--num-images", "-n", type=click.IntRange(min=1), help="Number of images to make. Pictures are repeated until there are so many.  [default: 8 of one picture, else one of each]")  # fmt: skip


@click.command()
@shared.MODEL
@click.argument("picture", type=click.Path())
@click.argument("mask", type=click.Path())
@OUTPUT
@shared.OVERWRITE
@NUMBER
@shared.label_option
@shared.guidance_options
@shared.editing_sampler_options
@shared.model_runtime
def inpaint(picture, mask, **options):
    """Invent a part of PICTURE with MODEL, so that it fits the rest.

    PICTURE is a picture file, or a folder of pictures. MASK is a picture file that is white where
    pixels are to be invented, and black where they are known. Both are cropped at their centre
    and resized to the images of MODEL. Known pixels come out exactly as they are. The sampler
    repaint takes longer and fits the invented pixels better.

    \b
    Examples:
      kddim inpaint flowers rose.jpg mask.png --output rose_filled.png
      kddim inpaint flowers rose.jpg mask.png --sampler repaint:resamplings=10
    """
    from kddim.experiments import Inpainting

    def make(model: Any, images: Any, **settings: Any) -> Any:
        from kddim.data.single import read_mask

        found = read_mask(Path(mask), model.image_shape[:2])
        return Inpainting(model=model, images=images, mask=found, **settings)

    _edit(make, "inpainted", picture, options)


@click.command("image-to-image")
@shared.MODEL
@click.argument("pictures", type=click.Path())
@OUTPUT
@shared.OVERWRITE
@NUMBER
@click.option("--strength", type=float, default=0.5, help="Share of the way from the picture to noise, above 0 and at most 1. Small values change little.")  # fmt: skip
@shared.label_option
@shared.guidance_options
@shared.editing_sampler_options
@shared.model_runtime
def image_to_image(pictures, strength, **options):
    """Vary PICTURES with MODEL: add noise, and take it away again.

    PICTURES is a picture file, or a folder of pictures. They are cropped at their centre and
    resized to the images of MODEL. They may also be coarse drawings.

    \b
    Examples:
      kddim image-to-image flowers rose.jpg --strength 0.4 -n 12
      kddim image-to-image flowers drawings --strength 0.7 --output flowers_of_drawings
    """
    from kddim.experiments import Variation

    def make(model: Any, images: Any, **settings: Any) -> Any:
        return Variation(model=model, images=images, strength=strength, **settings)

    _edit(make, "varied", pictures, options)


def _edit(make: Any, word: str, source: str, options: dict[str, Any]) -> None:
    """Run an experiment that edits the pictures of a source."""
    from kddim.data.single import read_pictures
    from kddim.experiments.image_files import check_images_output
    from kddim.experiments.unfinished import prepare
    from kddim.locks import output_lock
    from kddim.presets.places import stem_of

    output = options["output"] or Path(f"{stem_of(options['model'])}_{word}.png")
    options |= {"output": output}

    def make_edits(model: Any, num_images: int | None, **settings: Any) -> Any:
        images = read_pictures(Path(source), model.image_shape)
        number = num_images or (8 if len(images) == 1 else len(images))
        return make(model, images, num_images=number, **settings)

    with output_lock(output):
        prepare(output, options["overwrite"], check_images_output)
        experiment, *_ = shared.run_experiment(make_edits, word, **options)
    click.echo(f"{experiment.num_images} images: {output}")
