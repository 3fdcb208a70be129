"""Diffusion schedules: functions from diffusion times to noise rates and signal rates.

A noisy image is `signal_rate * image + noise_rate * noise`, with
`noise_rate**2 + signal_rate**2 == 1`. The signal rate is `sqrt(alpha)` in the notation of the
DDIM paper (Song, Meng and Ermon, ICLR 2021, arXiv 2010.02502), and `sqrt(alpha_bar)` in that of
the DDPM paper (Ho, Jain and Abbeel, NeurIPS 2020, arXiv 2006.11239). Each schedule has its own
file.
"""

import logging
from typing import Any

import numpy as np

from kddim import names, registry
from kddim.backend import to_numpy
from kddim.schedules.base import Schedule, check_monotonic
from kddim.schedules.cosine import CosineSchedule, FineCosineSchedule
from kddim.schedules.discrete_beta import DiscreteBetaSchedule
from kddim.schedules.flow_matching import FlowMatchingSchedule
from kddim.schedules.geometric import GeometricSchedule
from kddim.schedules.linear_beta import LinearBetaSchedule
from kddim.schedules.log_snr_linear import LogSNRLinearSchedule
from kddim.schedules.nichol_dhariwal import NicholDhariwalSchedule
from kddim.schedules.sigmoid import SigmoidSchedule

log = logging.getLogger("kddim")

NAMES: dict[str, type[Schedule]] = registry.load_table(names.SCHEDULES)

__all__ = [
    "NAMES",
    "CosineSchedule",
    "DiscreteBetaSchedule",
    "FineCosineSchedule",
    "FlowMatchingSchedule",
    "GeometricSchedule",
    "LinearBetaSchedule",
    "LogSNRLinearSchedule",
    "NicholDhariwalSchedule",
    "Schedule",
    "SigmoidSchedule",
    "check_monotonic",
    "check_terminal_rate",
    "get",
]


def get(identifier: Any) -> Schedule:
    """Return a schedule.

    Args:
        identifier: Name of a schedule, configuration of one, or a `Schedule`, which is returned
            as it is.

    Raises:
        ValueError: If `identifier` is none of these, or if the signal-to-noise ratio of the
            schedule rises with time.
    """
    schedule = registry.resolve(identifier, "schedule", Schedule, NAMES)
    check_monotonic(schedule)
    return schedule


def check_terminal_rate(schedule: Schedule, prediction_type: str) -> None:
    """Check that a network's predictions can be used at time 1.

    A noise prediction is divided by the signal rate. A signal rate of at most 1e-3 at time 1 is
    reported in the log, because it multiplies the errors of the network.

    Args:
        schedule: Schedule to train or to sample on.
        prediction_type: "noise", "image", "velocity" or "flow".

    Raises:
        ValueError: If `prediction_type` is "noise" and the signal rate at time 1 is zero (below
            1e-6).
    """
    signal_rate = float(to_numpy(schedule(np.array([1.0]))[1])[0])
    if prediction_type != "noise" or signal_rate > 1e-3:
        return
    if signal_rate < 1e-6:
        raise ValueError(
            "Expected a schedule whose signal rate at time 1 is above zero, because noise "
            f"predictions are divided by it. Received: {schedule}. "
            'Use prediction_type="velocity", "flow" or "image", or a schedule that ends above zero.'
        )
    log.warning(
        "%s has a signal rate of %.1e at time 1. Noise predictions are divided by it, which "
        'multiplies their errors: use prediction_type="velocity", or a sampler that clips, such '
        "as DDIM(clip=(-2.5, 2.5))",
        *(type(schedule).__name__, signal_rate),
    )
