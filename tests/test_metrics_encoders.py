"""Encoders: resizing against Pillow and the tools, networks against torch-fidelity's own."""

import keras
import numpy as np
import pytest
from oracles import oracle
from PIL import Image

from kddim import metrics, names
from kddim.backend import load_torch_state_dict
from kddim.metrics import encoders
from kddim.metrics.encoders.resizing import Resize, resize_matrix

IMAGES = np.random.default_rng(0).random((2, 40, 56, 3), "float32")
LEVELS = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), "uint8")
LEVELS[1] = LEVELS[1, ::16, ::16].repeat(16, 0).repeat(16, 1) // 3  # coarse and dark
SIZES = [(64, 299), (299, 299), (300, 75), (301, 128), (8, 299), (7, 13), (500, 299), (1, 5)]


# Resizing


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_a_resized_axis_is_pillows(source, target, method):
    values = np.random.default_rng(0).random((1, source)).astype("float32")
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    wanted = np.asarray(Image.fromarray(values).resize((target, 1), filters[method]))
    assert np.allclose(resize_matrix(source, target, method) @ values[0], wanted[0], atol=1e-6)


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize("method", ["bicubic", "bilinear", "tensorflow1"])
def test_resizing_keeps_what_is_constant(source, target, method):
    matrix = resize_matrix(source, target, method)
    assert matrix.shape == (target, source)
    assert matrix.dtype == np.float32
    assert np.allclose(matrix.sum(1), 1.0, atol=1e-6)


@pytest.mark.backend
@pytest.mark.parametrize("size", [24, 75, 128])
def test_the_layer_is_pillow_on_every_backend(size):
    resized = keras.ops.convert_to_numpy(Resize(size, "bicubic")(IMAGES))
    for image, found in zip(IMAGES, resized):
        for channel in range(3):
            whole = Image.fromarray(image[..., channel])
            wanted = np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC))
            assert np.allclose(found[..., channel], wanted, atol=1e-5)


@pytest.mark.parametrize("size", [20, 40, 299])
def test_the_first_tools_resizing_is_torch_fidelitys(size):
    torch = pytest.importorskip("torch")
    module = oracle("torch_fidelity.interpolate_compat_tensorflow")
    resize = module.interpolate_bilinear_2d_like_tensorflow1x
    images = torch.from_numpy(LEVELS).permute(0, 3, 1, 2).float()
    wanted = resize(images, size=(size, size), align_corners=False).permute(0, 2, 3, 1)
    found = keras.ops.convert_to_numpy(Resize(size, "tensorflow1")(LEVELS.astype("float32")))
    assert np.allclose(found, wanted.numpy(), atol=1e-4)  # of 255


def test_a_resizing_layer_is_saved_with_its_options():
    layer = Resize.from_config(Resize(24, "bilinear").get_config())
    assert (layer.size, layer.method) == (24, "bilinear")
    assert Resize(24)(keras.Input((None, None, 3))).shape == (None, 24, 24, 3)


def test_an_unknown_resizing_is_refused():
    with pytest.raises(ValueError, match=r"Unknown resizing: expected one of 'bicubic'.*'area'"):
        Resize(24, "area")


# pt_inception


@pytest.fixture(scope="module")
def fidelity(tmp_path_factory):
    """torch-fidelity's network with random weights, and the file of them."""
    torch = pytest.importorskip("torch")
    module = oracle("torch_fidelity.feature_extractor_inceptionv3")

    class Network(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            """Keeps the random weights."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        torch.manual_seed(0)
        network = Network("random", ["64", "192", "768", "2048", "logits_unbiased"])
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):  # so that the image still counts at the end
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.uniform_(0.5, 1.5), layer.bias.normal_(0.0, 0.3)
            layer.running_mean.normal_(0.0, 0.2), layer.running_var.uniform_(0.5, 2.0)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.fixture(scope="module")
def fidelity_features(fidelity):
    """What torch-fidelity's network makes of `LEVELS`, by name."""
    torch = pytest.importorskip("torch")
    found = fidelity[0](torch.from_numpy(LEVELS).permute(0, 3, 1, 2))
    return dict(zip(fidelity[0].features_list, (values.numpy() for values in found)))


def features_of(model):
    return keras.ops.convert_to_numpy(model(LEVELS.astype("float32") / 255.0))


@pytest.mark.parametrize("features", ["64", "192", "768", "2048", "logits_unbiased"])
def test_every_layer_is_torch_fidelitys(features, fidelity, fidelity_features):
    wanted = fidelity_features[features]
    found = features_of(encoders.pt_inception(fidelity[1], features=features))
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).mean())
    assert np.abs(wanted[0] - wanted[1]).mean() > 0.02 * np.abs(wanted).mean()


@pytest.mark.slow
@pytest.mark.backend
def test_the_network_is_the_same_on_every_backend(fidelity, fidelity_features):
    encoder = encoders.get("pt_inception", weights=fidelity[1])
    found = encoder(LEVELS.astype("float32") / 255.0)
    wanted = fidelity_features["2048"]
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).mean())
    assert encoder.description == "pt_inception (inception.pth, 299x299, fidelity resize)"


def test_antialiased_it_sees_what_clean_fid_shows_it(fidelity):
    """clean-fid's own resizer before torch-fidelity's network, which then resizes nothing."""
    torch = pytest.importorskip("torch")
    resize = oracle("cleanfid.resize").build_resizer("clean")
    network, path = fidelity
    shown = torch.from_numpy(np.stack([resize(image) for image in LEVELS])).permute(0, 3, 1, 2)
    x = (shown - 128) / 128
    for name, layer in network.named_children():
        if name not in ("AvgPool", "fc"):
            x = layer(x)
    wanted = x.mean((2, 3)).numpy()
    encoder = encoders.get("pt_inception", weights=path, antialias=True)
    found = encoder(LEVELS.astype("float32") / 255.0)
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).mean())
    assert encoder.description.endswith("clean resize)")


def test_images_are_rounded_to_levels_as_in_files():
    model = encoders.pt_inception(None, features="64")
    images = LEVELS.astype("float32") / 255.0
    noise = np.random.default_rng(1).uniform(-0.4, 0.4, images.shape).astype("float32") / 255
    wanted = features_of(model)
    assert np.array_equal(keras.ops.convert_to_numpy(model(images + noise)), wanted)


def test_converted_weights_are_the_same(fidelity, fidelity_features, tmp_path):
    path = encoders.convert_pt_inception(fidelity[1], tmp_path / "inception.npz")
    found = features_of(encoders.pt_inception(path, features="192"))
    wanted = fidelity_features["192"]
    assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).mean())


def test_files_of_other_weights_are_refused(fidelity, tmp_path):
    torch = pytest.importorskip("torch")
    state = load_torch_state_dict(fidelity[1])
    np.savez(tmp_path / "short.npz", **{n: v for n, v in state.items() if "Mixed_7c" not in n})
    message = r"an entry Mixed_7c\.branch.*short\.npz, with no such entry\. The file is at https"
    with pytest.raises(ValueError, match=message):
        encoders.pt_inception(tmp_path / "short.npz")
    state["Conv2d_1a_3x3.conv.weight"] = state["Conv2d_1a_3x3.conv.weight"][:3]
    np.savez(tmp_path / "other.npz", **state)
    with pytest.raises(ValueError, match=r"other\.npz, with one of shape \(3, 3, 3, 3\)"):
        encoders.pt_inception(tmp_path / "other.npz")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match=r"Expected a PyTorch state dict\. Received: .*text\.pth"):
        encoders.pt_inception(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"Expected a PyTorch state dict\. Received: .*list\.pth"):
        encoders.pt_inception(tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"missing\.npz, no such file"):
        encoders.pt_inception(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match=r"a target that ends in \.npz\. Received: .*out\.pth"):
        encoders.convert_pt_inception(fidelity[1], tmp_path / "out.pth")


@pytest.mark.parametrize("option", ["resize", "features"])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match=rf"Unknown {option}: expected one of.*Received: 'other'"):
        encoders.pt_inception(None, **{option: "other"})


def test_pt_inception_by_name_wants_its_weights():
    with pytest.raises(ValueError, match=r"Expected `weights` for pt_inception: the file.*https"):
        encoders.get("pt_inception")
    with pytest.raises(ValueError, match=r"`image_size` of 299 for pt_inc.*Received: 75"):
        encoders.get("pt_inception", 75)


# mobilenet


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    """Random weights of Keras' MobileNet of half the width, and the network."""
    network = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.5, input_shape=(64, 64, 3), pooling="avg"
    )
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(path)
    return path, network


@pytest.mark.backend
def test_mobilenet_is_keras_network_on_images_from_minus_one_to_one(mobilenet_file):
    path, network = mobilenet_file
    encoder = encoders.get("mobilenet", 64, path)
    resized = np.clip(keras.ops.convert_to_numpy(Resize(64, "bicubic")(IMAGES)), 0.0, 1.0)
    wanted = keras.ops.convert_to_numpy(network(2.0 * resized - 1.0, training=False))
    found = encoder(IMAGES)
    assert found.shape == (2, 512)
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert encoder.description == ("mobilenet 0.5 (mobilenet.weights.h5, 64x64, antialiased)")


def test_mobilenets_width_is_read_from_the_file_or_checked(mobilenet_file):
    path, _ = mobilenet_file
    assert encoders.mobilenet(64, path).output_shape == (None, 512)
    assert encoders.mobilenet(64, path, alpha=0.5).output_shape == (None, 512)
    assert encoders.mobilenet(64, None).output_shape == (None, 256)
    message = r"MobileNet with alpha=0\.25\. Received: .*, which has alpha=0\.5\. Leave `alpha`"
    with pytest.raises(ValueError, match=message):
        encoders.mobilenet(64, path, alpha=0.25)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_mobilenet_refuses_other_files(tmp_path):
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match=r"Expected an HDF5 file of MobileNet.*text\.h5"):
        encoders.mobilenet(64, tmp_path / "text.h5")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save_weights(tmp_path / "dense.weights.h5")
    with pytest.raises(ValueError, match=r"with one 3x3 convolution of colours.*which has 0"):
        encoders.mobilenet(64, tmp_path / "dense.weights.h5")
    model = keras.Sequential([keras.Input((9, 9, 3)), keras.layers.Conv2D(8, 3)])
    model.save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match=r"Expected MobileNet weights: a network connection"):
        encoders.mobilenet(64, tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match=r'Expected "imagenet", None or a file.*no such file'):
        encoders.get("mobilenet", weights=tmp_path / "missing.h5")
    with pytest.raises(ValueError, match=r"`image_size` of at least 32\. Received: 16"):
        encoders.mobilenet(16)


# inception_v3, antialiased


@pytest.fixture
def flat_inception(monkeypatch):
    """Stands in for Keras' InceptionV3: its features are the pixels it sees."""

    def build(**options):
        images = keras.Input(options["input_shape"])
        return keras.Model(images, keras.layers.Flatten()(images))

    monkeypatch.setattr(keras.applications, "InceptionV3", build)


def test_antialiased_inception_sees_pillows_images(flat_inception, tmp_path):
    encoder = encoders.get("inception_v3", 99, antialias=True)
    resized = np.clip(keras.ops.convert_to_numpy(Resize(99, "bicubic")(IMAGES)), 0.0, 1.0)
    assert np.allclose(encoder(IMAGES), 2.0 * resized.reshape(2, -1) - 1.0, atol=1e-5)
    assert encoder.description == "inception_v3 (imagenet, 99x99, antialiased)"
    plain = encoders.get("inception_v3", 99)
    assert np.abs(plain(IMAGES) - encoder(IMAGES)).max() > 0.1
    (tmp_path / "local.h5").touch()
    named = encoders.get("inception_v3", weights=tmp_path / "local.h5").description
    assert named == "inception_v3 (local.h5, 75x75)"


# get


@pytest.mark.parametrize("identifier", ["random_conv", "auto"])
def test_weights_for_networks_that_take_none_are_refused(identifier):
    with pytest.raises(ValueError, match=rf"Expected no `weights` for '{identifier}'"):
        encoders.get(identifier, weights="some.h5")


def test_weights_beside_an_encoder_are_refused():
    with pytest.raises(ValueError, match="Expected `weights` only beside the name of a network"):
        encoders.get(lambda images: images[:, 0, 0], weights="some.h5")


@pytest.mark.parametrize("identifier", ["mobilenet_v2", "clip"])
def test_unknown_names_are_refused_with_the_known_ones(identifier):
    message = rf'"mobilenet", "pt_inception", "auto".*Received: \'{identifier}\''
    with pytest.raises(ValueError, match=message):
        encoders.get(identifier)


def corners(image_size, weights, antialias):
    return encoders.Encoder("corners", lambda images: images[:, 0, 0], options={})


def test_an_encoder_is_added_by_one_function_and_one_line(monkeypatch):
    monkeypatch.setitem(names.ENCODERS, "corners", f"{__name__}.corners")
    encoder = encoders.get("corners")
    assert np.array_equal(encoder(IMAGES), IMAGES[:, 0, 0])
    assert encoders.same_encoder(encoders.rebuild(encoder.options, "corners"), encoder)
    with pytest.raises(ValueError, match='"auto", "corners", a Keras model'):
        encoders.get("corner")


# From images to figures


def smooth_images(number, seed):
    """uint8 images of random coarse colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (number, 4, 4, 3), "uint8")
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.mark.parametrize(
    ("metric", "antialias"), [("FID", True), pytest.param("KID", False, marks=pytest.mark.slow)]
)
def test_figures_of_images_are_torchmetrics(metric, antialias, fidelity):
    """Both tools, from pixels to the figure, with the same (random) weights.

    With an early layer's 64 features, so that images outnumber them at little cost.
    """
    torch = pytest.importorskip("torch")
    inception = oracle("torchmetrics.image.fid").NoTrainInceptionV3
    network = inception("inception-v3-compat", ["64"], str(fidelity[1]), antialias=antialias)
    name = {"FID": "FrechetInceptionDistance", "KID": "KernelInceptionDistance"}[metric]
    options = {"subsets": 1, "subset_size": 70} if metric == "KID" else {}
    tool = getattr(oracle(f"torchmetrics.image.{metric.lower()}"), name)
    theirs = tool(feature=network, **options)
    resize = "torchmetrics" if antialias else "fidelity"
    model = encoders.pt_inception(fidelity[1], resize, features="64")
    ours = getattr(metrics, metric)(encoders.from_model(model, "64 features"))
    sets = [smooth_images(70, 0), smooth_images(70, 1) // 2 + 40]
    for images, real in zip(sets, (True, False)):
        theirs.update(torch.from_numpy(images).permute(0, 3, 1, 2), real=real)
    ours.update_state(*(images.astype("float32") / 255.0 for images in sets))
    wanted = theirs.compute()
    wanted = float(wanted[0] if metric == "KID" else wanted)
    assert ours.result() == pytest.approx(wanted, rel=1e-4)
