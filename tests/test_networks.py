"""Networks: self-attention, group normalisation, adoption by a model, compilation."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import cli, runs
from kddim.backend import to_numpy
from kddim.networks import blocks, describe_network, residual_unet
from kddim.networks.layers import SpatialAttention

SMALL = {"widths": (8, 16, 24), "block_depth": 1}


def randomise(network, names=""):
    """Replace weights that are zero by random ones, in layers whose names begin with `names`."""
    random = np.random.default_rng(2)
    for layer in network.layers:
        if layer.name.startswith(names):
            layer.set_weights(
                [0.2 * random.standard_normal(w.shape) if not w.any() else w for w in layer.get_weights()]
            )  # fmt: skip


def attentive_model(images, normalization="group", **options):
    """Return a model of `conftest.make_model` with attention and random projections."""
    network = residual_unet(
        images.shape[1:3], **SMALL, attention_levels=(1, 2), normalization=normalization
    )
    randomise(network, "attention")
    return make_model(images, network=network, **options)


def inputs(height=16, width=16, count=2):
    random = np.random.default_rng(0)
    noisy = random.standard_normal((count, height, width, 3)).astype("float32")
    return [noisy, random.random((count, 1, 1, 1)).astype("float32")]


def attention_in_numpy(queries, keys, values, heads):
    """Return Eq. 1 of Vaswani et al. 2017, computed for one image and one head at a time."""
    result = np.zeros_like(queries)
    width = queries.shape[-1] // heads
    for image in range(len(queries)):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            q, k, v = (x[image, ..., part].reshape(-1, width) for x in (queries, keys, values))
            scores = np.exp(q @ k.T / np.sqrt(width))
            attended = (scores / scores.sum(axis=1, keepdims=True)) @ v
            result[image, ..., part] = attended.reshape(*queries.shape[1:3], width)
    return result


@pytest.mark.backend
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_that_of_the_paper(heads):
    random = np.random.default_rng(0)
    parts = [random.standard_normal((2, 3, 4, 6)).astype("float32") for _ in range(3)]
    found = to_numpy(SpatialAttention(heads)(parts))
    np.testing.assert_allclose(found, attention_in_numpy(*parts, heads), atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "heads"),
    [(8, (1, 8)), (64, (1, 64)), (96, (2, 48)), (128, (2, 64)), (200, (4, 50)), (131, (3, 44))],
)
def test_heads_hold_at_most_64_channels(channels, heads):
    assert blocks.attention_heads(channels) == heads


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (3, 1), (8, 2), (32, 8), (96, 24), (160, 32), (512, 32), (131, 1)]
)  # fmt: skip
def test_groups_divide_the_channels(channels, groups):
    assert blocks.group_count(channels) == groups


@pytest.mark.backend
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_attention_starts_as_the_identity_and_then_matters(normalization):
    options = SMALL | {"normalization": normalization}
    plain = residual_unet(16, **options)
    attentive = residual_unet(16, **options, attention_levels=(1, 2))
    randomise(plain)
    shared = [layer for layer in attentive.layers if not layer.name.startswith("attention")]
    assert [type(layer) for layer in shared] == [type(layer) for layer in plain.layers]
    for layer, source in zip(shared, plain.layers):
        layer.set_weights(source.get_weights())
    expected = to_numpy(plain(inputs(), training=False))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(
        to_numpy(attentive(inputs(), training=False)), expected, atol=1e-5 * np.abs(expected).max()
    )
    randomise(attentive, "attention")
    assert np.abs(to_numpy(attentive(inputs(), training=False)) - expected).max() > 1e-2


def test_without_options_the_network_is_the_same_layer_for_layer():
    plain, spelt_out = (
        residual_unet(16, **SMALL, **options)
        for options in ({}, {"attention_levels": [], "normalization": "batch"})
    )
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in spelt_out.layers]
    assert [w.shape for w in plain.weights] == [w.shape for w in spelt_out.weights]
    assert not any(isinstance(layer, SpatialAttention) for layer in plain.layers)


def test_attention_stands_after_each_residual_block_of_its_levels():
    network = residual_unet(64, (8, 16, 24, 32), 2, attention_levels=(2, 3))
    sides = [
        layer.output.shape[1] for layer in network.layers if isinstance(layer, SpatialAttention)
    ]
    assert sides == [16, 16, 8, 8, 16, 16]
    assert describe_network(network) == (
        "residual_unet, batch normalisation, self-attention at 16x16, 8x8"
    )


def test_the_parameters_that_the_docs_tell():
    found = residual_unet(64, attention_levels=(2, 3)).count_params()
    assert found == 2_235_235


@pytest.mark.backend
def test_the_prediction_of_an_image_is_its_own_under_group_normalisation():
    """Batch statistics would make the prediction depend on the other images."""
    network = residual_unet((8, 24), **SMALL, attention_levels=(0, 2), normalization="group")
    randomise(network)
    noisy, variances = inputs(8, 24, count=3)
    together = to_numpy(network([noisy, variances], training=True))
    assert together.shape == (3, 8, 24, 3)
    alone = to_numpy(network([noisy[1:2], variances[1:2]], training=True))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


@pytest.mark.backend
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_training_reaches_every_weight_of_attention_and_lowers_the_loss(images, normalization):
    images = images[:, ::2, ::2]
    network = residual_unet(8, (8, 16), 1, attention_levels=(0, 1), normalization=normalization)
    model = kddim.DiffusionModel(8, network=network)
    model.normalizer.adapt(images)
    model.compile(keras.optimizers.Adam(1e-2))  # without weight decay, which changes all weights
    layers = [x for x in network.layers if x.name.startswith("attention")]
    before = {w.path: to_numpy(w.value).copy() for x in layers for w in x.trainable_weights}
    assert len(before) == 3 * 7
    # The last batch has 16 images: no batch size may be compiled into the network.
    history = model.fit(images, batch_size=24, epochs=10, verbose=0).history["n_loss"]
    assert history[-1] < 0.75 * history[0]
    for layer in layers:
        for weight in layer.trainable_weights:
            assert np.abs(to_numpy(weight.value) - before[weight.path]).max() > 1e-5, weight.path
    for weight, average in zip(network.weights, model.ema_network.weights):
        assert weight.shape == average.shape
    assert np.isfinite(model.generate(3, 2, seed=0)).all()


@pytest.mark.backend
@pytest.mark.parametrize("normalization", ["batch", pytest.param("group", marks=pytest.mark.slow)])
def test_files_hold_the_network_in_this_process(images, tmp_path, normalization):
    model = attentive_model(images, normalization)
    model.fit(images, batch_size=32, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        loaded.generate(3, 4, seed=5), model.generate(3, 4, seed=5), atol=1e-5
    )
    assert describe_network(loaded.network) == describe_network(model.network)
    loaded.fit(images, batch_size=32, epochs=1, verbose=0)


PREDICT = """
import sys, keras, kddim, numpy as np
network = keras.saving.load_model(sys.argv[1]).ema_network
data = np.load(sys.argv[2])
found = network([data["noisy"], data["variances"]], training=False)
np.save(sys.argv[3], kddim.backend.to_numpy(found))
"""


@pytest.mark.backend
def test_files_cross_backends(images, tmp_path):
    backends = ("tensorflow", "jax", "torch")
    other = backends[(backends.index(keras.backend.backend()) + 1) % 3]
    pytest.importorskip(other)
    model = attentive_model(images)
    model.save(tmp_path / "m.keras")
    noisy, variances = inputs()
    np.savez(tmp_path / "inputs.npz", noisy=noisy, variances=variances)
    paths = [str(tmp_path / name) for name in ("m.keras", "inputs.npz", "found.npy")]
    environment = {**os.environ, "KERAS_BACKEND": other}
    subprocess.run(
        [sys.executable, "-c", PREDICT, *paths], check=True, env=environment, timeout=300
    )
    expected = to_numpy(model.ema_network([noisy, variances], training=False))
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(np.load(paths[2]), expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.backend
def test_the_ema_network_starts_as_a_copy_with_attention(images):
    model = attentive_model(images, "batch")
    for weight, average in zip(model.network.get_weights(), model.ema_network.get_weights()):
        np.testing.assert_array_equal(weight, average)
    assert not model.ema_network.trainable_weights


@pytest.mark.backend
@pytest.mark.parametrize("normalization", ["batch", pytest.param("group", marks=pytest.mark.slow)])
def test_mixed_precision_keeps_losses_in_float32(images, normalization):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = attentive_model(images, normalization, seed=0)
    attention = next(x for x in model.network.layers if isinstance(x, SpatialAttention))
    assert attention.compute_dtype == "bfloat16"
    separated = model(images, training=True)
    loss = model.compute_loss(images, None, separated)
    for tensor in (separated["prediction"], loss):
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    assert np.isfinite(model.fit(images, batch_size=32, epochs=1, verbose=0).history["loss"][0])

    keras.config.set_dtype_policy("float32")
    plain = attentive_model(images, normalization)
    plain.set_weights(model.get_weights())
    difference = plain.generate(4, 3, seed=0) - model.generate(4, 3, seed=0)
    # Networks with random weights amplify rounding: single pixels may differ by 1.
    assert np.abs(difference).mean() < 0.05


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attention_levels": (3,)}, r"from 0 \(finest\) to 2 \(coarsest, for 3 widths\)"),
        ({"attention_levels": (-1,)}, r"Received: \(-1,\)"),
        ({"attention_levels": (1, 1)}, r"different `attention_levels`.*Received: \(1, 1\)"),
        ({"attention_levels": 2}, "sequence of ints.*Received: 2"),
        ({"attention_levels": "2"}, "sequence of ints.*Received: '2'"),
        ({"attention_levels": (True,)}, "sequence of ints"),
        ({"attention_levels": (1.0,)}, "sequence of ints"),
        ({"patch_size": 0}, "patch_size of at least 1.*Received:.*patch_size=0"),
        ({"patch_size": 2.0}, "ints as.*patch_size=2.0"),
        ({"patch_size": 8}, r"divisible by 32 \(patch_size \* 2\*\*\(len\(widths\) - 1\)"),
        ({"normalization": "layer"}, "Unknown normalization: expected one of 'batch', 'group'"),
        ({"normalization": None}, "Unknown normalization"),
    ],
)
def test_bad_options_are_refused_before_anything_is_built(monkeypatch, options, match):
    monkeypatch.setattr(keras, "Input", lambda *args, **kwargs: pytest.fail("built"))
    with pytest.raises(ValueError, match=match):
        residual_unet(16, **SMALL, **options)


def test_patches_are_mapped_to_the_finest_level_and_back():
    network = residual_unet((16, 24), (4, 8), 1, patch_size=2)
    shapes = {
        layer.output.shape[1:3] for layer in network.layers if isinstance(layer, keras.layers.Add)
    }
    assert shapes == {(8, 12), (4, 6)}
    found = to_numpy(network(inputs(16, 24)))
    assert found.shape == (2, 16, 24, 3)
    assert not found.any()  # an untrained network predicts zero
    # Each patch is seen alone by the first convolution: a change moves one position.
    noisy, _ = inputs(16, 24)
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    changed = noisy.copy()
    changed[:, 2:4, 6:8] += 1.0
    moved = np.abs(to_numpy(first(changed)) - to_numpy(first(noisy))).max(axis=(0, 3)) > 1e-6
    assert np.argwhere(moved).tolist() == [[1, 3]]


def test_bad_heads_are_refused():
    with pytest.raises(ValueError, match="`num_heads` of at least 1"):
        SpatialAttention(0)
    with pytest.raises(ValueError, match="divisible by 4"):
        SpatialAttention(4)([np.zeros((1, 2, 2, 6), "float32")] * 3)


class Gate(keras.layers.Layer):
    """Raises an error in `call`."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def call(self, inputs):
        if self.error is None:
            return inputs + keras.ops.ones((1, 3, 3, 3))
        raise self.error


class Gated(keras.Model):
    """A network with a layer inside a layer."""

    def __init__(self, error):
        super().__init__(name="gated")
        self.inner = keras.Sequential([Gate(error)])

    def call(self, inputs):
        return self.inner(inputs[0])


@pytest.mark.backend
@pytest.mark.parametrize(
    ("error", "match"),
    [
        (ValueError("the gate needs labels\nof shape (batch,)"), r"\(the gate needs labels\)"),
        (KeyError("labels"), r"\(KeyError: '?labels'?\)"),
        (None, r"fails \(\w.*(shape|size)"),  # the framework's own words
    ],
)
def test_the_reason_of_a_network_that_fails_is_told(error, match):
    with pytest.raises(ValueError, match=match) as caught:
        kddim.DiffusionModel(4, network=Gated(error))
    message = str(caught.value)
    assert "Received: gated, which fails" in message
    assert "Exception encountered" not in message
    assert "Arguments received" not in message


class Plain(keras.Model):
    """A subclassed network."""

    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = keras.layers.Conv2D(3, 3, padding="same")

    def call(self, inputs):
        return self.convolution(inputs[0]) * inputs[1]


@pytest.mark.backend
@pytest.mark.parametrize("subclassed", [False, True])
def test_the_average_has_a_name_of_its_own(images, tmp_path, subclassed):
    network = Plain(name="mine") if subclassed else None
    model = make_model(images, network=network, name="m")
    name = "mine" if subclassed else "residual_unet"
    assert [model.network.name, model.ema_network.name] == [name, f"{name}_ema"]
    lines = []
    model.summary(print_fn=lines.append)
    assert f"{name}_ema" in "".join(lines)
    model.fit(images, batch_size=32, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    custom = {"Plain": Plain}
    loaded = keras.saving.load_model(tmp_path / "m.keras", custom_objects=custom)
    assert loaded.ema_network.name == f"{loaded.network.name}_ema"
    other = make_model(images, network=Plain(name="mine") if subclassed else None)
    other.load_weights(tmp_path / "m.weights.h5")
    expected = model.ema_network(inputs(), training=False)
    for found in (loaded, other):
        np.testing.assert_array_equal(
            to_numpy(found.ema_network(inputs(), training=False)), to_numpy(expected)
        )


torch_compile = pytest.mark.skipif(
    keras.backend.backend() != "torch" or not shutil.which("g++"),
    reason="needs the PyTorch backend and a C++ compiler",
)


@torch_compile
@pytest.mark.backend
def test_a_convolution_compiles_for_images_of_several_sizes():
    """PyTorch's compiler treats a size that has changed between calls as unknown."""
    import torch

    kernel = torch.randn(3, 3, 1, 4, requires_grad=True)
    compiled = torch.compile(lambda images: 2.0 * kddim.backend.convolve(images, kernel))
    for size in (1, 8, 4):
        images = torch.randn(2, size, size, 1)
        result = compiled(images)
        result.sum().backward()
        expected = 2.0 * kddim.backend.convolve(images, kernel)
        np.testing.assert_allclose(to_numpy(result), to_numpy(expected), atol=1e-5)


@torch_compile
@pytest.mark.slow
@pytest.mark.backend
def test_the_default_network_trains_compiled_by_torch():
    images = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
    model = kddim.DiffusionModel(8, (8, 16), 1, channels=1, seed=0)
    model.normalizer.adapt(images)
    model.compile(jit_compile=True)
    history = model.fit(images, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(history["n_loss"]).all()


def command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    return stopped.value.code


def test_the_command_line_trains_and_tells_what_the_network_is(tmp_path, capsys):
    run = tmp_path / "run"
    small = ("--widths", "8,16", "--block-depth", 1, "--epochs", 1, "--steps-per-epoch", 2)
    options = ("--attention-levels", "1", "--normalization", "group", "--kid-encoder", "none")
    assert command("train", "digits", "-o", run, *small, *options) == 0
    training = json.loads((run / "config.json").read_text())["training"]
    assert training["attention_levels"] == [1]
    assert training["normalization"] == "group"
    assert runs.load_model(run).network.count_params() == residual_unet(
        8, (8, 16), 1, channels=1, attention_levels=(1,), normalization="group"
    ).count_params()  # fmt: skip
    capsys.readouterr()
    assert command("info", run) == 0
    assert "residual_unet, group normalisation, self-attention at 4x4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--attention-levels", "3"], "from 0 (finest) to 2"),
        (["--attention-levels", "x"], "integers separated by commas"),
        (["--normalization", "layer"], "Unknown normalization"),
    ],
)
def test_bad_options_on_the_command_line_write_nothing(tmp_path, capsys, options, match):
    assert command("train", "digits", "-o", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
