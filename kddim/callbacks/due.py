"""When a callback that acts every few epochs acts."""

import keras


def is_due(callback: keras.callbacks.Callback, epoch: int, every: int) -> bool:
    """Whether epoch `epoch` (from 0) is one of each `every`, or the last of the training.

    The last one is that of `fit(epochs=...)`, or the one in which a callback earlier in
    the list set `model.stop_training`.
    """
    last = epoch + 1 == callback.params.get("epochs") or callback.model.stop_training
    return last or (epoch + 1) % every == 0
