"""Speed of this checkout beside another one, such as the commit before.

    git worktree add ../before HEAD~1
    python benchmarks/against.py ../before

Each case runs in turn in a process of either checkout, which goes first alternates, and the
ratios of the rounds are printed. Let nothing else run on the machine meanwhile.
"""

import argparse
import os
from pathlib import Path
from statistics import median

from speed import BF16, JAX, TF, TORCH, Worker

CASES = {
    "generate, batch 32": (TF, "generate 32 20"),
    "generate, batch 4": (TF, "generate 4 20"),
    "generate, bfloat16, batch 32": (BF16, "generate 32 20"),
    "fit, batch 16": (TF, "fit"),
    "generate, JAX, batch 16": (JAX, "generate 16 5"),
    "fit, JAX, batch 16": (JAX, "fit"),
    "generate, PyTorch, batch 16": (TORCH, "generate 16 5"),
    "fit, PyTorch, batch 16": (TORCH, "fit"),
}


def measure(checkouts: list[Path], who: tuple[str, str], case: str, rounds: int) -> list[list]:
    """Return the seconds per unit of each round, a list per checkout."""
    workers = [Worker(*who, checkout) for checkout in checkouts]
    found: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for index in (0, 1) if number % 2 else (1, 0):
            answer = workers[index].ask(case)
            if number:  # the first answer warms up
                found[index].append(answer["seconds"] / answer["units"])
    for worker in workers:
        worker.process.stdin.close()
        worker.process.wait()
    return found


def main() -> None:
    """Print a table of ratios: above 1, this checkout is faster."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="Folder of the other checkout.")
    parser.add_argument("--rounds", type=int, default=5, help="Number of rounds per case.")
    parser.add_argument("--only", default="", help="Word that the names of the cases contain.")
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    print("| case | ms here | ms there | rate here / there, median (range) |\n|---|---|---|---|")
    for name, (who, case) in CASES.items():
        if options.only not in name:
            continue
        ours, theirs = measure([here, options.other.resolve()], who, case, options.rounds)
        ratios = [b / a for a, b in zip(ours, theirs)]
        print(
            f"| {name} | {1e3 * median(ours):.2f} | {1e3 * median(theirs):.2f} | "
            f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    main()
