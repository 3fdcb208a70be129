"""Real images of an evaluation: the reference, and other parts of the same source."""

import dataclasses
from typing import Any

from kddim.evaluation.references import Encoding, make_reference
from kddim.evaluation.sources import RealImages
from kddim.metrics.reference import Reference
from kddim.metrics.reference_files import is_reference

_LOADING = ("split", "validation_split", "limit", "data_seed")
_RUNNING = ("batch_size", "use_cache", "verbose")


class RealParts:
    """Reference of an evaluation, and references of other parts of the same source.

    Args:
        source: A `Reference`, a file of `kddim stats`, or what `kddim.data.load` takes.
        image_shape: Shape `(height, width, channels)` of the images of the model.
        num_images: Largest number of real images.
        options: Options of `make_reference`.
        labelled: If true, the images have labels.

    Attributes:
        images: Real images of the reference. None if the source is a `Reference` or a file of
            statistics, which have no other parts.
        reference: Reference of the images.
        encoding: How the images of the reference and of other parts are encoded.
    """

    def __init__(
        self,
        source: Any,
        image_shape: tuple[int, int, int],
        num_images: int,
        options: dict[str, Any],
        labelled: bool = False,
    ):
        self.images: RealImages | None = None
        if isinstance(source, Reference):
            self.reference = source
        else:
            if not is_reference(source):
                loading = {key: options[key] for key in _LOADING if key in options}
                loading |= {"num_images": num_images, "labelled": labelled}
                self.images = RealImages(source, image_shape, **loading)
            self.reference = make_reference(source, image_shape, num_images=num_images, **options)
        running = {key: options[key] for key in _RUNNING if key in options}
        self.encoding = Encoding(self.reference.encoder, self.reference.estimator, **running)

    def part(self, split: str, num_images: int | None, least: int = 1) -> Reference | None:
        """Return the reference of another part of the source, made by the same encoder.

        Args:
            split: Part of the source: "validation", "train" or "all".
            num_images: Largest number of images. None takes all.
            least: Number of images below which there is no such reference.

        Returns:
            The reference, or None if the source has no parts or the part has too few images.
        """
        if self.images is None:
            return None
        images = dataclasses.replace(self.images, split=split, num_images=num_images)
        if images == self.images:
            return self.reference
        return self.encoding.reference_of(images) if len(images) >= least else None

    def opposite(self) -> Reference | None:
        """Return images that the reference does not hold, as many of them, if there are any."""
        if self.images is None or self.images.split == "all":
            return None
        split = "train" if self.images.split == "validation" else "validation"
        return self.part(split, self.images.num_images, least=8)
