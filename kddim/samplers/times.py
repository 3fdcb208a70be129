"""Time grids: the decreasing diffusion times that a sampler steps through.

A grid is not a schedule (which rates a time has) and not a stepper (what happens
between two times). Samplers read the next time from the grid; nothing computes it by
subtracting a stride.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from kddim.backend import to_numpy
from kddim.schedules import Schedule, check_monotonic

Times = str | Sequence[float]


def _uniform(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    return 1.0 - fractions


def _quadratic(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    return (1.0 - fractions) ** 2


def _log_snr(schedule: Schedule, fractions: np.ndarray) -> np.ndarray:
    # An end of infinite log-SNR is replaced by the SNR one thousandth away from it, at
    # the clean end DDPM's first timestep; the grid begins and ends at 1 and 0 all the same.
    ends = to_numpy(schedule.log_snr(np.array([1.0, 0.999, 1e-3, 0.0]))).astype("float64")
    # Rates below a millionth, at which float32 ends, count as none.
    noise = ends[0] if ends[0] > -27.6 else ends[1]
    clean = ends[3] if ends[3] < 27.6 else ends[2]
    times = to_numpy(schedule.time_at_log_snr(noise + fractions * (clean - noise)))
    times = times.astype("float64")
    times[0], times[-1] = 1.0, 0.0
    return times


GRIDS = {"uniform": _uniform, "quadratic": _quadratic, "log_snr": _log_snr}


def check(times: Times) -> str | tuple[float, ...]:
    """`times` as a name or a tuple of floats.

    Raises:
        ValueError: an unknown name; or a sequence that is shorter than two, does not
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
    """`diffusion_steps` as an int.

    Raises:
        ValueError: it is no integer, or less than 1.
    """
    if isinstance(diffusion_steps, bool) or not hasattr(diffusion_steps, "__index__"):
        raise ValueError(f"Expected `diffusion_steps` to be an int. Received: {diffusion_steps!r}")
    if operator.index(diffusion_steps) < 1:
        raise ValueError(f"Expected `diffusion_steps` of at least 1. Received: {diffusion_steps}")
    return operator.index(diffusion_steps)


def grid(times: Times, schedule: Schedule, diffusion_steps: int) -> np.ndarray:
    """The times of a grid.

    Args:
        times: "uniform" (`1 - i/S`), "quadratic" (`(1 - i/S)**2`), "log_snr" (equal
            steps of log-SNR), or the `S + 1` times themselves.
        schedule: gives the log-SNR where the grid needs it.
        diffusion_steps: S, at least 1.

    Returns:
        `(S + 1,)` float64, decreasing; entry 0 is where sampling starts.

    Raises:
        ValueError: a sequence of another length than `S + 1`, zero steps, or a schedule
            whose signal-to-noise ratio rises with time.
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
