"""Recipe of sampling: everything that decides the images of a model except their noise."""

import dataclasses
from typing import Any

from kddim import samplers, schedules
from kddim.checks import MOST_IMAGES, check_count
from kddim.samplers.times import check_steps


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How images are sampled from a model.

    Args:
        sampler: Name, configuration or `kddim.samplers.Sampler`.
        diffusion_steps: Number of steps, at least 1.
        schedule: Name, configuration or `kddim.schedules.Schedule` to sample on. None is the
            schedule of the model.
        seed: Seed of the initial noise and of the noise that stochastic samplers add. None
            draws a fresh one.
        batch_size: Number of images per batch, at least 1.

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    sampler: Any = "ddim"
    diffusion_steps: int = 20
    schedule: Any = None
    seed: int | None = 0
    batch_size: int = 64

    def __post_init__(self):
        schedule = None if self.schedule is None else schedules.get(self.schedule)
        for name, value in (
            ("sampler", samplers.get(self.sampler)),
            ("diffusion_steps", check_steps(self.diffusion_steps)),
            ("schedule", schedule),
            ("batch_size", check_count("batch_size", self.batch_size, 1, MOST_IMAGES)),
        ):
            object.__setattr__(self, name, value)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `DiffusionModel.generate`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def for_model(self, model: Any) -> "Recipe":
        """Return the recipe with the sampler that stands for "tuned" with a model.

        Args:
            model: A `kddim.Denoiser`.

        Raises:
            ValueError: If the model was not tuned for this number of steps.
        """
        sampler = self.sampler.for_model(model, self.diffusion_steps)
        return self if sampler is self.sampler else dataclasses.replace(self, sampler=sampler)

    def describe(self, schedule: Any) -> dict[str, Any]:
        """Return the part of a figure's protocol that this recipe decides.

        Args:
            schedule: The `Schedule` of the model.

        Returns:
            JSON values by name: `sampler`, `diffusion_steps`, `schedule` and `seed`.
        """
        return {
            "sampler": repr(self.sampler),
            "diffusion_steps": self.diffusion_steps,
            "schedule": str(self.schedule or schedule),
            "seed": self.seed,
        }

    def num_batch_evaluations(self, num_images: int) -> int:
        """Return the number of network calls, each of one batch, for `num_images` images."""
        batches = -(-num_images // min(self.batch_size, num_images))
        return batches * self.sampler.num_evaluations(self.diffusion_steps)
