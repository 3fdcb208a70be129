"""Tests of class labels: folders, NumPy files, digits, and batches with them."""

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from kddim.data import ImageDataset, load
from kddim.data.labels import Labels

NAMES = ("лес", "rose", "tulip")


@pytest.fixture
def folder(tmp_path):
    """A folder of three classes with 4, 5 and 6 pictures; the level of a picture is its class."""
    for label, name in enumerate(sorted(NAMES)):
        for number in range(4 + label):
            path = tmp_path / "flowers" / name / f"sub{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 8), 10 * label + number).save(path)
    return tmp_path / "flowers"


def levels(images):
    return np.round(np.asarray(images)[:, 0, 0, 0] * 255).astype(int)


def test_folders_on_the_first_level_are_the_classes(folder):
    train, validation = load(folder, 8, 4, labels=True, validation_split=0.3)
    assert train.class_names == validation.class_names == tuple(sorted(NAMES))
    for data in (train, validation):
        assert (data.images[:, 0, 0, 0] // 10 == data.labels).all()
    assert len(train.labels) + len(validation.labels) == 15


def test_batches_are_images_with_their_labels_in_every_epoch(folder):
    train, _ = load(folder, 8, 4, labels=True, flip=True, repeats=3)
    for _ in range(2):
        for images, labels in train:
            assert images.dtype == np.float32
            assert labels.dtype == np.int32
            assert (levels(images) // 10 == labels).all()
        train.on_epoch_end()


def test_images_do_not_depend_on_labels(folder):
    for source in (folder, "digits"):
        with_labels, _ = load(source, 8, 4, labels=True, limit=12)
        without, _ = load(source, 8, 4, limit=12)
        assert (with_labels.images == without.images).all()
        assert without.labels is None
        assert without.class_names is None
        assert isinstance(without[0], np.ndarray)


def test_classes_do_not_depend_on_the_number_of_pictures_that_are_read(folder):
    few, _ = load(folder, 8, 1, labels=True, limit=2)
    assert few.class_names == tuple(sorted(NAMES))


def test_pictures_that_cannot_be_read_take_their_labels_with_them(folder):
    (folder / "rose" / "sub0" / "1.png").write_bytes(b"no picture")
    train, validation = load(folder, 8, 4, labels=True)
    for data in (train, validation):
        assert (data.images[:, 0, 0, 0] // 10 == data.labels).all()


def test_digits_have_the_labels_of_scikit_learn():
    train, validation = load("digits", 8, labels=True, seed=3)
    known = datasets.load_digits()
    label_of = {image.tobytes(): label for image, label in zip(known.images, known.target)}
    for data in (train, validation):
        found = [
            label_of[(image[..., 0] * 16.0).astype("float64").tobytes()] for image in data.images
        ]
        assert found == data.labels.tolist()
    assert train.class_names == tuple("0123456789")


def test_a_numpy_file_has_labels_and_names(tmp_path):
    images = np.arange(20, dtype="uint8")[:, None, None, None] * np.ones((1, 4, 4, 1), "uint8")
    labels = np.arange(20) // 7
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    train, validation = load(tmp_path / "a.npz", 4, 4, labels=True, limit=15)
    for data in (train, validation):
        assert (data.images[:, 0, 0, 0] // 7 == data.labels).all()
    assert train.class_names == ("0", "1", "2")
    np.savez(tmp_path / "b.npz", images=images, labels=labels, class_names=["a", "b", "c"])
    assert load(tmp_path / "b.npz", 4, 4, labels=True)[0].class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "Expected an array `labels` beside the images"),
        ({"labels": np.zeros(19, "int32")}, r"shape \(20,\), one per image .* shape \(19,\)"),
        ({"labels": np.zeros((20, 3), "int32")}, r"shape \(20,\), one per image"),
        ({"labels": np.zeros(20)}, r"Expected integer labels .* float64"),
        ({"labels": np.full(20, -1)}, r"Expected labels in \[0, .* from -1 to -1"),
        ({"labels": np.arange(20), "class_names": ["a", "b"]}, "20 or more different class names"),
        ({"labels": np.arange(20) % 2, "class_names": ["a", "a"]}, "1 of them different"),
    ],
)
def test_wrong_labels_in_a_file_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 4, 4, 1), "uint8"), **arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.npz", 4, 4, labels=True)


def test_an_array_without_names_has_no_labels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((20, 4, 4, 1), "uint8"))
    with pytest.raises(ValueError, match="Expected an array `labels` beside the images"):
        load(tmp_path / "a.npy", 4, 4, labels=True)


def test_pictures_outside_of_the_classes_are_refused(folder):
    Image.new("L", (8, 8)).save(folder / "lost.png")
    with pytest.raises(ValueError, match=r"1 pictures in .*flowers itself, such as lost\.png"):
        load(folder, 8, 4, labels=True)


def test_one_class_is_refused(tmp_path):
    for number in range(4):
        (tmp_path / "rose").mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "rose" / f"{number}.png")
    with pytest.raises(ValueError, match=r"one subfolder per class, at least two.* 1 folder"):
        load(tmp_path, 8, 1, labels=True)


def test_a_data_set_needs_one_label_per_image():
    images = np.zeros((4, 8, 8, 1), "uint8")
    with pytest.raises(ValueError, match=r"one label per image.* 3 labels and 4 images"):
        ImageDataset(images, 2, labels=Labels(np.zeros(3, "int32"), ("a",)))
