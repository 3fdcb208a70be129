"""KID, FID, precision and recall of corrupted real images.

One part of the images is the reference. Images of the other part are corrupted more and more. Every
score should get worse with the corruption, and dropped modes should lower recall more than
precision.

    python benchmarks/corruptions.py SOURCE --encoder mobilenet --encoder-weights FILE
"""

import argparse
import io

import numpy as np
from PIL import Image, ImageFilter

from kddim import evaluation
from kddim.images import to_uint8
from kddim.metrics.estimators import Unbiased
from kddim.metrics.feature_set import FeatureSet
from kddim.metrics.scores import scores

MODES = 20


def each(images, change):
    """Apply `change`, a function of a Pillow image, to every image."""
    changed = [np.asarray(change(Image.fromarray(pixels))) for pixels in to_uint8(images)]
    return np.stack(changed).astype("float32") / 255.0


def blur(images, radius):
    return each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def noise(images, deviation):
    random = np.random.default_rng(0)
    return np.clip(images + random.normal(0, deviation, images.shape), 0, 1).astype("float32")


def jpeg(images, quality):
    def compress(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return each(images, compress)


def modes(features, rounds=20):
    """Return the number of each image's mode, a cluster of the features found by k-means."""
    centres = features[np.random.default_rng(0).permutation(len(features))[:MODES]]
    for _ in range(rounds):
        distances = ((features[:, None] - centres[None]) ** 2).sum(-1)
        nearest = distances.argmin(1)
        found = [features[nearest == mode] for mode in range(MODES)]
        centres = np.stack([x.mean(0) if len(x) else c for x, c in zip(found, centres)])
    return nearest


def rows(images, encoder, number):
    """Yield `(corruption, strength, scores)` for each table row."""
    real, pool = images[:number], images[number:]
    reference = FeatureSet(encoder(real))
    features = encoder(pool)
    clean = pool[:number]
    yield "none: other real images", "", score(reference, features[:number])
    strengths = {blur: (0.5, 1.0, 2.0), noise: (0.02, 0.05, 0.1), jpeg: (75, 25, 10)}
    words = {blur: "blur, radius", noise: "noise, standard deviation", jpeg: "JPEG, quality"}
    for corrupt, values in strengths.items():
        for value in values:
            yield words[corrupt], value, score(reference, encoder(corrupt(clean, value)))
    mode = modes(features)
    for share in (0.75, 0.5, 0.25):
        kept = features[mode < share * MODES][:number]
        yield (
            f"modes kept, of {MODES}",
            f"{share * MODES:.0f} (n={len(kept)})",
            score(reference, kept),
        )


def score(reference, features):
    return scores(reference, FeatureSet(features), ("kid", "fid", "prdc"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--encoder", default="mobilenet")
    parser.add_argument("--encoder-weights")
    parser.add_argument("--num-images", type=int, default=1000)
    options = parser.parse_args()
    encoder = Unbiased.encoder(options.encoder, None, options.encoder_weights)
    shape = (options.image_size, options.image_size, 3)
    images = evaluation.real_images(options.source, shape, split="all", num_images=10**6)
    print(f"{encoder.description}, {options.num_images} images per set\n")
    print("| corruption | strength | KID | FID | precision | recall |\n|---|---|---|---|---|---|")
    for name, value, found in rows(images, encoder, options.num_images):
        kid, fid = (f"{found[k]:.4g} ± {found[f'{k}_std']:.2g}" for k in ("kid", "fid"))
        shares = f"{found['precision']:.3f} | {found['recall']:.3f}"
        print(f"| {name} | {value} | {kid} | {fid} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
