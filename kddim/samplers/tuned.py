"""The samplers that a model was tuned for, and the choice of one for a model."""

import dataclasses
from typing import Any

from kddim.samplers.adams_bashforth import AdamsBashforth
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

    That is the one which it was tuned or distilled for. Without one, a model that has the Gaussian of
    its data and no classes takes `GaussianStart` with `AdamsBashforth(order=2)`, on the grid
    "log_snr" from 8 steps on. Other models take `DDIM()`. The name "auto" stands for this choice.
    """

    def choice(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler that is chosen, which a model may still have to fill in.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.
        """
        if diffusion_steps in model.tuned_samplers:
            return Tuned()
        # The Gaussian knows no classes: it is that of the images of all of them.
        if model.gaussian is None or model.num_classes:
            return DDIM()
        # Large steps of the log-SNR are extrapolated too far (docs/few_evaluations.md).
        times = "log_snr" if diffusion_steps >= 8 else "uniform"
        return GaussianStart(AdamsBashforth(order=2, times=times))

    def for_model(self, model: Any, diffusion_steps: int) -> Sampler:
        """Return the sampler of a model for a number of steps.

        Args:
            model: A `kddim.Denoiser`.
            diffusion_steps: Number of steps.
        """
        return self.choice(model, diffusion_steps).for_model(model, diffusion_steps)
