"""Cases that `speed.py` times, in one process per backend and dtype policy.

The process reads names of cases from standard input. It answers each with a line of JSON: `units`
(images times steps, or training steps) and `seconds`. A case first runs once without being timed,
to compile. Each function below prepares a case and returns `(units, run)`.
"""

import json
import math
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

SIZE = 64
TRAIN_BATCH, TRAIN_STEPS = 16, 6


def sampling_model():
    """Return the default model, with random values in place of zero weights."""
    import keras
    import numpy as np

    import kddim

    model = kddim.DiffusionModel(SIZE, seed=0)
    rng = np.random.default_rng(0)
    for weight in model.ema_network.weights:
        if not np.any(keras.ops.convert_to_numpy(weight)):
            weight.assign(rng.normal(0.0, 0.05, weight.shape))
    return model


def generate(batch_size, steps):
    """Time `DiffusionModel.generate`."""
    model = sampling_model()

    def run():
        model.generate(batch_size, steps, seed=0, batch_size=batch_size)

    return batch_size * steps, run


def eager_loop(batch_size, steps):
    """Time sampling as the keras.io example does it: network and mixing run eagerly."""
    import keras

    model = sampling_model()
    ops = keras.ops

    def run():
        noisy = keras.random.normal((batch_size, SIZE, SIZE, 3))
        for step in range(steps):
            times = ops.ones((batch_size, 1, 1, 1)) - step / steps
            noise_rates, signal_rates = model.diffusion_schedule(times)
            pred_noises = model.ema_network([noisy, noise_rates**2], training=False)
            pred_images = (noisy - noise_rates * pred_noises) / signal_rates
            noise_rates, signal_rates = model.diffusion_schedule(times - 1 / steps)
            noisy = signal_rates * pred_images + noise_rates * pred_noises
        keras.ops.convert_to_numpy(pred_images)

    return batch_size * steps, run


def convolutions():
    """Time every convolution of the network alone, as the ceiling for the network.

    Each convolution runs in a compiled function of its own, with the batch size that suits it
    best. The fastest of several calls counts.
    """
    import keras

    from kddim import backend

    network = sampling_model().network
    compute = backend.compile_step(backend.convolve, [])
    dtype = keras.config.dtype_policy().compute_dtype
    calls = []
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            kernel = keras.ops.cast(layer.kernel, dtype)
            shapes = [(batch, *layer.input.shape[1:]) for batch in (4, 16, 32)]
            calls.append([(keras.random.normal(s, dtype=dtype), kernel) for s in shapes])

    def fastest(images, kernel):
        found = []
        for _ in range(4):
            start = time.perf_counter()
            result = compute(images, kernel)
            if hasattr(result, "block_until_ready"):  # JAX returns before it has computed
                result.block_until_ready()
            found.append((time.perf_counter() - start) / len(images))
        return min(found)

    def run():
        return sum(min(fastest(*arguments) for arguments in batches) for batches in calls)

    return 1, run


def training_data():
    """Return 2,048 random images as a data set of `TRAIN_STEPS` steps per epoch."""
    import numpy as np

    import kddim

    images = np.random.default_rng(0).integers(0, 256, (2048, SIZE, SIZE, 3), "uint8")
    return kddim.data.ImageDataset(images, TRAIN_BATCH, training=True, steps_per_epoch=TRAIN_STEPS)


def batches():
    """Time only the input pipeline: shuffled batches of float32 images."""
    data = training_data()

    def run():
        for _ in range(20):
            for _ in data:
                pass
            data.on_epoch_end()

    return 20 * TRAIN_STEPS, run


def fit(remat=0):
    """Time the steps of `DiffusionModel.fit`, without the setup around them."""
    import keras

    import kddim

    data = training_data()
    model = kddim.DiffusionModel(SIZE, remat=bool(remat), seed=0)
    model.normalizer.adapt(data)
    model.compile()

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.start

    clock = Clock()

    def run():
        model.fit(data, epochs=1, verbose=0, callbacks=[clock])
        return clock.seconds

    return TRAIN_STEPS, run


def bare_step():
    """Time forward pass, backward pass and optimiser in one compiled function.

    The function draws no noise, mixes no images and updates no average.
    """
    import keras
    import tensorflow as tf

    from kddim.networks import residual_unet

    network = residual_unet(SIZE)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    optimizer.build(network.trainable_variables)
    images = tf.random.normal((TRAIN_BATCH, SIZE, SIZE, 3))
    variances = tf.random.uniform((TRAIN_BATCH, 1, 1, 1))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(network([images, variances], training=True) - images))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss

    def run():
        for _ in range(TRAIN_STEPS):
            step().numpy()

    return TRAIN_STEPS, run


def training_convolutions():
    """Time the convolutions of a training step alone, as the ceiling for `fit`.

    Each convolution runs forward, and backward to its input and its kernel, in a compiled
    function of its own. The gradient of the images is left out, since training needs none.
    """
    import tensorflow as tf

    from kddim.networks import residual_unet

    def passes(images, kernel, upstream, backward):
        options = {"strides": [1] * 4, "padding": "SAME"}
        found = [tf.nn.conv2d(images, kernel, **options)]
        found.append(
            tf.raw_ops.Conv2DBackpropFilter(
                input=images, filter_sizes=kernel.shape, out_backprop=upstream, **options
            )
        )
        if backward:
            found.append(
                tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=images.shape, filter=kernel, out_backprop=upstream, **options
                )
            )
        return found

    calls = []
    for layer in residual_unet(SIZE).layers:
        if hasattr(layer, "kernel"):
            shapes = [(TRAIN_BATCH, *t.shape[1:]) for t in (layer.input, layer.output)]
            images, upstream = (tf.random.normal(shape) for shape in shapes)
            tensors = (images, layer.kernel.value, upstream)
            half = [tf.cast(tensor, layer.compute_dtype) for tensor in tensors]
            compute = tf.function(lambda *tensors: passes(*tensors))
            calls.append((compute, *half, images.shape[-1] != 3))

    def run():
        for _ in range(TRAIN_STEPS):
            for compute, *arguments in calls:
                compute(*arguments)

    return TRAIN_STEPS, run


def first_step(steps):
    """Time a call of `generate` until the end of its first step, after compilation."""
    model = sampling_model()

    def run():
        model.generate(16, steps, seed=0, callback=lambda *_: True)

    return 1, run


def diffusers_pipeline(batch_size, steps):
    """Time diffusers' `DDIMPipeline` with a network of the same widths."""
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    widths = (32, 64, 96, 128)
    network = UNet2DModel(
        sample_size=SIZE,
        block_out_channels=widths,
        layers_per_block=2,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
    ).eval()
    pipeline = DDIMPipeline(network, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def run():
        pipeline(
            batch_size=batch_size,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        )

    return batch_size * steps, run


def network_flops():
    """Return the multiplications and additions of the convolutions, per image."""
    network = sampling_model().network
    total = 0
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            height, width = layer.output.shape[1:3]
            total += 2 * math.prod(layer.kernel.shape) * height * width
    return total


def diffusers_flops():
    """Return the operations of diffusers' network per image and step."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    _, run = diffusers_pipeline(1, 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def main():
    import keras

    keras.config.set_dtype_policy(sys.argv[1])
    prepared = {}
    for line in sys.stdin:
        name, *numbers = line.split()
        arguments = [int(n) for n in numbers]
        if name.endswith("_flops"):
            print(json.dumps({"flops": globals()[name]()}), flush=True)
            continue
        if line not in prepared:
            prepared[line] = globals()[name](*arguments)
            prepared[line][1]()
        units, run = prepared[line]
        start = time.perf_counter()
        answer = run()
        seconds = answer if isinstance(answer, float) else time.perf_counter() - start
        print(json.dumps({"units": units, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
