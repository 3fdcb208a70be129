"""Conditions of generation: labels, guidance and known pixels, from the arguments of a model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kddim.backend import to_numpy
from kddim.generation import Condition
from kddim.guidance import Autoguidance, ClassifierFree, KnownPixels, Labelled
from kddim.labels import NO_LABEL, resolve
from kddim.recipe import Recipe

_CLOSE = 1e-3  # difference of two normalisers of the same data


def conditions_of(
    model: Any, recipe: Recipe, num_images: int, labels: Any = None, guide: Any = None
) -> tuple[Condition, ...]:
    """Return the conditions under which a model generates images, the innermost first.

    Args:
        model: A `kddim.Denoiser`.
        recipe: Recipe, with the scale and the interval of guidance.
        num_images: Number of images.
        labels: Labels, as `kddim.labels.resolve` takes them.
        guide: Weaker model that guides instead of the model without labels, or None.

    Raises:
        ValueError: If labels do not fit the model, if there is nothing to guide with or away
            from, or if the weaker model is of other images.
    """
    if labels is None and guide is None and not recipe.is_guided:
        return ()
    values = resolve(labels, num_images, model.num_classes, model.class_names)
    if guide is not None:
        check_guide(model, guide, recipe)
    labelled = model.num_classes is not None
    found = {"labels": values} if labelled else {}
    if not recipe.is_guided:
        return (Condition(_with_labels, found),) if labels is not None else ()
    interval = recipe.guidance_interval
    numbers = {"scale": recipe.guidance_scale}
    numbers |= {} if interval is None else dict(zip(("low", "high"), interval))
    if guide is not None:
        other = guide.sampling_denoiser()
        wrap = _Autoguide(other.denoise, labelled, guide.num_classes is not None)
        return (Condition(wrap, found, numbers, other.variables),)
    if labels is None or (values == NO_LABEL).all():
        raise ValueError(
            "Expected labels, or a weaker model as `guide`, with a guidance_scale other than 1. "
            f"Received: guidance_scale={recipe.guidance_scale:g} and neither"
        )
    return (Condition(_classifier_free, found, numbers),)


def check_guide(model: Any, guide: Any, recipe: Recipe) -> None:
    """Raise unless a model can guide another one.

    Args:
        model: The model that is guided.
        guide: The weaker model.
        recipe: Recipe, whose scale must not be 1.

    Raises:
        ValueError: If the guide is no model, is of images of another shape, of other data or of
            other classes, or if the scale is 1.
    """
    if not recipe.is_guided:
        raise ValueError(
            "Expected a guidance_scale other than 1, such as 1.5, with a `guide`. Received: 1"
        )
    expected = "Expected a weaker model of the same images as `guide`. Received:"
    if not hasattr(guide, "sampling_denoiser"):
        raise ValueError(f"{expected} {guide!r:.100}. Load it with `keras.saving.load_model`.")
    expected += " one of"
    if guide.image_shape != model.image_shape:
        raise ValueError(f"{expected} shape {guide.image_shape} instead of {model.image_shape}")
    if guide.num_classes not in (None, model.num_classes):
        raise ValueError(f"{expected} {guide.num_classes} classes instead of {model.num_classes}")
    if not all(
        np.allclose(to_numpy(one), to_numpy(other), atol=_CLOSE)
        for one, other in zip(_statistics(guide), _statistics(model))
    ):
        raise ValueError(f"{expected} images with another mean or variance")


def _statistics(model: Any) -> tuple[Any, Any]:
    return model.normalizer.adapt_mean, model.normalizer.adapt_variance


def known_pixels(model: Any, images: np.ndarray, mask: np.ndarray) -> Condition:
    """Return the condition that some pixels are known.

    Args:
        model: A `kddim.Denoiser`.
        images: Images in [0, 1] with the known pixels, `(n, height, width, channels)`.
        mask: 1 where pixels are to be invented, `(n, height, width, 1)`.
    """
    normalised = to_numpy(model.normalizer(images))
    return Condition(_known_pixels, {"images": normalised, "mask": mask.astype("float32")})


def _with_labels(denoise: Callable, values: dict[str, Any]) -> Callable:
    return Labelled(denoise, values["labels"])


def _classifier_free(denoise: Callable, values: dict[str, Any]) -> Callable:
    return ClassifierFree(denoise, values["labels"], values["scale"], _interval(values))


def _known_pixels(denoise: Callable, values: dict[str, Any]) -> Callable:
    return KnownPixels(denoise, values["images"], values["mask"])


def _interval(values: dict[str, Any]) -> Any:
    return (values["low"], values["high"]) if "low" in values else None


@dataclasses.dataclass(frozen=True)
class _Autoguide:
    """Function that guides a denoiser by a weaker one."""

    weaker: Callable
    labelled: bool
    weaker_labelled: bool

    def __call__(self, denoise: Callable, values: dict[str, Any]) -> Callable:
        weaker = self.weaker
        if self.labelled:
            denoise = Labelled(denoise, values["labels"])
        if self.weaker_labelled:
            weaker = Labelled(weaker, values["labels"])
        return Autoguidance(denoise, weaker, values["scale"], _interval(values))
