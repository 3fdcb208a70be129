"""Generates images with a saved model: several numbers of steps, and a stochastic sampler.

    python examples/generate_from_saved.py runs/digits/model.keras --output generated

writes one grid for each number of steps. All grids start from the same noises, so that
the same place shows the same image: a draft with few steps, then more detail. With
eta = 1 fresh noise comes in at every step, and the images are others.
"""

import argparse
from pathlib import Path

import keras

import kddim  # registers the classes that a saved model is made of

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("model", help="a .keras file")
parser.add_argument("--output", type=Path, default=Path("generated"), help="folder")
parser.add_argument("--num-images", type=int, default=18)
parser.add_argument("--steps", type=int, nargs="+", default=[2, 5, 20, 50])
parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images")
args = parser.parse_args()

model = keras.saving.load_model(args.model)

for name, sampler in (
    ("ddim", kddim.samplers.DDIM()),
    ("eta_1", kddim.samplers.DDIM(eta=1.0)),
):
    for steps in args.steps:
        images = model.generate(args.num_images, steps, sampler, seed=args.seed)
        grid = kddim.images.grid(images, num_cols=6)
        path = kddim.images.save_png(args.output / f"{name}_{steps:03d}_steps.png", grid)
        print(f"{path}: {sampler}")
