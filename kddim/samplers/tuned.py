"""The samplers that a model was tuned for, and the choice of one for a model."""

import dataclasses
from typing import Any

from kddim.samplers.base import Sampler
from kddim.samplers.ddim import DDIM
from kddim.samplers.gaussian_start import GaussianStart
from kddim.samplers.of_model import SamplerOfModel


@dataclasses.dataclass(frozen=True)
class Tuned(SamplerOfModel):
    """The sampler that `kddim tune` found for a model and a number of steps.

    The name "tuned" stands for it. `for_model` returns the sampler that is kept with the model.
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


@dataclasses.dataclass(frozen=True)
class Auto(SamplerOfModel):
    """The best sampler that a model has for a number of steps.

    That is the one which it was tuned or distilled for. Without one it is `GaussianStart()` if the
    model has the Gaussian of its data and no classes, and else `DDIM()`. The name "auto" stands
    for this choice.
    """

    def choice(self, model: Any, diffusion_steps: int) -> str:
        """Return the name of the sampler: "tuned", "gaussian_start" or "ddim".

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.
        """
        if diffusion_steps in model.tuned_samplers:
            return "tuned"
        # The Gaussian knows no classes: it is that of the images of all of them.
        return "ddim" if model.gaussian is None or model.num_classes else "gaussian_start"

    def for_model(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler of a model for a number of steps.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.
        """
        chosen = {"tuned": Tuned, "gaussian_start": GaussianStart, "ddim": DDIM}
        sampler = chosen[self.choice(model, diffusion_steps)]()
        return sampler.for_model(model, diffusion_steps)
