"""The training of the keras.io example on denoising diffusion implicit models, run on kddim.

    python examples/keras_io_ddim.py

trains on Oxford Flowers, which TensorFlow Datasets downloads (`pip install -e .[tfds]`), with
the example's settings: hours on a GPU, days on a CPU. A toy run, offline, in half a minute:

    python examples/keras_io_ddim.py --source digits --image-size 8 --epochs 2 --limit 500 \\
        --kid-encoder random_conv --kid-images 100

Where Matplotlib opens windows, training waits until each is closed; MPLBACKEND=Agg opens none.
"""

import argparse
from pathlib import Path

import keras

import kddim

parser = argparse.ArgumentParser(description="The keras.io example's training, on kddim.")
parser.add_argument("--source", default="oxford_flowers102", help="see kddim.data.load")
parser.add_argument("--image-size", type=int, default=64, help="side in pixels")
parser.add_argument("--epochs", type=int, default=50)
parser.add_argument("--limit", type=int, help="uses at most so many images")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--kid-encoder", default="auto", help="auto, inception_v3 or random_conv")
parser.add_argument("--kid-images", type=int, default=1000, help="images generated for each KID")
parser.add_argument("--checkpoint", default="checkpoints/diffusion_model.weights.h5")
args = parser.parse_args()

num_epochs, image_size, batch_size = args.epochs, args.image_size, args.batch_size
dataset_repetitions = 5
kid_diffusion_steps = 5
widths = [32, 64, 96, 128]
block_depth = 2
learning_rate = 1e-3
weight_decay = 1e-4

# Grey pictures become RGB ones: the model is the example's whatever the source.
train_dataset, val_dataset = kddim.data.load(
    args.source, image_size, batch_size, channels=3, repeats=dataset_repetitions, limit=args.limit
)

model = kddim.DiffusionModel(image_size, widths, block_depth)
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay),
    loss=keras.losses.mean_absolute_error,
)

# Here a callback measures KID, and those after it find `val_kid` in the logs.
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

# The best epoch's weights; the file is for machines that show no windows.
model.load_weights(checkpoint_path)
model.plot_images()
grid = kddim.images.grid(model.generate(18, diffusion_steps=20, seed=0), num_cols=6)
path = kddim.images.save_png(Path(checkpoint_path).with_name("generated.png"), grid)
print(f"images of the best epoch: {path}")
