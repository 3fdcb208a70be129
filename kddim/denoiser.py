"""Denoiser: a network and a schedule that separate noisy images into noise and image."""

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from kddim import predictions, samplers, schedules
from kddim.budget import check_memory
from kddim.checks import check_count, check_image_size
from kddim.editing import Editing
from kddim.encoding import Encoding
from kddim.files import atomic_write
from kddim.generation import CompiledDenoiser, FoldedDenoiser, labels_or_none
from kddim.labels import check_class_names, check_num_classes
from kddim.networks.adopt import check_network
from kddim.networks.graph import bytes_per_image
from kddim.networks.layers import ImageNormalization
from kddim.networks.residual_unet import residual_unet
from kddim.samplers import Sampler, serialize_sampler
from kddim.samplers.times import check_steps
from kddim.sampling import Sampling

_SAMPLER_TENSORS = 8


@keras.saving.register_keras_serializable(package="kddim")
class Denoiser(Sampling, Encoding, Editing, keras.Model):
    """Model for inference: normaliser, network, schedule and prediction type.

    `DiffusionModel` is a `Denoiser` that also trains. `DiffusionModel.averaged()` returns a
    `Denoiser` with the averaged weights only, whose file has half the size.

    Args:
        image_size: Side length in pixels, or `(height, width)`. With the default network both
            are divisible by `2**(len(widths) - 1)`.
        widths: Number of channels of each level of the residual UNet, the finest level first.
        block_depth: Number of residual blocks per level.
        channels: Number of channels of the images.
        num_classes: Number of classes of the images, at least 2. None is a model without labels.
        schedule: Name, `kddim.schedules.Schedule`, or configuration of one.
        prediction_type: Quantity that the network predicts: "noise", "image", "velocity" or "flow".
        network: Keras model `[noisy_images, noise_variances (batch, 1, 1, 1)] -> prediction` of
            the shape of the images, instead of the residual UNet. With classes, it has a third
            input, int32 labels `(batch,)`, negative for no label.
        dtype: Dtype policy of the residual UNet. None is Keras' global policy. Normaliser,
            schedule and prediction always compute in float32.
        name: Name of the model.

    Raises:
        ValueError: If an argument is out of range, or the network does not fit.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        widths: Sequence[int] = (32, 64, 96, 128),
        block_depth: int = 2,
        *,
        channels: int = 3,
        num_classes: int | None = None,
        schedule: Any = "cosine",
        prediction_type: str = "noise",
        network: keras.Model | None = None,
        dtype: Any = None,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        self.image_shape = (*check_image_size(image_size), check_count("channels", channels))
        check_memory(4 * math.prod(self.image_shape), f"one image of {self.image_shape}")
        self.num_classes = check_num_classes(num_classes)
        self._class_names: tuple[str, ...] | None = None
        self.schedule = schedules.get(schedule)
        self.prediction_type = predictions.check(prediction_type)
        schedules.check_terminal_rate(self.schedule, self.prediction_type)
        self.has_custom_network = network is not None
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        self.network_dtype = None if self.has_custom_network else policy.name
        self._sampling: CompiledDenoiser | None = None
        self._override: Any = None
        self._tuned_samplers: tuple[tuple[int, Sampler], ...] = ()

        self.normalizer = ImageNormalization(name="normalizer")
        self.normalizer.build((None, *self.image_shape))
        if network is None:
            with contextlib.ExitStack() as stack:
                stack.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
                keras.config.set_dtype_policy(policy)
                network = residual_unet(
                    self.image_shape[:2],
                    widths,
                    block_depth,
                    channels=channels,
                    num_classes=self.num_classes,
                )
        check_network(network, self.image_shape, self.num_classes is not None)
        self.network: Any = network
        self.widths = tuple(int(w) for w in widths)
        self.block_depth = int(block_depth)
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, and release a network that is replaced. Keras would keep it."""
        if isinstance(value, keras.Model) and getattr(self, name, value) is not value:
            self._untrack_variable(getattr(self, name))
            self._forget_networks()
        super().__setattr__(name, value)

    def _forget_networks(self) -> None:
        self._sampling = None

    @property
    def sampling_network(self) -> keras.Model:
        """Network that generates."""
        return self.network

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

    def diffusion_schedule(self, diffusion_times: Any) -> tuple[Any, Any]:
        """Return `(noise_rates, signal_rates)` at diffusion times in [0, 1], as tensors."""
        return self.schedule(ops.convert_to_tensor(diffusion_times, "float32"))

    def denoise(
        self,
        noisy_images: Any,
        noise_rates: Any,
        signal_rates: Any,
        training: bool = False,
        labels: Any = None,
    ) -> tuple[Any, Any]:
        """Separate noisy images into noise and image.

        Training, validation and sampling all go through this method. Override it to change
        all of them.

        Args:
            noisy_images: Normalised noisy images, `(batch, height, width, channels)`.
            noise_rates: Noise rates, `(batch, 1, 1, 1)` or a shape that broadcasts to it.
            signal_rates: Signal rates of the same shape.
            training: If true, uses `network` in training mode. If false, uses
                `sampling_network`.
            labels: Integer labels `(batch,)` of a model with classes, in [0, num_classes), or
                negative for no label. None is no label for all images.

        Returns:
            `(pred_noises, pred_images)`, float32 tensors of the shape of the images.

        Raises:
            ValueError: If labels are given to a model without classes.
        """
        if labels is not None and self.num_classes is None:
            raise ValueError("Expected no labels for a model without classes (num_classes=None).")
        noisy_images, noise_rates, signal_rates = (
            ops.convert_to_tensor(v, "float32") for v in (noisy_images, noise_rates, signal_rates)
        )
        rates_shape = (ops.shape(noisy_images)[0], 1, 1, 1)
        variances = ops.broadcast_to(noise_rates**2, rates_shape)
        network = self._training_network() if training else self.sampling_network
        inputs = [noisy_images, variances]
        if self.num_classes is not None:
            inputs.append(labels_or_none(labels, rates_shape[0]))
        prediction = ops.cast(network(inputs, training=training), "float32")
        return predictions.split(
            self.prediction_type, prediction, noisy_images, noise_rates, signal_rates
        )

    def _training_network(self) -> Callable:
        return self.network

    def call(
        self,
        noisy_images: Any,
        noise_rates: Any,
        signal_rates: Any,
        labels: Any = None,
        training: bool = False,
    ) -> Any:
        """Call `denoise`, as a plain tuple."""
        given = {} if labels is None else {"labels": labels}
        arguments = noisy_images, noise_rates, signal_rates
        return tuple(self.denoise(*arguments, training=training, **given))

    def score(self, noisy_images: Any, noise_rates: Any, signal_rates: Any, **options: Any) -> Any:
        """Return the score of noisy images: the gradient of the log of their density.

        The score is `-pred_noises / noise_rates` (Song et al., ICLR 2021, arXiv 2011.13456), for
        normalised images of this package's variance-preserving form. That of images `x + sigma *
        noise`, as NCSN has them, is `signal_rate` times as large, at the noisy image `signal_rate
        * (x + sigma * noise)` with `sigma = noise_rate / signal_rate`.

        Args:
            noisy_images: As in `denoise`.
            noise_rates: As in `denoise`, above zero.
            signal_rates: As in `denoise`.
            **options: `labels`, as in `denoise`.

        Returns:
            Float32 tensor of the shape of the images.
        """
        pred_noises, _ = self.denoise(noisy_images, noise_rates, signal_rates, **options)
        return -pred_noises / ops.convert_to_tensor(noise_rates, "float32")

    def denormalize(self, normalised: Any) -> Any:
        """Return pixels of normalised images: a float32 tensor, clipped to [0, 1].

        Values that are not finite become NaN.
        """
        images = self.normalizer.denormalize(normalised)
        # Clipping would make white pixels of infinity, and so hide that the model diverged.
        return ops.where(ops.isfinite(images), ops.clip(images, 0.0, 1.0), float("nan"))

    def sampling_denoiser(self) -> CompiledDenoiser:
        """Return the compiled denoiser for sampling, with the current weights.

        It computes the folded `sampling_network`, or calls `denoise` if a subclass or an
        instance overrides this method. Later calls return the same object with its compiled
        steps, until a network or `denoise` is replaced.
        """
        override = override_of(self, Denoiser.denoise)
        known = self._sampling
        if known is not None and self._override is override and known.refresh():
            return known
        self._override = override
        if override is None:
            labelled = self.num_classes is not None
            self._sampling = FoldedDenoiser(self.sampling_network, self.prediction_type, labelled)
        else:  # it may read any variable
            denoise = functools.partial(self.denoise, training=False)
            self._sampling = CompiledDenoiser(denoise, self.variables)
        self._sampling.refresh()
        return self._sampling

    def check_memory(self, num_images: int, batch_size: int) -> None:
        """Raise if images of the model, or one batch in the network, do not fit in memory.

        Args:
            num_images: Number of images that are held at once.
            batch_size: Number of images per batch.

        Raises:
            ValueError: If they do not fit.
        """
        words = "x".join(map(str, self.image_shape))
        way_out = "Ask for fewer images at once; `start` continues a seed."
        images = f"{num_images:,} images of {words}"
        check_memory(4 * num_images * math.prod(self.image_shape), images, way_out)
        batch = min(batch_size, num_images)
        # Samplers hold noises, noisy and predicted images, and parts of the next ones.
        state = _SAMPLER_TENSORS * 4 * math.prod(self.image_shape)
        needed = batch * (state + bytes_per_image(self.sampling_network, self.image_shape))
        way_out = "Use a smaller batch_size (--batch-size)."
        check_memory(needed, f"a batch of {batch:,} images of {words}", way_out)

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
        """Return the names of the classes and the samplers that were tuned, if there are any."""
        tuned = {str(steps): serialize_sampler(found) for steps, found in self._tuned_samplers}
        names = {"class_names": list(self._class_names)} if self._class_names else {}
        return names | ({"tuned_samplers": tuned} if tuned else {})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Denoiser":
        """Return the model that `get_config` described, with new weights."""
        config = dict(config)
        tuned, names = config.pop("tuned_samplers", {}), config.pop("class_names", None)
        if config.get("network") is not None:
            network = copy.deepcopy(config["network"])  # Keras takes it to pieces
            config["network"] = keras.saving.deserialize_keras_object(
                network, custom_objects=custom_objects
            )
        model = cls(**config)
        model.tuned_samplers = copy.deepcopy(tuned)
        model.class_names = names
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


def override_of(model: keras.Model, method: Any) -> Any:
    """Return the function by which a subclass or an instance overrides a method, or None."""
    own = getattr(model, method.__name__)
    function = getattr(own, "__func__", own)
    return None if function is method else function
