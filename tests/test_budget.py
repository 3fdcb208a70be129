"""The memory that may still be taken."""

import re

import pytest

from kddim import budget


def test_a_limit_of_the_environment_counts(monkeypatch):
    monkeypatch.setenv("KDDIM_MEMORY", "1000000")
    assert budget.free_memory() == 1_000_000
    budget.check_memory(1_000_000, "a thing")
    wanted = re.escape("Expected a thing to fit in the free memory of 1 MB. Received: 2.5 GB. Buy.")
    with pytest.raises(ValueError, match=wanted):
        budget.check_memory(2_500_000_000, "a thing", "Buy.")


def test_a_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**15, 10**15))
    large = budget._left_in_process()
    assert 0 < large < 10**15
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1000, 1000))
    assert budget.free_memory() == 0


def test_the_memory_of_this_machine_is_found():
    assert 10**7 < budget.free_memory() < 10**15


@pytest.mark.parametrize(("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3.21e12, "3.21 TB")])  # fmt: skip
def test_sizes_in_words(size, words):
    assert budget.size_in_words(size) == words
