"""Mathematics of power-function averages, against closed forms and plain sums."""

import math

import numpy as np
import pytest

from kddim.power_average import (
    LONGEST,
    check_length,
    combine,
    decay,
    gamma_of,
    inner_products,
    length_of,
)

STORED = (0.05, 0.10)


def profile(length, end, steps):
    """Weights of the steps 1 ... `steps` in an average that is updated step by step."""
    weights = np.zeros(steps)
    for step in range(1, end + 1):
        share = 1.0 - decay(step, gamma_of(length))
        weights *= 1.0 - share
        weights[step - 1] = share
    return weights


@pytest.mark.parametrize("length", [1e-3, 0.01, 0.05, 0.1, 0.2, 0.28])
def test_lengths_and_exponents_are_inverse(length):
    assert length_of(gamma_of(length)) == pytest.approx(length, rel=1e-9)


def test_known_exponents():
    assert gamma_of(0.05) == pytest.approx(16.97, abs=5e-3)  # EDM2, Section 3.1
    assert gamma_of(0.10) == pytest.approx(6.94, abs=5e-3)
    assert length_of(0.0) == pytest.approx(LONGEST)
    for gamma in (0.5, 2.0, 9.0):
        assert gamma_of(length_of(gamma)) == pytest.approx(gamma, rel=1e-9)


@pytest.mark.parametrize("length", STORED)
def test_the_length_is_the_relative_standard_deviation_of_the_weights(length):
    weights, steps = profile(length, 4000, 4000), np.arange(4000) + 0.5
    assert weights.sum() == pytest.approx(1.0, rel=1e-12)
    mean = weights @ steps
    assert math.sqrt(weights @ (steps - mean) ** 2) / 4000 == pytest.approx(length, rel=1e-4)


def test_the_weights_of_steps_are_integrals_of_the_profile():
    gamma, steps = gamma_of(0.1), np.arange(1, 51)
    integrals = (steps / 50) ** (gamma + 1) - ((steps - 1) / 50) ** (gamma + 1)
    np.testing.assert_allclose(profile(0.1, 50, 50), integrals, atol=1e-14)


def test_inner_products_are_integrals():
    steps = (np.arange(200_000) + 0.5) / 200_000 * 3.0
    for a, ga, b, gb in [(1.0, 0.5, 2.0, 3.0), (3.0, 17.0, 2.5, 7.0), (2.0, 7.0, 2.0, 17.0)]:
        one, other = (
            np.where(steps <= end, (g + 1) * (steps / end) ** g / end, 0.0)
            for end, g in ((a, ga), (b, gb))
        )
        product = (one * other).mean() * 3.0
        assert inner_products(a, ga, b, gb) == pytest.approx(product, rel=1e-3)


def test_a_stored_average_is_its_own_reconstruction():
    steps = np.repeat([100, 200, 300], 2)
    weights, error = combine(steps, STORED * 3, 300, 0.05)
    np.testing.assert_allclose(weights, [0, 0, 0, 0, 1, 0], atol=1e-9)
    assert error < 1e-6


# Largest distance of a reconstruction from the average that is tracked directly, relative to the
# norm of the latter, with 32 and with 17 snapshots (as there are before and after thinning out).
WALK_ERRORS = {0.03: (1e-4, 6e-4), 0.075: (1e-5, 5e-5), 0.15: (2e-5, 8e-5), 0.25: (2e-3, 4e-3)}


@pytest.mark.parametrize("length", WALK_ERRORS)
@pytest.mark.parametrize("snapshots", [32, 17])
def test_a_random_walk_is_averaged_over_any_length(length, snapshots):
    random, total = np.random.default_rng(0), 64 * snapshots
    walk = random.standard_normal((total, 200))
    walk = walk[0] + 0.3 * np.cumsum(walk, axis=0) / math.sqrt(total)
    ends = np.repeat(np.arange(1, snapshots + 1) * 64, 2)
    lengths = STORED * snapshots
    stored = np.array([profile(v, end, total) for v, end in zip(lengths, ends)]) @ walk
    weights, _ = combine(ends, lengths, total, length)
    wanted = profile(length, total, total) @ walk
    error = np.linalg.norm(weights @ stored - wanted) / np.linalg.norm(wanted)
    assert error < WALK_ERRORS[length][0 if snapshots == 32 else 1]


@pytest.mark.parametrize("length", [0.02, 0.1, 0.28])
@pytest.mark.parametrize("ends", [[1], [5, 9], list(range(10, 330, 10))])
def test_constant_weights_are_their_own_average(length, ends):
    weights, _ = combine(np.repeat(ends, 2), STORED * len(ends), ends[-1], length)
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("length", [0.0, -0.1, LONGEST, 0.5, float("nan"), "0.1", None, True])
def test_lengths_out_of_range_are_refused(length):
    with pytest.raises(ValueError, match=r"length of an average in \(0, 0\.2887\)"):
        check_length(length)
