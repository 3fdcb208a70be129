"""Clock of training steps, for benchmarks."""

import time

import keras


class StepClock(keras.callbacks.Callback):
    """Times at which steps of `fit` end, in seconds.

    Attributes:
        ends: Times of the steps so far. Clear it before another call of `fit`.
    """

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits for the step
        self.ends.append(time.perf_counter())
