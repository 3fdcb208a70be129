"""Effect of mixed precision on KID and on pixels.

python benchmarks/precision.py

The script trains the demo's digits model in float32, in mixed_bfloat16, and in float32 with another
seed. The last run shows how much KID varies by chance. It samples each model under each dtype
policy, scores 1,500 images against all digits, and replaces its section of benchmarks/RESULTS.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import results

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
TRAININGS = (("float32", 0), ("mixed_bfloat16", 0), ("float32", 1))
NUM_IMAGES = 1500
SCORE = """
import json, sys
import numpy as np, kddim
from kddim import runs
from kddim.data.digits import load_digits
run, policy, number, target = sys.argv[1:]
model = runs.load_model(run, policy)
images = model.generate(int(number), 20, seed=0)
np.save(target, images)
real = load_digits()
encode = kddim.metrics.encoders.get("random_conv")
options = {"subsets": 100, "subset_size": 1000}
mean, _ = kddim.metrics.kernel_distance(encode(real), encode(images), **options)
print(json.dumps(mean))
"""


def python(program: list[str]) -> str:
    """Run Python with the given arguments and return its standard output."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",
    }
    answer = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, env=environment
    )
    if answer.returncode:
        raise SystemExit(answer.stderr[-2000:])
    return answer.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    epochs = parser.parse_args().epochs
    lines = [
        f"Digits, {epochs} epochs. KID compares {NUM_IMAGES:,} images, generated in 20 steps, with "
        'all digits (encoder random_conv, 100 subsets of 1,000). The column "pixels" is the mean '
        "absolute difference, in [0, 1], from the images that the same weights and the same seed "
        "give in float32.",
        "",
        "| trained with | sampled with | KID | pixels |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (policy, seed) in enumerate(TRAININGS):
            run = f"{folder}/{number}"
            options = ["--kid-encoder", "none", "--epochs", str(epochs), "--every", "1000"]
            options += ["--dtype", policy, "--seed", str(seed)]
            python(["-m", "kddim", "train", "digits", "--output", run, *options])
            lines += scores(run, f"{policy}, seed {seed}", Path(folder))
    results.write("precision", f"python benchmarks/precision.py --epochs {epochs}", lines)


def scores(run: str, trained: str, folder: Path) -> list[str]:
    """Sample one model under each dtype policy and return one table row per policy.

    Args:
        run: Run folder of the model.
        trained: Description of the training, for the first column.
        folder: Folder for temporary files.
    """
    import numpy as np

    rows, first = [], None
    for policy in POLICIES:
        target = folder / f"{policy}.npy"
        kid = json.loads(python(["-c", SCORE, run, policy, str(NUM_IMAGES), str(target)]))
        images = np.load(target)
        first = images if first is None else first
        rows.append(f"| {trained} | {policy} | {kid:.4f} | {np.abs(images - first).mean():.4f} |")
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
