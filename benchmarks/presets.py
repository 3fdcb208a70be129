"""Figures of a preset's card, its sheet of nearest neighbours, and the preset itself.

    python benchmarks/presets.py RUN SOURCE --output kddim/presets/NAME \
        --sheet docs/presets/NAME_neighbours.png --encoder mobilenet --encoder-weights FILE \
        --data "..." --licence "..." --cost "..." --weakness "..." --weakness "..."

The weights are rounded to half precision first, so that the figures are those of the preset.
KID, FID, precision and recall compare generated images with the held-out images of SOURCE, which
is split as in the run. The sheet shows the generated images that lie nearest to training images.
"""

import argparse
import json
import tempfile
from pathlib import Path

from kddim import presets
from kddim.evaluation import evaluate
from kddim.files import check_output
from kddim.presets.loading import loading_of

METRICS = ("kid", "fid", "prdc")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="Run folder.")
    parser.add_argument("source", help="Source of images, as for kddim train.")
    parser.add_argument("--output", type=Path, required=True, help="Folder of the preset.")
    parser.add_argument("--sheet", type=Path, required=True, help="PNG file of nearest neighbours.")
    parser.add_argument("--encoder", default="auto", help="Feature encoder.")
    parser.add_argument("--encoder-weights", type=Path, help="Local file of its weights.")
    parser.add_argument("--protocol", help="unbiased, example or standard.")
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 20], help="Diffusion steps.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", required=True, help="Training data, with its source.")
    parser.add_argument("--licence", required=True, help="Licence of the data.")
    parser.add_argument("--cost", required=True, help="Cost of the training.")
    parser.add_argument("--command", help="Command of the training, instead of the run's.")
    parser.add_argument("--weakness", action="append", required=True, help="One sentence.")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_args()


def measure(model, options):
    """Yield the scores of a model for each number of steps. The last one draws the sheet."""
    for steps in options.steps:
        yield evaluate(
            model,
            options.source,
            metrics=METRICS,
            num_images=options.num_images,
            diffusion_steps=steps,
            sampler=options.sampler,
            seed=options.seed,
            encoder=options.encoder,
            weights=options.encoder_weights,
            protocol=options.protocol,
            neighbours=options.sheet if steps == options.steps[-1] else None,
            **loading_of(options.run),
        )


def main():
    options = arguments()
    check_output(options.output, options.overwrite)
    recommended = {"sampler": options.sampler, "diffusion_steps": options.steps[-1]}
    with tempfile.TemporaryDirectory() as folder:
        rounded = presets.pack(options.run, Path(folder) / options.output.name, **recommended)
        figures = list(measure(presets.load_model(rounded), options))
    card = presets.Card(
        data=options.data,
        licence=options.licence,
        command=options.command,
        cost=options.cost,
        figures=figures,
        weaknesses=options.weakness,
        remarks=[f"Generated images beside their nearest training images: {options.sheet}."],
    )
    folder = presets.pack(options.run, options.output, card, **recommended, overwrite=options.overwrite)  # fmt: skip
    print((folder / "card.md").read_text())
    print(json.dumps(json.loads((folder / "config.json").read_text())["half_precision"]))


if __name__ == "__main__":
    main()
