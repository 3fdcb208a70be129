"""Peak memory of training and of generation, with one process per figure.

python benchmarks/memory.py

The script replaces its section of benchmarks/RESULTS.md. A figure is the peak of the resident set
minus the memory that the process held after the model was built and compiled.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
SIZE = 64


def peak() -> float:
    """Return the peak of the resident set so far, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def train(batch_size: int, remat: bool) -> dict[str, float]:
    """Measure one epoch of two training steps."""
    import numpy as np

    import kddim

    images = np.random.default_rng(0).random((2 * batch_size, SIZE, SIZE, 3)).astype("float32")
    model = kddim.DiffusionModel(SIZE, remat=remat, seed=0)
    model.normalizer.adapt(images)
    model.compile()
    before = peak()
    model.fit(images, batch_size=batch_size, epochs=1, verbose=0)
    return {"MB": peak() - before}


def generate(num_images: int) -> dict[str, float]:
    """Measure generation with a small model at 64x64, in batches of 64 with two steps each."""
    import kddim

    model = kddim.DiffusionModel(SIZE, (8, 8), 1, seed=0)
    model.generate(64, 2, seed=0)
    before = peak()
    images = model.generate(num_images, 2, seed=0)
    return {"MB": peak() - before, "array": images.nbytes / 1e6}


def ask(backend: str, *arguments: object) -> dict[str, float]:
    """Run one measurement in a new process and return its result."""
    answer = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "KERAS_BACKEND": backend},
    )  # fmt: skip
    if answer.returncode:
        raise SystemExit(answer.stderr[-2000:])
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    import results

    lines = [
        "| training, default network, 64x64 | batch 16 | batch 64 | per additional image |",
        "|---|---|---|---|",
    ]
    for backend in ("tensorflow", "jax", "torch"):
        for remat in (0, 1):
            small, large = (ask(backend, "train", batch, remat)["MB"] for batch in (16, 64))
            name = f"{backend}, remat" if remat else backend
            each = (large - small) / 48
            lines.append(f"| {name} | {small:,.0f} MB | {large:,.0f} MB | {each:.1f} MB |")
    lines += [
        "",
        "| 10,000 generated images, 64x64 | memory beyond one batch | size of their array |",
        "|---|---|---|",
    ]
    for backend in ("tensorflow", "jax", "torch"):
        found = ask(backend, "generate", 10_000)
        lines.append(f"| {backend} | {found['MB']:,.0f} MB | {found['array']:,.0f} MB |")
    results.write("memory", "python benchmarks/memory.py", lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, *numbers = sys.argv[1:]
        print(json.dumps({"train": train, "generate": generate}[name](*map(int, numbers))))
    else:
        main()
