"""What a network predicts: the target to regress on, and the split of a prediction.

With `noisy = signal_rate * image + noise_rate * noise` and rates whose squares sum to
one, each of noise, image and velocity determines the other two given the noisy image.
Velocity is `signal_rate * noise - noise_rate * image` (Salimans and Ho, ICLR 2022,
arXiv 2202.00512, Sec. 4). All arguments are arrays that broadcast together.
"""

from typing import Any

PREDICTION_TYPES = ("noise", "image", "velocity")


def check(prediction_type: str, name: str = "prediction_type") -> str:
    """Returns `prediction_type` if it is one of `PREDICTION_TYPES`.

    Args:
        prediction_type: the word.
        name: of the option, for the error message.

    Raises:
        ValueError: it is not.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(
            f"Unknown {name}: expected one of "
            f"{', '.join(map(repr, PREDICTION_TYPES))}. Received: {prediction_type!r}"
        )
    return prediction_type


def target(prediction_type: str, noises: Any, images: Any, noise_rates: Any, signal_rates: Any):
    """What the network should have predicted, of the shape of the images."""
    if prediction_type == "noise":
        return noises
    if prediction_type == "image":
        return images
    return signal_rates * noises - noise_rates * images


class Split(tuple):
    """`(pred_noises, pred_images)` that remembers the prediction that it was split from.

    A loss that compares the network's own prediction uses it as it is, without the rounding
    of a conversion there and back.
    """

    prediction_type: str
    prediction: Any


def quantity(
    prediction_type: str, pair: tuple[Any, Any], noise_rates: Any, signal_rates: Any
) -> Any:
    """Return the noise, image or velocity of a pair `(noises, images)`."""
    if isinstance(pair, Split) and pair.prediction_type == prediction_type:
        return pair.prediction
    return target(prediction_type, *pair, noise_rates, signal_rates)


def split(
    prediction_type: str, predictions: Any, noisy_images: Any, noise_rates: Any, signal_rates: Any
) -> tuple[Any, Any]:
    """Separates noisy images into `(pred_noises, pred_images)` with a prediction.

    A noise prediction needs `signal_rates > 0`, an image prediction `noise_rates > 0`.
    """
    if prediction_type == "noise":
        pred_noises = predictions
        pred_images = (noisy_images - noise_rates * predictions) / signal_rates
    elif prediction_type == "image":
        pred_noises = (noisy_images - signal_rates * predictions) / noise_rates
        pred_images = predictions
    else:
        pred_noises = noise_rates * noisy_images + signal_rates * predictions
        pred_images = signal_rates * noisy_images - noise_rates * predictions
    found = Split((pred_noises, pred_images))
    found.prediction_type, found.prediction = prediction_type, predictions
    return found
