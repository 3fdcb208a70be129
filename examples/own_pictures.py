"""Train a diffusion model on a folder of your own pictures.

    python examples/own_pictures.py PICTURES --output runs/mine

The pictures may have any sizes and formats. A few thousand pictures of one kind are enough; a few
hundred are few. The output folder holds `model.keras` (the epoch with the lowest KID) and
`samples/epoch_0001.png` and so on. `examples/generate_from_saved.py` generates more images with the
model. The environment variable KERAS_BACKEND=tensorflow|jax|torch chooses the backend.
"""

import argparse
from pathlib import Path

import kddim

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("folder", help="Folder of pictures, searched with its subfolders.")
parser.add_argument(
    "--output", type=Path, default=Path("runs/own_pictures"), help="Folder to write to."
)
parser.add_argument("--image-size", type=int, default=64, help="Side in pixels, a multiple of 8.")
parser.add_argument("--epochs", type=int, default=50, help="Epochs of training.")
parser.add_argument("--batch-size", type=int, default=64, help="Images per batch.")
parser.add_argument("--repeats", type=int, default=5, help="Passes over the pictures per epoch.")
parser.add_argument("--flip", action="store_true", help="Mirror half of the pictures.")
parser.add_argument("--kid-encoder", default="auto", help="auto, inception_v3 or random_conv.")
parser.add_argument("--kid-images", type=int, default=1000, help="Images generated for each KID.")
args = parser.parse_args()

train, validation = kddim.data.load(
    args.folder, args.image_size, args.batch_size, repeats=args.repeats, flip=args.flip
)
channels = train.images.shape[-1]
print(f"{len(train.images)} pictures to train on, {len(validation.images)} to validate on")

model = kddim.DiffusionModel(args.image_size, channels=channels)
model.normalizer.adapt(train)
model.compile()

args.output.mkdir(parents=True, exist_ok=True)
saved = kddim.callbacks.BestModelCallback(args.output / "model.keras", monitor="val_kid")
model.fit(
    train,
    validation_data=validation,
    epochs=args.epochs,
    callbacks=[
        kddim.callbacks.KIDCallback(validation, args.kid_encoder, args.kid_images),
        kddim.callbacks.ImageGridCallback(args.output / "samples"),
        saved,
    ],
)
print(f"{saved.path}: val_kid {saved.best:.4f}, epoch {saved.best_epoch} of {args.epochs}")
