"""Judgement of the losses of single training steps."""

import dataclasses
import math

# Adam with 10 and 100 times the best learning rate peaks at up to 6,000 times the level of
# predicting zero, and comes down again. At 1,000 times the best rate, it exceeds a million.
_EXPLODED = 1e4
_TRIAL_STEPS = 100  # after which a model has learned something
_LEARNED = 0.99  # largest share of the level of a model that has learned something


@dataclasses.dataclass
class LossWatch:
    """Losses of single steps, from the means over the epoch that Keras reports.

    All attributes are JSON values, for checkpoints.

    Attributes:
        level: Loss of predicting zero, or None if it is not known.
        first: Loss of the first step of all.
        steps: Number of steps of all epochs.
        seen: Number of steps of the present epoch.
        mean: Mean loss of these steps.
        late_sum: Sum of the losses of the second half of the first 100 steps.
        late_steps: Number of steps in this sum.
        judged: True once these steps were compared with the level.
    """

    level: float | None = None
    first: float | None = None
    steps: int = 0
    seen: int = 0
    mean: float = 0.0
    late_sum: float = 0.0
    late_steps: int = 0
    judged: bool = False

    def begin_epoch(self) -> None:
        """Forget the mean of the epoch before."""
        self.seen, self.mean = 0, 0.0

    def note(self, seen: int, mean: float) -> float:
        """Return the loss of the steps since the last call.

        Args:
            seen: Number of steps of the epoch so far, above that of the last call.
            mean: Mean loss of these steps.
        """
        new = seen - self.seen
        own = mean + self.seen / new * (mean - self.mean)
        self.seen, self.mean = seen, mean
        self.first = own if self.first is None else self.first
        if _TRIAL_STEPS // 2 <= self.steps < _TRIAL_STEPS:
            self.late_sum += new * own
            self.late_steps += new
        self.steps += new
        return own

    def is_exploded(self, own: float) -> bool:
        """Return True if a loss is 10,000 times that of predicting zero and of the first step.

        Without a level, no finite loss counts as exploded.

        Args:
            own: Loss of a step, as `note` returns it.
        """
        if self.level is None or self.first is None:
            return False
        return own > _EXPLODED * max(self.level, self.first)

    def late_loss(self) -> float | None:
        """Return the mean loss of the steps 51 to 100, or None before their end."""
        ended = self.steps >= _TRIAL_STEPS and self.late_steps > 0
        return self.late_sum / self.late_steps if ended else None

    def is_stuck(self) -> bool:
        """Return True if the steps 51 to 100 were no better than predicting zero."""
        late = self.late_loss()
        return self.level is not None and late is not None and late > _LEARNED * self.level


def is_bad(value: float | None) -> bool:
    """Return True for a number that is NaN or infinite."""
    return value is not None and not math.isfinite(value)
