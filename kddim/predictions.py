"""Prediction types: the training target of a network, and the meaning of its output.

A noisy image is `noisy = signal_rate * image + noise_rate * noise`, with
`noise_rate**2 + signal_rate**2 == 1`. A network predicts one of four quantities:

- "noise": `noise` (Ho, Jain and Abbeel, NeurIPS 2020, arXiv 2006.11239);
- "image": `image`;
- "velocity": `signal_rate * noise - noise_rate * image` (Salimans and Ho, ICLR 2022, arXiv
  2202.00512, Section 4). EDM's preconditioned network (Karras et al., NeurIPS 2022, arXiv
  2206.00364, Eq. 7) predicts its negative, for images of unit variance;
- "flow": `noise - image` (Lipman et al., ICLR 2023, arXiv 2210.02747).

Given the noisy image, each of them determines the other two. All arrays here may be NumPy arrays
or tensors that broadcast together: images `(batch, height, width, channels)`, normalised, and
rates `(batch, 1, 1, 1)`.
"""

from typing import Any

from kddim.checks import check_choice

PREDICTION_TYPES = ("noise", "image", "velocity", "flow")


def check(prediction_type: str, name: str = "prediction_type") -> str:
    """Return `prediction_type` if it is "noise", "image", "velocity" or "flow".

    Args:
        prediction_type: The value to check.
        name: Name of the argument, for the error message.

    Raises:
        ValueError: If it is another value.
    """
    return check_choice(name, prediction_type, PREDICTION_TYPES)


def target(prediction_type: str, noises: Any, images: Any, noise_rates: Any, signal_rates: Any):
    """Return the training target of a network.

    Args:
        prediction_type: "noise", "image", "velocity" or "flow".
        noises: Standard normal noises.
        images: Normalised images, of the same shape.
        noise_rates: Noise rates in [0, 1].
        signal_rates: Signal rates in [0, 1].

    Returns:
        Array of the shape of `images`.
    """
    if prediction_type == "noise":
        return noises
    if prediction_type == "image":
        return images
    if prediction_type == "flow":
        return noises - images
    return signal_rates * noises - noise_rates * images


class Split(tuple):
    """Pair `(pred_noises, pred_images)` that also holds the prediction it was computed from.

    A loss on the prediction itself needs no conversion there and back, which would round.

    Attributes:
        prediction_type: "noise", "image", "velocity" or "flow".
        prediction: Output of the network, of the shape of the images.
    """

    prediction_type: str
    prediction: Any


def quantity(
    prediction_type: str, pair: tuple[Any, Any], noise_rates: Any, signal_rates: Any
) -> Any:
    """Return the noise, image, velocity or flow of a pair.

    Args:
        prediction_type: "noise", "image", "velocity" or "flow".
        pair: `(noises, images)`. If it is a `Split` of the same type, its stored prediction is
            returned.
        noise_rates: Noise rates in [0, 1].
        signal_rates: Signal rates in [0, 1].

    Returns:
        Array of the shape of the images.
    """
    if isinstance(pair, Split) and pair.prediction_type == prediction_type:
        return pair.prediction
    return target(prediction_type, *pair, noise_rates, signal_rates)


def split(
    prediction_type: str, predictions: Any, noisy_images: Any, noise_rates: Any, signal_rates: Any
) -> tuple[Any, Any]:
    """Split noisy images into noises and images, given a prediction.

    It is the inverse of `target`. A noise prediction is divided by the signal rates, and an image
    prediction by the noise rates: these must be above zero.

    Args:
        prediction_type: "noise", "image", "velocity" or "flow".
        predictions: Output of the network, of the shape of `noisy_images`.
        noisy_images: Input of the network.
        noise_rates: Noise rates in [0, 1].
        signal_rates: Signal rates in [0, 1].

    Returns:
        `(pred_noises, pred_images)`, a `Split`, each of the shape of `noisy_images`.
    """
    if prediction_type == "noise":
        pred_noises = predictions
        pred_images = (noisy_images - noise_rates * predictions) / signal_rates
    elif prediction_type == "image":
        pred_noises = (noisy_images - signal_rates * predictions) / noise_rates
        pred_images = predictions
    elif prediction_type == "flow":
        total = noise_rates + signal_rates
        pred_noises = (noisy_images + signal_rates * predictions) / total
        pred_images = (noisy_images - noise_rates * predictions) / total
    else:
        pred_noises = noise_rates * noisy_images + signal_rates * predictions
        pred_images = signal_rates * noisy_images - noise_rates * predictions
    found = Split((pred_noises, pred_images))
    found.prediction_type, found.prediction = prediction_type, predictions
    return found
