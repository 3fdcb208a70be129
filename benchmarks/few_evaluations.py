"""Are few evaluations as good as many? A model, its tuned samplers and its distilled models, scored.

    python benchmarks/few_evaluations.py MODEL SOURCE --distilled RUN --distilled RUN \
        --encoder mobilenet --encoder-weights FILE --output build/few.json

The rows are DDIM with 50, 20, 10 and 5 steps, what `kddim tune --start` finds for 5 and for 3, and the distilled
models with the numbers of steps that they were taught. KID, precision and recall are means over
seeds of the noise, with the standard error of KID. Results are kept in the output file, and what is
known is not computed again.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

SCORES = ("kid", "kid_std", "fid", "precision", "recall")


def rows(options: argparse.Namespace) -> Iterator[tuple[str, Any, int, str]]:
    """Yield the name of each row, its model, its number of steps and its sampler."""
    from kddim import presets, tuning

    model = presets.load_model(options.model, "float32")
    for steps in options.ddim:
        yield f"DDIM, {steps}", model, steps, "ddim"
    if options.start < 1.0:
        yield f"start {options.start:g}, 20", model, 20, f"gaussian_start:start={options.start}"
    tuning.tune(model, options.tuned, num_images=options.noises, start=options.start)
    for steps in options.tuned:
        yield f"tuned, {steps}", model, steps, "tuned"
    for path in options.distilled:
        student = presets.load_model(path, "float32")
        for steps in student.tuned_samplers:
            yield f"distilled, {steps}", student, steps, "tuned"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run folder, model file or preset")
    parser.add_argument("source", help="source of the real images")
    parser.add_argument("--distilled", action="append", default=[], help="model of `kddim distill`")
    parser.add_argument("--ddim", type=int, nargs="*", default=[50, 20, 10, 5])
    parser.add_argument("--tuned", type=int, nargs="*", default=[5, 3])
    parser.add_argument("--start", type=float, default=0.9, help="start of the tuned samplers")
    parser.add_argument("--noises", type=int, default=256, help="number of noises to tune with")
    parser.add_argument("-n", "--num-images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--encoder", default="mobilenet")
    parser.add_argument("--encoder-weights", metavar="FILE")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    from kddim import evaluation
    from kddim.samplers.parse import make_sampler

    known = json.loads(options.output.read_text()) if options.output.is_file() else {}
    reference = None
    for name, model, steps, sampler in rows(options):
        for seed in options.seeds:
            if str(seed) in known.get(name, {}):
                continue
            reference = reference or evaluation.make_reference(
                options.source, model.image_shape, encoder=options.encoder,
                weights=options.encoder_weights, split=options.split,
            )  # fmt: skip
            found = evaluation.evaluate(
                model, reference, num_images=options.num_images, diffusion_steps=steps,
                sampler=make_sampler(sampler), metrics=("kid", "fid", "prdc"), seed=seed, floor=False,
            )  # fmt: skip
            known.setdefault(name, {})[str(seed)] = {score: found[score] for score in SCORES}
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(known, indent=1) + "\n")
        print(line(name, list(known[name].values())), flush=True)


def line(name: str, trials: list[dict[str, float]]) -> str:
    """Return the row of a table."""
    kid = [trial["kid"] for trial in trials]
    spread = statistics.stdev(kid) / len(kid) ** 0.5 if len(kid) > 1 else 0.0
    # Subsets of the images, generated and real, and the seeds of the noise.
    error = max(spread, statistics.mean(trial["kid_std"] for trial in trials) / len(kid) ** 0.5)
    mean = {score: statistics.mean(trial[score] for trial in trials) for score in SCORES}
    cells = [name, f"{mean['kid']:.3g} ± {error:.2g}", f"{mean['fid']:.0f}"]
    cells.append(f"{mean['precision']:.3f}, {mean['recall']:.3f}")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
