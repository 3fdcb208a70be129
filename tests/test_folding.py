"""Folded networks: the same output as the network, in fewer multiplications."""

import concurrent.futures
import doctest

import keras
import numpy as np
import pytest
from keras import layers

import kddim
from kddim import backend
from kddim.networks import folding, residual_unet
from kddim.networks.folding import FoldedNetwork
from kddim.networks.folding.instructions import Convolution, LayerCall
from kddim.networks.layers import Conv2D, SinusoidalEmbedding, UpSampling2D

pytestmark = pytest.mark.backend


def with_random_weights(network, seed=0):
    """Assign random values to all variables of a network, and positive ones to variances."""
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        shape = tuple(variable.shape)
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.2, 2.0, shape))
        else:
            fan_in = max(int(np.prod(shape[:-1])), 1)
            variable.assign(rng.normal(0.3 if len(shape) == 1 else 0.0, fan_in**-0.5, shape))
    return network


def both(network, image_shape, seed=1, variances=None):
    """Return a network's folded form, its own output, and the output of the folded form."""
    folded = FoldedNetwork(network, backend.compile_step)
    folded.refresh()
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(3, *image_shape)).astype("float32")
    variances = np.full((3, 1, 1, 1), 0.4, "float32") if variances is None else variances
    each = np.broadcast_to(variances, (3, 1, 1, 1))
    compiled = backend.compile_step(lambda x, v: folded([x, v]), folded.variables)
    expected = backend.to_numpy(network([images, each], training=False))
    tensors = [keras.ops.convert_to_tensor(v) for v in (images, variances)]
    return folded, expected, backend.to_numpy(compiled(*tensors))


def assert_folding_changes_nothing(network, image_shape, folds=True):
    """Check the output for one noise level per image, and for one noise level per batch."""
    network = with_random_weights(network)
    for variances in (np.array([0.1, 0.5, 0.9]).reshape(3, 1, 1, 1), np.full((1, 1, 1, 1), 0.3)):
        folded, expected, received = both(
            network, image_shape, variances=variances.astype("float32")
        )
        assert folded.folds == folds
        assert expected.std() > 0.05
        np.testing.assert_allclose(received, expected, atol=3e-5 * np.abs(expected).max())
    return folded


def test_the_worked_example_of_the_documentation_gives_its_numbers():
    failed, tested = doctest.testmod(folding)
    assert tested > 10
    assert not failed


@pytest.mark.parametrize("image_shape", [(16, 16, 3), (8, 4, 1)])
def test_the_folded_unet_computes_the_same_down_to_one_pixel(image_shape):
    assert_folding_changes_nothing(
        residual_unet(image_shape[:2], (8, 12, 16), 2, channels=image_shape[2]), image_shape
    )


@pytest.mark.parametrize("patch_size", [2, 4])
def test_networks_on_patches_fold(patch_size):
    network = residual_unet((16, 8), (8, 12), 1, patch_size=patch_size)
    assert_folding_changes_nothing(network, (16, 8, 3))


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_attention_and_group_normalisation_are_called_between_folded_layers(normalization):
    options = {"attention_levels": (0, 1), "normalization": normalization}
    assert_folding_changes_nothing(residual_unet(8, (8, 12), 1, **options), (8, 8, 3))


def test_the_default_network_starts_and_ends_with_small_convolutions():
    plan = FoldedNetwork(residual_unet(16, (32, 64), 2), backend.compile_step).plan
    # No convolution reads the tiled noise level, and the last ones have three filters.
    convolutions = [i for i in plan.instructions if isinstance(i, Convolution)]
    shapes = [[plan.weights[w].shape for _, w in c.convolved] for c in convolutions]
    assert shapes[0] == [(3, 3, 3, 32)]
    assert shapes[1] == [(3, 3, 32, 32), (1, 1, 3, 32)]
    assert shapes[-1] == [(3, 3, 32, 3), (1, 1, 64, 3)]
    called = [type(i.call.operation) for i in plan.instructions if isinstance(i, LayerCall)]
    assert not any(issubclass(kind, layers.BatchNormalization) for kind in called)
    kept = (SinusoidalEmbedding, layers.AveragePooling2D, UpSampling2D, layers.Concatenate)
    assert set(called) == set(kept)


@pytest.mark.parametrize("widths", [(8, 12, 16), (16, 8), (4, 64)])
def test_folding_saves_multiplications(widths):
    network = residual_unet(16, widths, 2)
    plan = FoldedNetwork(network, backend.compile_step).plan
    convolutions = [i for i in plan.instructions if isinstance(i, Convolution)]
    folded = [(plan.weights[w].shape, c.size) for c in convolutions for _, w in c.convolved]
    called = [
        (layer.kernel.shape, layer.output.shape[1:3])
        for layer in network.layers
        if hasattr(layer, "kernel")
    ]
    before, after = (
        sum(np.prod(kernel) * np.prod(size) for kernel, size in found) for found in (called, folded)
    )
    assert 0.5 * before < after < before


def inputs(shape):
    return keras.Input(shape), keras.Input((1, 1, 1))


def test_scale_and_centre_fold_and_even_kernels_pad_alike():
    image, variance = inputs((6, 5, 2))
    x = layers.BatchNormalization()(image)
    x = layers.Conv2D(4, (2, 3), padding="same", activation="swish")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(2, (4, 1), padding="same", use_bias=False)(x)
    folded = assert_folding_changes_nothing(keras.Model([image, variance], x), (6, 5, 2))
    assert all(isinstance(i, Convolution) for i in folded.plan.instructions)


def test_what_cannot_be_folded_is_called():
    image, variance = inputs((6, 6, 2))
    normalized = layers.BatchNormalization()(image)  # read by two layers
    x = layers.Conv2D(2, 3, padding="same")(normalized)
    x = layers.Add()([x, normalized])
    x = layers.BatchNormalization()(x)  # read by a strided convolution
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)
    assert_folding_changes_nothing(keras.Model([image, variance], x), (6, 6, 2))


def test_normalisation_before_activation_and_a_noise_level_by_dense_layers():
    image, variance = inputs((8, 8, 2))
    e = layers.Dense(6, activation="swish")(layers.Flatten()(variance))
    e = layers.Reshape((1, 1, 6))(e)
    x = layers.Conv2D(6, 3, padding="same")(image)
    for _ in range(2):
        y = layers.Activation("relu")(layers.BatchNormalization()(x))
        y = layers.Conv2D(6, 3, padding="same")(y)
        y = layers.Multiply()([y, e])
        x = x + 0.5 * y
    assert_folding_changes_nothing(
        keras.Model([image, variance], layers.Conv2D(2, 3, padding="same")(x)), (8, 8, 2)
    )


def test_a_noise_level_beside_the_image_in_layers_that_are_called():
    image, variance = inputs((4, 4, 2))
    tiled = layers.UpSampling2D(4)(variance)
    x = layers.Activation("tanh")(layers.Concatenate()([image, tiled]))
    level = layers.Conv2D(3, 1, activation="swish")(layers.UpSampling2D(4)(variance))
    x = layers.Add()([layers.Conv2D(3, 3, padding="same")(x), level])
    x = layers.Concatenate()([x, layers.Conv2D(3, 1)(level)])
    assert_folding_changes_nothing(
        keras.Model([image, variance], layers.Conv2D(2, 1)(x)), (4, 4, 2)
    )


def test_linear_layers_in_a_row_and_layers_that_are_shared():
    image, variance = inputs((6, 6, 2))
    shared = layers.Conv2D(2, 3, padding="same")
    x = layers.Conv2D(2, 1)(shared(shared(image)))
    x = layers.Add()([x, layers.Conv2D(2, 1)(x), x])
    x = layers.Conv2D(9, 1)(x)  # wider than its input: all readers start from the input
    y = layers.Conv2D(2, 3, padding="same")(x)
    z = layers.Conv2D(2, 1, padding="same")(layers.BatchNormalization()(x))
    assert_folding_changes_nothing(keras.Model([image, variance], layers.Add()([y, z])), (6, 6, 2))


def test_networks_within_networks_and_dropout_are_called_as_in_inference():
    inner_image = keras.Input((4, 4, 3))
    inner = keras.Model(inner_image, layers.Conv2D(3, 3, padding="same")(inner_image))
    image, variance = inputs((4, 4, 2))
    x = layers.Dropout(0.5)(layers.Conv2D(3, 3, padding="same", activation="relu")(image))
    x = layers.Conv2D(2, 3, padding="same")(inner(x))
    assert_folding_changes_nothing(keras.Model([image, variance], x), (4, 4, 2))


def test_sizes_that_are_not_known_and_kernels_that_are_adapted_are_called():
    image, variance = inputs((None, None, 2))
    x = layers.Conv2D(2, 3, padding="same")(image)
    x = layers.Add()([x, layers.Conv2D(2, 1)(variance), image])
    assert_folding_changes_nothing(
        keras.Model([image, variance], layers.Add()([x, image])), (6, 6, 2)
    )

    image, variance = inputs((6, 6, 2))
    adapted = layers.Conv2D(4, 3, padding="same")
    x = layers.Conv2D(2, 1)(adapted(image))
    network = keras.Model([image, variance], x)
    adapted.enable_lora(2)
    assert_folding_changes_nothing(network, (6, 6, 2))


def test_a_network_with_lora_is_folded_again_and_then_computes_the_same():
    image, variance = inputs((6, 6, 2))
    convolution = Conv2D(4, 3, padding="same", activation="swish")
    x = layers.BatchNormalization()(convolution(image))
    x = layers.Dense(4)(Conv2D(4, 1)(x))
    network = keras.Model([image, variance], Conv2D(2, 3, padding="same")(x))
    before = assert_folding_changes_nothing(network, (6, 6, 2))
    assert before.represents(network)
    assert not before.represents(keras.models.clone_model(network))
    for layer in network.layers[1:]:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
    assert not before.represents(network)
    _, plain, _ = both(network, (6, 6, 2))
    after = assert_folding_changes_nothing(network, (6, 6, 2), folds=False)
    convolution.lora_kernel_b.assign(np.ones(convolution.lora_kernel_b.shape))
    _, expected, received = both(network, (6, 6, 2))
    assert np.abs(expected - plain).max() > 0.1
    np.testing.assert_allclose(received, expected, atol=3e-5 * np.abs(expected).max())
    assert after.represents(network)


def test_images_that_lead_with_one_are_not_taken_for_shared():
    image, variance = inputs((4, 4, 2))
    x = layers.Conv2D(2, 3, padding="same")(image)
    x = keras.ops.reshape(keras.ops.reshape(x, (1, -1, 4, 2)) * 2.0, (-1, 4, 4, 2))
    assert_folding_changes_nothing(
        keras.Model([image, variance], layers.Conv2D(2, 1)(x)), (4, 4, 2)
    )


def test_inputs_of_another_rank_are_left_to_keras():
    image, variance = keras.Input((4, 4)), keras.Input((1, 1, 1))
    x = layers.Conv2D(1, 3, padding="same")(keras.ops.expand_dims(image, -1))
    network = keras.Model([image, variance], x)
    assert not FoldedNetwork(network, backend.compile_step).folds


def test_tensors_are_let_go_once_nothing_reads_them(monkeypatch):
    alive = []
    for kind in (Convolution, LayerCall):

        def run(self, tensors, weights, original=kind.run):
            original(self, tensors, weights)
            alive.append(len(tensors))

        monkeypatch.setattr(kind, "run", run)
    network = residual_unet(16, (4, 8, 12), 2)
    both(network, (16, 16, 3))
    # Two inputs, the embedding, two skips per level, and the tensors inside a block.
    assert len(alive) > 25
    assert max(alive) <= 3 + 4 + 5


def test_threads_sample_apart_and_leave_nothing_behind():
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network)
    expected = model.generate(2, 6, seed=0)
    seen = []

    def another(step, noisy_images, pred_images):
        if not seen:
            seen.append(model.generate(2, 2, seed=1))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        slow = pool.submit(model.generate, 2, 6, seed=0, callback=another)
        fast = pool.submit(model.generate, 2, 6, seed=0)
        for future in (slow, fast):
            np.testing.assert_allclose(future.result(), expected, atol=1e-5)
    assert model.sampling_denoiser() is model.sampling_denoiser()
    with_random_weights(model.ema_network, seed=5)
    noise = np.ones((1, 8, 8, 1), "float32")
    half = np.full((1, 1, 1, 1), 0.7, "float32")
    pred_noises, _ = model.denoise(noise, half, half, training=False)
    plain = model.ema_network([noise, half**2], training=False)
    np.testing.assert_allclose(backend.to_numpy(pred_noises), backend.to_numpy(plain), atol=1e-4)


def test_a_subclassed_network_is_used_as_it_is():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = layers.Conv2D(2, 3, padding="same")

        def call(self, tensors):
            return self.convolution(tensors[0]) * tensors[1]

    network = Network()
    network([np.zeros((1, 4, 4, 2)), np.zeros((1, 1, 1, 1))])
    assert_folding_changes_nothing(network, (4, 4, 2), folds=False)


def test_generation_sees_weights_and_statistics_that_changed():
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network, seed=2)
    before = model.generate(2, 2, seed=0)
    with_random_weights(model.ema_network, seed=3)
    after = model.generate(2, 2, seed=0)
    fresh = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(fresh.ema_network, seed=3)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(after, fresh.generate(2, 2, seed=0))


def test_a_denoise_in_the_way_of_the_example_and_with_weights_of_its_own():
    """`denoise` is called with one rate per image, and reads a variable that changes later."""

    class Louder(kddim.DiffusionModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gain = self.add_weight(name="gain", initializer="ones", trainable=False)

        def denoise(self, noisy_images, noise_rates, signal_rates, training):
            pred_noises = self.ema_network([noisy_images, noise_rates**2], training=False)
            pred_images = (noisy_images - noise_rates * pred_noises) / signal_rates
            return pred_noises, self.gain * pred_images

    model = Louder(8, (8, 16), 1, channels=1, seed=0)
    plain = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    for one in (model, plain):
        with_random_weights(one.ema_network)
    noise = kddim.latents.initial_noise(3, (8, 8, 1), seed=1)
    loud, expected = (backend.to_numpy(m.reverse_diffusion(noise, 1)) for m in (model, plain))
    np.testing.assert_allclose(loud, expected, atol=1e-4 * np.abs(expected).max())
    model.gain.assign(0.0)
    np.testing.assert_array_equal(backend.to_numpy(model.reverse_diffusion(noise, 1)), 0.0)


def test_sampling_leaves_the_files_of_the_model_alone(tmp_path):
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network)
    count = len(model.variables)
    images = model.generate(2, 2, seed=0)
    assert len(model.variables) == count
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.generate(2, 2, seed=0), images, atol=1e-6)


@pytest.mark.parametrize("normalization_dtype", [None, "float32"])
def test_a_mean_far_from_zero_cancels_in_half_precision_too(normalization_dtype):
    """The error of the folded network is about as large as that of the network itself."""

    def network():
        image, variance = inputs((8, 8, 2))
        x = layers.Conv2D(8, 3, padding="same", activation="relu", dtype=normalization_dtype)(image)
        x = layers.BatchNormalization(dtype=normalization_dtype)(x)
        x = layers.Conv2D(2, 3, padding="same")(x)
        return keras.Model([image, variance], layers.Activation("linear", dtype="float32")(x))

    exact = with_random_weights(network())
    exact.layers[1].bias.assign(np.full(8, 10.0))
    exact.layers[2].moving_mean.assign(np.full(8, 10.0))
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = network()
    half.set_weights(exact.get_weights())
    _, expected, _ = both(exact, (8, 8, 2))
    _, plain, folded = both(half, (8, 8, 2))
    error, of_plain = (np.abs(v - expected).mean() for v in (folded, plain))
    assert error < (2.0 if normalization_dtype is None else 1.2) * of_plain


def test_a_model_with_its_own_denoise_samples_with_it():
    class Silent(kddim.DiffusionModel):
        def denoise(self, *args, **kwargs):
            noises, images = super().denoise(*args, **kwargs)
            return noises, images * 0.0

    model = Silent(8, (8, 16), 1, channels=1, seed=0)
    with_random_weights(model.ema_network)
    grey = model.reverse_diffusion(np.ones((1, 8, 8, 1), "float32"), 2)
    np.testing.assert_array_equal(backend.to_numpy(grey), 0.0)
