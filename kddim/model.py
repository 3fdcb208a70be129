"""The diffusion model: a `keras.Model` around a denoising network."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend, latents, predictions, samplers, schedules
from kddim.images import check_images, first_batch, images_of, to_uint8
from kddim.networks.layers import ImageNormalization
from kddim.networks.residual_unet import check_image_size, residual_unet


@keras.saving.register_keras_serializable(package="kddim")
class DiffusionModel(keras.Model):
    """Denoising diffusion implicit model (Song, Meng and Ermon, arXiv 2010.02502).

    Training: images -> normaliser -> mixed with noise at the schedule's rates ->
    network -> loss -> exponential moving average (EMA) of the weights.
    Generation: noise -> sampler, step by step, through the EMA network -> the last
    step's predicted images -> denormalised images.

    The EMA network starts as a copy of the network, and its decay is
    `min(ema, (1 + n) / (10 + n))` after `n` training steps.
    Differs from keras.io: there it starts from weights of its own random draw and has
    a constant decay, so that a run of fewer than some thousand steps samples from
    what is left of the draw.

    Args:
        image_size: int or `(height, width)`, divisible by `2**(len(widths) - 1)`.
        widths: channels of each level of the residual UNet, the finest first.
        block_depth: residual blocks a level.
        channels: of the images; any number.
        schedule: a name ("cosine", "linear_beta", "log_snr_linear"), a
            `kddim.schedules.Schedule`, or its configuration.
        prediction_type: what the network predicts and is trained on: "noise",
            "image" or "velocity".
        ema: decay of the moving average, in [0, 1).
        network: a Keras model `[noisy_images, noise_variances (batch, 1, 1, 1)] ->
            prediction` of the images' shape, instead of the residual UNet. It must be
            one that `keras.models.clone_model` can copy.
        seed: of the noises and times drawn in training; None draws a fresh one.
        name: the model's name.

    Attributes:
        normalizer: adapt it before training: `model.normalizer.adapt(dataset)`.
        network: the trained network.
        ema_network: its moving average, which validates and generates.
        schedule: the `Schedule`.

    Raises:
        ValueError: an option outside its range; the message says which.

    Example:
        >>> train, validation = kddim.data.load("digits", 8)
        >>> model = kddim.DiffusionModel(8, widths=(32, 64, 96), channels=1)
        >>> model.normalizer.adapt(train)
        >>> model.compile()
        >>> model.fit(train, validation_data=validation, epochs=100)
        >>> images = model.generate(16, seed=0)
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
        ema: float = 0.999,
        network: keras.Model | None = None,
        seed: int | None = None,
        name: str | None = None,
    ):
        # Normaliser, mixing and losses stay in float32 under every dtype policy; the
        # layers of the network follow the global policy.
        super().__init__(name=name, dtype="float32")
        if not 0.0 <= ema < 1.0:
            raise ValueError(f"Expected `ema` in [0, 1). Received: {ema}")
        self.image_shape = (*check_image_size(image_size), int(channels))
        self.widths = tuple(int(w) for w in widths)
        self.block_depth = int(block_depth)
        self.schedule = schedules.get(schedule)
        self.prediction_type = predictions.check(prediction_type)
        self.ema = float(ema)
        self.seed = seed
        self.has_custom_network = network is not None
        _check_terminal_rates(self.schedule, self.prediction_type)

        self.normalizer = ImageNormalization(name="normalizer")
        self.normalizer.build((None, *self.image_shape))
        self.network = network or residual_unet(
            self.image_shape[:2], widths, block_depth, channels=channels
        )
        _check_network(self.network, self.image_shape)
        self.ema_network = _copy_network(self.network)
        self.ema_steps = self.add_weight(
            name="ema_steps", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.noise_loss_tracker = keras.metrics.Mean(name="n_loss")
        self.image_loss_tracker = keras.metrics.Mean(name="i_loss")
        self._compiled_steps = _StepCache()
        self.built = True

    # Training.

    def compile(self, optimizer: Any = None, loss: Any = None, **kwargs: Any) -> None:
        """Configures training, like `keras.Model.compile`.

        Args:
            optimizer: a Keras optimiser; None is the example's
                `AdamW(learning_rate=1e-3, weight_decay=1e-4)`.
            loss: a Keras loss, per pixel, between target and prediction; None is the
                example's mean absolute error. Its value for a network that predicts
                zero noise is `sqrt(2 / pi) = 0.798`.
            **kwargs: see `keras.Model.compile`.

        Raises:
            ValueError: `metrics` are given; the logs are `loss`, `n_loss`, `i_loss`,
                and image metrics are callbacks (`kddim.callbacks.KIDCallback`).
        """
        if kwargs.get("metrics") or kwargs.get("weighted_metrics"):
            raise ValueError(
                "Expected no `metrics`: the losses of noise and image are tracked already, and "
                "image metrics are callbacks, such as kddim.callbacks.KIDCallback. "
                f"Received: {kwargs.get('metrics') or kwargs.get('weighted_metrics')}"
            )
        if optimizer is None:
            optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-4)
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if kwargs.get("auto_scale_loss", True) and _uses_float16(self.network) and not scaled:
            # Keras looks at the policy of the model, which is float32 here.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        loss = "mean_absolute_error" if loss is None else loss
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        self._pixel_loss = keras.losses.get(loss)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` described; Keras calls it on loading."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        """Mixes images with noise at random times, and separates them again.

        Args:
            images: floats in [0, 1], `(batch, height, width, channels)`.
            training: uses `network` if true, else `ema_network`.

        Returns:
            `images` (normalised), `noises`, `pred_images`, `pred_noises`, and the
            network's `prediction` with its `target`; each of the images' shape.
        """
        self._check_batch_shape(images)
        images = self.normalizer(images)
        batch_size = ops.shape(images)[0]
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        times = keras.random.uniform((batch_size, 1, 1, 1), seed=self.seed_generator)
        noise_rates, signal_rates = self.diffusion_schedule(self.schedule.training_times(times))
        noisy_images = signal_rates * images + noise_rates * noises

        prediction = self._predict(noisy_images, noise_rates, training)
        kind = self.prediction_type
        pred_noises, pred_images = predictions.split(
            kind, prediction, noisy_images, noise_rates, signal_rates
        )
        return {
            "images": images,
            "noises": noises,
            "pred_images": pred_images,
            "pred_noises": pred_noises,
            "prediction": prediction,
            "target": predictions.target(kind, noises, images, noise_rates, signal_rates),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss between target and prediction, plus the network's regularisation."""
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        loss = ops.mean(self._pixel_loss(y_pred["target"], y_pred["prediction"]))
        return loss + sum(self.losses) if self.losses else loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates `n_loss` and `i_loss`, the losses of noise and image."""
        batch_size = ops.shape(y_pred["images"])[0]
        for tracker, kind in (
            (self.noise_loss_tracker, "noises"),
            (self.image_loss_tracker, "images"),
        ):
            loss = ops.mean(self._pixel_loss(y_pred[kind], y_pred["pred_" + kind]))
            tracker.update_state(loss, sample_weight=batch_size)
        return self.get_metrics_result()

    def train_step(self, *args: Any) -> Any:
        """One step of regression, then of the moving average; compiled by Keras."""
        result = super().train_step(*args)
        return backend.update_after_train_step(self, result, self._update_ema)

    def _update_ema(self) -> None:
        steps = ops.cast(self.ema_steps.value, "float32")
        decay = ops.minimum(self.ema, (1.0 + steps) / (10.0 + steps))
        for weight, ema_weight in zip(self.network.variables, self.ema_network.variables):
            # Batch normalisation's statistics are averaged too; counters and the
            # states of seed generators are copied.
            value = ops.convert_to_tensor(weight.value)
            if keras.backend.is_float_dtype(weight.dtype):
                value = decay * ema_weight.value + (1.0 - decay) * value
            ema_weight.assign(value)
        self.ema_steps.assign(self.ema_steps.value + 1)

    def make_train_function(self, *args: Any, **kwargs: Any) -> Any:
        self._check_adapted()
        return super().make_train_function(*args, **kwargs)

    def make_test_function(self, *args: Any, **kwargs: Any) -> Any:
        self._check_adapted()
        return super().make_test_function(*args, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains on batches of images, like `keras.Model.fit`.

        Args:
            x: images in [0, 1]: a NumPy array or tensor, `tf.data`,
                `keras.utils.PyDataset`, or a torch `DataLoader`; labels are ignored.
            *args: see `keras.Model.fit`.
            **kwargs: see `keras.Model.fit`.

        Returns:
            Keras' `History`, with `loss`, `n_loss` and `i_loss`, and the same with
            `val_` in front.

        Raises:
            ValueError: `model.normalizer` was not adapted, or the images are of
                another size than the model's or leave [0, 1].
        """
        self._check_data(x, kwargs)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures the losses of the EMA network, like `keras.Model.evaluate`."""
        self._check_data(x, kwargs)
        return super().evaluate(x, *args, **kwargs)

    # Diffusion.

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
        prediction = self._predict(noisy_images, noise_rates, training)
        return predictions.split(
            self.prediction_type, prediction, noisy_images, noise_rates, signal_rates
        )

    def _predict(self, noisy_images: Any, noise_rates: Any, training: bool) -> Any:
        network = self.network if training else self.ema_network
        rates_shape = (ops.shape(noisy_images)[0], 1, 1, 1)
        noise_variances = ops.broadcast_to(noise_rates**2, rates_shape)
        return ops.cast(network([noisy_images, noise_variances], training=training), "float32")

    def reverse_diffusion(
        self,
        initial_noise: Any,
        diffusion_steps: int,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        start: int = 0,
        callback: Callable | None = None,
    ) -> Any:
        """Turns noise into images with the EMA network.

        Args:
            initial_noise: standard normal, `(batch, height, width, channels)`.
            diffusion_steps: at least 1.
            sampler: a name or a `kddim.samplers.Sampler`.
            seed: of the noise that a stochastic sampler adds.
            start: index of the first image within `seed`.
            callback: `callback(step, noisy_images, pred_images)` after each step;
                returning `True` stops.

        Returns:
            The last step's predicted images, normalised: a float32 backend tensor.

        Raises:
            ValueError: noise of another shape than the model's images, zero steps.
        """
        shape = tuple(initial_noise.shape)
        if len(shape) != 4 or shape[1:] != self.image_shape or not shape[0]:
            raise ValueError(
                f"Expected initial_noise of shape (batch, {_join(self.image_shape)}). "
                f"Received: {shape}"
            )
        sampler = samplers.get(sampler)
        return sampler.sample(
            self._denoise_with_ema,
            self.schedule,
            ops.convert_to_tensor(initial_noise, "float32"),
            diffusion_steps,
            seed=seed,
            start=start,
            callback=callback,
            compile_step=lambda step: self._compiled_steps.get(
                (sampler, id(self.ema_network)), step, self.ema_network.variables
            ),
        )

    def _denoise_with_ema(self, noisy_images, noise_rates, signal_rates):
        return self.denoise(noisy_images, noise_rates, signal_rates, training=False)

    # Images.

    def denormalize(self, normalised: Any) -> Any:
        """Normalised images back to pixels, clipped to [0, 1]; a float32 tensor."""
        return ops.clip(self.normalizer.denormalize(normalised), 0.0, 1.0)

    def generate(
        self,
        num_images: int,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        *,
        seed: int | None = None,
        initial_noise: Any = None,
        batch_size: int = 64,
        verbose: int = 0,
    ) -> np.ndarray:
        """Generates images.

        Args:
            num_images: at least 1.
            diffusion_steps: at least 1.
            sampler: a name or a `kddim.samplers.Sampler`.
            seed: image `i` of a seed is the same whatever the batch size and the
                number of images; None draws a fresh seed.
            initial_noise: `(num_images, height, width, channels)` to start from,
                instead of the noise of `seed`.
            batch_size: images computed at once; the last batch is padded to it.
            verbose: 1 shows a progress bar.

        Returns:
            NumPy float32 `(num_images, height, width, channels)` in [0, 1].

        Raises:
            ValueError: fewer than one image, step or batch; noise of another shape.
        """
        sampler = samplers.get(sampler)
        num_images = _check_count("num_images", num_images)
        batch_size = min(_check_count("batch_size", batch_size), num_images)
        seed = latents.resolve_seed(seed)
        if initial_noise is not None:
            initial_noise = backend.to_numpy(initial_noise).astype("float32")
            if initial_noise.shape != (num_images, *self.image_shape):
                raise ValueError(
                    f"Expected initial_noise of shape ({num_images}, {_join(self.image_shape)}). "
                    f"Received: {initial_noise.shape}"
                )
        num_batches = -(-num_images // batch_size)
        progress = keras.utils.Progbar(
            num_batches * diffusion_steps, verbose=verbose, unit_name="step"
        )
        images = np.empty((num_images, *self.image_shape), "float32")
        for start in range(0, num_images, batch_size):
            noise = self._noise_batch(initial_noise, seed, start, batch_size)
            pred_images = self.reverse_diffusion(
                noise,
                diffusion_steps,
                sampler,
                seed=seed,
                start=start,
                callback=(lambda *_: progress.add(1)) if verbose else None,
            )
            pixels = backend.to_numpy(self.denormalize(pred_images))
            images[start : start + batch_size] = pixels[: num_images - start]
        return images

    def _noise_batch(self, initial_noise, seed: int, start: int, batch_size: int) -> np.ndarray:
        """One batch of noise; a last, smaller one is padded, not compiled anew."""
        if initial_noise is None:
            return latents.initial_noise(batch_size, self.image_shape, seed, start)
        noise = initial_noise[start : start + batch_size]
        padding = [(0, batch_size - len(noise))] + [(0, 0)] * 3
        return np.pad(noise, padding)

    def plot_images(
        self,
        epoch: int | None = None,
        logs: dict | None = None,
        num_rows: int = 3,
        num_cols: int = 6,
        diffusion_steps: int = 20,
        sampler: Any = "ddim",
        seed: int | None = None,
    ) -> None:
        """Shows a grid of generated images with Matplotlib.

        Usable as `keras.callbacks.LambdaCallback(on_epoch_end=model.plot_images)`.

        Args:
            epoch: counted from 0; stands in the title where it is given.
            logs: ignored; Keras passes them.
            num_rows: rows of the grid.
            num_cols: columns of the grid.
            diffusion_steps: see `generate`.
            sampler: see `generate`.
            seed: see `generate`; None draws other images at each call, as the
                keras.io example does.
        """
        import matplotlib.pyplot as plt

        images = self.generate(num_rows * num_cols, diffusion_steps, sampler, seed=seed)
        figure, axes = plt.subplots(
            num_rows, num_cols, figsize=(2.0 * num_cols, 2.0 * num_rows), squeeze=False
        )
        for image, axis in zip(to_uint8(images), axes.flat):
            axis.imshow(
                image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255
            )
            axis.axis("off")
        if epoch is not None:
            figure.suptitle(f"epoch {epoch + 1}")
        figure.tight_layout()
        if plt.get_backend().lower() != "agg":  # Agg draws to memory and has no window
            plt.show()
        plt.close(figure)

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
            "ema": self.ema,
            "network": (
                keras.saving.serialize_keras_object(self.network)
                if self.has_custom_network
                else None
            ),
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "DiffusionModel":
        """The model that `get_config` described, with fresh weights."""
        config = dict(config)
        if config.get("network") is not None:
            config["network"] = keras.saving.deserialize_keras_object(
                config["network"], custom_objects=custom_objects
            )
        return cls(**config)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves like `keras.Model.save`; a `.keras` file is written whole or not at all."""
        path = Path(filepath)
        if path.suffix != ".keras" or (path.exists() and not overwrite):
            super().save(filepath, overwrite=overwrite, **kwargs)
            return
        partial = path.with_name(f".{path.stem}.partial.keras")
        try:
            super().save(partial, overwrite=True, **kwargs)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    # Checks.

    def _check_batch_shape(self, images: Any) -> None:
        shape = tuple(getattr(images_of(images), "shape", ()))
        if len(shape) != 4 or any(s not in (None, w) for s, w in zip(shape[1:], self.image_shape)):
            raise ValueError(
                f"Expected images of shape (batch, {_join(self.image_shape)}). Received: {shape}"
            )

    def _check_data(self, data: Any, options: dict[str, Any]) -> None:
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise ValueError(f"Expected no {name}: every image weighs the same.")
        batch = first_batch(data)
        if batch is not None:
            check_images(batch, self.image_shape)

    def _check_adapted(self) -> None:
        if not self.normalizer.adapted:
            raise ValueError(
                "Expected a normaliser that knows the mean and variance of the data. Received: "
                "one that was not adapted. Call `model.normalizer.adapt(images)` first."
            )


class _StepCache:
    """Compiled sampling steps; no dictionary, which Keras would track and save."""

    def __init__(self):
        self._steps: dict[Any, Callable] = {}

    def get(self, key: Any, function: Callable, variables: Sequence[Any]) -> Callable:
        if key not in self._steps:
            self._steps[key] = backend.compile_step(function, variables)
        return self._steps[key]


def _copy_network(network: keras.Model) -> keras.Model:
    """A copy that is not trained; cloning alone would draw new weights."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def _check_network(network: keras.Model, image_shape: tuple[int, ...]) -> None:
    shape = getattr(network, "output_shape", (None, *image_shape))
    if len(getattr(network, "inputs", [0, 0])) != 2 or tuple(shape)[1:] != image_shape:
        raise ValueError(
            "Expected a network [noisy_images, noise_variances] -> prediction of shape "
            f"(batch, {_join(image_shape)}). Received: {network.name}, "
            f"inputs {getattr(network, 'input_shape', None)}, output {shape}"
        )


def _check_terminal_rates(schedule: schedules.Schedule, prediction_type: str) -> None:
    _, signal_rate = schedule(np.array([1.0]))
    if prediction_type == "noise" and float(backend.to_numpy(signal_rate)[0]) < 1e-6:
        raise ValueError(
            "Expected a schedule whose signal rate at time 1 is above zero, since a noise "
            f"prediction is divided by it. Received: {schedule}. "
            'Use prediction_type="velocity" or "image", or a schedule that ends above zero.'
        )


def _uses_float16(network: keras.Model) -> bool:
    return any(layer.compute_dtype == "float16" for layer in network._flatten_layers())


def _check_count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"Expected `{name}` to be an int of at least 1. Received: {value!r}")
    return int(value)


def _join(shape: Sequence[Any]) -> str:
    return ", ".join(map(str, shape))
