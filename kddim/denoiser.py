"""Denoiser: a network and a schedule that separate noisy images into noise and image."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kddim import predictions, schedules
from kddim.budget import check_memory
from kddim.checks import check_count, check_image_size
from kddim.editing import Editing
from kddim.encoding import Encoding
from kddim.generation import CompiledDenoiser, FoldedDenoiser, labels_or_none
from kddim.labels import check_num_classes
from kddim.networks.adopt import check_network
from kddim.networks.graph import bytes_per_image
from kddim.networks.layers import ImageNormalization
from kddim.networks.residual_unet import residual_unet
from kddim.samplers import Sampler
from kddim.sampling import Sampling
from kddim.saving import Saving

_SAMPLER_TENSORS = 8


@keras.saving.register_keras_serializable(package="kddim")
class Denoiser(Sampling, Encoding, Editing, Saving):
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


def override_of(model: keras.Model, method: Any) -> Any:
    """Return the function by which a subclass or an instance overrides a method, or None."""
    own = getattr(model, method.__name__)
    function = getattr(own, "__func__", own)
    return None if function is method else function
