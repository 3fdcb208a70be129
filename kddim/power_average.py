"""Averages of weights with power-function profiles (Karras et al., EDM2, arXiv 2312.02696).

After step `t`, the weights of step `s` count in proportion to `s**gamma` (Equation 121 of
Appendix C). The profile has the same shape at every `t`. It is named by its length: its standard
deviation relative to `t`. A length of 0.1 averages about the last tenth of the training.

The averages of two lengths, stored now and then, are enough to compute the average of any other
length afterwards, as their linear combination. This module holds the mathematics of that, in
NumPy float64.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

LONGEST = math.sqrt(1.0 / 12.0)  # of the plain mean over all steps, whose gamma is 0


def check_length(length: Any) -> float:
    """Return the length of a profile as a float.

    Args:
        length: Standard deviation of the profile relative to the number of steps.

    Raises:
        ValueError: If it is not a number in (0, 0.2887). The upper end is the mean over all
            steps.
    """
    number = isinstance(length, (int, float, np.number)) and not isinstance(length, bool)
    if not number or not 0.0 < length < LONGEST:
        raise ValueError(
            "Expected the length of an average in (0, 0.2887), its standard deviation relative "
            f"to the number of steps, such as 0.05. Received: {length!r}"
        )
    return float(length)


def gamma_of(length: float) -> float:
    """Return the exponent of the profile of a length.

    Solves `length**2 (gamma + 2)**2 (gamma + 3) = gamma + 1`, a cubic equation whose largest
    root is the exponent (Algorithm 2).

    Args:
        length: Standard deviation relative to the number of steps, in (0, 0.2887).

    Raises:
        ValueError: If it is out of range.
    """
    t = check_length(length) ** -2
    return float(np.roots([1.0, 7.0, 16.0 - t, 12.0 - t]).real.max())


def length_of(gamma: float) -> float:
    """Return the length of the profile of an exponent, the inverse of `gamma_of`.

    Args:
        gamma: Exponent of the profile, above -1.
    """
    return math.sqrt((gamma + 1.0) / ((gamma + 2.0) ** 2 * (gamma + 3.0)))


def decay(step: Any, gamma: float) -> Any:
    """Return the decay of an average at a step: `(1 - 1 / step)**(gamma + 1)`.

    `average = decay average + (1 - decay) weights`. After `t` steps, the weights of step `s`
    then count `(s / t)**(gamma + 1) - ((s - 1) / t)**(gamma + 1)`: exactly the integral of the
    profile over that step.

    Args:
        step: Number of the step, from 1. At the first one, the decay is 0.
        gamma: Exponent of the profile.
    """
    return (1.0 - 1.0 / np.asarray(step, "float64")) ** (gamma + 1.0)


def inner_products(steps: Any, gammas: Any, other_steps: Any, other_gammas: Any) -> np.ndarray:
    """Return the inner products of profiles, the integrals of their products over the steps.

    Args:
        steps: Steps at which the first profiles end, above 0.
        gammas: Exponents of the first profiles.
        other_steps: Steps at which the second profiles end, above 0.
        other_gammas: Exponents of the second profiles.

    Returns:
        Float64 array of the shape that the arguments broadcast to.
    """
    a, ga, b, gb = (
        np.asarray(v, "float64") for v in (steps, gammas, other_steps, other_gammas)
    )  # fmt: skip
    exponents = np.where(a < b, gb, -ga)
    products = (ga + 1.0) * (gb + 1.0) * (a / b) ** exponents
    return products / ((ga + gb + 1.0) * np.maximum(a, b))


def combine(
    steps: Sequence[int], lengths: Iterable[float], end: int, length: float
) -> tuple[np.ndarray, float]:
    """Return the weights of stored averages whose sum is closest to an average of any length.

    The sum of squared differences of the profiles is minimised (Algorithm 3), under the
    condition that the weights sum to 1. EDM2 has no such condition, because its network does
    not depend on the scale of its weights. Here it makes the result up to a hundred times as
    exact for lengths above 0.1.

    Args:
        steps: Steps at which the stored averages end.
        lengths: Lengths of the stored averages, one per step.
        end: Step at which the average ends.
        length: Length of the average.

    Returns:
        `(weights, error)`: one weight per stored average, and the L2 distance of the sum of
        the profiles from the wanted one, relative to the norm of the latter.

    Raises:
        ValueError: If a length is out of range.
    """
    gammas, gamma = np.array([gamma_of(v) for v in lengths]), gamma_of(length)
    ends = np.asarray(steps, "float64")
    gram = inner_products(ends[:, None], gammas[:, None], ends, gammas)
    target = inner_products(ends, gammas, end, gamma)
    scale = inner_products(end, gamma, end, gamma)
    system = np.ones((len(ends) + 1, len(ends) + 1))
    system[:-1, :-1], system[-1, -1] = gram / scale, 0.0
    solution = np.linalg.lstsq(system, np.append(target / scale, 1.0), rcond=None)[0]
    weights = solution[:-1]
    squared = 1.0 + (weights @ gram @ weights - 2.0 * target @ weights) / scale
    return weights, math.sqrt(max(0.0, float(squared)))
