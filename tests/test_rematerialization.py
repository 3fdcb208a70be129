"""Training with rematerialisation: the same losses and weights as without it."""

import keras
import numpy as np
import pytest
from conftest import make_model
from keras import layers

from kddim.backend import to_numpy
from kddim.networks import residual_unet
from kddim.networks.rematerialization import Block, RematerializedNetwork

pytestmark = pytest.mark.backend


def trained(images, **options):
    """Return a model after three steps on fixed noises and times, and its history."""
    keras.utils.set_random_seed(0)
    model = make_model(images[:16], block_depth=2, seed=0, **options)
    rng = np.random.default_rng(2)
    noises = rng.standard_normal((16, 16, 16, 3)).astype("float32")
    times = rng.random((16, 1, 1, 1)).astype("float32")
    model.draw = lambda batch: tuple(map(keras.ops.convert_to_tensor, (noises, times)))
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    history = model.fit(images[:16], batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model, history.history


def test_losses_weights_statistics_and_averages_are_those_of_plain_training(images):
    (plain, expected), (remat, received) = (trained(images, remat=r) for r in (False, True))
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, rtol=1e-4)
    for ours, theirs in zip(remat.variables, plain.variables):
        if "seed" not in theirs.path:
            np.testing.assert_allclose(
                to_numpy(ours.value), to_numpy(theirs.value), atol=3e-5, err_msg=theirs.path
            )


def test_statistics_of_batch_normalisation_move_once_a_step():
    network = residual_unet(8, (8, 16), 1)
    rng = np.random.default_rng(0)
    inputs = [rng.normal(2.0, 1.0, (4, 8, 8, 3)).astype("float32"), np.full((4, 1, 1, 1), 0.3)]
    RematerializedNetwork(network)(inputs)
    received = [to_numpy(v.value) for v in network.non_trainable_variables]
    again = residual_unet(8, (8, 16), 1)
    again.set_weights([*network.get_weights()])
    for layer in again.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
            layer.moving_variance.assign(np.ones(layer.moving_variance.shape))
    again(inputs, training=True)
    expected = [to_numpy(v.value) for v in again.non_trainable_variables]
    assert len(expected) == 6
    for ours, theirs in zip(received, expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_network_with_lora_trains_alike():
    results = []
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 8, 8, 3)).astype("float32")
    inputs = [images, np.full((4, 1, 1, 1), 0.3, "float32")]
    for remat in (False, True):
        keras.utils.set_random_seed(0)
        network = residual_unet(8, (8, 16), 1)
        for layer in network.layers:
            if hasattr(layer, "enable_lora"):
                layer.enable_lora(2)
        called = RematerializedNetwork(network) if remat else network

        class Trained(keras.Model):
            def call(self, inputs, training=False):
                return self.called(inputs, training=training)

        trained = Trained()
        trained.network, trained.called = network, called
        trained.compile(keras.optimizers.SGD(0.1), "mse")
        losses = trained.fit(inputs, images, batch_size=4, epochs=3, verbose=0).history["loss"]
        results.append([losses, *(to_numpy(w.value) for w in network.trainable_variables)])
    plain, remat = results
    assert plain[0][-1] < plain[0][0]
    assert any("lora" in w.path for w in network.trainable_variables)
    for expected, received in zip(plain, remat):
        np.testing.assert_allclose(received, expected, atol=1e-5)


def test_every_residual_block_is_one_that_is_computed_again():
    parts = RematerializedNetwork(residual_unet(16, (8, 16, 24), 2)).parts
    blocks = [part for part in parts if isinstance(part, Block)]
    assert len(blocks) == 2 * 5
    assert len(parts) == len(blocks) + 1  # the last convolution
    # One tensor leaves each block, or two if a skip connection starts inside it.
    assert all(len(block.outputs) <= 2 for block in blocks)


def test_layers_that_draw_numbers_are_called_once():
    image, variance = keras.Input((4, 4, 2)), keras.Input((1, 1, 1))
    x = layers.Dropout(0.5, seed=1)(layers.Conv2D(2, 3, padding="same")(image))
    x = layers.Add()([layers.Conv2D(2, 3, padding="same")(x), image])
    parts = RematerializedNetwork(keras.Model([image, variance], x)).parts
    kinds = [type(getattr(part, "operation", part)).__name__ for part in parts]
    assert kinds == ["Conv2D", "Dropout", "Block"]


def test_layers_as_activations_are_called_once():
    image, variance = keras.Input((4, 4, 2)), keras.Input((1, 1, 1))
    options = {"padding": "same", "activation": layers.BatchNormalization()}
    x = layers.Conv2D(2, 3, **options)(image)
    x = layers.Add()([layers.Conv2D(2, 3, padding="same")(x), image])
    parts = RematerializedNetwork(keras.Model([image, variance], x)).parts
    assert [isinstance(part, Block) for part in parts] == [False, True]


def test_one_time_for_the_whole_batch_and_another_network_later(images):
    model = make_model(images, remat=True)
    draw = model.draw
    model.draw = lambda batch: (draw(batch)[0], keras.ops.full((1, 1, 1, 1), 0.5))
    model.fit(images, batch_size=32, epochs=1, verbose=0)
    model.network = residual_unet(16, (8, 16, 24), 1)
    assert model._training_network().network is model.network


def test_the_option_is_saved_and_leaves_the_file_alone(images, tmp_path):
    model = make_model(images, remat=True)
    model.fit(images, batch_size=32, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.remat
    assert len(loaded.variables) == len(make_model(images).variables)
    np.testing.assert_allclose(
        loaded.generate(2, 2, seed=0), model.generate(2, 2, seed=0), atol=1e-6
    )


def test_a_network_without_blocks_is_refused(images):
    image, variance = keras.Input((16, 16, 3)), keras.Input((1, 1, 1))
    network = keras.Model([image, variance], layers.Conv2D(3, 3, padding="same")(image))
    with pytest.raises(ValueError, match=r"residual additions.*Use remat=False"):
        make_model(images, network=network, remat=True)
