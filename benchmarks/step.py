"""Parts of a training step with TensorFlow: what it takes beside its convolutions.

python benchmarks/step.py

The script replaces its section of benchmarks/RESULTS.md. One process per dtype policy runs the
convolutions alone, the network with Keras' own layers, and the network with kddim's layers in turn.
Processor seconds are compared, which other processes on the machine disturb less than time on the
clock.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"
POLICIES = ("float32", "mixed_bfloat16")
ROUNDS, STEPS, WINDOWS = 7, 2, 4

XLA = "CpuExecutable::Execute"  # what XLA compiled: the gradient of swish

# Part of the step -> words, one of which occurs in the name or the type of its operations. The
# first part that fits counts.
PARTS = {
    "convolutions, forward": ("FusedConv2D", ":Conv2D", "NativeConv2D:"),
    "convolutions, gradient of the kernel and the bias": ("BackpropFilter", "BiasAddGrad"),
    "convolutions, gradient of the input": ("BackpropInput",),
    "batch normalisation": ("batch_normalization", "BatchNorm"),
    "upsampling": ("up_sampling2d",),
    "other casts": (":Cast",),
    "average pooling": ("average_pooling2d", "AvgPool"),
    "concatenation": ("concatenate",),
    "swish": ("Swish", "Sigmoid", "conv2d", XLA),
    "residual additions, sums of gradients": ("AddN", "/add"),
}
REST = "optimiser, loss, and with Keras the products and sums of the gradient of swish"


def with_layers_of_keras() -> None:
    """Let the network be built of Keras' own layers, as it was before kddim had faster ones."""
    from keras import layers

    from kddim.networks import blocks, residual_unet  # noqa: F401

    module = sys.modules["kddim.networks.residual_unet"]
    blocks.BatchNormalization = layers.BatchNormalization
    blocks.Conv2D = module.Conv2D = layers.Conv2D
    module.UpSampling2D = layers.UpSampling2D


def operations(run) -> Counter:
    """Return the milliseconds of each operation, the least of several profiled runs."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    found: list[Counter] = []
    for _ in range(WINDOWS):
        with tempfile.TemporaryDirectory() as folder:
            tf.profiler.experimental.start(folder)
            run()
            tf.profiler.experimental.stop()
            space = xplane_pb2.XSpace()
            space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
        found.append(Counter())
        for plane in space.planes:
            for event in (event for line in plane.lines for event in line.events):
                name = plane.event_metadata[event.metadata_id].name
                operation = name.rpartition(":")[2]
                named = ":" in name and "::" not in name and operation.isidentifier()
                if (named or name.startswith(XLA)) and "CPU" in plane.name:
                    found[-1][name] += event.duration_ps / 1e9
    common = set.intersection(*map(set, found))
    return Counter({name: min(each[name] for each in found) for name in common})


def parts(times: Counter) -> dict[str, float]:
    """Return the milliseconds of each part of the step."""
    total: Counter = Counter()
    for name, milliseconds in times.items():
        fits = (part for part, words in PARTS.items() if any(word in name for word in words))
        total[next(fits, REST)] += milliseconds
    return {part: total[part] for part in (*PARTS, REST)}


def measure(policy: str) -> dict:
    """Return the processor seconds of each case, and the parts of the two networks' steps."""
    import cases
    import keras

    keras.config.set_dtype_policy(policy)
    cases.TRAIN_STEPS = STEPS
    runs = {"convolutions": cases.training_convolutions()[1], "kddim": cases.bare_step()[1]}
    runs["kddim"]()  # traced before the layers are exchanged
    with_layers_of_keras()
    runs["keras"] = cases.bare_step()[1]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append((time.process_time() - start) / STEPS)
    cases.TRAIN_STEPS = 1
    found = {name: parts(operations(runs[name])) for name in ("keras", "kddim")}
    return {"seconds": {name: each[1:] for name, each in seconds.items()}, "parts": found}


def rows(policy: str, found: dict) -> list[str]:
    """Return the table of the parts for one dtype policy."""
    seconds, shares = found["seconds"], found["parts"]
    middle = {name: median(each) for name, each in seconds.items()}
    lines = [
        f"`{policy}`: the convolutions alone take {middle['convolutions'] * 1e3:.0f} ms of the "
        "processor per step.",
        "",
        "| | Keras' layers | kddim's layers |",
        "|---|---|---|",
        f"| step | {middle['keras'] * 1e3:.0f} ms | {middle['kddim'] * 1e3:.0f} ms |",
        "| **convolutions alone / step** | "
        + " | ".join(f"**{_ratio(seconds, name)}**" for name in ("keras", "kddim"))
        + " |",
    ]
    for part in shares["kddim"]:
        each = [f"{shares[name][part]:.1f} ms" for name in ("keras", "kddim")]
        lines.append(f"| {part} | {' | '.join(each)} |")
    return [*lines, ""]


def _ratio(seconds: dict, name: str) -> str:
    each = [a / b for a, b in zip(seconds["convolutions"], seconds[name])]
    return f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def main() -> None:
    import results

    lines = []
    for policy in POLICIES:
        answer = subprocess.run([sys.executable, __file__, policy], capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(answer.stderr[-2000:])
        lines += rows(policy, json.loads(answer.stdout.splitlines()[-1]))
    results.write("step", "python benchmarks/step.py", lines[:-1])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
