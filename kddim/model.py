"""Diffusion model: a denoiser that trains with `fit`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kddim import ema as ema_average
from kddim import predictions
from kddim.denoiser import Denoiser, override_of
from kddim.feeding import Feeding
from kddim.labels import check_dropout
from kddim.latents import resolve_seed
from kddim.networks.adopt import copy_network
from kddim.networks.rematerialization import RematerializedNetwork
from kddim.objective import Regression
from kddim.plots import show_images
from kddim.power_tracking import PowerAverages
from kddim.registry import load_object


@keras.saving.register_keras_serializable(package="kddim")
class DiffusionModel(Feeding, Denoiser):  # type: ignore[misc]
    """Denoising diffusion implicit model (Song, Meng and Ermon, arXiv 2010.02502).

    Training: images -> normaliser -> mixed with noise at the rates of the schedule -> network
    -> loss -> exponential moving average (EMA) of the weights.

    Generation: noise -> sampler, step by step, through the EMA network -> predicted images of
    the last step -> denormalised images.

    The EMA network starts as a copy of the network. Its decay is `min(ema, (1 + n) / (10 + n))`
    after `n` training steps.
    Differs from keras.io: there it starts from random weights of its own and has a constant
    decay, so that a run of fewer than some thousand steps samples from random weights.

    Args:
        image_size: Side length in pixels, or `(height, width)`. With the default network both
            are divisible by `2**(len(widths) - 1)`.
        widths: Number of channels of each level of the residual UNet, the finest level first.
        block_depth: Number of residual blocks per level.
        channels: Number of channels of the images.
        num_classes: Number of classes of the images, at least 2. `fit` then takes batches `(images,
            labels)`, and `generate` takes labels. None is a model without labels.
        label_dropout: Share of the training images whose label is hidden, in [0, 1], so that the
            network also learns to predict without one, as classifier-free guidance needs.
        schedule: Name of a schedule ("cosine", "fine_cosine", "linear_beta", "log_snr_linear",
            "sigmoid", "nichol_dhariwal", "flow_matching", "geometric"), a
            `kddim.schedules.Schedule`, or its configuration.
        prediction_type: Quantity that the network predicts: "noise", "image", "velocity" or "flow".
        loss_type: Quantity that the loss compares: "noise", "image", "velocity" or "flow". None is
            `prediction_type`. `kddim.objective.Regression` has the details.
        ema: Decay of the moving average, in [0, 1).
        network: Keras model `[noisy_images, noise_variances (batch, 1, 1, 1)] -> prediction` of
            the shape of the images, instead of the residual UNet. `keras.models.clone_model`
            must be able to copy it. With classes, it has a third input, int32 labels `(batch,)`,
            negative for no label.
        remat: If true, training saves memory: it keeps only the tensors between residual blocks
            and computes the tensors inside the blocks again for the gradients. Each step takes
            longer.
        seed: Seed of the noises and times in training and validation. None draws a seed.
        dtype: Dtype policy of the residual UNet, such as "mixed_bfloat16". None is Keras'
            global policy. Normaliser, mixing and losses always compute in float32.
        name: Name of the model.

    Attributes:
        normalizer: Layer to adapt before training: `model.normalizer.adapt(dataset)`.
        network: The trained network.
        ema_network: Its moving average, which validates and generates.
        schedule: The `Schedule`.
        objective: The training objective, a `kddim.objective.Regression` by default.
        power_averages: Averages that training steps update besides, or None.
            `kddim.callbacks.PowerAverageCallback` sets them while it is used. They are no
            weights of the model, and its files do not hold them.

    Raises:
        ValueError: If an argument is out of range, or the network does not fit.

    Example:
        >>> train, validation = kddim.data.load("digits", 8)
        >>> model = kddim.DiffusionModel(8, widths=(32, 64, 96), channels=1)
        >>> model.normalizer.adapt(train)
        >>> model.compile()
        >>> model.fit(train, validation_data=validation, epochs=100)
        >>> images = model.generate(16, seed=0)
    """

    power_averages: PowerAverages | None = None
    _step_power_averages: PowerAverages | None = None  # of the last training function

    def __init__(
        self,
        image_size: int | tuple[int, int],
        widths: Sequence[int] = (32, 64, 96, 128),
        block_depth: int = 2,
        *,
        channels: int = 3,
        num_classes: int | None = None,
        label_dropout: float = 0.1,
        schedule: Any = "cosine",
        prediction_type: str = "noise",
        loss_type: str | None = None,
        ema: float = 0.999,
        network: keras.Model | None = None,
        remat: bool = False,
        seed: int | None = None,
        dtype: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            image_size,
            widths,
            block_depth,
            channels=channels,
            num_classes=num_classes,
            schedule=schedule,
            prediction_type=prediction_type,
            network=network,
            dtype=dtype,
            name=name,
        )
        self.loss_type = predictions.check(loss_type or prediction_type, "loss_type")
        self.objective: Any = Regression(self.loss_type)
        self.label_dropout = check_dropout(label_dropout)
        self.ema = ema_average.check(ema)
        self.seed = seed
        self.remat = bool(remat)
        self._rematerialized = RematerializedNetwork(self.network) if remat else None
        labelled = self.num_classes is not None
        self.ema_network = copy_network(self.network, self.image_shape, labelled)
        self.ema_steps = self.add_weight(
            name="ema_steps", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        # Backends differ in the seeds that they take. All of them take these.
        keras_seed = None if seed is None else resolve_seed(seed) % 2**31
        self.seed_generator = keras.random.SeedGenerator(keras_seed)
        self.validation_seed_generator = keras.random.SeedGenerator(keras_seed or 0)
        self.noise_loss_tracker = keras.metrics.Mean(name="n_loss")
        self.image_loss_tracker = keras.metrics.Mean(name="i_loss")

    @classmethod
    def from_preset(cls, preset: Any, *, dtype: Any = None, **options: Any) -> "DiffusionModel":
        """Return a trained model, ready for `generate` and for `fit`.

        Both networks start with the averaged weights, the normaliser has the statistics of the
        data that the model was trained on, and the model is compiled with the default optimiser.
        To train on other images, adapt the normaliser to them first.

        Args:
            preset: Name of a preset (`kddim.presets.names()`), path of a folder that
                `kddim.presets.pack` wrote, of a run folder or of a `.keras` file, or address
                "hf://user/repo" on the Hugging Face hub. A path that holds a model wins over the
                name of a preset.
            dtype: Dtype policy of the network, such as "mixed_bfloat16". None is Keras' global
                policy for a preset, and the saved policy for a run or a `.keras` file.
            **options: Other arguments of the constructor that do not change the network:
                `ema`, `loss_type`, `remat`, `seed` and `name`.

        Raises:
            ValueError: If there is no such preset, if it is damaged, or if an option is unknown.

        Example:
            >>> kddim.DiffusionModel.from_preset("flowers").generate(16, seed=0)
        """
        # Presets know run folders, and these know this class.
        load = load_object("kddim.presets.loading.from_preset")
        return load(cls, preset, dtype, **options)

    @Denoiser.trainable.setter
    def trainable(self, value: bool) -> None:
        """Set if the network is trained. The EMA network never is."""
        Denoiser.trainable.fset(self, value)
        self.ema_network.trainable = False

    @property
    def sampling_network(self) -> keras.Model:
        """Network that validates and generates: the moving average."""
        return self.ema_network

    def _training_network(self) -> Callable:
        if self.remat and self._rematerialized is None:
            self._rematerialized = RematerializedNetwork(self.network)
        return self._rematerialized or self.network

    def _forget_networks(self) -> None:
        super()._forget_networks()
        self._rematerialized = None

    def update_average(self) -> None:
        """Move the EMA network towards the network, after each training step."""
        ema_average.update(self.network, self.ema_network, self.ema, self.ema_steps)

    def _update_averages(self) -> None:
        self.update_average()
        if self.power_averages is not None:
            self.power_averages.update(self.network)

    @property
    def non_trainable_variables(self) -> list[Any]:
        """Variables that are not trained, with all other state that a training step changes."""
        found = super().non_trainable_variables
        return found if self.power_averages is None else [*found, *self.power_averages.variables]

    def make_train_function(self, force: bool = False) -> Any:
        """Compile `train_step`, again if it updates other averages than before.

        Args:
            force: If true, compile it again.
        """
        changed = self.power_averages is not self._step_power_averages
        self._step_power_averages = self.power_averages
        return super().make_train_function(force or changed)

    def averaged(self) -> Denoiser:
        """Return a `Denoiser` with a copy of the EMA network: the half that generates.

        Raises:
            ValueError: If `denoise` is overridden, which the copy would not do.
        """
        if override_of(self, Denoiser.denoise):
            raise ValueError(
                "Expected a model with the built-in `denoise`. Received: one that overrides it. "
                "Save the model itself."
            )
        return self._copy_average()

    def _copy_average(self) -> Denoiser:
        config = {**Denoiser.get_config(self), "schedule": self.schedule}
        if self.has_custom_network:
            labelled = self.num_classes is not None
            config["network"] = copy_network(self.ema_network, self.image_shape, labelled)
        for name in ("tuned_samplers", "class_names", "gaussian"):
            config.pop(name, None)
        average = Denoiser(**config)
        average.tuned_samplers, average.class_names = self.tuned_samplers, self.class_names
        average.gaussian = self.gaussian
        average.network.set_weights(self.ema_network.get_weights())
        average.normalizer.set_weights(self.normalizer.get_weights())
        return average

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Export `denoise` with the averaged weights, like `Denoiser.export`."""
        average = self._copy_average()
        if override_of(self, Denoiser.denoise):
            average.trained = self  # so that Keras knows the variables that it reads
            average.denoise = self.denoise  # type: ignore[method-assign]
        average.export(filepath, format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialised."""
        names = ("label_dropout", "loss_type", "ema", "remat", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}

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
        """Show a grid of generated images with Matplotlib.

        Usable as `keras.callbacks.LambdaCallback(on_epoch_end=model.plot_images)`.

        Args:
            epoch: Number of the epoch, counted from 0, for the title. None shows no title.
            logs: Ignored. Keras passes it.
            num_rows: Number of rows of the grid.
            num_cols: Number of columns of the grid.
            diffusion_steps: Number of steps, at least 1.
            sampler: Name or `kddim.samplers.Sampler`.
            seed: Seed of the images. None draws other images at each call, as the keras.io
                example does.
        """
        images = self.generate(num_rows * num_cols, diffusion_steps, sampler, seed=seed)
        show_images(images, num_cols, title="" if epoch is None else f"epoch {epoch + 1}")
