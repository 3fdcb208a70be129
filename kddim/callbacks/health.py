"""Health of a training: divergence, no progress, and the figures that show them early."""

import dataclasses
import logging
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kddim import ema, latents
from kddim.backend import to_numpy
from kddim.batches import first_batch, images_of
from kddim.callbacks.epochs import EpochCallback
from kddim.callbacks.loss_watch import LossWatch, is_bad
from kddim.callbacks.zero_loss import loss_of_zero
from kddim.data import ImageDataset
from kddim.files import atomic_write
from kddim.images import check_range
from kddim.ranges import alikeness

log = logging.getLogger("kddim")

BAD_BATCH = "bad_batch.npz"
_PROBE_IMAGES, _PROBE_STEPS = 2, 2


class DivergenceError(ValueError):
    """Training that diverged: a loss, a gradient, a weight or an image left all bounds.

    The message says the epoch, the step and what to try.
    """


class HealthCallback(EpochCallback):
    """Stop a training that diverges, report one that learns nothing, and log its figures.

    Training ends with a `DivergenceError` at the step whose loss or gradient is not finite, or
    whose loss is 10,000 times as large as the larger of two others: the loss of predicting
    zero, and the loss of the first step. (With a loss that has peaks, such as the mean squared
    error of the images, peaks of a few thousand times these losses were seen to pass.) It also
    ends after an epoch with a validation loss, a weight or a generated image that is not
    finite, or with a `val_kid` that is NaN.

    A line in the log reports, once, that the steps 51 to 100 had a mean loss of at least 0.99
    times that of predicting zero. Another line reports images that are all alike.

    The logs of an epoch receive `gradient_norm` (mean over the steps of the global L2 norm of
    the gradients), `learning_rate`, `ema_distance` (L2 distance of the averaged weights from
    the trained ones, relative to the latter) and `images_per_second` (of training without
    validation, and without the first step, which compiles). A subclass that computes gradients
    itself in `train_step` has no `gradient_norm` and no `images_per_second`.

    Put it behind `KIDCallback` and `TimeLimitCallback`, and before the callbacks that save or
    draw, so that they never see a diverged model.

    Args:
        directory: Folder that receives `bad_batch.npz` if training diverges at a step: the
            array `images`, the batch of that step. None writes no file.
        train_data: The `kddim.data.ImageDataset` whose batches are kept. None is the training
            data of `fit`. The batches of other kinds of data are not known afterwards.

    Example:
        >>> health = kddim.callbacks.HealthCallback("runs/mine")
        >>> model.fit(train, epochs=50, callbacks=[kid, health])
    """

    def __init__(
        self,
        directory: str | os.PathLike | None = None,
        train_data: ImageDataset | None = None,
    ):
        super().__init__()
        self.directory = None if directory is None else Path(directory)
        self.train_data = train_data
        self.watch = LossWatch()
        self._data: Any = train_data
        self._asked: Any = None  # the model that was asked to log the norm of its gradients
        self._position: int | None = None  # epoch of which steps were seen
        self._norms: list[float] = [0.0, 0.0]  # their sum and number in this epoch
        self._restored = False
        self._forget_speed()

    def _forget_speed(self) -> None:
        self._first_end, self._last_end = (0, 0.0), (0, 0.0)  # pairs of step and time
        self._images: float | None = None

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callback, as JSON values."""
        state = {"epochs": self.epochs, "position": self._position, "norms": list(self._norms)}
        return state | {"watch": dataclasses.asdict(self.watch)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over the state that `get_state` returned in another process."""
        self.epochs, self._position = state["epochs"], state["position"]
        self._norms = list(state["norms"])
        self.watch = LossWatch(**state["watch"])
        self._restored = True

    def before_fit(self, model: keras.Model, data: Any, callbacks: list[Any]) -> None:
        """Take note of the data, and ask the model for the norm of its gradients.

        Args:
            model: Model that trains.
            data: Training data of `fit`.
            callbacks: All callbacks of `fit`.
        """
        self._data = data if self.train_data is None else self.train_data
        self._asked = model
        model.logs_gradient_norm = True

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Look at the data, unless the training is resumed."""
        super().on_train_begin(logs)
        if not self._restored:
            self._position = None
            self._look_at_data()
        self._restored = False

    def _look_at_data(self) -> None:
        """Compute the loss of predicting zero, and report images that are all alike."""
        images = None if self._data is None else first_batch(self._data)
        if images is None:  # a generator: noise has the statistics of normalised images
            noise = latents.initial_noise(64, self.model.image_shape, seed=0)
            images = to_numpy(self.model.normalizer.denormalize(noise))
        self.watch.level = loss_of_zero(self.model, images[:256])
        known = self._data.images if isinstance(self._data, ImageDataset) else to_numpy(images)
        if reason := alikeness(known):
            log.warning("%s: a model can only learn to repeat them. Look at the images.", reason)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begin to watch the losses of an epoch, unless a resumed training is within it."""
        super().on_epoch_begin(epoch, logs)
        self._forget_speed()
        if epoch != self._position:  # else a resumed training is within this epoch
            self._position, self._norms = epoch, [0.0, 0.0]
            self.watch.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Watch the loss and the gradients of a step, and end training if it diverged."""
        logs, step = logs or {}, batch + 1
        if step <= self.watch.seen:  # a resumed training passes over the steps done before
            return
        self._last_end = (step, time.perf_counter())
        self._first_end = self._first_end if self._first_end[0] else self._last_end
        own = self.watch.note(step, logs.get("loss", 0.0))
        if reason := self._sickness(own, logs):
            raise DivergenceError(self._divergence(reason, step, logs))
        if "gradient_norm" in logs and not is_bad(logs["gradient_norm"]):
            self._norms = [self._norms[0] + logs["gradient_norm"], self._norms[1] + 1.0]
        if not self.watch.judged and (late := self.watch.late_loss()) is not None:
            self.watch.judged = True
            self._judge(late)

    def _sickness(self, own: float, logs: dict[str, float]) -> str | None:
        """Return what a step should have had and what it had, or None for a healthy step."""
        for name in ("loss", "n_loss"):
            if is_bad(logs.get(name)):
                return f"Expected a finite loss. Received: {logs[name]}"
        if self.watch.is_exploded(own):
            return (
                f"Expected a finite loss, near the {self.watch.level:.3g} of predicting zero. "
                f"Received: {own:.3g}"
            )
        scaled = isinstance(self._model.optimizer, keras.optimizers.LossScaleOptimizer)
        if is_bad(logs.get("gradient_norm")) and not scaled:  # scaling passes over such steps
            return f"Expected finite gradients. Received: a norm of {logs['gradient_norm']}"
        return None

    def _divergence(self, reason: str, step: int, logs: dict[str, float]) -> str:
        """Return the message of a divergence at a step, and keep the batch of the step."""
        epoch = 0 if self._position is None else self._position
        place = f"in epoch {epoch + 1} at step {step}, with learning rate {self._learning_rate:g}"
        if not is_bad(norm := logs.get("gradient_norm")) and norm is not None:
            place += f" and gradient norm {norm:.3g}"
        return f"{reason} {place}. {self._advice()}{self._keep_batch(step - 1)}"

    def _advice(self) -> str:
        layers = self.model.network._flatten_layers()
        dtypes = {layer.compute_dtype for layer in layers} & {"float16", "bfloat16"}
        dtype = f", or the dtype float32 instead of {' and '.join(sorted(dtypes))}"
        return f"The training diverged. Try a smaller learning rate{dtype if dtypes else ''}."

    def _keep_batch(self, step: int) -> str:
        """Write the batch of a step, counted from 0, and return a sentence about it."""
        if not isinstance(self._data, ImageDataset):
            return ""
        images = images_of(self._data[step])
        found = ""
        if self.directory is not None:
            with atomic_write(self.directory / BAD_BATCH) as partial:
                np.savez(partial, images=images)
            found = f" Look at the images of this step, {self.directory / BAD_BATCH}."
        try:
            check_range(images)
        except ValueError as error:
            found += f" The images of this step: {error}"
        return found

    def _judge(self, late: float) -> None:
        """Report that the first steps taught the model nothing."""
        if self.watch.is_stuck():
            log.warning(
                "after %d steps the loss is %.3g, and predicting zero gives %.3g: the model has "
                "learned nothing so far. Look at the learning rate (%g), at the images, and at "
                "layers that are not trained.",
                *(self.watch.steps, late, self.watch.level, self._learning_rate),
            )

    @property
    def _learning_rate(self) -> float:
        return float(to_numpy(self.model.optimizer.learning_rate))

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Take note of the number of images, which validation resets."""
        if self._images is None:  # validation resets the metric
            self._images = float(to_numpy(self.model.noise_loss_tracker.count.value))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Put the figures into the logs, and end training if the model diverged. Keras calls it."""
        self.count(epoch)
        self.on_test_begin()
        found = logs if logs is not None else {}
        found |= self._figures()
        if reason := self._sickness_of_model(found):
            raise DivergenceError(f"{reason} after epoch {epoch + 1}. {self._advice()}")
        self._position = None

    def _figures(self) -> dict[str, float]:
        found = {
            "learning_rate": self._learning_rate,
            "ema_distance": ema.distance(self.model.network, self.model.ema_network),
        }
        if not self._norms[1]:
            return found
        found["gradient_norm"] = self._norms[0] / self._norms[1]
        if self._last_end[0]:  # else a resumed training had only the end of the epoch left
            found["images_per_second"] = self._speed()
        return found

    def _speed(self) -> float:
        (first, start), (last, end) = self._first_end, self._last_end
        if last == first:
            first, start = first - 1, self.epoch_start
        images = (self._images or 0.0) * (last - first) / max(self.watch.seen, 1)
        return images / max(end - start, 1e-9)

    def _sickness_of_model(self, logs: dict[str, float]) -> str | None:
        """Return what an epoch should have had and what it had, or None for a healthy one."""
        for name in ("val_loss", "val_n_loss"):
            if is_bad(logs.get(name)):
                return f"Expected a finite {name}. Received: {logs[name]}"
        for network in (self.model.network, self.model.ema_network):
            for variable in network.variables:
                if not np.isfinite(to_numpy(variable.value)).all():
                    return f"Expected finite weights. Received: NaN or infinity in {variable.path}"
        kid = logs.get("val_kid")
        if kid is not None and kid != kid:
            return "Expected a finite val_kid. Received: nan"
        if kid is None and not self._generates():
            return "Expected finite images. Received: NaN or infinity in generated images"
        return None

    def _generates(self) -> bool:
        """Return True if the model generates finite images, in two steps."""
        noise = latents.initial_noise(_PROBE_IMAGES, self.model.image_shape, seed=0)
        images = self.model.reverse_diffusion(noise, _PROBE_STEPS)
        return bool(np.isfinite(to_numpy(images)).all())

    def on_train_end(self, logs: dict | None = None) -> None:
        """Ask for the norm of the gradients no longer."""
        self.close()

    def close(self) -> None:
        """Ask for the norm of the gradients no longer. `DiffusionModel.fit` calls it, too."""
        if self._asked is not None:
            self._asked.logs_gradient_norm = False
            self._asked = None
