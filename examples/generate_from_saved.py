"""Generate images with a saved model, in different numbers of steps.

    python examples/generate_from_saved.py runs/digits/model.keras --output generated

The script writes one grid of images per number of steps. All grids start from the same noises. With
DDIM the same place in each grid therefore shows the same image: a draft with few steps, and more
detail with more steps. With eta = 1 every step adds fresh noise, so the images differ.
"""

import argparse
from pathlib import Path

import keras

import kddim  # Registers the classes of the saved model with Keras.

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("model", help="A .keras file.")
parser.add_argument("--output", type=Path, default=Path("generated"), help="Folder to write to.")
parser.add_argument("--num-images", type=int, default=18, help="Images per grid.")
parser.add_argument(
    "--steps", type=int, nargs="+", default=[2, 5, 20, 50], help="Numbers of diffusion steps."
)
parser.add_argument("--seed", type=int, default=0, help="The same seed gives the same images.")
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
