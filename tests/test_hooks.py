"""Keras' habits and the hooks that users override, heard by training and sampling alike."""

import gc
import weakref

import keras
import numpy as np
import pytest
from conftest import make_model
from keras import ops

import kddim
from kddim import predictions
from kddim.backend import to_numpy
from kddim.networks.folding import FoldedNetwork
from kddim.objective import Regression

pytestmark = pytest.mark.backend


class Skipping(kddim.DiffusionModel):
    """A model whose `denoise` adds a tenth of the noisy images to the predicted noises."""

    def denoise(self, noisy_images, noise_rates, signal_rates, training=False):
        noises, _ = super().denoise(noisy_images, noise_rates, signal_rates, training)
        noises = noises + 0.1 * noisy_images
        return predictions.split("noise", noises, noisy_images, noise_rates, signal_rates)


@pytest.fixture
def pair(images):
    """A plain model, and one of equal weights that overrides `denoise`."""
    plain = make_model(images, seed=0)
    other = Skipping((16, 16), (8, 16, 24), 1, seed=0)
    other.set_weights(plain.get_weights())
    other.compile(optimizer=keras.optimizers.SGD(0.0))
    plain.compile(optimizer=keras.optimizers.SGD(0.0))
    return plain, other


def test_an_overridden_denoise_is_heard_everywhere(pair, images):
    answers = [
        (
            model.evaluate(images, batch_size=16, verbose=0, return_dict=True)["n_loss"],
            model.fit(images, batch_size=16, shuffle=False, verbose=0).history["n_loss"][0],
            model.predict(images[:16], verbose=0),
            model.generate(2, 3, seed=0),
            model.encode(images[:2], 3),
            model.decode(np.ones((2, 16, 16, 3), "float32"), 3),
        )
        for model in pair
    ]
    for plain, other in zip(*answers):
        assert np.abs(np.asarray(plain) - np.asarray(other)).max() > 1e-3


def test_sampling_through_an_override_is_a_loop_over_it(pair):
    _, model = pair
    noise = kddim.latents.initial_noise(2, (16, 16, 3), seed=3)
    expected = kddim.samplers.get("ddim").sample(model.denoise, model.schedule, noise, 4)
    found = model.reverse_diffusion(noise, 4)
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), atol=1e-4)


def test_an_override_on_an_instance_is_heard_and_can_be_taken_back(model):
    before = model.generate(1, 2, seed=0)
    model.denoise = lambda noisy, noise_rates, signal_rates, training: (0 * noisy, noisy)
    changed = model.generate(1, 2, seed=0)
    assert np.abs(changed - before).max() > 1e-3
    del model.denoise
    np.testing.assert_array_equal(model.generate(1, 2, seed=0), before)


def test_a_wrapper_around_a_denoiser_needs_no_change_in_a_sampler(model):
    """As guidance will: an object that calls the denoiser of the model, with any sampler."""
    inner = model.sampling_denoiser().denoise

    class Damped:
        def __call__(self, noisy_images, noise_rates, signal_rates):
            noises, images = inner(noisy_images, noise_rates, signal_rates)
            return noises, 0.5 * images

    noise = kddim.latents.initial_noise(2, (16, 16, 3), seed=0)
    for sampler in ("ddim", "heun", "dpm_solver_pp", kddim.samplers.DDIM(eta=1.0)):
        images = kddim.samplers.get(sampler).sample(Damped(), model.schedule, noise, 3, seed=0)
        assert np.isfinite(to_numpy(images)).all()


def test_validation_repeats_itself_and_stratifies_the_times(model, images):
    first, second = (model.evaluate(images[:40], batch_size=16, verbose=0) for _ in range(2))
    assert first == second
    other = kddim.DiffusionModel.from_config(model.get_config() | {"seed": 1})
    other.set_weights(model.get_weights())
    other.compile()
    assert other.evaluate(images[:40], batch_size=16, verbose=0) != first
    _, times = Regression().draw_validation(
        images[:8], model.schedule, keras.random.SeedGenerator(1)
    )
    parts = np.sort(np.floor(to_numpy(times).ravel() * 8))
    np.testing.assert_array_equal(parts, np.arange(8))
    # Over single images too: batches begin at other points of the unit interval.
    seeds = keras.random.SeedGenerator(0)
    drawn = [Regression().draw_validation(images[:1], model.schedule, seeds) for _ in range(20)]
    single = np.sort([float(to_numpy(times).ravel()[0]) for _, times in drawn])
    assert np.diff([0.0, *single, 1.0]).max() < 0.12
    assert np.abs(to_numpy(drawn[0][0] - drawn[1][0])).max() > 0.1


def test_validation_within_fit_is_that_of_evaluate(model, images):
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.ema_steps.assign(10**6)
    history = model.fit(
        images, batch_size=16, epochs=2, validation_data=images[:32], verbose=0
    ).history["val_n_loss"]
    logs = model.evaluate(images[:32], batch_size=16, verbose=0, return_dict=True)
    # Batch statistics move in training, and the average follows by a thousandth.
    np.testing.assert_allclose(history, logs["n_loss"], rtol=5e-3)


def test_predict_returns_one_image_for_each(model, images):
    found = model.predict(images[:20], batch_size=16, verbose=0)
    assert found.shape == (20, 16, 16, 3)
    assert found.dtype == np.float32
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    np.testing.assert_array_equal(found, model.predict(images[:20], batch_size=16, verbose=0))


@pytest.mark.parametrize("kind", ["ema_network", pytest.param("network", marks=pytest.mark.slow)])
def test_a_replaced_network_is_freed(kind):
    model = kddim.DiffusionModel(8, (4, 8), 1, channels=1, seed=0)
    alive = []
    for _ in range(20):
        alive.append(weakref.ref(getattr(model, kind)))
        setattr(model, kind, kddim.networks.residual_unet(8, (4, 8), 1, channels=1))
        model.generate(1, 1, seed=0)
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 1
    folded = [o for o in gc.get_objects() if isinstance(o, FoldedNetwork)]
    assert sum(f.original in (model.ema_network, model.network) for f in folded) == 1
    assert len([layer for layer in model.layers if isinstance(layer, keras.Model)]) == 2


def test_freezing_and_unfreezing_leaves_the_average_frozen(model, images):
    trained = len(model.trainable_variables)
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    assert len(model.trainable_variables) == trained
    assert not model.ema_network.trainable_variables
    assert np.isfinite(model.fit(images[:16], batch_size=16, verbose=0).history["loss"][0])


def test_lora_trains_and_the_average_holds_the_effective_kernels(model, images):
    layer = next(x for x in model.network.layers if isinstance(x, keras.layers.Conv2D))
    place = model.network.layers.index(layer)
    layer.enable_lora(2)
    model.compile()
    model.fit(images[:32], batch_size=16, verbose=0)
    layer.lora_kernel_b.assign(layer.lora_kernel_b + 1.0)
    model.ema = 0.0
    model.update_average()
    average = model.ema_network.layers[place]
    np.testing.assert_allclose(to_numpy(average.kernel), to_numpy(layer.kernel), atol=1e-6)


def test_sampling_hears_lora_that_was_enabled_later(model):
    before = model.generate(1, 2, seed=0)
    layer = next(x for x in model.ema_network.layers if isinstance(x, keras.layers.Conv2D))
    layer.enable_lora(2)
    np.testing.assert_allclose(model.generate(1, 2, seed=0), before, atol=5e-5)
    layer.lora_kernel_b.assign(layer.lora_kernel_b + 1.0)
    assert np.abs(model.generate(1, 2, seed=0) - before).max() > 1e-3


def test_eta_is_short_for_a_stochastic_ddim(model):
    expected = model.generate(2, 3, kddim.samplers.DDIM(eta=1.0), seed=0)
    np.testing.assert_array_equal(model.generate(2, 3, eta=1, seed=0), expected)
    with pytest.raises(ValueError, match="eta=1 for Heun"):
        model.generate(2, 3, "heun", eta=1)


def test_an_average_of_another_structure_is_refused(model):
    model.ema_network = kddim.networks.residual_unet(16, (8, 16), 1)
    with pytest.raises(ValueError, match="average with the variables of the network"):
        model.update_average()


@pytest.mark.parametrize("name", ["m.h5", "m.hdf5", "m"])
def test_legacy_endings_are_refused(model, tmp_path, name):
    with pytest.raises(ValueError, match=r"\.keras.*\.weights\.h5"):
        model.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_precision_of_the_network_survives_a_file(images, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model(images)
    keras.config.set_dtype_policy("float32")
    assert model.get_config()["dtype"] == "mixed_bfloat16"
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.network.layers[5].compute_dtype == "bfloat16"
    np.testing.assert_array_equal(loaded.generate(2, 3, seed=0), model.generate(2, 3, seed=0))
    assert keras.config.dtype_policy().name == "float32"
    plain = kddim.DiffusionModel.from_config(model.get_config() | {"dtype": "float32"})
    assert plain.network.layers[5].compute_dtype == "float32"


def test_the_objective_can_be_exchanged_without_subclassing(model, images, tmp_path):
    class Consistent(Regression):
        """Compares predictions at a time and at half of it, as a consistency loss does."""

        def examples(self, denoise, schedule, images, noises, times):
            found = super().examples(denoise, schedule, images, noises, times)
            other = super().examples(denoise, schedule, images, noises, 0.5 * times)
            target = ops.stop_gradient(other["pred_images"])
            return found | {"prediction": found["pred_images"], "target": target}

    model.compile(objective=Consistent(), loss="mse")
    logs = model.fit(images[:32], batch_size=16, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    assert logs["loss"][0] != logs["n_loss"][0]
    model.compile(objective=Regression("velocity"), loss="mse")
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.objective == Regression("velocity")


def test_an_averaged_model_generates_the_same_from_half_the_file(model, tmp_path):
    average = model.averaged()
    np.testing.assert_allclose(
        average.generate(2, 3, seed=0), model.generate(2, 3, seed=0), atol=1e-5
    )
    model.save(tmp_path / "m.keras", include_optimizer=False)
    average.save(tmp_path / "a.keras")
    sizes = [(tmp_path / name).stat().st_size for name in ("a.keras", "m.keras")]
    assert sizes[0] < 0.7 * sizes[1]
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    assert type(loaded) is type(average)
    np.testing.assert_allclose(
        loaded.generate(2, 3, seed=0), average.generate(2, 3, seed=0), atol=1e-6
    )


def test_an_average_that_would_lose_an_override_is_refused(pair):
    with pytest.raises(ValueError, match="one that overrides it"):
        pair[1].averaged()


@pytest.mark.parametrize("kind", ["plain", "overridden"])
def test_export_writes_the_denoiser(pair, tmp_path, kind):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the exported function is run with TensorFlow here")
    tf = pytest.importorskip("tensorflow")
    model = pair[kind == "overridden"]
    model.export(tmp_path / "d", verbose=False)
    exported = tf.saved_model.load(tmp_path / "d")
    noisy = np.random.default_rng(0).standard_normal((3, 16, 16, 3)).astype("float32")
    rates = np.full((3, 1, 1, 1), 0.6, "float32"), np.full((3, 1, 1, 1), 0.8, "float32")
    for found, expected in zip(
        exported.serve(noisy, *rates), model.denoise(noisy, *rates, training=False)
    ):
        np.testing.assert_allclose(to_numpy(found), to_numpy(expected), atol=1e-5)


def test_the_train_step_of_keras_io_works_in_a_subclass(images):
    """Its own code, pasted, with the default `compile()`."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the example is written for TensorFlow")
    tf = pytest.importorskip("tensorflow")

    class Pasted(kddim.DiffusionModel):
        def train_step(self, images):
            images = images[0] if isinstance(images, tuple) else images
            images = self.normalizer(images, training=True)
            noises = tf.random.normal(shape=(16, 16, 16, 3))
            diffusion_times = tf.random.uniform((16, 1, 1, 1), minval=0.0, maxval=1.0)
            noise_rates, signal_rates = self.diffusion_schedule(diffusion_times)
            noisy_images = signal_rates * images + noise_rates * noises
            with tf.GradientTape() as tape:
                pred_noises, pred_images = self.denoise(
                    noisy_images, noise_rates, signal_rates, training=True
                )
                noise_loss = self.loss(noises, pred_noises)
                image_loss = self.loss(images, pred_images)
            gradients = tape.gradient(noise_loss, self.network.trainable_weights)
            self.optimizer.apply_gradients(zip(gradients, self.network.trainable_weights))
            self.noise_loss_tracker.update_state(noise_loss)
            self.image_loss_tracker.update_state(image_loss)
            for weight, ema_weight in zip(self.network.weights, self.ema_network.weights):
                ema_weight.assign(self.ema * ema_weight + (1 - self.ema) * weight)
            return {m.name: m.result() for m in self.metrics}

    model = Pasted(16, (8, 16), 1, seed=0)
    model.normalizer.adapt(images)
    model.compile()
    history = model.fit(images, batch_size=16, epochs=2, verbose=0).history
    assert history["n_loss"][1] < history["n_loss"][0]
