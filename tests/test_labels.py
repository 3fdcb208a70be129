"""Tests of models with classes: training, labels that do not fit, generation and files."""

import keras
import numpy as np
import pytest
from conftest import make_model

import kddim
from kddim import DiffusionModel, data
from kddim.backend import to_numpy
from kddim.evaluation import Reference
from kddim.experiments import GuidanceSweep
from kddim.guidance import ClassifierFree
from kddim.metrics.encoders import Encoder
from kddim.metrics.feature_set import FeatureSet
from kddim.samplers import DDIM

pytestmark = pytest.mark.backend

LABELS = np.arange(64) % 4


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    coarse = random.random((64, 4, 4, 3)).astype("float32")
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture(scope="module")
def labelled(pictures):
    """A model of four classes whose predictions depend on its labels."""
    keras.utils.set_random_seed(0)
    model = make_model(pictures, num_classes=4, seed=0)
    model.class_names = ("ash", "beech", "cedar", "elm")
    weights = model.network.get_weights()  # a flow that few steps follow
    for network in (model.network, model.ema_network):
        network.set_weights([*weights[:-2], *(0.03 * w for w in weights[-2:])])
    return model


def rates(number=4):
    return np.full((number, 1, 1, 1), 0.6, "float32"), np.full((number, 1, 1, 1), 0.8, "float32")


def test_the_unlabelled_network_is_unchanged():
    model = DiffusionModel(64, (32, 64, 96, 128), 2)
    assert model.network.count_params() == 1_953_507
    assert len(model.network.inputs) == 2
    assert [layer.name.rstrip("_0123456789") for layer in model.network.layers if "label" in layer.name] == []  # fmt: skip


def test_labels_change_predictions_and_no_label_is_one_more(labelled, pictures):
    noisy = labelled.normalizer(pictures[:4])
    found = [
        to_numpy(labelled.denoise(noisy, *rates(), labels=np.full(4, label))[0])
        for label in (0, 1, 2, 3, -1)
    ]
    for one in range(5):
        for other in range(one):
            assert np.abs(found[one] - found[other]).max() > 1e-3
    without = to_numpy(labelled.denoise(noisy, *rates())[0])
    np.testing.assert_array_equal(without, found[4])


def test_a_step_teaches_the_vectors_of_the_labels_in_it(pictures):
    model = make_model(pictures, num_classes=4, label_dropout=0.0, seed=0)
    layer = next(layer for layer in model.network.layers if "label_embedding" in layer.name)
    before = to_numpy(layer.vectors)
    model.optimizer.weight_decay = 0.0
    model.fit(pictures, np.full(64, 2), batch_size=32, epochs=1, verbose=0)
    changed = np.abs(to_numpy(layer.vectors) - before).max(axis=1)
    assert changed[2] > 1e-5
    assert changed[[0, 1, 3, 4]].max() < 1e-6


def test_dropout_hides_labels_in_training_only(pictures, labelled):
    model = make_model(pictures, num_classes=4, label_dropout=0.5, seed=0)
    seen = [to_numpy(model._labels_seen(LABELS, pictures, training=True)) for _ in range(20)]
    hidden = np.mean([labels == -1 for labels in seen])
    assert 0.4 < hidden < 0.6
    assert all((labels[labels >= 0] == LABELS[labels >= 0]).all() for labels in seen)
    validated = to_numpy(model._labels_seen(LABELS, pictures, training=False))
    assert (validated == LABELS).all()


@pytest.mark.slow
def test_every_kind_of_data_set_trains(pictures):
    model = make_model(pictures, num_classes=4, seed=0)
    labels = data.labels.Labels(LABELS.astype("int32"), ("a", "b", "c", "d"))
    own = data.ImageDataset(pictures, 32, labels=labels, training=True)
    model.fit(own, validation_data=own, epochs=1, verbose=0)
    model.fit(pictures, LABELS, batch_size=32, validation_data=(pictures, LABELS), verbose=0)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices((pictures, LABELS)).batch(32)
        model.fit(batches, verbose=0)
    losses = [model.evaluate(pictures, LABELS, verbose=0) for _ in range(2)]
    assert losses[0] == losses[1]
    assert model.predict(own, verbose=0).shape == pictures.shape


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"Expected batches \(images, labels\), because the model has num_classes=4"),
        (LABELS[:, None], r"integer labels of shape \(64,\)"),
        (LABELS.astype("float32"), r"integer labels of shape \(64,\).*float32"),
        (LABELS + 1, r"labels in \[0, 4\)\. Received: values from 1 to 4"),
        (LABELS - 1, r"labels in \[0, 4\)\. Received: values from -1 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_training(pictures, labelled, labels, message):
    for method in (labelled.fit, labelled.evaluate):
        with pytest.raises(ValueError, match=message):
            method(pictures, labels, verbose=0)


@pytest.mark.parametrize(
    "labels", [4, -2, "oak", [0, 1], [0, 1, 2, 3, 0], 1.5, [0.0] * 4, {}, True]
)
def test_labels_that_do_not_fit_are_refused_in_generation(labelled, labels):
    with pytest.raises(ValueError, match="Expected labels as"):
        labelled.generate(4, 2, labels=labels)


def test_labels_need_a_model_with_classes(pictures):
    model = make_model(pictures)
    with pytest.raises(
        ValueError, match="Expected no labels, because the model was trained without"
    ):
        model.generate(4, 2, labels=1)
    with pytest.raises(ValueError, match="Expected no labels for a model without classes"):
        model.denoise(pictures[:4], *rates(), labels=np.zeros(4, "int32"))
    with pytest.raises(ValueError, match="Expected labels, or a weaker model as `guide`"):
        model.generate(4, 2, guidance_scale=2.0)
    with pytest.raises(ValueError, match=r"class_names.*None different texts"):
        model.class_names = ("a", "b")


@pytest.mark.parametrize("number", [1, 0, -3, 2.0, "4", True])
def test_numbers_of_classes_that_are_none_are_refused(number):
    with pytest.raises(ValueError, match="Expected `num_classes` to be an int of at least 2"):
        DiffusionModel(8, (4, 8), 1, num_classes=number)


@pytest.mark.parametrize("share", [-0.1, 1.1, "0.1", None])
def test_shares_of_hidden_labels_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="Expected `label_dropout` in"):
        DiffusionModel(8, (4, 8), 1, num_classes=3, label_dropout=share)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a", "b", "c"), (1, 2, 3, 4), "abcd"])
def test_names_that_are_not_those_of_the_classes_are_refused(labelled, names):
    with pytest.raises(ValueError, match="Expected `class_names` as 4 different texts"):
        labelled.class_names = names


OPTIONS = [
    {"labels": [0, 1, 2, 3, 0]},
    {"labels": "beech", "guidance_scale": 2.0},
    {"labels": [0, 1, 2, 3, 0], "guidance_scale": 2.0, "guidance_interval": (0.3, 3.0)},
    {"labels": [0, 1, 2, 3, 0], "sampler": "heun", "guidance_scale": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_images_are_those_of_the_plain_denoiser_in_batches_of_any_size(labelled, options):
    found = labelled.generate(5, 3, seed=0, batch_size=2, **options)
    np.testing.assert_allclose(
        labelled.generate(5, 3, seed=0, batch_size=5, **options), found, atol=1e-3
    )
    names = labelled.class_names
    labels = options["labels"]
    labels = np.full(5, names.index(labels)) if isinstance(labels, str) else np.array(labels)

    def denoise(*args, labels):
        return labelled.denoise(*args, labels=labels)

    guided = ClassifierFree(
        denoise, labels, options.get("guidance_scale", 1.0), options.get("guidance_interval")
    )
    noise = kddim.latents.initial_noise(5, labelled.image_shape, 0)
    sampler = kddim.samplers.get(options.get("sampler", DDIM()))
    plain = sampler.sample(guided, labelled.schedule, noise, 3)
    np.testing.assert_allclose(to_numpy(labelled.denormalize(plain)), found, atol=1e-3)


def test_one_compiled_step_serves_all_labels_scales_and_intervals(labelled, monkeypatch):
    labelled.sampling_denoiser().steps.clear()
    traced, both = [], ClassifierFree.both
    monkeypatch.setattr(ClassifierFree, "both", lambda self, *a: traced.append(1) or both(self, *a))
    for scale in (1.5, 2.0, 3.0):
        for interval in ((0.1, 2.0), (0.5, 5.0)):
            options = {"guidance_scale": scale, "guidance_interval": interval}
            labelled.generate(4, 2, labels=int(scale), seed=0, **options)
    assert len(labelled.sampling_denoiser().steps) == 1
    if keras.backend.backend() != "torch":  # which runs eagerly
        assert len(traced) <= 2


def test_encoding_under_a_label_inverts_generation_under_it(labelled, pictures):
    options = {"labels": [0, 1, 2, 3], "diffusion_steps": 40}
    errors = np.abs(labelled.reconstruct(pictures[:4], **options) - pictures[:4]).mean()
    latents = labelled.encode(pictures[:4], **options)
    wrong = labelled.decode(latents, 40, labels=[3, 2, 1, 0])
    assert errors < 0.7 * np.abs(wrong - pictures[:4]).mean()
    ends = labelled.interpolate(latents[0], latents[1], 3, 5, labels="elm")
    assert ends.shape == (3, 16, 16, 3)


def test_files_hold_classes_and_names(labelled, tmp_path):
    labelled.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.class_names == labelled.class_names
    assert loaded.num_classes == 4
    options = {"labels": "cedar", "guidance_scale": 2.0, "seed": 1}
    np.testing.assert_array_equal(
        loaded.generate(3, 3, **options), labelled.generate(3, 3, **options)
    )
    average = labelled.averaged()
    np.testing.assert_array_equal(
        average.generate(3, 3, **options), labelled.generate(3, 3, **options)
    )


def test_a_weaker_model_guides_with_and_without_labels(labelled, pictures):
    weaker = make_model(pictures, widths=(4, 8), block_depth=1)
    unlabelled = make_model(pictures)
    for model, options in ((labelled, {"labels": 2}), (labelled, {}), (unlabelled, {})):
        plain = model.generate(4, 3, seed=0, **options)
        same = model.generate(4, 3, seed=0, guide=model, guidance_scale=3.0, **options)
        np.testing.assert_allclose(same, plain, atol=1e-4)
        guided = model.generate(4, 3, seed=0, guide=weaker, guidance_scale=3.0, **options)
        assert np.abs(guided - plain).max() > 1e-3


def test_guides_of_other_images_are_refused(labelled, pictures):
    others = {
        "shape": make_model(pictures[:, :8, :8]),
        "classes": make_model(pictures, num_classes=3),
        "mean or variance": make_model(pictures * 0.5),
    }
    for words, guide in others.items():
        with pytest.raises(
            ValueError, match=f"Expected a weaker model of the same images.*{words}"
        ):
            labelled.generate(2, 2, guide=guide, guidance_scale=2.0)
    with pytest.raises(ValueError, match="Expected a guidance_scale other than 1"):
        labelled.generate(2, 2, guide=labelled)
    with pytest.raises(ValueError, match=r"weaker model .* Received: 'weak\.keras'\. Load it"):
        labelled.generate(2, 2, guide="weak.keras", guidance_scale=2.0)


def test_guides_may_have_statistics_that_were_set_by_hand(labelled, pictures):
    """Only the mean and the variance count, not how they came into the normaliser."""
    weaker = make_model(pictures, widths=(4, 8), block_depth=1)
    weaker.normalizer.count.assign(0)
    assert weaker.normalizer.adapted
    assert labelled.generate(1, 1, guide=weaker, guidance_scale=2.0).shape == (1, 16, 16, 3)


def test_options_of_guidance_may_be_numbers_of_numpy(labelled):
    options = {"num_images": 2, "diffusion_steps": 2, "labels": 1, "seed": 0}
    expected = labelled.generate(**options, guidance_scale=2.0)
    for scale in (np.int64(2), np.float32(2.0)):
        found = labelled.generate(**options, guidance_scale=scale)
        np.testing.assert_array_equal(found, expected)
    assert DiffusionModel(8, (4, 8), 1, label_dropout=np.float32(0.5)).label_dropout == 0.5
    assert DiffusionModel(8, (4, 8), 1, ema=np.float32(0.5)).ema == 0.5


@pytest.mark.parametrize("interval", ["12", (2.0, 1.0), (np.nan, 1.0), (1.0,), 3.0])
def test_other_intervals_are_refused(labelled, interval):
    with pytest.raises(ValueError, match="Expected `guidance_interval` as two noise levels"):
        labelled.generate(1, 1, labels=1, guidance_scale=2.0, guidance_interval=interval)


def test_texts_of_thousands_of_digits_are_no_labels(labelled):
    with pytest.raises(ValueError, match=r"Expected labels as ints in \[0, 4\)"):
        labelled.generate(1, 1, labels="9" * 5000)


def test_networks_with_labels_are_checked():
    images, variances = keras.Input((8, 8, 3)), keras.Input((1, 1, 1))
    network = keras.Model([images, variances], keras.layers.Conv2D(3, 1)(images))
    with pytest.raises(ValueError, match=r"\[noisy_images, noise_variances, labels\]"):
        DiffusionModel(8, network=network, num_classes=3)


def test_options_of_the_network_take_labels(pictures):
    network = kddim.networks.residual_unet(
        16, (8, 16), 1, num_classes=4, patch_size=2, attention_levels=(1,), normalization="group"
    )
    model = DiffusionModel(16, network=network, num_classes=4, remat=True, seed=0)
    model.normalizer.adapt(pictures)
    model.compile()
    history = model.fit(pictures, LABELS, batch_size=32, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert np.isfinite(model.generate(4, 2, labels=3, guidance_scale=2.0)).all()


def test_a_model_with_classes_exports_its_labels(labelled, tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs TensorFlow")
    import tensorflow as tf

    labelled.export(tmp_path / "m", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    noisy = np.zeros((4, 16, 16, 3), "float32")
    labels = np.arange(4, dtype="int32")
    expected = labelled.denoise(noisy, *rates(), labels=labels)
    for found, wanted in zip(loaded.serve(noisy, *rates(), labels), expected):
        np.testing.assert_allclose(to_numpy(found), to_numpy(wanted), atol=1e-4)


def test_near_scales_of_a_sweep_are_rows_of_their_own(labelled, pictures):
    encoder = Encoder("pixels", lambda images: images.reshape(len(images), -1)[:, :8])
    reference = Reference(encoder, FeatureSet(encoder(pictures)), {})
    options = {"reference": reference, "labels": LABELS[:4], "num_images": 4}
    sweep = GuidanceSweep(model=labelled, scales=(1, 1.5, 1.5000001), **options)
    assert list(sweep.cells()) == ["scale 1", "scale 1.5", "scale 1.5000001"]
    assert list(GuidanceSweep(model=labelled, scales=2, **options).cells()) == ["scale 2"]
