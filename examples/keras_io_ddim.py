"""Train like the keras.io example "Denoising Diffusion Implicit Models".

    python examples/keras_io_ddim.py

The script uses the settings of the example. It trains on Oxford Flowers 102, which TensorFlow
Datasets downloads (`pip install -e .[tensorflow,tfds]`). That takes hours on a GPU and days on a
CPU. This toy run works offline and takes half a minute:

    python examples/keras_io_ddim.py --source digits --image-size 8 --epochs 2 --limit 500 \\
        --kid-encoder random_conv --kid-images 100

If Matplotlib opens a window, training waits until you close it. MPLBACKEND=Agg opens no windows.
"""

import argparse
from pathlib import Path

import keras

import kddim

parser = argparse.ArgumentParser(description="Train like the keras.io example.")
parser.add_argument(
    "--source", default="oxford_flowers102", help="digits, a folder, a file or a TFDS name."
)
parser.add_argument("--image-size", type=int, default=64, help="Side in pixels.")
parser.add_argument("--epochs", type=int, default=50, help="Epochs of training.")
parser.add_argument("--limit", type=int, help="Use at most this number of images.")
parser.add_argument("--batch-size", type=int, default=64, help="Images per batch.")
parser.add_argument("--kid-encoder", default="auto", help="auto, inception_v3 or random_conv.")
parser.add_argument("--kid-images", type=int, default=1000, help="Images generated for each KID.")
parser.add_argument(
    "--checkpoint",
    default="checkpoints/diffusion_model.weights.h5",
    help="File for the best weights.",
)
args = parser.parse_args()

num_epochs, image_size, batch_size = args.epochs, args.image_size, args.batch_size
dataset_repetitions = 5
kid_diffusion_steps = 5
widths = [32, 64, 96, 128]
block_depth = 2
learning_rate = 1e-3
weight_decay = 1e-4

# Grey images are repeated to three channels, so the model is the example's for every source.
train_dataset, val_dataset = kddim.data.load(
    args.source, image_size, batch_size, channels=3, repeats=dataset_repetitions, limit=args.limit
)

model = kddim.DiffusionModel(image_size, widths, block_depth)
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay),
    loss=keras.losses.mean_absolute_error,
)

# A callback measures KID and adds `val_kid` to the logs. Callbacks after it can monitor it.
kid_callback = kddim.callbacks.KIDCallback(
    val_dataset, args.kid_encoder, args.kid_images, kid_diffusion_steps
)
checkpoint_path = args.checkpoint
checkpoint_callback = keras.callbacks.ModelCheckpoint(
    filepath=checkpoint_path,
    save_weights_only=True,
    monitor="val_kid",
    mode="min",
    save_best_only=True,
)
plot_callback = keras.callbacks.LambdaCallback(on_epoch_end=model.plot_images)

model.normalizer.adapt(train_dataset)
model.fit(
    train_dataset,
    epochs=num_epochs,
    validation_data=val_dataset,
    callbacks=[kid_callback, plot_callback, checkpoint_callback],
)

# Show images of the best epoch, and write them to a file for machines without a display.
model.load_weights(checkpoint_path)
model.plot_images()
grid = kddim.images.grid(model.generate(18, diffusion_steps=20, seed=0), num_cols=6)
path = kddim.images.save_png(Path(checkpoint_path).with_name("generated.png"), grid)
print(f"images of the best epoch: {path}")
