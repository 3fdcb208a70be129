"""The denoiser: a network, its average and a schedule, that separate noise from images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from kddim import backend, predictions, schedules
from kddim import ema as ema_average
from kddim.checks import check_image_size
from kddim.files import atomic_write
from kddim.latents import resolve_seed
from kddim.networks.adopt import check_network, copy_network
from kddim.networks.folding import FoldedNetwork, FoldedNetworks
from kddim.networks.layers import ImageNormalization
from kddim.networks.rematerialization import RematerializedNetwork
from kddim.networks.residual_unet import residual_unet


class Denoiser(keras.Model):
    """Separates noisy images into noise and image, and is saved and loaded.

    It holds what `kddim.DiffusionModel` is made of; see there for the arguments.
    `TrainedDenoiser` adds the training, `Generator` the sampling.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        widths: Sequence[int] = (32, 64, 96, 128),
        block_depth: int = 2,
        *,
        channels: int = 3,
        schedule: Any = "cosine",
        prediction_type: str = "noise",
        loss_type: str | None = None,
        ema: float = 0.999,
        network: keras.Model | None = None,
        remat: bool = False,
        seed: int | None = None,
        name: str | None = None,
    ):
        # Normaliser, mixing and losses stay in float32 under every dtype policy; the
        # layers of the network follow the global policy.
        super().__init__(name=name, dtype="float32")
        self.image_shape = (*check_image_size(image_size), int(channels))
        self.schedule = schedules.get(schedule)
        self.prediction_type = predictions.check(prediction_type)
        self.loss_type = predictions.check(loss_type or prediction_type, "loss_type")
        self.ema = ema_average.check(ema)
        self.seed = seed
        self.has_custom_network = network is not None
        schedules.check_terminal_rate(self.schedule, self.prediction_type)

        self.normalizer = ImageNormalization(name="normalizer")
        self.normalizer.build((None, *self.image_shape))
        self.network = network or residual_unet(
            self.image_shape[:2], widths, block_depth, channels=channels
        )
        check_network(self.network, self.image_shape)
        self.widths = tuple(int(w) for w in widths)
        self.block_depth = int(block_depth)
        self.remat = bool(remat)
        self._rematerialized = RematerializedNetwork(self.network) if remat else None
        self.ema_network = copy_network(self.network, self.image_shape)
        self.ema_steps = self.add_weight(
            name="ema_steps", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        # Frameworks differ in the seeds that they take; all take these.
        self.seed_generator = keras.random.SeedGenerator(
            None if seed is None else resolve_seed(seed) % 2**31
        )
        self.noise_loss_tracker = keras.metrics.Mean(name="n_loss")
        self.image_loss_tracker = keras.metrics.Mean(name="i_loss")
        self._compiled_steps = backend.StepCache()
        self._folded_networks = FoldedNetworks()
        self.built = True

    def diffusion_schedule(self, diffusion_times: Any) -> tuple[Any, Any]:
        """`(noise_rates, signal_rates)` at diffusion times in [0, 1], as tensors."""
        return self.schedule(ops.convert_to_tensor(diffusion_times, "float32"))

    def denoise(
        self, noisy_images: Any, noise_rates: Any, signal_rates: Any, training: bool
    ) -> tuple[Any, Any]:
        """Separates noisy images into noise and image.

        Args:
            noisy_images: normalised, `(batch, height, width, channels)`.
            noise_rates: `(batch, 1, 1, 1)`, or a shape that broadcasts to it.
            signal_rates: likewise.
            training: uses `network` if true, else `ema_network`.

        Returns:
            `(pred_noises, pred_images)`, float32 tensors of the images' shape.
        """
        noisy_images, noise_rates, signal_rates = (
            ops.convert_to_tensor(v, "float32") for v in (noisy_images, noise_rates, signal_rates)
        )
        network = self.network if training else self._folded_networks.current or self.ema_network
        prediction = self._predict(network, noisy_images, noise_rates, training)
        return predictions.split(
            self.prediction_type, prediction, noisy_images, noise_rates, signal_rates
        )

    def _predict(self, network: Any, noisy_images: Any, noise_rates: Any, training: bool) -> Any:
        noise_variances = noise_rates**2
        if not isinstance(network, FoldedNetwork):  # which takes one for the whole batch
            rates_shape = (ops.shape(noisy_images)[0], 1, 1, 1)
            noise_variances = ops.broadcast_to(noise_variances, rates_shape)
        return ops.cast(network([noisy_images, noise_variances], training=training), "float32")

    def denormalize(self, normalised: Any) -> Any:
        """Normalised images back to pixels, clipped to [0, 1]; a float32 tensor."""
        return ops.clip(self.normalizer.denormalize(normalised), 0.0, 1.0)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, serialised."""
        return {
            "image_size": list(self.image_shape[:2]),
            "widths": list(self.widths),
            "block_depth": self.block_depth,
            "channels": self.image_shape[2],
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "prediction_type": self.prediction_type,
            "loss_type": self.loss_type,
            "ema": self.ema,
            "network": (
                keras.saving.serialize_keras_object(self.network)
                if self.has_custom_network
                else None
            ),
            "remat": self.remat,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Denoiser":
        """The model that `get_config` described, with fresh weights."""
        config = dict(config)
        if config.get("network") is not None:
            config["network"] = keras.saving.deserialize_keras_object(
                config["network"], custom_objects=custom_objects
            )
        return cls(**config)

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        *,
        include_optimizer: bool = True,
        **kwargs: Any,
    ) -> None:
        """Saves like `keras.Model.save`; a `.keras` file is written whole or not at all.

        Args:
            filepath: ending `.keras`.
            overwrite: see `keras.Model.save`.
            include_optimizer: False leaves out the optimiser, which is half of the file.
                (Keras itself ignores this option for `.keras` files.)
            **kwargs: see `keras.Model.save`.
        """
        path = Path(filepath)
        if path.suffix != ".keras" or (path.exists() and not overwrite):
            super().save(filepath, overwrite=overwrite, **kwargs)
            return
        if not include_optimizer:
            bare = type(self).from_config(self.get_config())
            bare.set_weights(self.get_weights())
            bare.save(filepath, **kwargs)
            return
        with atomic_write(path) as partial:
            super().save(partial, overwrite=True, **kwargs)
