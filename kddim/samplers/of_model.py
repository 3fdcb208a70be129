"""Base class of samplers that depend on a model."""

from typing import Any

from kddim.samplers.base import Sampler


class SamplerOfModel(Sampler):
    """Sampler that stands for another one, which a model decides.

    It has no steps of its own. Subclasses implement `for_model`.
    """

    def for_model(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler of a model for a number of steps.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.

        Raises:
            ValueError: If the model has none.
        """
        raise NotImplementedError

    def coefficients(self, rates):
        """Raise: this sampler stands for another one.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"Expected a sampler with steps of its own. Received: {self}, which a model decides. "
            "Use `sampler.for_model(model, diffusion_steps)`."
        )

    def step(self, denoise, noisy_images, state, coefficients, noises):
        """Raise: this sampler has no steps.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("`coefficients` refuses")
