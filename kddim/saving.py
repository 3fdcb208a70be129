"""Methods that save a denoiser, with the samplers and the class names that belong to it."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras

from kddim import samplers
from kddim.files import atomic_write
from kddim.gaussian import GaussianImages
from kddim.labels import check_class_names
from kddim.samplers import Sampler, serialize_sampler
from kddim.samplers.times import check_steps


class Saving(keras.Model):
    """Methods that write a denoiser to files and describe it for Keras.

    The class that inherits them provides the attributes below.
    """

    image_shape: tuple[int, int, int]
    widths: tuple[int, ...]
    block_depth: int
    num_classes: int | None
    schedule: Any
    prediction_type: str
    network: Any
    network_dtype: str | None
    has_custom_network: bool
    _class_names: tuple[str, ...] | None
    _tuned_samplers: tuple[tuple[int, Sampler], ...]
    normalizer: Any
    # Distribution from which the sampler "gaussian_start" begins, or None. It is saved with the model.
    gaussian: GaussianImages | None = None

    def fit_gaussian(self, data: Any) -> None:
        """Set `gaussian` to the coarse statistics of a data set, for the sampler "gaussian_start".

        Args:
            data: Images in [0, 1], as for `normalizer.adapt`, which comes first.

        Raises:
            ValueError: If there are fewer than two images, or a value is outside [0, 1].
        """
        self.gaussian = GaussianImages.fit(data, self.normalizer)

    @property
    def tuned_samplers(self) -> dict[int, Sampler]:
        """Samplers that `kddim tune` found for this model, by number of steps.

        `generate(n, steps, "tuned")` uses them. They are saved with the model.
        """
        return dict(self._tuned_samplers)

    @tuned_samplers.setter
    def tuned_samplers(self, found: Mapping[Any, Any]) -> None:
        pairs = [(check_steps(int(steps)), samplers.get(found[steps])) for steps in found]
        self._tuned_samplers = tuple(sorted(pairs, key=lambda pair: pair[0]))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, which `generate` takes as labels. They are saved with the model."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        self._class_names = check_class_names(names, self.num_classes)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialised."""
        serialize = keras.saving.serialize_keras_object
        return {
            "image_size": list(self.image_shape[:2]),
            "widths": list(self.widths),
            "block_depth": self.block_depth,
            "channels": self.image_shape[2],
            "num_classes": self.num_classes,
            "schedule": serialize(self.schedule),
            "prediction_type": self.prediction_type,
            "network": serialize(self.network) if self.has_custom_network else None,
            "dtype": self.network_dtype,
            "name": self.name,
        } | self._learned_config()

    def _learned_config(self) -> dict[str, Any]:
        """Return what the model knows besides its arguments, if anything."""
        tuned = {str(steps): serialize_sampler(found) for steps, found in self._tuned_samplers}
        names = {"class_names": list(self._class_names)} if self._class_names else {}
        gaussian = {"gaussian": self.gaussian.get_config()} if self.gaussian else {}
        return names | ({"tuned_samplers": tuned} if tuned else {}) | gaussian

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Return the model that `get_config` described, with new weights."""
        config = dict(config)
        tuned, names = config.pop("tuned_samplers", {}), config.pop("class_names", None)
        gaussian = config.pop("gaussian", None)
        if config.get("network") is not None:
            network = copy.deepcopy(config["network"])  # Keras takes it to pieces
            config["network"] = keras.saving.deserialize_keras_object(
                network, custom_objects=custom_objects
            )
        model = cls(**config)
        model.tuned_samplers = copy.deepcopy(tuned)
        model.class_names = names
        model.gaussian = GaussianImages.from_config(gaussian) if gaussian else None
        return model

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        *,
        include_optimizer: bool = True,
        **kwargs: Any,
    ) -> None:
        """Save the model in a `.keras` file. An interrupted call leaves no partial file.

        Args:
            filepath: Path that ends in `.keras`.
            overwrite: If false and the file exists, Keras asks at a terminal.
            include_optimizer: If false, leaves out the optimiser, which takes half of the
                file. (Keras itself ignores this option for `.keras` files.)
            **kwargs: Other arguments of `keras.Model.save`.

        Raises:
            ValueError: If the path has another ending.
        """
        path = Path(filepath)
        if path.suffix != ".keras":
            raise ValueError(
                f"Expected a file that ends in .keras. Received: {path}. Save weights without "
                "the model with `model.save_weights`, in a file that ends in .weights.h5."
            )
        if path.exists() and not overwrite:
            super().save(filepath, overwrite=overwrite, **kwargs)
        elif include_optimizer:
            with atomic_write(path) as partial:
                super().save(partial, overwrite=True, **kwargs)
        else:
            bare = type(self).from_config(self.get_config())
            # The weights of an objective, such as a teacher, come last.
            bare.set_weights(self.get_weights()[: len(bare.weights)])
            bare.save(filepath, **kwargs)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Export `denoise` for other runtimes, like `keras.Model.export`.

        Args:
            filepath: File or folder to write.
            format: Format that Keras knows, such as "tf_saved_model" or "onnx". The exported
                function takes `noisy_images`, `noise_rates` and `signal_rates`, and returns
                `(pred_noises, pred_images)`, all of them float32 and images normalised. That of
                a model with classes also takes int32 `labels`.
            **kwargs: Other arguments of `keras.Model.export`.
        """
        shapes = (self.image_shape, (1, 1, 1), (1, 1, 1))
        specs = [keras.InputSpec(shape=(None, *shape), dtype="float32") for shape in shapes]
        if self.num_classes is not None:
            specs.append(keras.InputSpec(shape=(None,), dtype="int32"))
        kwargs.setdefault("input_signature", specs)
        super().export(filepath, format=format, **kwargs)
