"""Training on more images than memory: limit of the address space, peak memory, step time.

    KERAS_BACKEND=tensorflow python benchmarks/streaming.py --pictures 200000

Writes pictures of 64x64 pixels. A first process may take 1.5 GB more than the framework, the model
and its first steps: it decodes the pictures, trains one pass over them and a second one. A second
process has no limit: it trains on the same images streamed, in memory, and streamed after the system
has dropped the file from its cache, in turns.
"""

import argparse
import concurrent.futures
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, BATCH, WIDTHS = 64, 64, (8, 16)
ROUNDS, STEPS, LATER_STEPS = 7, 50, 400


def write_part(folder: Path, rows: range) -> None:
    """Write smooth pictures that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        coarse = np.random.default_rng(row).integers(0, 256, (8, 8, 3), "uint8")
        picture = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        picture.save(folder / f"{row:07d}.jpg", quality=85)


def write_pictures(folder: Path, number: int) -> None:
    """Write the pictures of the benchmark into folders of 10,000, unless they are there."""
    parts = [range(start, min(start + 10_000, number)) for start in range(0, number, 10_000)]
    left = [part for part in parts if not (folder / str(part[0]) / f"{part[-1]:07d}.jpg").exists()]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(write_part, [folder / str(part[0]) for part in left], left))


def memory() -> dict[str, int]:
    """Return the numbers of bytes that this process has and had, from the system."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return {name: 1024 * int(value) for name, value in found.items()}


def build():
    """Return a model and a clock of its steps, after some steps on a few images."""
    from clock import StepClock

    import kddim

    model = kddim.DiffusionModel(SIZE, widths=WIDTHS, block_depth=1)
    few = np.random.default_rng(0).random((2 * BATCH, SIZE, SIZE, 3)).astype("float32")
    model.normalizer.adapt(few)
    model.compile()
    data = kddim.data.ImageDataset(few, BATCH, training=True)
    model.fit(data, validation_data=data, epochs=2, verbose=0)
    return model, StepClock()


def fit(model, clock, data, steps=None):
    """Return the median time of a step in seconds, and the time of all."""
    clock.ends.clear()
    start = time.perf_counter()
    model.fit(data, verbose=0, callbacks=[clock], steps_per_epoch=steps)
    return float(np.median(np.diff(clock.ends))), time.perf_counter() - start


def limited(folder: Path, limit: int) -> dict[str, float]:
    """Decode and train under a limit of the address space, and return figures."""
    from kddim.data import ImageDataset, load
    from kddim.data.stored import StoredImages

    model, clock = build()
    own = memory()
    resource.setrlimit(resource.RLIMIT_AS, (own["VmSize"] + limit,) * 2)
    start = time.perf_counter()
    train, _ = load(folder, SIZE, BATCH)
    found = {"decode_seconds": time.perf_counter() - start}
    assert isinstance(train.images, StoredImages), "the images fit in the memory"
    start = time.perf_counter()
    load(folder, SIZE, BATCH)
    found["load_again_seconds"] = time.perf_counter() - start
    start = time.perf_counter()
    model.normalizer.adapt(ImageDataset(train.images, 256))
    found["adapt_seconds"] = time.perf_counter() - start
    found["first_step"], found["first_pass_seconds"] = fit(model, clock, train)
    train = load(folder, SIZE, BATCH, steps_per_epoch=LATER_STEPS)[0]
    found["second_step"], _ = fit(model, clock, train)
    forget(train.images.path)
    found["step_from_disk"], _ = fit(model, clock, train)
    peak = memory()
    return found | {
        "images_bytes": train.images.nbytes * 5 // 4,
        "resident_before": own["VmRSS"],
        "resident_peak": peak["VmHWM"],
        "address_space_before": own["VmSize"],
        "address_space_peak": peak["VmPeak"],
    }


def forget(path: str) -> None:
    """Let the system drop a file from its cache, so that it is read from the disk again."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compared(folder: Path) -> dict[str, float]:
    """Return step times on the same images, streamed and in memory, in turns."""
    from kddim.data import load

    model, clock = build()
    data = {
        "streamed": load(folder, SIZE, BATCH, steps_per_epoch=STEPS, stream=True)[0],
        "in memory": load(folder, SIZE, BATCH, steps_per_epoch=STEPS, stream=False)[0],
    }
    data["from disk"] = data["streamed"]
    times = {name: [] for name in data}
    for _ in range(ROUNDS):
        for name, images in data.items():
            if name == "from disk":
                forget(images.images.path)
            times[name].append(fit(model, clock, images)[0])
    found = {name: statistics.median(values) for name, values in times.items()}
    for name in ("streamed", "from disk"):
        ratios = sorted(s / m for s, m in zip(times[name], times["in memory"]))
        found |= {
            f"{name} / in memory": statistics.median(ratios),
            f"{name} / in memory, least": ratios[0],
            f"{name} / in memory, most": ratios[-1],
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--limit", type=float, default=1.5e9, help="bytes beside the framework")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=("limited", "compared"))
    options = parser.parse_args()
    if options.part:
        folder = options.folder
        found = (
            limited(folder, int(options.limit)) if options.part == "limited" else compared(folder)
        )
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "pictures"
        write_pictures(folder, options.pictures)
        for part in ("limited", "compared"):
            command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
            process = subprocess.run(
                [*command, "--limit", str(options.limit)], stdout=subprocess.PIPE, check=True
            )
            for name, value in json.loads(process.stdout.splitlines()[-1]).items():
                print(f"{part}: {name} = {value:,.6g}")


if __name__ == "__main__":
    main()
