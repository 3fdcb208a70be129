"""Interpolate between real pictures.

    python examples/between_pictures.py runs/mine/model.keras PICTURES --output walk.png

The script encodes real pictures to latents, interpolates between pairs of latents, and generates
images from the results (DDIM paper, Sec. 5.3 and 5.4). Each row of the output leads from one
picture to another. The two ends of a row are the model's renderings of the two pictures.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import kddim

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("model", help="A .keras file.")
parser.add_argument("source", help="Training data of the model: a folder, a file, or digits.")
parser.add_argument("--output", type=Path, default=Path("walk.png"), help="PNG file to write.")
parser.add_argument("--rows", type=int, default=4, help="Number of rows.")
parser.add_argument("--num-images", type=int, default=9, help="Images per row.")
parser.add_argument("--steps", type=int, default=50, help="Diffusion steps.")
args = parser.parse_args()

model = keras.saving.load_model(args.model)
height, width, channels = model.image_shape
_, validation = kddim.data.load(args.source, (height, width), batch_size=1, channels=channels)
pictures = kddim.batches.take_images(validation, 2 * args.rows, model.image_shape)

latents = model.encode(pictures, args.steps)
print(f"latents: mean {latents.mean():.3f}, standard deviation {latents.std():.3f}")
rows = [
    model.interpolate(latents[2 * row], latents[2 * row + 1], args.num_images, args.steps)
    for row in range(args.rows)
]
grid = kddim.images.grid(np.concatenate(rows), num_cols=args.num_images)
print(kddim.images.save_png(args.output, grid))
