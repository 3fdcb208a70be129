"""Ratios of speeds of sampling and training, from cases that run alternately.

python benchmarks/speed.py            (or: make bench)

The script replaces its section of benchmarks/RESULTS.md and leaves the rest of the file unchanged.
Run nothing else on the machine meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import results

HERE = Path(__file__).parent

# Name of a case -> (worker, command for the worker). A worker is (backend, dtype policy).
TF, BF16 = ("tensorflow", "float32"), ("tensorflow", "mixed_bfloat16")
JAX, TORCH = ("jax", "float32"), ("torch", "float32")
CASES = {
    "generate, batch 32, 20 steps": (TF, "generate 32 20"),
    "eager loop, batch 32, 5 steps": (TF, "eager_loop 32 5"),
    "generate, batch 4, 20 steps": (TF, "generate 4 20"),
    "eager loop, batch 4, 20 steps": (TF, "eager_loop 4 20"),
    "convolutions alone, TensorFlow": (TF, "convolutions"),
    "convolutions alone, JAX": (JAX, "convolutions"),
    "convolutions alone, PyTorch": (TORCH, "convolutions"),
    "diffusers DDIMPipeline, batch 32, 5 steps": (TORCH, "diffusers_pipeline 32 5"),
    "generate, bfloat16, batch 32, 20 steps": (BF16, "generate 32 20"),
    "generate, JAX, batch 16, 5 steps": (JAX, "generate 16 5"),
    "generate, PyTorch, batch 16, 5 steps": (TORCH, "generate 16 5"),
    "generate, TensorFlow, batch 16, 5 steps": (TF, "generate 16 5"),
    "fit, TensorFlow, batch 16": (TF, "fit"),
    "bare training step, TensorFlow, batch 16": (TF, "bare_step"),
    "fit, bfloat16, TensorFlow, batch 16": (BF16, "fit"),
    "fit, remat, TensorFlow, batch 16": (TF, "fit 1"),
    "convolutions forward and backward, batch 16": (TF, "training_convolutions"),
    "convolutions forward and backward, bfloat16, batch 16": (BF16, "training_convolutions"),
    "batches of the data alone, batch 16": (TF, "batches"),
    "fit, JAX, batch 16": (JAX, "fit"),
    "fit, PyTorch, batch 16": (TORCH, "fit"),
    "first step of 10": (TF, "first_step 10"),
    "first step of 1,000": (TF, "first_step 1000"),
}


class Worker:
    """A process that times cases on request.

    Args:
        backend: Keras backend of the process.
        policy: Keras dtype policy of the process.
    """

    def __init__(self, backend: str, policy: str, checkout: Path = HERE.parent):
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            [sys.executable, str(checkout / "benchmarks" / "cases.py"), policy],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip

    def ask(self, case: str) -> dict:
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"Expected a time of {case!r}. Received: the process ended")
        return json.loads(answer)


def import_seconds() -> float:
    """Return the seconds that `import kddim` takes after `import keras`, in a new process."""
    program = (
        "import time, keras; t = time.perf_counter(); import kddim; print(time.perf_counter() - t)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return float(answer.stdout)


def measure(rounds: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Time every case in every round.

    Returns:
        Seconds per unit of each case, one dictionary per round; and the import time and the
        convolution operations of both networks.
    """
    workers = {who: Worker(*who) for who in (TF, BF16, JAX, TORCH)}
    found: list[dict[str, float]] = []
    imports = []
    for number in range(rounds):
        found.append({})
        for name, (who, case) in CASES.items():
            answer = workers[who].ask(case)
            found[-1][name] = answer["seconds"] / answer["units"]
            print(f"round {number + 1}: {name}: {found[-1][name] * 1e3:.2f} ms", flush=True)
        imports.append(import_seconds())
    others = {
        "import": median(imports),
        "ours": workers[TF].ask("network_flops")["flops"],
        "diffusers": workers[TORCH].ask("diffusers_flops")["flops"],
    }
    for worker in workers.values():
        worker.process.stdin.close()
        worker.process.wait()
    return found, others


def ratios(t: dict[str, float], others: dict[str, float]) -> list[tuple[str, float, str]]:
    """Return `(comparison, ratio, goal)` for each comparison.

    A ratio above 1 means that the first of the two is faster.
    """
    ours = t["generate, batch 32, 20 steps"]
    ceiling = t["convolutions alone, TensorFlow"]
    tf5, fit = t["generate, TensorFlow, batch 16, 5 steps"], t["fit, TensorFlow, batch 16"]
    equal_work = others["ours"] / others["diffusers"]
    return [
        ("generate / eager loop, batch 32", t["eager loop, batch 32, 5 steps"] / ours, "1.55"),
        (
            "generate / eager loop, batch 4",
            t["eager loop, batch 4, 20 steps"] / t["generate, batch 4, 20 steps"],
            "2.5",
        ),
        ("generate / convolutions alone", ceiling / ours, "0.85"),
        (
            "generate / diffusers, at equal operations",
            t["diffusers DDIMPipeline, batch 32, 5 steps"] / ours * equal_work,
            "1.35",
        ),
        ("bfloat16 / float32", ours / t["generate, bfloat16, batch 32, 20 steps"], "1.6"),
        ("fit / bare step", t["bare training step, TensorFlow, batch 16"] / fit, "0.93"),
        (
            "time to first step, 1,000 / 10",
            t["first step of 1,000"] / t["first step of 10"],
            "0.8 to 1.2",
        ),
        ("input pipeline / fit", fit / t["batches of the data alone, batch 16"], "above 1"),
        ("convolutions alone, JAX / TensorFlow", ceiling / t["convolutions alone, JAX"], ""),
        (
            "convolutions alone, PyTorch / TensorFlow",
            ceiling / t["convolutions alone, PyTorch"],
            "",
        ),
        ("generate, JAX / TensorFlow", tf5 / t["generate, JAX, batch 16, 5 steps"], ""),
        ("generate, PyTorch / TensorFlow", tf5 / t["generate, PyTorch, batch 16, 5 steps"], ""),
        ("fit, JAX / TensorFlow", fit / t["fit, JAX, batch 16"], ""),
        ("fit, PyTorch / TensorFlow", fit / t["fit, PyTorch, batch 16"], ""),
        ("fit, remat / plain", fit / t["fit, remat, TensorFlow, batch 16"], ""),
        ("fit, bfloat16 / float32", fit / t["fit, bfloat16, TensorFlow, batch 16"], ""),
        (
            "fit / convolutions forward and backward",
            t["convolutions forward and backward, batch 16"] / fit,
            "0.90",
        ),
        (
            "fit / convolutions forward and backward, bfloat16",
            t["convolutions forward and backward, bfloat16, batch 16"]
            / t["fit, bfloat16, TensorFlow, batch 16"],
            "0.85",
        ),
    ]


def report(found: list[dict[str, float]], others: dict[str, float]) -> list[str]:
    """Return the lines of the section in RESULTS.md."""
    t = {name: median(times[name] for times in found) for name in CASES}
    by_round = [ratios(times, others) for times in found]
    rate = others["ours"] / t["generate, batch 32, 20 steps"] / 1e9
    ceiling = others["ours"] / t["convolutions alone, TensorFlow"] / 1e9
    return [
        "Medians of the rounds. The brackets hold the lowest and the highest ratio of a single round.",
        "",
        "| comparison | ratio of speeds | goal |",
        "|---|---|---|",
        *(_row(same) for same in zip(*by_round)),
        f"| `import kddim` after `import keras` | {others['import']:.2f} s | at most 0.3 s |",
        "",
        f"The convolutions of the default network take {others['ours'] / 1e9:.2f} GFLOP per image "
        f"(diffusers' network: {others['diffusers'] / 1e9:.2f}). `generate` reaches {rate:.0f} "
        f"GFLOP/s, and the convolutions alone reach {ceiling:.0f} GFLOP/s.",
        "",
        "| case | milliseconds per image and step, or per training step |",
        "|---|---|",
        *(f"| {name} | {seconds * 1e3:.2f} |" for name, seconds in t.items()),
    ]


def _row(same: tuple) -> str:
    """Return the table row of one comparison, given its ratio in every round."""
    what, _, wanted = same[0]
    values = [ratio for _, ratio, _ in same]
    return f"| {what} | {median(values):.2f} ({min(values):.2f} to {max(values):.2f}) | {wanted} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lines = report(*measure(options.rounds))
    results.write("speed", f"python benchmarks/speed.py --rounds {options.rounds}", lines)


if __name__ == "__main__":
    main()
