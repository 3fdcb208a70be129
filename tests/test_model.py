"""`DiffusionModel`: training, generation, checks."""

import keras
import numpy as np
import pytest
from conftest import make_model
from keras import ops

import kddim
from kddim.backend import to_numpy

pytestmark = pytest.mark.backend


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels)."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return len(self.images) // 16

    def __getitem__(self, index):
        return self.images[16 * index : 16 * (index + 1)], np.zeros(16)


def test_fit_logs_the_losses_of_noise_and_image(model, images):
    history = model.fit(images, batch_size=16, epochs=2, validation_data=images[:32], verbose=0)
    expected = {"loss", "n_loss", "i_loss"}
    assert set(history.history) == expected | {f"val_{name}" for name in expected}
    assert all(np.isfinite(v).all() for v in history.history.values())


def test_an_untrained_network_predicts_zero_noise(images):
    model = kddim.DiffusionModel(16, (8, 16), 1)
    model.normalizer.adapt(images)
    model.compile()
    n_loss = model.evaluate(images, batch_size=64, verbose=0, return_dict=True)["n_loss"]
    assert abs(n_loss - np.sqrt(2 / np.pi)) < 0.02


def test_training_lowers_the_loss(images):
    model = kddim.DiffusionModel(16, (16, 32), 1, seed=0)
    model.normalizer.adapt(images)
    model.compile()
    losses = model.fit(images, batch_size=16, epochs=25, verbose=0).history["n_loss"]
    assert losses[0] > 0.7
    assert losses[-1] < 0.45


@pytest.mark.parametrize("kind", ["labels", "dataset", "torch", "bare loader", "tf"])
def test_fit_takes_every_kind_of_data(model, images, kind):
    data = {"labels": (images, np.zeros(64)), "dataset": (Batches(images),)}
    if kind == "torch":
        torch = pytest.importorskip("torch")
        tensors = torch.utils.data.TensorDataset(torch.tensor(images), torch.zeros(64))
        data["torch"] = (torch.utils.data.DataLoader(tensors, batch_size=16),)
    if kind == "bare loader":
        torch = pytest.importorskip("torch")
        data[kind] = (torch.utils.data.DataLoader(torch.tensor(images), batch_size=16),)
    if kind == "tf":
        tf = pytest.importorskip("tensorflow")
        data["tf"] = (tf.data.Dataset.from_tensor_slices(images).batch(16),)
    before = model.network.get_weights()
    model.normalizer.adapt(data[kind][0])
    history = model.fit(*data[kind], epochs=1, verbose=0)
    assert np.isfinite(history.history["n_loss"][0])
    assert not np.allclose(before[0], model.network.get_weights()[0])


def test_the_ema_starts_as_a_copy_and_is_not_trained(images):
    model = kddim.DiffusionModel(16, (8, 16), 1)
    for weight, average in zip(model.network.get_weights(), model.ema_network.get_weights()):
        np.testing.assert_array_equal(weight, average)
    assert not model.ema_network.trainable_weights
    assert len(model.trainable_weights) == len(model.network.trainable_weights)


def test_each_step_moves_the_ema_by_its_decay(model, images):
    """Decay min(ema, (1 + n) / (10 + n)) after n steps, statistics of batches included."""
    expected = model.ema_network.get_weights()
    for step in range(3):
        model.fit(images[:16], batch_size=16, epochs=1, verbose=0)
        decay = min(model.ema, (1 + step) / (10 + step))
        weights = model.network.get_weights()
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights)]
        for actual, wanted in zip(model.ema_network.get_weights(), expected):
            np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=1e-6)
    assert int(model.ema_steps) == 3


def test_a_low_decay_is_reached_after_the_warm_up(images):
    model = make_model(images, ema=0.05)
    model.fit(images[:32], batch_size=16, epochs=1, verbose=0)
    before = model.ema_network.get_weights()[0]
    model.fit(images[:16], batch_size=16, epochs=1, verbose=0)
    wanted = 0.05 * before + 0.95 * model.network.get_weights()[0]
    np.testing.assert_allclose(model.ema_network.get_weights()[0], wanted, rtol=1e-4, atol=1e-6)


def test_evaluation_uses_the_ema_and_training_the_network(model):
    noisy = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype("float32")
    noise_rate = np.full((2, 1, 1, 1), 0.6, "float32")
    signal_rate = np.full((2, 1, 1, 1), 0.8, "float32")
    model.ema_network.set_weights([0 * w for w in model.ema_network.get_weights()])
    pred_noises, pred_images = model.denoise(noisy, noise_rate, signal_rate, training=False)
    np.testing.assert_array_equal(to_numpy(pred_noises), 0.0)
    np.testing.assert_allclose(to_numpy(pred_images), noisy / 0.8, rtol=1e-6)
    trained, _ = model.denoise(noisy, noise_rate, signal_rate, training=True)
    assert np.abs(to_numpy(trained)).max() > 0.01


@pytest.mark.parametrize("prediction_type", ["noise", "image", "velocity"])
def test_prediction_types_split_what_they_target(prediction_type):
    from kddim import predictions

    random = np.random.default_rng(0)
    noises, images = random.standard_normal((2, 5, 4, 4, 3))
    angle = random.uniform(0.2, 1.4, (5, 1, 1, 1))
    noise_rates, signal_rates = np.sin(angle), np.cos(angle)
    noisy = noise_rates * noises + signal_rates * images
    target = predictions.target(prediction_type, noises, images, noise_rates, signal_rates)
    found = predictions.split(prediction_type, target, noisy, noise_rates, signal_rates)
    np.testing.assert_allclose(found, [noises, images], atol=1e-12)


@pytest.mark.parametrize("prediction_type", ["image", "velocity"])
def test_other_prediction_types_train(images, prediction_type):
    model = make_model(images, prediction_type=prediction_type)
    history = model.fit(images, batch_size=16, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert history["loss"][0] != history["n_loss"][0]


@pytest.mark.parametrize("shape", [(8, 16, 1), (24, 8, 5), (12, 12, 3)])
def test_any_channels_and_rectangles(shape):
    images = np.random.default_rng(0).random((16, *shape)).astype("float32")
    model = make_model(images, widths=(8, 8, 8))
    model.fit(images, batch_size=8, epochs=1, verbose=0)
    assert model.generate(2, 2, seed=0).shape == (2, *shape)


@pytest.mark.parametrize("sampler", ["ddim", kddim.samplers.DDIM(eta=1.0)])
def test_a_seed_gives_its_images_whatever_the_batch_size(model, sampler):
    whole = model.generate(7, 4, sampler, seed=3)
    assert whole.dtype == np.float32
    assert whole.min() >= 0.0
    assert whole.max() <= 1.0
    assert whole.std() > 0.05
    # Another batch size is another order of summation: rounding, a few units of 1e-6 a step.
    for number, batch_size in ((7, 3), (2, 64)):
        some = model.generate(number, 4, sampler, seed=3, batch_size=batch_size)
        np.testing.assert_allclose(some, whole[:number], atol=1e-4)
    assert np.abs(model.generate(7, 4, sampler, seed=4) - whole).mean() > 0.01


def test_generate_is_the_noise_of_the_seed_denoised(model):
    noise = kddim.latents.initial_noise(3, (16, 16, 3), seed=9)
    images = model.generate(3, 5, seed=9)
    np.testing.assert_allclose(model.generate(3, 5, initial_noise=noise), images, atol=1e-6)
    pred_images = model.reverse_diffusion(noise, 5)
    assert ops.is_tensor(pred_images)
    np.testing.assert_allclose(to_numpy(model.denormalize(pred_images)), images, atol=1e-6)


def test_generation_follows_training(model, images):
    """The compiled step reads the weights as they are, not as they were."""
    before = model.generate(2, 3, seed=0)
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    after = model.generate(2, 3, seed=0)
    assert np.abs(before - after).max() > 1e-3
    model.normalizer.adapt(0.5 * images)
    assert np.abs(model.generate(2, 3, seed=0) - after).max() > 1e-3


def test_normaliser_gives_zero_mean_and_unit_variance(model, images):
    normalised = to_numpy(model.normalizer(images))
    np.testing.assert_allclose(normalised.mean((0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(normalised.std((0, 1, 2)), 1.0, atol=1e-5)
    np.testing.assert_allclose(to_numpy(model.denormalize(normalised)), images, atol=1e-6)
    assert to_numpy(model.denormalize(10 * normalised)).max() == 1.0
    mean = to_numpy(model.normalizer.mean).ravel()
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-5)


def test_diffusion_schedule_gives_tensors_of_the_times_shape(model):
    noise_rates, signal_rates = model.diffusion_schedule(np.full((4, 1, 1, 1), 0.5))
    assert tuple(noise_rates.shape) == (4, 1, 1, 1)
    np.testing.assert_allclose(to_numpy(noise_rates**2 + signal_rates**2), 1.0, atol=1e-6)


def test_a_custom_network_takes_the_place_of_the_unet(images):
    noisy, variances = keras.Input((16, 16, 3)), keras.Input((1, 1, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(noisy)
    x = keras.layers.Multiply()([x, variances])
    network = keras.Model([noisy, variances], keras.layers.Conv2D(3, 1)(x))
    model = kddim.DiffusionModel(16, network=network)
    assert model.network is network
    model.normalizer.adapt(images)
    model.compile()
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    assert model.generate(2, 2, seed=0).shape == (2, 16, 16, 3)


def test_interpolation_ends_are_the_images_of_the_noises(model):
    start, end = kddim.latents.initial_noise(2, (16, 16, 3), seed=0)
    path = model.interpolate(start, end, num_images=5, diffusion_steps=4)
    assert path.shape == (5, 16, 16, 3)
    ends = model.generate(2, 4, initial_noise=np.stack([start, end]))
    np.testing.assert_allclose(path[[0, -1]], ends, atol=1e-5)
    assert np.abs(path[2] - path[0]).max() > 1e-3


@pytest.fixture(scope="module")
def gaussian_model():
    """The best denoiser of standard normal images, and such images."""
    noisy, variances = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    network = keras.Model([noisy, variances], noisy * ops.sqrt(variances))
    model = kddim.DiffusionModel(8, channels=1, network=network)
    images = np.random.default_rng(0).random((5, 8, 8, 1)).astype("float32")
    model.normalizer.adapt(images)
    return model, images


@pytest.mark.parametrize("schedule", [None, "linear_beta"])
def test_reconstruction_error_falls_to_zero_with_steps(gaussian_model, schedule):
    """Where the schedule ends with noise (None: signal rate 0.95) as where it ends clean."""
    model, images = gaussian_model
    errors = [
        np.abs(model.reconstruct(images, steps, batch_size=3, schedule=schedule) - images).mean()
        for steps in (5, 20, 80, 320)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 27 * errors[3]


def test_latents_are_of_the_scale_of_noise(gaussian_model):
    """A process from marginals of unit variance to marginals of unit variance."""
    model, images = gaussian_model
    latents = model.encode(np.repeat(images, 8, axis=0), 200)
    assert latents.shape == (40, 8, 8, 1)
    assert latents.dtype == np.float32
    assert abs(latents.std() - 1.0) < 0.03


def test_latents_do_not_depend_on_the_batch_but_on_the_seed(gaussian_model):
    model, images = gaussian_model
    latents = model.encode(images, 10, batch_size=2)
    np.testing.assert_allclose(latents, model.encode(images, 10), atol=1e-5)
    assert np.abs(latents - model.encode(images, 10, seed=1)).max() > 0.1
    clean_end = [model.encode(images, 10, seed=s, schedule="linear_beta") for s in (0, 1)]
    np.testing.assert_array_equal(*clean_end)  # no noise there, so none is drawn


@pytest.mark.parametrize("sampler", ["ddpm", kddim.samplers.DDIM(eta=0.5), "heun"])
def test_only_a_deterministic_ddim_has_an_inverse(gaussian_model, sampler):
    model, images = gaussian_model
    for method in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match="Expected a deterministic sampler to encode with"):
            method(images, 5, sampler)


def test_sampling_on_another_schedule_is_that_of_a_model_of_it(gaussian_model, caplog):
    """The network knows the noise variance alone, so weights carry over."""
    model, _ = gaussian_model
    other = kddim.DiffusionModel(8, channels=1, schedule="linear_beta", network=model.network)
    other.set_weights(model.get_weights())
    images = model.generate(3, 7, seed=0, schedule="linear_beta")
    np.testing.assert_allclose(images, other.generate(3, 7, seed=0), atol=1e-6)
    assert np.abs(images - model.generate(3, 7, seed=0)).max() > 1e-3
    assert (
        "asks for log-SNRs of -10.1 to 1.4, and the network was trained on -7.8 to 2.2"
        in caplog.text
    )
    caplog.clear()
    model.generate(
        1, 4, kddim.samplers.DDIM(times=(0.85, 0.6, 0.4, 0.3, 0.2)), schedule="linear_beta"
    )
    assert not caplog.text


def test_a_schedule_that_ends_without_signal_is_refused_for_noise_predictions(gaussian_model):
    model, _ = gaussian_model
    schedule = kddim.schedules.CosineSchedule(min_signal_rate=0.0)
    with pytest.raises(ValueError, match=r'Use prediction_type="velocity"'):
        model.generate(1, 2, schedule=schedule)


@pytest.mark.backend
@pytest.mark.parametrize("prediction_type", ["noise", "image", "velocity"])
@pytest.mark.parametrize("loss_type", ["noise", "image", "velocity"])
def test_the_loss_compares_what_loss_type_says(prediction_type, loss_type):
    """One denoiser gives one loss of each kind, however its predictions are expressed."""
    options = {"channels": 1, "prediction_type": prediction_type, "loss_type": loss_type}
    model = kddim.DiffusionModel(8, (4, 8), 1, **options, seed=0)
    images = np.random.default_rng(0).random((6, 8, 8, 1)).astype("float32")
    model.normalizer.adapt(images)
    parts = model(images)
    wanted = {
        "noise": (parts["noises"], parts["pred_noises"]),
        "image": (parts["images"], parts["pred_images"]),
    }
    if loss_type in wanted:
        for found, expected in zip((parts["target"], parts["prediction"]), wanted[loss_type]):
            np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-3, atol=1e-4)
    else:  # v = s n - r x, whose error is that of the noise divided by the signal rate
        error = to_numpy(parts["prediction"] - parts["target"])
        noise_error = to_numpy(parts["pred_noises"] - parts["noises"])
        ratios = (error / noise_error).reshape(6, -1)
        assert np.all(ratios.std(axis=1) < 1e-2 * ratios.mean(axis=1))
        assert np.all(ratios.mean(axis=1) > 1.0)
    assert type(model).from_config(model.get_config()).loss_type == loss_type


def test_the_loss_is_that_of_the_prediction_by_default():
    model = kddim.DiffusionModel(8, (4, 8), 1, prediction_type="velocity")
    assert model.loss_type == "velocity"
    with pytest.raises(ValueError, match="Unknown loss_type: expected one of 'noise'"):
        kddim.DiffusionModel(8, (4, 8), 1, loss_type="epsilon")


def test_plot_images_serves_as_an_epoch_callback(model, images):
    callback = keras.callbacks.LambdaCallback(on_epoch_end=model.plot_images)
    history = model.fit(images, batch_size=32, epochs=1, verbose=0, callbacks=[callback])
    assert len(history.history["n_loss"]) == 1


def test_mixed_precision_keeps_float32_outside_the_network(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model(images)
    assert model.network.layers[5].compute_dtype == "bfloat16"
    embedding = next(layer for layer in model.network.layers if "embedding" in layer.name)
    assert embedding.compute_dtype == model.normalizer.compute_dtype == "float32"
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    mixed = model.generate(4, 5, seed=0)
    keras.config.set_dtype_policy("float32")
    plain = make_model(images)
    plain.ema_network.set_weights(model.ema_network.get_weights())
    assert np.abs(plain.generate(4, 5, seed=0) - mixed).mean() < 0.02


def test_compile_defaults_are_those_of_the_example(model):
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    assert abs(float(model.optimizer.learning_rate) - 1e-3) < 1e-9
    assert model.optimizer.weight_decay == 1e-4
    assert keras.losses.get(model.loss) is keras.losses.mean_absolute_error


@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_squared_error, keras.losses.Huber()])
def test_any_pixel_loss(model, images, loss):
    model.compile(optimizer="sgd", loss=loss)
    assert np.isfinite(model.fit(images, batch_size=32, verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: kddim.DiffusionModel(20), "divisible by 8.*Received: 20x20"),
        (lambda: kddim.DiffusionModel((16, 12)), "divisible by 8.*16x12"),
        (lambda: kddim.DiffusionModel(0), "positive int"),
        (lambda: kddim.DiffusionModel(16.0), "positive int"),
        (lambda: kddim.DiffusionModel(16, 32), "sequence of ints"),
        (lambda: kddim.DiffusionModel(16, ema="x"), "`ema`"),
        (lambda: kddim.DiffusionModel(16, ()), "at least one width"),
        (lambda: kddim.DiffusionModel(16, schedule="cosin"), "Unknown schedule"),
        (lambda: kddim.DiffusionModel(16, prediction_type="eps"), "'noise', 'image', 'velocity'"),
        (lambda: kddim.DiffusionModel(16, ema=1.0), r"`ema` in \[0, 1\)"),
        (
            lambda: kddim.DiffusionModel(16, schedule=kddim.schedules.CosineSchedule(0.0)),
            'prediction_type="velocity"',
        ),
        (
            lambda: kddim.DiffusionModel(32, network=kddim.networks.residual_unet(16, (8,))),
            r"for images \(32, 32, 3\)",
        ),
    ],
)
def test_bad_models_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m, x: m.fit(255 * x), r"in \[0, 1\].*8-bit.*Divide them by 255"),
        (lambda m, x: m.fit(2 * x - 1), r"in \[0, 1\].*\[-1, 1\]. Use \(images \+ 1\) / 2"),
        (lambda m, x: m.fit((x - x.mean()) / x.std()), r"in \[0, 1\].*standardised"),
        (lambda m, x: m.fit(np.moveaxis(x, -1, 1)), r"channels first.*np\.moveaxis\(images, 1"),
        (lambda m, x: m.normalizer.adapt(np.moveaxis(x, -1, 1)), r"channels first.*np\.moveaxis"),
        (lambda m, x: m.fit((255 * x).astype("uint8")), "Divide uint8 images by 255"),
        (lambda m, x: m.fit(x[:, :8]), r"\(batch, 16, 16, 3\).*\(64, 8, 16, 3\)"),
        (lambda m, x: m.fit(x[..., :1]), r"\(batch, 16, 16, 3\)"),
        (lambda m, x: m.fit(np.full_like(x, np.nan)), "NaN"),
        (lambda m, x: m.fit(x[:0]), "shape"),
        (lambda m, x: m.fit(Batches(x[:0])), "an empty data set"),
        (lambda m, x: m.fit(), "Received: None"),
        (lambda m, x: m.fit(Batches(2 * x)), r"in \[0, 1\]"),
        (lambda m, x: m.evaluate(x - 1), r"in \[0, 1\]"),
        (lambda m, x: m.normalizer.adapt(255 * x), r"in \[0, 1\]"),
        (lambda m, x: m.normalizer.adapt(x[..., :1]), r"channels|, 3\)"),
        (lambda m, x: m.normalizer.adapt(iter([])), "at least one batch"),
        (lambda m, x: m.generate(0), "`num_images`.*at least 1"),
        (lambda m, x: m.generate(2, 0), "at least 1"),
        (lambda m, x: m.generate(2, None), "to be an int"),
        (lambda m, x: m.generate(2, batch_size=0), "`batch_size`"),
        (lambda m, x: m.generate(2, sampler="euler"), "Unknown sampler"),
        (lambda m, x: m.generate(2, initial_noise=x), r"\(2, 16, 16, 3\).*\(64, 16, 16, 3\)"),
        (lambda m, x: m.reverse_diffusion(x[:, :4], 2), r"\(batch, 16, 16, 3\)"),
        (lambda m, x: m.encode(x[:, :4]), r"\(batch, 16, 16, 3\)"),
        (lambda m, x: m.reconstruct(2 * x), r"in \[0, 1\]"),
        (lambda m, x: m.interpolate(x[0] - 0.5, x - 0.5), "two noises of shape"),
        (lambda m, x: m.interpolate(x[0] - 0.5, x[1] - 0.5, 1), "at least 2"),
        (lambda m, x: m.interpolate(x[0], x[1]), r"standard normal noise.*model\.encode"),
        (lambda m, x: m.fit([x, x]), "Received: a list"),
        (lambda m, x: m.compile(metrics=["mse"]), "no `metrics`"),
        (lambda m, x: m.fit(x, sample_weight=np.ones(64)), "no sample_weight"),
    ],
)
def test_bad_input_is_refused(model, images, call, match):
    with pytest.raises(ValueError, match=match):
        call(model, images)


def test_loaders_and_validation_data_are_looked_at_before_training(model, images):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(torch.tensor(255 * images), batch_size=16)
    for options in ({"x": loader}, {"x": images, "validation_data": (255 * images, None)}):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            model.fit(**options, verbose=0)
    assert int(model.ema_steps) == 0


def test_a_subclassed_network(images):
    @keras.saving.register_keras_serializable(package="tests")
    class Network(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.convolution = keras.layers.Conv2D(3, 3, padding="same")

        def call(self, inputs):
            return self.convolution(inputs[0]) * inputs[1]

    model = kddim.DiffusionModel(16, network=Network())
    for weight, average in zip(model.network.get_weights(), model.ema_network.get_weights()):
        np.testing.assert_array_equal(weight, average)
    model.normalizer.adapt(images)
    model.compile()
    model.generate(1, 1, seed=0)
    assert np.isfinite(model.fit(images, batch_size=32, verbose=0).history["loss"][0])


@pytest.mark.parametrize("seed", [-1, 2**33])
def test_any_integer_is_a_seed(images, seed):
    model = make_model(images, seed=seed)
    model.fit(images[:16], batch_size=16, verbose=0)
    assert model.generate(1, 1, seed=seed).shape == (1, 16, 16, 3)


def test_grids_and_eta_share_a_compiled_step(model):
    samplers = kddim.samplers
    for sampler in (
        samplers.DDIM(), samplers.DDIM(times="quadratic"), samplers.DDIM(times=(1.0, 0.4, 0.0)),
        samplers.DDIM(eta=0.2), samplers.DDPM("large"), samplers.DDIM(clip=(-3, 3)),
    ):  # fmt: skip
        assert model.generate(1, 2, sampler, seed=0).shape == (1, 16, 16, 3)
    assert len(model.sampling_denoiser().steps) == 4  # plain, with fresh noise, DDPM, with clipping

    class Halved(samplers.DDIM):
        def step(self, *args):
            noisy_images, pred_images, state = super().step(*args)
            return noisy_images, 0.5 * pred_images, state

    whole, halved = (
        to_numpy(model.reverse_diffusion(np.ones((1, 16, 16, 3)), 1, sampler))
        for sampler in (samplers.DDIM(), Halved())
    )
    np.testing.assert_allclose(halved, 0.5 * whole, rtol=1e-5)


def test_an_unadapted_normaliser_is_refused(images):
    model = kddim.DiffusionModel(16, (8,), 1)
    model.compile()
    assert not model.normalizer.adapted
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=r"normalizer\.adapt"):
            call(images)
    model.normalizer.adapt(images)
    assert model.normalizer.adapted
