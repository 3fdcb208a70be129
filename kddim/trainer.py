"""How the denoiser learns: one step of regression on noise, and the checks before it."""

from typing import Any

import keras
from keras import ops

from kddim import backend, predictions
from kddim import ema as ema_average
from kddim.checks import join_shape
from kddim.denoiser import Denoiser
from kddim.images import check_images, first_batch, images_of, with_batches_in_tuples
from kddim.networks.rematerialization import RematerializedNetwork

# Continuous schedules without noise at time 0 give images nothing to predict there, and
# some predictions divide by the noise rate.
_LEAST_TIME = 1e-6


class TrainedDenoiser(Denoiser):
    """A denoiser with Keras' `compile`, `fit` and `evaluate`.

    images -> normaliser -> mixed with noise at the schedule's rates -> network -> loss ->
    exponential moving average.
    """

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
        if not self.optimizer.built:  # so that a file saved before training is complete
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` described; Keras calls it on loading."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        """Mixes images with noise at random times, and separates them again.

        Args:
            images: floats in [0, 1], `(batch, height, width, channels)`.
            training: uses `network` if true, else `ema_network`.

        Returns:
            `images` (normalised), `noises`, `pred_images`, `pred_noises`, and what the
            loss compares, `prediction` with its `target`, both of the kind that
            `loss_type` says; each of the images' shape.
        """
        self._check_batch_shape(images)
        images = self.normalizer(images)
        noises, times = self.draw(images)
        noise_rates, signal_rates = self.diffusion_schedule(times)
        noisy_images = signal_rates * images + noise_rates * noises

        network = self._network_in_training() if training else self.ema_network
        prediction = self._predict(network, noisy_images, noise_rates, training)
        pred_noises, pred_images = predictions.split(
            self.prediction_type, prediction, noisy_images, noise_rates, signal_rates
        )
        kind = self.loss_type
        if kind != self.prediction_type:
            prediction = predictions.target(
                kind, pred_noises, pred_images, noise_rates, signal_rates
            )
        return {
            "images": images,
            "noises": noises,
            "pred_images": pred_images,
            "pred_noises": pred_noises,
            "prediction": prediction,
            "target": predictions.target(kind, noises, images, noise_rates, signal_rates),
        }

    def _network_in_training(self) -> Any:
        if self._rematerialized is None:
            return self.network
        if self._rematerialized.network is not self.network:
            self._rematerialized = RematerializedNetwork(self.network)
        return self._rematerialized

    def draw(self, images: Any) -> tuple[Any, Any]:
        """Fresh noises, and the times to mix them in at, for one training step.

        Backends draw different numbers from one seed. To train on given ones, override
        this method.

        Args:
            images: `(batch, height, width, channels)`.

        Returns:
            Noises of the images' shape, standard normal, and diffusion times
            `(batch, 1, 1, 1)`, uniform as far as the schedule's training times are.
        """
        noises = keras.random.normal(ops.shape(images), seed=self.seed_generator)
        shape = (ops.shape(images)[0], 1, 1, 1)
        times = keras.random.uniform(shape, seed=self.seed_generator)
        return noises, self.schedule.training_times(ops.maximum(times, _LEAST_TIME))

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
        ema_average.update(self.network, self.ema_network, self.ema, self.ema_steps)

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
                another size than the model's or leave [0, 1] (of an array all are
                looked at, of a data set the first batch).
        """
        x = self._checked(x, kwargs)
        validation_data = kwargs.get("validation_data")
        if validation_data is not None and not isinstance(validation_data, tuple):
            kwargs["validation_data"] = self._checked(validation_data, {})
        elif validation_data is not None:
            self._checked(validation_data[0], {})
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measures the losses of the EMA network, like `keras.Model.evaluate`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # `fit` has checked its own
            x = self._checked(x, kwargs)
        return super().evaluate(x, *args, **kwargs)

    # Checks.

    def _check_batch_shape(self, images: Any) -> None:
        shape = tuple(getattr(images_of(images), "shape", ()))
        if len(shape) != 4 or any(s not in (None, w) for s, w in zip(shape[1:], self.image_shape)):
            raise ValueError(
                f"Expected images of shape (batch, {join_shape(self.image_shape)}). Received: {shape}"
            )

    def _checked(self, data: Any, options: dict[str, Any]) -> Any:
        """`data` as Keras takes them, once their first batch is seen to be images."""
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise ValueError(f"Expected no {name}: every image weighs the same.")
        batch = first_batch(data)
        if batch is not None:
            check_images(batch, self.image_shape)
        return with_batches_in_tuples(data)

    def _check_adapted(self) -> None:
        if not self.normalizer.adapted:
            raise ValueError(
                "Expected a normaliser that knows the mean and variance of the data. Received: "
                "one that was not adapted. Call `model.normalizer.adapt(images)` first."
            )


def _uses_float16(network: keras.Model) -> bool:
    return any(layer.compute_dtype == "float16" for layer in network._flatten_layers())
