"""Time grids: the decreasing diffusion times of the steps of a sampler.

A grid is separate from the schedule, which gives the rates at each time, and from the sampler,
which computes a step between two times. Samplers read the next time of a step from the grid, and
never compute it by subtracting a stride.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.backend import to_numpy
from kddim.checks import MOST_STEPS, check_count
from kddim.schedules import Schedule, check_monotonic

Times = str | Sequence[float]
RHO = 7.0  # exponent of the grid of Karras et al.


def _uniform(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    return 1.0 - fractions


def _quadratic(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    return (1.0 - fractions) ** 2


def _log_snr(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    noisy, clean = _log_snr_ends(schedule)
    return _times_at(schedule, noisy + fractions * (clean - noisy))


def _karras(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    # A log-SNR is -2 log(sigma), so that sigma**(1 / rho) is exp(-log_snr / (2 rho)).
    highest, lowest = (np.exp(-end / (2.0 * RHO)) for end in _log_snr_ends(schedule))
    return _times_at(schedule, -2.0 * RHO * np.log(highest + fractions * (lowest - highest)))


def _log_snr_ends(schedule: Schedule) -> tuple[float, float]:
    """Return the log-SNRs of pure noise and of clean images.

    An infinite log-SNR at an end is replaced by the log-SNR at a distance of 1/1000 from it. At
    the clean end this is the first timestep of DDPM.
    """
    ends = to_numpy(schedule.log_snr(np.array([1.0, 0.999, 1e-3, 0.0]))).astype("float64")
    # Rates below 1e-6 count as zero: they are at the limit of float32.
    noisy = ends[0] if ends[0] > -27.6 else ends[1]
    clean = ends[3] if ends[3] < 27.6 else ends[2]
    return float(noisy), float(clean)


def _times_at(schedule: Schedule, log_snr: np.ndarray) -> np.ndarray:
    """Return the times of log-SNRs. The grid goes from 1 to 0 even where an end was replaced."""
    times = to_numpy(schedule.time_at_log_snr(log_snr)).astype("float64")
    times[0], times[-1] = 1.0, 0.0
    return times


GRIDS = {
    "uniform": _uniform,
    "quadratic": _quadratic,
    "log_snr": _log_snr,
    "karras": _karras,
}


def check(times: Times) -> str | tuple[float, ...]:
    """Return `times` as the name of a grid or as a tuple of floats.

    Args:
        times: Name of a grid, one of `GRIDS`, or a decreasing sequence in [0, 1].

    Raises:
        ValueError: If the name is unknown, or if the sequence has fewer than two values, does not
            decrease, or leaves [0, 1].
    """
    if isinstance(times, str):
        if times not in GRIDS:
            raise ValueError(
                f"Unknown times: expected one of {', '.join(map(repr, GRIDS))}, or a decreasing "
                f"sequence of diffusion_steps + 1 numbers in [0, 1]. Received: {times!r}"
            )
        return times
    values = tuple(float(t) for t in to_numpy(times).ravel())
    steps = np.diff(values)
    if len(values) < 2 or not np.all(steps < 0) or not 0 <= values[-1] < values[0] <= 1:
        raise ValueError(
            "Expected `times` to be a decreasing sequence of at least two numbers in [0, 1], "
            f"from noise to clean. Received: {values}"
        )
    return values


def check_steps(diffusion_steps: Any) -> int:
    """Return `diffusion_steps` as an int.

    Args:
        diffusion_steps: Number of steps, 1 to 100,000.

    Raises:
        ValueError: If it is not an integer, or out of range.
    """
    reason = "More steps change nothing in float32."
    return check_count("diffusion_steps", diffusion_steps, 1, MOST_STEPS, reason)


def grid(times: Times, schedule: Schedule, diffusion_steps: int) -> np.ndarray:
    """Return the times of a grid.

    Args:
        times: Entry `i` of the grid with S steps is `1 - i / S` for "uniform", and
            `(1 - i / S)**2` for "quadratic" (DDIM paper, Appendix D.2). "log_snr" has equal steps
            of the log-SNR, and "karras" equal steps of `sigma**(1 / 7)`, with
            `sigma = noise_rate / signal_rate` (Karras et al., arXiv 2206.00364, Eq. 5). A
            sequence holds the `S + 1` times themselves.
        schedule: Schedule to sample on. The grids "log_snr" and "karras" depend on it.
        diffusion_steps: Number of steps S, at least 1.

    Returns:
        Decreasing float64 array `(S + 1,)` in [0, 1]. Sampling starts at entry 0.

    Raises:
        ValueError: If there are no steps, if a sequence has another length than `S + 1`, or if
            the signal-to-noise ratio of the schedule rises with time.
    """
    steps = check_steps(diffusion_steps)
    check_monotonic(schedule)
    if isinstance(times, str):
        return GRIDS[times](schedule, np.arange(steps + 1) / steps)
    if len(times) != steps + 1:
        raise ValueError(
            f"Expected {steps + 1} times for diffusion_steps={steps} "
            f"(one more than steps). Received: {len(times)} times"
        )
    return np.asarray(times, "float64")
