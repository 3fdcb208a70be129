"""Recipe of sampling: everything that decides the images of a model except their noise."""

import dataclasses
from typing import Any

from kddim import guidance, samplers, schedules
from kddim.checks import MOST_IMAGES, check_count
from kddim.samplers import times
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
        guidance_scale: Scale of guidance, at least 0. 1 is off.
        guidance_interval: Noise levels `(low, high)` that are guided. None guides all.

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    sampler: Any = "ddim"
    diffusion_steps: int = 20
    schedule: Any = None
    seed: int | None = 0
    batch_size: int = 64
    guidance_scale: float = 1.0
    guidance_interval: tuple[float, float] | None = None

    def __post_init__(self):
        schedule = None if self.schedule is None else schedules.get(self.schedule)
        for name, value in (
            ("sampler", samplers.get(self.sampler)),
            ("diffusion_steps", check_steps(self.diffusion_steps)),
            ("schedule", schedule),
            ("batch_size", check_count("batch_size", self.batch_size, 1, MOST_IMAGES)),
            ("guidance_scale", guidance.check_scale(self.guidance_scale)),
            ("guidance_interval", guidance.check_interval(self.guidance_interval)),
        ):
            object.__setattr__(self, name, value)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `DiffusionModel.generate`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def for_model(self, model: Any) -> "Recipe":
        """Return the recipe with the sampler that a model decides.

        Args:
            model: A `kddim.Denoiser`.

        Raises:
            ValueError: If the sampler is "tuned" and the model was not, for this number of steps.
        """
        if isinstance(self.sampler, samplers.Auto) and self.schedule is not None:
            # What a model was tuned for belongs to its own schedule.
            return dataclasses.replace(self, sampler="ddim")
        sampler = self.sampler.for_model(model, self.diffusion_steps)
        return self if sampler is self.sampler else dataclasses.replace(self, sampler=sampler)

    def shortened(self, start: float, schedule: Any) -> "Recipe":
        """Return the recipe on a grid whose times are multiplied by a number.

        Args:
            start: Time in (0, 1] at which sampling starts.
            schedule: The `Schedule` of the model.

        Raises:
            ValueError: If the times of the sampler were found for sampling from noise.
        """
        if isinstance(self.sampler, samplers.SamplerOfModel):
            raise ValueError(
                'Expected a sampler that can start anywhere, such as "ddim". Received: '
                f"{self.sampler}"
            )
        grid = times.grid(self.sampler.times, self.schedule or schedule, self.diffusion_steps)
        sampler = dataclasses.replace(self.sampler, times=tuple(start * grid))
        return dataclasses.replace(self, sampler=sampler)

    def describe(self, schedule: Any) -> dict[str, Any]:
        """Return the part of a figure's protocol that this recipe decides.

        Args:
            schedule: The `Schedule` of the model.

        Returns:
            JSON values by name: `sampler`, `diffusion_steps`, `schedule` and `seed`, and what
            guides if anything does.
        """
        guided = {
            "guidance_scale": self.guidance_scale,
            "guidance_interval": self.guidance_interval and list(self.guidance_interval),
        }
        return {
            "sampler": repr(self.sampler),
            "diffusion_steps": self.diffusion_steps,
            "schedule": str(self.schedule or schedule),
            "seed": self.seed,
        } | (guided if self.is_guided else {})

    @property
    def is_guided(self) -> bool:
        """True if a second prediction is computed in some steps."""
        return self.guidance_scale != 1.0

    def num_batch_evaluations(self, num_images: int) -> int:
        """Return the number of network calls, each of one batch, for `num_images` images."""
        batches = -(-num_images // min(self.batch_size, num_images))
        return batches * self.sampler.num_evaluations(self.diffusion_steps)
