"""What a figure means: protocols by name."""

from typing import Any

from kddim.metrics import encoders

SUBSETS, SUBSET_SIZE = 100, 1000

KID_PROTOCOLS = {
    "unbiased": "unbiased estimate over all images",
    "example": "mean of the estimates of single batches, as in the keras.io example",
    "standard": f"mean over {SUBSETS} random subsets of {SUBSET_SIZE:,} images",
}
FID_PROTOCOLS = {
    "example": "Fréchet distance of all images",
    "standard": "Fréchet distance of all images",
}


def check_protocol(name: Any, known: dict[str, str]) -> str:
    """The name, once it is seen to be one.

    Raises:
        ValueError: it is not among `known`.
    """
    if name not in known:
        raise ValueError(
            f"Unknown protocol: expected one of {', '.join(map(repr, known))}. Received: {name!r}"
        )
    return name


def encoder_of(
    identifier: Any, image_size: int | None, protocol: str, weights: Any = None
) -> encoders.Encoder:
    """The encoder as a protocol wants it.

    "standard" has Inception see 299x299 pixels, resized with antialiasing; the others 75,
    without. A given `image_size` stands, and so does an encoder that is no name.
    """
    standard = protocol == "standard"
    if standard and image_size is None and isinstance(identifier, str):
        image_size = 299 if identifier in ("inception_v3", "auto") else None
    return encoders.get(identifier, image_size, weights, antialias=standard)
