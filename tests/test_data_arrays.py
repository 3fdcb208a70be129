"""Tests of NumPy files of images, accepted and refused."""

import numpy as np
import pytest

from kddim.data import NativeImages, load
from kddim.data.arrays import load_arrays

FLOATS = np.random.default_rng(0).random((6, 8, 10, 3))
BYTES = np.random.default_rng(1).integers(0, 256, (6, 8, 10, 3), "uint8")


@pytest.fixture
def saved(tmp_path):
    def save(images):
        np.save(tmp_path / "images.npy", images)
        return tmp_path / "images.npy"

    return save


def test_bytes_are_kept_as_they_are(saved):
    images = load_arrays(saved(BYTES), (8, 10))
    assert images.dtype == np.uint8
    assert (images == BYTES).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_become_float32(saved, dtype):
    images = load_arrays(saved(FLOATS.astype(dtype)), (8, 10))
    assert images.dtype == np.dtype("float32")
    assert images.dtype.isnative
    assert np.allclose(images, FLOATS, atol=1e-3 if dtype == "float16" else 1e-6)


def test_three_axes_are_grey_images(saved):
    images = load_arrays(saved(BYTES[..., 0]), (8, 10))
    assert images.shape == (6, 8, 10, 1)
    assert (images[..., 0] == BYTES[..., 0]).all()


def test_a_path_may_be_a_string(saved):
    assert len(load_arrays(str(saved(BYTES)), (8, 10))) == 6


@pytest.mark.parametrize("images", [FLOATS.astype("float32"), BYTES])
def test_other_sizes_are_cropped_and_resized(saved, images):
    resized = load_arrays(saved(images), (4, 4))
    assert resized.dtype == images.dtype
    assert resized.shape == (6, 4, 4, 3)
    assert resized.mean() == pytest.approx(images[:, :, 1:-1].mean(), rel=0.02)
    assert resized.std() < images.std()


def test_the_crop_is_centred(saved):
    ramp = np.tile(np.arange(20, dtype="uint8")[None, None, :, None], (2, 4, 1, 1))
    images = load_arrays(saved(ramp), (4, 4))
    assert (images[:, :, :, 0] == np.arange(8, 12)).all()


def test_values_a_hair_outside_are_clipped(saved):
    edges = np.full((2, 2, 2, 1), 1.00005)
    edges[0] = -0.00005
    images = load_arrays(saved(edges), (2, 2))
    assert (images[0] == 0.0).all()
    assert (images[1] == 1.0).all()


@pytest.mark.parametrize(("channels", "shape"), [(None, 3), (3, 3), (1, 1)])
def test_channels_can_be_chosen(saved, channels, shape):
    assert load_arrays(saved(BYTES), (8, 10), channels).shape[-1] == shape


def test_a_wrong_number_of_channels_is_refused(saved):
    with pytest.raises(ValueError, match=r"Expected images of 3 channels\. Received: 4"):
        load_arrays(saved(np.zeros((2, 4, 4, 4), "uint8")), (4, 4), channels=3)


# .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_gives_its_array_images(tmp_path, save):
    save(tmp_path / "a.npz", labels=np.arange(6), images=BYTES, masks=BYTES[:2])
    assert (load_arrays(tmp_path / "a.npz", (8, 10)) == BYTES).all()


def test_an_npz_gives_its_only_array(tmp_path):
    np.savez(tmp_path / "a.npz", BYTES)
    assert (load_arrays(tmp_path / "a.npz", (8, 10)) == BYTES).all()
    np.savez(tmp_path / "b.npz", x_train=BYTES)
    assert (load_arrays(tmp_path / "b.npz", (8, 10)) == BYTES).all()


def test_an_npz_with_several_arrays_and_no_images_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=BYTES, x_test=BYTES)
    with pytest.raises(ValueError, match=r"Expected an array `images`.*Received: \['x_train', 'x_"):
        load_arrays(tmp_path / "a.npz", (8, 10))


def test_an_empty_npz_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"Expected an array `images`.*Received: \[\]"):
        load_arrays(tmp_path / "a.npz", (8, 10))


# Refused


class Trap:
    """Object that runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


@pytest.mark.parametrize("name", ["trap.npy", "trap.npz"])
def test_pickled_objects_are_refused_and_not_run(tmp_path, name):
    (np.save if name.endswith("npy") else np.savez)(tmp_path / name, np.array([Trap()], object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        load_arrays(tmp_path / name, (8, 10))
    assert not Trap.sprung


def test_a_bare_pickle_is_refused(tmp_path):
    BYTES.dump(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"Expected a NumPy file of images\. Received: .*a\.npy"):
        load_arrays(tmp_path / "a.npy", (8, 10))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"hello", b"\x93NUMPY\x01\x00\x76\x00{'de"])
def test_files_that_are_no_arrays_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a NumPy file of images\. Received: .*a\.npy"):
        load_arrays(tmp_path / "a.npy", (8, 10))


def test_a_truncated_array_is_refused(saved):
    path = saved(BYTES)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"Expected a NumPy file of images\. Received: .*npy"):
        load_arrays(path, (8, 10))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a NumPy file.*no such file"):
        load_arrays(tmp_path / "a.npy", (8, 10))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16", "int8", "bool", "complex64", "U1"])
def test_other_types_are_refused(saved, dtype):
    images = np.zeros((2, 4, 4, 1), dtype)
    with pytest.raises(ValueError, match=r"Expected uint8, or floats in \[0, 1\]. Received: "):
        load_arrays(saved(images), (4, 4))


@pytest.mark.parametrize("shape", [(), (8,), (8, 8), (1, 2, 8, 8, 3)])
def test_other_numbers_of_axes_are_refused(saved, shape):
    with pytest.raises(ValueError, match=r"Expected images of shape \(n, height.*Received: shape"):
        load_arrays(saved(np.zeros(shape, "uint8")), (8, 8))


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (0, 8, 8), (2, 0, 8, 3), (2, 8, 8, 0)])
def test_empty_arrays_are_refused(saved, shape):
    with pytest.raises(ValueError, match=r"Expected images of shape \(n, height.*Received: shape"):
        load_arrays(saved(np.zeros(shape, "uint8")), (8, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 255.0, -1.0, 1.001, -0.001])
def test_values_outside_the_range_are_refused(saved, value):
    images = FLOATS.copy()
    images[3, 2, 1, 0] = value
    with pytest.raises(ValueError, match=r"Expected (finite )?pixel values.*Received: .* in .*npy"):
        load_arrays(saved(images), (8, 10))


def test_a_bad_value_outside_the_crop_is_refused_too(saved):
    images = FLOATS.copy()
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="Expected finite pixel values"):
        load_arrays(saved(images), (4, 4))


# Arrays that look like channels first


@pytest.mark.parametrize("shape", [(40, 3, 8, 8), (40, 1, 28, 28), (5, 4, 32, 16)])
def test_channels_first_is_refused_with_the_mend(tmp_path, shape):
    images = np.zeros(shape, "uint8")
    np.save(tmp_path / "a.npy", images)
    message = r"Expected images of shape \(n, height, width, channels\).*np\.moveaxis\(images, 1, -"
    for open_source in (lambda path: load(path, 8, 2), NativeImages):
        with pytest.raises(ValueError, match=message):
            open_source(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.moveaxis(images, 1, -1))
    assert load(tmp_path / "a.npy", 8, 2)[0].images.shape[1:] == (8, 8, shape[1])


@pytest.mark.parametrize("shape", [(9, 3, 8, 3), (9, 8, 8, 8), (9, 3, 3, 3), (9, 1, 8, 1)])
def test_other_shapes_are_channels_last(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, "uint8"))
    assert load(tmp_path / "a.npy", shape[1:3], 2)[0].images.shape[1:] == shape[1:]
