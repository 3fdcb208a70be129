"""The code in the documents runs, and what it defines keeps the contracts."""

import re
from pathlib import Path

import numpy as np
import pytest

from kddim.backend import to_numpy

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def extending():
    """The names that the code of docs/extending.md defines, run from top to bottom."""
    text = (ROOT / "docs" / "extending.md").read_text()
    names = {"__name__": "extending"}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    return names


def test_the_schedule_of_the_docs_keeps_the_contract(extending):
    schedule = extending["RationalSchedule"](2.0)
    times = np.linspace(0, 1, 50)
    noise, signal = schedule(times)
    np.testing.assert_allclose(noise**2 + signal**2, 1.0, atol=1e-12)
    np.testing.assert_allclose(schedule.time_at_log_snr(schedule.log_snr(times)), times, atol=1e-12)


def test_the_sampler_of_the_docs_without_momentum_is_ddim(extending):
    from kddim.samplers import DDIM

    arguments = (
        extending["denoise"], extending["RationalSchedule"](),
        np.random.default_rng(0).standard_normal((2, 4, 4, 1)), 8,
    )  # fmt: skip
    plain = to_numpy(extending["Momentum"](0.0).sample(*arguments))
    np.testing.assert_allclose(plain, to_numpy(DDIM().sample(*arguments)), atol=1e-9)
    assert np.abs(to_numpy(extending["Momentum"](0.5).sample(*arguments)) - plain).max() > 1e-3


def test_the_model_of_the_docs_generates(extending):
    assert extending["model"].generate(2, 2, seed=0).shape == (2, 16, 16, 3)


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
