"""Train a model as DDPM does, then sample it with far fewer steps.

    python examples/ddpm_without_retraining.py --output runs/ddpm

The model is that of Ho et al. (2020): 1,000 timesteps, linear betas, and the squared error of the
noise. The same weights then generate images with DDPM's own sampler and with DDIM (DDIM paper,
Sec. 4), with few and with many steps. The script prints the KID of each combination against
held-out digits.
"""

import argparse
from pathlib import Path

import numpy as np

import kddim
from kddim.samplers import DDIM, DDPM, AdamsBashforth

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--source", default="digits", help="digits, a folder, a file or a TFDS name.")
parser.add_argument("--image-size", type=int, default=8, help="Side in pixels.")
parser.add_argument("--epochs", type=int, default=100, help="Epochs of training.")
parser.add_argument("--num-images", type=int, default=500, help="Images generated for each KID.")
parser.add_argument(
    "--steps", type=int, nargs="+", default=[10, 100, 1000], help="Numbers of diffusion steps."
)
parser.add_argument("--output", type=Path, default=Path("runs/ddpm"), help="Folder for the model.")
args = parser.parse_args()

train, validation = kddim.data.load(args.source, args.image_size)
model = kddim.DiffusionModel(
    args.image_size, (32, 64, 96), channels=train.images.shape[-1], schedule="linear_beta"
)
model.normalizer.adapt(train)
model.compile(loss="mean_squared_error")
model.fit(train, epochs=args.epochs, validation_data=validation, verbose=2)
args.output.mkdir(parents=True, exist_ok=True)
model.save(args.output / "model.keras")

real = np.concatenate(list(kddim.batches.iterate_batches(validation)))
for steps in args.steps:
    for sampler in (DDPM("small"), DDPM("large"), DDIM(), AdamsBashforth(2)):
        images = model.generate(args.num_images, steps, sampler, seed=0)
        kid = kddim.metrics.KID("random_conv")
        kid.update_state(real, images)
        print(f"{steps:5} steps, KID {float(kid.result()):.5f}: {sampler}")
