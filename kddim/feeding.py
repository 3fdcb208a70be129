"""Methods that take data from a user: `fit`, `evaluate` and `predict`, with their checks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kddim import backend
from kddim.batches import first_pair, images_and_labels, part_of_process, with_batches_in_tuples
from kddim.fitting import Fitting
from kddim.images import check_images
from kddim.labels import check_batch_labels


class Feeding(Fitting):
    """Methods that look at images and labels before Keras takes them."""

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train on batches of images, like `keras.Model.fit`.

        Args:
            x: Images in [0, 1]: a NumPy array or tensor, `tf.data`, `keras.utils.PyDataset`, or
                a torch `DataLoader`. A model with classes needs integer labels beside them:
                `fit(images, labels)`, or batches `(images, labels)`. Other models ignore labels.
            *args: Other arguments of `keras.Model.fit`.
            **kwargs: Other arguments of `keras.Model.fit`.

        Returns:
            Keras' `History`, with `loss` (the quantity that is minimised), `n_loss` and
            `i_loss` (the losses of noise and image), and `val_` in front for validation.
            With the default objective `loss` equals `n_loss`.

        Raises:
            ValueError: If `model.normalizer` was not adapted, or if the images have another
                size than those of the model or leave [0, 1], or if labels are missing or do not
                fit the classes of the model. All images of an array are checked, and the first
                batch of a data set.
        """
        x = self._checked(x, kwargs, *args[:1])
        validation_data = kwargs.get("validation_data")
        if isinstance(validation_data, tuple):
            self._checked(validation_data[0], {}, *validation_data[1:2])
        elif validation_data is not None:
            kwargs["validation_data"] = self._checked(validation_data, {})
        if hasattr(x, "set_state"):
            # Such a data set shuffles itself. Keras would shuffle its batches again, in an order
            # that a resumed training cannot repeat.
            kwargs.setdefault("shuffle", False)
        callbacks = _callbacks_of(kwargs["callbacks"] if "callbacks" in kwargs else args[4:5])
        if hasattr(self.objective, "begin_epoch"):
            args, kwargs = _with_callback(args, kwargs, _BeginEpoch())
        for callback in callbacks:
            if hasattr(callback, "before_fit"):
                callback.before_fit(self, x, callbacks)
        try:
            return super().fit(part_of_process(x), *args, **kwargs)
        finally:  # Keras ends no callback after an error
            for callback in callbacks:
                if hasattr(callback, "close"):
                    callback.close()

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measure the losses of the EMA network, like `keras.Model.evaluate`.

        The noises depend only on the seed, and the times are stratified. The same images
        therefore give the same losses at each call.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # `fit` has checked its own
            x = self._checked(x, kwargs, *args[:1])
        self._restart_validation()
        with backend.undivided_batches():
            return super().evaluate(x, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Add noise to images and return the images that the EMA network predicts.

        The network is called once per image, with the noises and times of validation, so the
        images show the predictions that `evaluate` measures. `generate` makes new images, and
        `reconstruct` encodes and decodes.

        Args:
            x: Images in [0, 1], as in `fit`.
            *args: Other arguments of `keras.Model.predict`.
            **kwargs: Other arguments of `keras.Model.predict`.

        Returns:
            NumPy float32 images in [0, 1], of the shape of the given images.
        """
        self._check_adapted()
        self._restart_validation()
        data = self._checked(x, kwargs, needs_labels=False)
        with backend.undivided_batches():
            normalised = super().predict(data, *args, **kwargs)
        return backend.to_numpy(self.denormalize(normalised))

    def _restart_validation(self) -> None:
        state = self.validation_seed_generator.state  # of a seed and a number of draws
        state.assign(state.value * ops.convert_to_tensor([1, 0], dtype=state.dtype))

    def _checked(
        self, data: Any, options: dict[str, Any], labels: Any = None, needs_labels: bool = True
    ) -> Any:
        """Return `data` as Keras takes it, after a look at its first batch."""
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise ValueError(f"Expected no {name}: every image weighs the same.")
        batch = first_pair(data)
        if batch is not None:
            images, found = images_and_labels(batch)
            check_images(images, self.image_shape)
            if self.num_classes is not None and needs_labels:
                given = [v for v in (labels, options.get("y"), found) if v is not None]
                values = backend.to_numpy(given[0]) if given else None
                check_batch_labels(values, len(images), self.num_classes)
        return with_batches_in_tuples(data)


class _BeginEpoch(keras.callbacks.Callback):
    """Callback that tells the objective of a model that an epoch begins."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.objective.begin_epoch(epoch)


def _with_callback(args: tuple, kwargs: dict[str, Any], callback: Any) -> tuple[tuple, dict]:
    """Return the arguments of `fit` behind the images, with another callback."""
    given = args[4] if len(args) > 4 else kwargs.get("callbacks")
    if isinstance(given, keras.callbacks.CallbackList):
        given.append(callback)
        return args, kwargs
    callbacks = [callback, *_callbacks_of(given)]
    if len(args) > 4:
        return (*args[:4], callbacks, *args[5:]), kwargs
    return args, kwargs | {"callbacks": callbacks}


def _callbacks_of(given: Any) -> list[Any]:
    """Return the callbacks of `fit`, given as a list, a `CallbackList`, one callback or None."""
    if isinstance(given, tuple):  # the positional argument, if there is one
        return _callbacks_of(given[0]) if given else []
    given = getattr(given, "callbacks", given)
    return list(given) if isinstance(given, list) else [given] if given else []
