"""Denoisers that wrap denoisers: labels, guidance and known pixels.

A denoiser is a function `(noisy_images, noise_rates, signal_rates) -> (pred_noises,
pred_images)`. The classes here take one and are one, so that every sampler takes them:

>>> from kddim.guidance import ClassifierFree
>>> from kddim.samplers import DDIM
>>> from kddim.schedules import CosineSchedule
>>> def denoise(noisy_images, noise_rates, signal_rates, labels):  # a labelled model's `denoise`
...     return 0.0 * noisy_images, 0.0 * noisy_images + labels[:, None, None, None]
>>> guided = ClassifierFree(denoise, labels=np.array([3, 5]), guidance_scale=2.0)
>>> images = DDIM().sample(guided, CosineSchedule(), np.zeros((2, 4, 4, 1), "float32"), 10)
>>> np.asarray(images)[:, 0, 0, 0].tolist()  # 2 * label - 1 * (no label, which is -1)
[7.0, 11.0]

`DiffusionModel.generate(labels=..., guidance_scale=...)` and `DiffusionModel.inpaint` use them
compiled, with the tensors that change from batch to batch as inputs of the compiled step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kddim.checks import is_number
from kddim.labels import NO_LABEL

Pair = tuple[Any, Any]
Denoise = Callable[[Any, Any, Any], Pair]
Interval = tuple[float, float]


class _Wrapper:
    """Base class of denoisers that wrap a denoiser."""

    def __init__(self, denoise: Callable):
        self.denoise = denoise

    @property
    def shares_rates(self) -> bool:
        """True if the denoiser takes one rate for all images, `(1, 1, 1, 1)`."""
        return getattr(self.denoise, "shares_rates", False)


class Labelled(_Wrapper):
    """Denoiser of images of given classes.

    Args:
        denoise: `(noisy_images, noise_rates, signal_rates, labels=labels) -> (pred_noises,
            pred_images)`.
        labels: int32 labels `(batch,)`. A negative one stands for no label.
    """

    def __init__(self, denoise: Callable, labels: Any):
        super().__init__(denoise)
        self.labels = labels

    def __call__(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        return self.denoise(noisy_images, noise_rates, signal_rates, labels=self.labels)


class _Guided(_Wrapper):
    """Denoiser whose prediction is extrapolated from a weaker one.

    `prediction = weaker + guidance_scale * (stronger - weaker)`, for noises and images alike.
    Both are affine functions of one another at a given noisy image, so that the two stay
    consistent.
    """

    def __init__(self, denoise: Callable, guidance_scale: Any, guidance_interval: Any):
        super().__init__(denoise)
        self.guidance_scale = guidance_scale
        self.guidance_interval = guidance_interval

    def stronger(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        """Return the prediction that is guided."""
        raise NotImplementedError

    def both(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> tuple[Pair, Pair]:
        """Return the stronger and the weaker prediction."""
        raise NotImplementedError

    def __call__(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        arguments = noisy_images, noise_rates, signal_rates
        if self.guidance_interval is None:
            return self._guided(*arguments)
        low, high = self.guidance_interval
        # All images of a step have the same noise level.
        noise_rate, signal_rate = (ops.ravel(rate)[0] for rate in (noise_rates, signal_rates))
        inside = ops.logical_and(noise_rate >= low * signal_rate, noise_rate <= high * signal_rate)
        return ops.cond(
            inside, lambda: self._guided(*arguments), lambda: tuple(self.stronger(*arguments))
        )

    def _guided(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        stronger, weaker = self.both(noisy_images, noise_rates, signal_rates)
        pred_noises, pred_images = (
            weak + self.guidance_scale * (strong - weak) for strong, weak in zip(stronger, weaker)
        )
        return pred_noises, pred_images


class ClassifierFree(_Guided):
    """Classifier-free guidance: away from the prediction without a label.

    Both predictions come from one call with a batch of twice the size.

    Args:
        denoise: `(noisy_images, noise_rates, signal_rates, labels=labels) -> (pred_noises,
            pred_images)`. A label of -1 stands for no label.
        labels: int32 labels `(batch,)`.
        guidance_scale: Scale of the extrapolation: 0 is the prediction without labels, 1 that
            with labels, and values above 1 strengthen the labels. (`1 + w` in the paper.)
        guidance_interval: Noise levels `(low, high)`, each `sigma = noise_rate / signal_rate`,
            in which the prediction is guided. Outside, the labelled prediction is used, at half
            the cost. None guides everywhere.

    Reference:
        Ho and Salimans, "Classifier-free diffusion guidance" (arXiv 2207.12598), Eq. 6.
        Kynkäänniemi et al., NeurIPS 2024 (arXiv 2404.07724), for the interval.
    """

    def __init__(
        self,
        denoise: Callable,
        labels: Any,
        guidance_scale: Any = 1.0,
        guidance_interval: Interval | None = None,
    ):
        super().__init__(denoise, guidance_scale, guidance_interval)
        self.labels = labels

    def stronger(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        """Return the prediction with labels."""
        return self.denoise(noisy_images, noise_rates, signal_rates, labels=self.labels)

    def both(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> tuple[Pair, Pair]:
        """Return the predictions with and without labels, from one call."""
        labels = ops.convert_to_tensor(self.labels)
        twice = ops.concatenate([noisy_images, noisy_images])
        rates = [
            rate if rate.shape[0] == 1 else ops.concatenate([rate, rate])
            for rate in (noise_rates, signal_rates)
        ]
        no_labels = ops.full_like(labels, NO_LABEL)
        found = self.denoise(twice, *rates, labels=ops.concatenate([labels, no_labels]))
        halves = [ops.split(prediction, 2) for prediction in found]
        (noises, free_noises), (images, free_images) = halves
        return (noises, images), (free_noises, free_images)


class Autoguidance(_Guided):
    """Autoguidance: away from the prediction of a weaker model.

    Args:
        denoise: Denoiser of the model.
        weaker: Denoiser of a weaker model of the same images, such as a smaller one, one that
            was trained for fewer steps, or one with a shorter moving average.
        guidance_scale: Scale of the extrapolation: 0 is the weaker model, 1 the model itself, and
            values above 1 move away from the errors of the weaker one.
        guidance_interval: As in `ClassifierFree`.

    Reference:
        Karras et al., "Guiding a diffusion model with a bad version of itself", NeurIPS 2024
        (arXiv 2406.02507), Eq. 3.
    """

    def __init__(
        self,
        denoise: Denoise,
        weaker: Denoise,
        guidance_scale: Any = 1.0,
        guidance_interval: Interval | None = None,
    ):
        super().__init__(denoise, guidance_scale, guidance_interval)
        self.weaker = weaker

    @property
    def shares_rates(self) -> bool:
        """True if both denoisers take one rate for a whole batch."""
        return super().shares_rates and getattr(self.weaker, "shares_rates", False)

    def stronger(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        """Return the prediction of the model."""
        return self.denoise(noisy_images, noise_rates, signal_rates)

    def both(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> tuple[Pair, Pair]:
        """Return the predictions of the model and of the weaker one."""
        arguments = noisy_images, noise_rates, signal_rates
        return self.denoise(*arguments), self.weaker(*arguments)


class KnownPixels(_Wrapper):
    """Denoiser of images of which some pixels are known.

    The predicted image has the known pixels in their place, and the predicted noise there is the
    one that leads from them to the noisy image. A step of DDIM then carries the known pixels at
    the noise of its next time, which is replacement at each step, and the last predicted image
    has exactly the known pixels. `kddim.samplers.RePaint` adds resampling.

    Args:
        denoise: Denoiser of the model.
        images: Normalised images with the known pixels, `(batch, height, width, channels)`.
        mask: 1 where pixels are to be invented, 0 where they are known, `(batch, height, width,
            1)` or a shape that broadcasts to it.

    Reference:
        Song et al., ICLR 2021 (arXiv 2011.13456), Appendix I.2, and Lugmayr et al., CVPR 2022
        (arXiv 2201.09865), Eq. 8.
    """

    def __init__(self, denoise: Denoise, images: Any, mask: Any):
        super().__init__(denoise)
        self.images, self.mask = images, mask

    def __call__(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> Pair:
        pred_noises, pred_images = self.denoise(noisy_images, noise_rates, signal_rates)
        images = ops.cast(ops.convert_to_tensor(self.images), pred_images.dtype)
        unknown = ops.cast(ops.convert_to_tensor(self.mask), pred_images.dtype) > 0.5
        noises = (noisy_images - signal_rates * images) / noise_rates
        return ops.where(unknown, pred_noises, noises), ops.where(unknown, pred_images, images)


def check_scale(guidance_scale: Any) -> float:
    """Return a guidance scale as a float.

    Raises:
        ValueError: If it is no finite number of at least 0.
    """
    if not is_number(guidance_scale) or not 0.0 <= guidance_scale < np.inf:
        raise ValueError(
            "Expected `guidance_scale` as a number of at least 0 (1 is off). "
            f"Received: {guidance_scale!r}"
        )
    return float(guidance_scale)


def check_interval(guidance_interval: Any) -> Interval | None:
    """Return an interval of noise levels as two floats, or None.

    Raises:
        ValueError: If it is not `(low, high)` with `0 <= low < high`.
    """
    if guidance_interval is None:
        return None
    try:
        low, high = map(float, () if isinstance(guidance_interval, str) else guidance_interval)
    except (TypeError, ValueError):
        low = high = -1.0
    if not 0.0 <= low < high:
        raise ValueError(
            "Expected `guidance_interval` as two noise levels sigma = noise_rate / signal_rate, "
            f"(low, high) with 0 <= low < high. Received: {guidance_interval!r}"
        )
    return low, high
