"""Base class of Keras metrics that compare real with generated images."""

import functools
import logging
from typing import Any, ClassVar

import keras
import numpy as np

from kddim.metrics.estimators import Estimator
from kddim.metrics.feature_set import FeatureAccumulator, encode_batch

log = logging.getLogger("kddim")


class ImageMetric(keras.metrics.Metric):
    """Distance between the features of real and of generated images.

    Subclasses read `_figures`, an `Estimator` of the features so far.

    Args:
        estimator: Class of the estimator.
        config: Arguments of the constructor of the subclass, by name, with at least `encoder`,
            `image_size` and `name`.
        **kernel: Options of the kernel of KID.
    """

    _kept: ClassVar[int | None] = None  # number of images whose features are kept, or `KEPT`

    def __init__(self, estimator: type[Estimator], config: dict[str, Any], **kernel: Any):
        super().__init__(name=config["name"])
        self._config = config
        self._estimator = functools.partial(estimator, **kernel)
        self._encoder = estimator.encoder(config["encoder"], config["image_size"])
        self.reset_state()

    def update_state(
        self, real_images: Any, generated_images: Any, sample_weight: Any = None
    ) -> None:
        """Add images. The two sets may differ in number and in size.

        Args:
            real_images: Images `(n, height, width, channels)` in [0, 1], or None for none.
            generated_images: Likewise.
            sample_weight: Must be None.

        Raises:
            ValueError: If the images have another shape or range. No image is counted then.
        """
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        # Both sides are encoded before either is counted.
        encoded = {
            side: encode_batch(self._encoder, batch)
            for side, batch in zip(self._state.sides, (real_images, generated_images))
            if batch is not None
        }
        self._check([features for _, features in encoded.values()])
        for side, found in encoded.items():
            side.add(*found)
        self._state.figures = None

    def _check(self, features: list[np.ndarray]) -> None:
        """Raise ValueError if the features of the sets that are given do not suit the estimator."""

    def reset_state(self) -> None:
        """Forget all images."""
        self._state = _State(self._kept)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Raises:
            ValueError: If the encoder was not given by its name.
        """
        if not isinstance(self._config["encoder"], str):
            raise ValueError(
                "Expected an encoder given by name, to describe the metric. "
                f"Received: {self._config['encoder']!r}"
            )
        return dict(self._config)

    @property
    def _figures(self) -> Estimator:
        state = self._state
        if state.figures is None:
            state.figures = self._estimator(*(side.feature_set() for side in state.sides))
        return state.figures

    def _warn(self, remarks: list[str]) -> None:
        """Log remarks about the images and about the figure, each once until the next reset."""
        figures = self._figures
        for remark in [*figures.real.remarks, *figures.generated.remarks, *remarks]:
            if remark not in self._state.logged:
                log.warning("%s", remark)
                self._state.logged.add(remark)

    def _describe(self, metric: str, words: str) -> dict[str, Any]:
        real, generated = self._figures.real, self._figures.generated
        return {
            "metric": metric,
            "estimator": words,
            "encoder": self._encoder.description,
            "image_size": generated.image_size or real.image_size or None,
            "real_images": real.count,
            "generated_images": generated.count,
        }


class _State:
    """State on the host, in an object that Keras neither tracks nor saves."""

    def __init__(self, kept: int | None):
        self.sides = FeatureAccumulator("real", kept), FeatureAccumulator("generated", kept)
        self.figures: Estimator | None = None
        self.logged: set[str] = set()
