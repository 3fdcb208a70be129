"""At which noise levels does a model go wrong? The score of pictures that it makes from part noise.

    python benchmarks/noise_levels.py MODEL SOURCE --encoder mobilenet --encoder-weights FILE

Training pictures get noise up to a time, and the model samples from there. From a low time, the
photographs decide all but the details. From time 1, the model decides everything. The time at which
the score rises is where its errors arise. Each row has the same density of steps.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

TIMES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
LEAST_TIME = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder, model file or preset")
    parser.add_argument("source", help="source of images, as of `kddim train`")
    parser.add_argument("--encoder", default="mobilenet")
    parser.add_argument("--encoder-weights", metavar="FILE")
    parser.add_argument("-n", "--num-images", type=int, default=600)
    parser.add_argument("--steps", type=int, default=20, help="steps from time 1")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import numpy as np

    from kddim import DiffusionModel, evaluation, runs
    from kddim.evaluation.sources import RealImages

    if Path(options.model).exists():
        model = runs.load_model(options.model, dtype="float32")
    else:
        model = DiffusionModel.from_preset(options.model, dtype="float32")
    reference = evaluation.make_reference(
        options.source, model.image_shape, encoder=options.encoder, weights=options.encoder_weights
    )
    part = RealImages(options.source, model.image_shape, "train", options.num_images)
    photographs = np.concatenate([np.asarray(batch) for batch in part.batches(64)])
    print("| noise from time | noise rate | steps | KID | FID | precision, recall |")
    print("|---|---|---|---|---|---|")

    def show(name: str, rate: str, steps: str, images: np.ndarray) -> None:
        found = reference.score(images, ("kid", "fid", "prdc"))
        scores = f"{found['kid']:.3g} ± {found['kid_std']:.2g} | {found['fid']:.0f} | "
        scores += f"{found['precision']:.3f}, {found['recall']:.3f}"
        print(f"| {name} | {rate} | {steps} | {scores} |", flush=True)

    show("the photographs", "0", "0", photographs)
    for time in TIMES:
        steps = max(1, round(options.steps * time))
        rate = float(np.asarray(model.diffusion_schedule(time)[0]))
        if time < 1.0:
            start = max(time, LEAST_TIME)
            images = model.image_to_image(photographs, start, steps, seed=options.seed)
        else:
            images = model.generate(len(photographs), steps, seed=options.seed)
        show(f"{time:g}", f"{rate:.2f}", str(steps), images)


if __name__ == "__main__":
    main()
