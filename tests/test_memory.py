"""Generation streams: what many images need beside their own array does not grow."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np, kddim
from pathlib import Path
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
model = kddim.DiffusionModel(16, (4, 8), 1, seed=0)
model.generate(64, 2, seed=0)
before = peak()
images = model.generate(10_000, 2, seed=0)
print(peak() - before, images.nbytes / 2**20)
"""


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak")
def test_ten_thousand_images_need_their_own_array():
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    grown, array = map(float, answer.stdout.split()[-2:])
    assert array > 29.0
    assert grown < array + 20.0, "10,000 images in batches of 64 hold more than themselves"
