"""The sampler that was tuned for a model."""

import dataclasses
from typing import Any

from kddim.samplers.base import Sampler


@dataclasses.dataclass(frozen=True)
class Tuned(Sampler):
    """The sampler that `kddim tune` found for a model and a number of steps.

    The name "tuned" stands for it. It has no steps of its own: `for_model` returns the sampler
    that is kept with the model.
    """

    def for_model(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler of a model for a number of steps.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.

        Raises:
            ValueError: If the model has none for this number of steps.
        """
        known = model.tuned_samplers
        if diffusion_steps not in known:
            found = ", ".join(map(str, sorted(known))) or "none"
            raise ValueError(
                f"Expected a model that was tuned for diffusion_steps={diffusion_steps}. "
                f"Received: one that is tuned for {found}. Run: kddim tune MODEL "
                f"--diffusion-steps {diffusion_steps}"
            )
        return known[diffusion_steps].for_model(model, diffusion_steps)

    def coefficients(self, rates):
        """Raise: this sampler stands for another one.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "Expected a sampler with steps of its own. Received: 'tuned', which stands for the "
            "sampler of a model. Use `model.tuned_samplers`."
        )

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Raise: this sampler has no steps.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("`coefficients` refuses")
