"""Images per second of each encoder.

python benchmarks/encoders.py

The encoders have random weights, since the speed does not depend on them.
"""

import argparse
import time

import numpy as np

from kddim.metrics import encoders


def cases():
    """Yield `(name, encoder)`; each encoder is built only when its turn comes."""
    model = encoders.from_model
    yield "random_conv", encoders.get("random_conv")
    yield "mobilenet, 128 px, width 0.25", model(encoders.mobilenet(128, None), "mobilenet")
    yield "inception_v3, 75 px (example)", model(encoders.inception_v3(75, None), "inception")
    yield (
        "inception_v3, 299 px (standard)",
        model(encoders.inception_v3(299, None, True), "inception"),
    )
    yield "pt_inception, 299 px", model(encoders.pt_inception(None), "pt_inception")


def images_per_second(encoder, images, batch_size, rounds):
    """Return the median number of images per second over several rounds."""
    encoder(images[:batch_size], batch_size)  # compiles
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        encoder(images[:batch_size], batch_size)
        times.append(time.perf_counter() - start)
    return batch_size / np.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    images = np.random.default_rng(0).random(shape, "float32")
    print("| encoder | images per second |\n|---|---|")
    for name, encoder in cases():
        rate = images_per_second(encoder, images, options.batch_size, options.rounds)
        print(f"| {name} | {rate:.3g} |", flush=True)


if __name__ == "__main__":
    main()
