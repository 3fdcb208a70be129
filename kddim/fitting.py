"""Keras' hooks of a model that trains: images to a loss, with an objective."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kddim import backend, gradients
from kddim.batches import images_and_labels
from kddim.checks import check_batch
from kddim.denoiser import override_of
from kddim.generation import labels_or_none
from kddim.labels import NO_LABEL
from kddim.metrics.direction import LowerIsBetter
from kddim.objective import Regression

_KID = LowerIsBetter("kid")  # `KIDCallback` puts its values into the logs


@dataclasses.dataclass(frozen=True)
class BatchDenoiser:
    """The denoiser that an objective receives for a batch: `(pred_noises, pred_images)` of it.

    Attributes:
        denoise: Method `denoise` of the model.
        training: True in a training step.
        labels: Integer labels `(batch,)` that the network sees, negative where they are hidden.
            None for a model without classes.
    """

    denoise: Callable[..., tuple[Any, Any]]
    training: bool
    labels: Any = None

    def __call__(self, noisy_images: Any, noise_rates: Any, signal_rates: Any) -> tuple[Any, Any]:
        given = {} if self.labels is None else {"labels": self.labels}
        arguments = noisy_images, noise_rates, signal_rates
        return self.denoise(*arguments, training=self.training, **given)


class Fitting(keras.Model):
    """Methods that Keras calls in `compile` and in the steps of training and validation.

    They hold no state. The class that inherits them provides the attributes below.

    Attributes:
        logs_gradient_norm: If true, the logs of training steps hold `gradient_norm`, the global
            L2 norm of the gradients. `HealthCallback` sets it while it is used.
    """

    logs_gradient_norm = False
    _step_logs_gradient_norm = False  # of the training function that was made last

    image_shape: tuple[int, int, int]
    network: Any
    normalizer: Any
    schedule: Any
    diffusion_schedule: Callable[[Any], tuple[Any, Any]]
    denoise: Callable[..., tuple[Any, Any]]
    denormalize: Callable[[Any], Any]
    loss_type: str
    objective: Any
    seed_generator: keras.random.SeedGenerator
    validation_seed_generator: keras.random.SeedGenerator
    noise_loss_tracker: keras.metrics.Metric
    image_loss_tracker: keras.metrics.Metric
    _update_averages: Callable[[], None]

    num_classes: int | None
    label_dropout: float

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Metrics of the model, and the direction of `val_kid` for Keras' callbacks."""
        return [*super().metrics, _KID]

    def compile(
        self, optimizer: Any = None, loss: Any = None, *, objective: Any = None, **kwargs: Any
    ) -> None:
        """Configure training, like `keras.Model.compile`.

        Args:
            optimizer: Keras optimiser. None is the keras.io example's
                `AdamW(learning_rate=1e-3, weight_decay=1e-4)`.
            loss: Keras loss per pixel. None is the example's mean absolute error, which is
                `sqrt(2 / pi) = 0.798` for a network that predicts zero noise.
            objective: Training objective, such as a `kddim.objective.Regression`: the
                quantities that the loss compares, and the noises and times of a step. None
                is `Regression(loss_type)`.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: If `metrics` are given. The logs are `loss`, `n_loss` and `i_loss`, and
                image metrics are callbacks (`kddim.callbacks.KIDCallback`).
        """
        metrics = kwargs.get("metrics") or kwargs.get("weighted_metrics")
        if metrics:
            raise ValueError(
                "Expected no `metrics`: the losses of noise and image are tracked already, and "
                "image metrics are callbacks, such as kddim.callbacks.KIDCallback. "
                f"Received: {metrics}"
            )
        if optimizer is None:
            optimizer = keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-4)
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        dtypes = {layer.compute_dtype for layer in self.network._flatten_layers()}
        if kwargs.get("auto_scale_loss", True) and "float16" in dtypes and not scaled:
            # Keras looks at the policy of the model, which is float32 here.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        # A function, so that the keras.io example's `train_step` can call `self.loss`.
        loss = keras.losses.mean_absolute_error if loss is None else loss
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        self._set_objective(objective or Regression(self.loss_type))
        self._pixel_loss = keras.losses.get(loss)
        if not self.optimizer.built:  # so that a file saved before training is complete
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, serialised. An objective needs `get_config`."""
        config = super().get_compile_config()
        objective = getattr(self.objective, "for_files", self.objective)
        if config and hasattr(objective, "get_config"):
            config["objective"] = keras.saving.serialize_keras_object(objective)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with the arguments that `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save the model in a `.keras` file, as `Denoiser.save` does.

        An objective that has an attribute `for_files`, such as a distillation with its teacher,
        is replaced by it in the file.
        """
        kept = self.objective
        if not hasattr(kept, "for_files"):
            super().save(filepath, *args, **kwargs)  # type: ignore[misc]
            return
        try:
            self._set_objective(kept.for_files)
            super().save(filepath, *args, **kwargs)  # type: ignore[misc]
        finally:
            self._set_objective(kept)

    def _set_objective(self, objective: Any) -> None:
        """Replace the objective. Keras and PyTorch forget one that is a layer."""
        known = getattr(self, "objective", None)
        for index, layer in enumerate(self._layers):
            if layer is known:  # it would be saved as one of `layers`
                del self._layers[index]
                break
        if "objective" in self.__dict__.get("_modules", {}):  # with PyTorch
            del self.objective
        self.objective = objective

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        """Mix images with noise at drawn times, and denoise them.

        Args:
            images: Images in [0, 1], `(batch, height, width, channels)`, or `(images, labels)`
                with integer labels `(batch,)`. A model without classes ignores labels.
            training: If true, draws fresh noises and times and uses `network`. If false, uses
                the EMA network, with noises fixed by the seed and times that are stratified
                over the schedule, unless `draw` is overridden.

        Returns:
            Tensors by name, as `objective.examples` returns them.
        """
        images, given = images_and_labels(images)
        check_batch("images", getattr(images, "shape", ()), self.image_shape)
        images = self.normalizer(images)
        labels = self._labels_seen(given, images, training)
        if training or override_of(self, Fitting.draw):
            noises, times = self.draw(images)
        else:
            seeds = self.validation_seed_generator
            noises, times = self.objective.draw_validation(images, self.schedule, seeds)
        denoise = BatchDenoiser(self.denoise, training, labels)
        return self.objective.examples(denoise, self.diffusion_schedule, images, noises, times)

    def _labels_seen(self, labels: Any, images: Any, training: bool) -> Any:
        """Return the labels that the network sees, or None for a model without classes.

        In training, a label is hidden with probability `label_dropout`.
        """
        if self.num_classes is None:
            return None
        labels = labels_or_none(labels, ops.shape(images)[0])
        if training and self.label_dropout > 0.0:
            draws = backend.rows_of_replica(
                lambda number: keras.random.uniform((number,), seed=self.seed_generator),
                ops.shape(labels)[0],
            )
            labels = ops.where(draws < self.label_dropout, NO_LABEL, labels)
        return labels

    def draw(self, images: Any) -> tuple[Any, Any]:
        """Draw the noises and times of one training step.

        Backends draw different numbers from one seed. Override this method to train and
        validate on noises and times of your own.

        Args:
            images: Normalised images, `(batch, height, width, channels)`.

        Returns:
            Standard normal noises of the shape of the images, and diffusion times
            `(batch, 1, 1, 1)`.
        """
        return self.objective.draw(images, self.schedule, self.seed_generator)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of the objective, plus the regularisation of the network."""
        if sample_weight is not None:
            raise ValueError("Expected no sample_weight: every image weighs the same.")
        loss = self.objective.loss(y_pred, self._pixel_loss)
        loss = loss + sum(self.losses) if self.losses else loss
        # Keras adds the gradients of all devices, and multiplies the loss that it shows.
        return loss / backend.num_devices() if backend.in_replica() else loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update `n_loss` and `i_loss`, the losses of noise and image."""
        batch_size = ops.shape(y_pred["images"])[0]
        for tracker, kind in (
            (self.noise_loss_tracker, "noises"),
            (self.image_loss_tracker, "images"),
        ):
            loss = ops.mean(self._pixel_loss(y_pred[kind], y_pred["pred_" + kind]))
            tracker.update_state(loss, sample_weight=batch_size)
        return self.get_metrics_result()

    def train_step(self, *args: Any) -> Any:
        """Run one step of the objective, then update the moving average."""
        wanted = self.logs_gradient_norm and self.optimizer is not None
        record = gradients.record_norm if wanted else _record_nothing
        with record(self.optimizer) as norms:
            result = super().train_step(*self._with_labels(args))
        result = backend.update_after_train_step(self, result, self._update_averages)
        result = gradients.add_log(result, "gradient_norm", norms[0]) if norms else result
        return backend.logs_of_step(result)

    def test_step(self, *args: Any) -> Any:
        """Measure the losses of one batch with the moving average."""
        return backend.logs_of_step(super().test_step(*self._with_labels(args)))

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build the optimiser before the first step, where Keras does so by a first batch.

        Keras averages that batch over all devices, which TensorFlow cannot for several hosts.
        """
        if not backend.in_hosts():
            super()._maybe_symbolic_build(*args, **kwargs)
        elif not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def _with_labels(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a step with the labels of the batch beside its images.

        Keras gives a model only the first part of a batch, the images.
        """
        *state, batch = args
        if self.num_classes is None or not isinstance(batch, (tuple, list)) or len(batch) < 2:
            return args
        images, labels, *weights = batch
        return (*state, ((images, labels), None, *weights))

    def predict_step(self, *args: Any) -> Any:
        """Return the predicted images of one batch, normalised."""
        result = super().predict_step(*self._with_labels(args))
        if isinstance(result, tuple):  # with JAX, the state is behind them
            return result[0]["pred_images"], result[1]
        return result["pred_images"]

    def make_train_function(self, force: bool = False) -> Any:
        """Compile `train_step`, once the normaliser is adapted.

        Args:
            force: If true, compile it again. It is also compiled again if its logs change.
        """
        self._check_adapted()
        force = force or self.logs_gradient_norm != self._step_logs_gradient_norm
        self._step_logs_gradient_norm = self.logs_gradient_norm
        return super().make_train_function(force)

    def make_test_function(self, *args: Any, **kwargs: Any) -> Any:
        """Compile `test_step`, once the normaliser is adapted."""
        self._check_adapted()
        return super().make_test_function(*args, **kwargs)

    def _check_adapted(self) -> None:
        if not self.normalizer.adapted:
            raise ValueError(
                "Expected a normaliser that knows the mean and variance of the data. Received: "
                "one that was not adapted. Call `model.normalizer.adapt(images)` first."
            )


def _record_nothing(optimizer: Any) -> contextlib.AbstractContextManager[list[Any]]:
    return contextlib.nullcontext([])
