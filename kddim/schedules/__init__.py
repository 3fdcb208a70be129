"""Diffusion schedules: from diffusion time to the rates of noise and signal.

A noisy image is `signal_rate * image + noise_rate * noise`, with
`noise_rate**2 + signal_rate**2 == 1`. In the DDIM paper's notation (Song, Meng and
Ermon, ICLR 2021, arXiv 2010.02502) `signal_rate = sqrt(alpha)`; in DDPM's (Ho, Jain
and Abbeel, NeurIPS 2020, arXiv 2006.11239) `sqrt(alpha_bar)`. One schedule a file.
"""

import logging
from typing import Any

import numpy as np

from kddim import registry
from kddim.backend import to_numpy
from kddim.schedules.base import Schedule, check_monotonic
from kddim.schedules.cosine import CosineSchedule
from kddim.schedules.discrete_beta import DiscreteBetaSchedule
from kddim.schedules.linear_beta import LinearBetaSchedule
from kddim.schedules.log_snr_linear import LogSNRLinearSchedule
from kddim.schedules.nichol_dhariwal import NicholDhariwalSchedule
from kddim.schedules.sigmoid import SigmoidSchedule

log = logging.getLogger("kddim")

__all__ = [
    "NAMES",
    "CosineSchedule",
    "DiscreteBetaSchedule",
    "LinearBetaSchedule",
    "LogSNRLinearSchedule",
    "NicholDhariwalSchedule",
    "Schedule",
    "SigmoidSchedule",
    "check_monotonic",
    "check_terminal_rate",
    "get",
]

NAMES: dict[str, type[Schedule]] = {
    "cosine": CosineSchedule,
    "linear_beta": LinearBetaSchedule,
    "log_snr_linear": LogSNRLinearSchedule,
    "nichol_dhariwal": NicholDhariwalSchedule,
    "sigmoid": SigmoidSchedule,
}


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
    """Refuses a schedule without signal at time 1 for predictions that divide by it.

    Where there is hardly any, a line in the log says so.

    Raises:
        ValueError: the prediction is the noise, and the signal rate at time 1 is 0.
    """
    signal_rate = float(to_numpy(schedule(np.array([1.0]))[1])[0])
    if prediction_type != "noise" or signal_rate > 1e-3:
        return
    if signal_rate < 1e-6:
        raise ValueError(
            "Expected a schedule whose signal rate at time 1 is above zero, since a noise "
            f"prediction is divided by it. Received: {schedule}. "
            'Use prediction_type="velocity" or "image", or a schedule that ends above zero.'
        )
    log.warning(
        "%s ends at signal rate %.1e, by which a noise prediction is divided: use "
        'prediction_type="velocity", or a sampler that clips, such as DDIM(clip=(-2.5, 2.5))',
        *(type(schedule).__name__, signal_rate),
    )
