"""Tests of `kddim.data.load` and its batches: digits, splits, seeds, orders and flips."""

import sys

import keras
import numpy as np
import pytest
from PIL import Image

from kddim.data import ImageDataset, load
from kddim.data.digits import load_digits
from kddim.images import to_uint8
from kddim.networks.layers import ImageNormalization


def numbered(number, size=8):
    """Return grey uint8 images that have one level each: 0, 1, 2, ..."""
    return np.broadcast_to(
        np.arange(number, dtype="uint8")[:, None, None, None], (number, size, size, 1)
    ).copy()


def levels(batches):
    """Return the levels of the images of batches, in their order."""
    return [int(level) for batch in batches for level in to_uint8(batch)[:, 0, 0, 0]]


@pytest.fixture
def array_file(tmp_path):
    np.save(tmp_path / "numbered.npy", numbered(100))
    return tmp_path / "numbered.npy"


@pytest.fixture
def picture_folder(tmp_path):
    for level in range(20):
        Image.fromarray(numbered(20)[level, ..., 0]).save(tmp_path / f"{level:02d}.png")
    return tmp_path


# Digits


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    images = load_digits()
    assert (images.shape, images.dtype) == ((1797, 8, 8, 1), np.float32)
    assert np.array_equal(images[..., 0], (datasets.load_digits().images / 16).astype("float32"))


def test_digits_split_into_training_and_validation():
    train, validation = load("digits", 8)
    assert (len(train.images), len(validation.images)) == (1797 - 359, 359)
    assert train[0].shape == (64, 8, 8, 1)
    together = np.concatenate([train.images, validation.images]).reshape(1797, -1)
    original = load_digits().reshape(1797, -1)
    assert np.array_equal(
        together[np.lexsort(together.T)],
        original[np.lexsort(original.T)],
    )


def test_digits_can_be_larger_and_in_three_channels():
    train, _ = load("digits", (16, 12), 32, channels=3, limit=200)
    batch = train[0]
    assert batch.shape == (32, 16, 12, 3)
    assert (batch[..., 0] == batch[..., 2]).all()
    assert batch.min() >= 0.0
    assert batch.max() <= 1.0
    assert batch.std() > 0.1


def test_digits_larger_keep_their_places():
    train, _ = load("digits", 16, 10, limit=20)
    small, _ = load("digits", 8, 10, limit=20)
    shrunk = train.images.reshape(-1, 8, 2, 8, 2).mean((2, 4))
    assert np.corrcoef(shrunk.ravel(), small.images.ravel())[0, 1] > 0.95


# Load: what it gives


def test_batches_are_float32_between_0_and_1(array_file):
    for part in load(array_file, 8, 16):
        assert isinstance(part, ImageDataset)
        for batch in part:
            assert type(batch) is np.ndarray
            assert batch.dtype == np.float32
            assert 0.0 <= batch.min() <= batch.max() <= 1.0
    train, validation = load(array_file, 8, 16)
    assert [len(batch) for batch in train] == [16] * 5
    assert [len(batch) for batch in validation] == [16, 4]


def test_every_image_is_in_one_part_alone(array_file):
    train, validation = load(array_file, 8, 1)
    assert sorted(levels(train) + levels(validation)) == list(range(100))


@pytest.mark.parametrize(("fraction", "held_out"), [(0.2, 20), (0.25, 25), (0.5, 50), (0.9, 90)])
def test_the_split_has_the_fraction_asked_for(array_file, fraction, held_out):
    train, validation = load(array_file, 8, 1, validation_split=fraction)
    assert (len(train.images), len(validation.images)) == (100 - held_out, held_out)


@pytest.mark.parametrize(("fraction", "held_out"), [(1e-6, 1), (1 - 1e-6, 99)])
def test_no_part_is_ever_empty(array_file, fraction, held_out):
    _, validation = load(array_file, 8, 1, validation_split=fraction)
    assert len(validation.images) == held_out


def test_the_split_is_random_and_repeatable(array_file):
    held_out = {seed: levels(load(array_file, 8, 1, seed=seed)[1]) for seed in range(3)}
    assert held_out[0] == levels(load(array_file, 8, 1, seed=0)[1])
    assert set(held_out[0]) != set(held_out[1]) != set(held_out[2])
    assert set(held_out[0]) != set(range(80, 100))


def test_the_order_of_training_hangs_on_the_seed(array_file):
    first, again, other = (levels(load(array_file, 8, 8, seed=seed)[0]) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_split_does_not_hang_on_other_options(array_file):
    wanted = levels(load(array_file, 8, 1, seed=5)[1])
    _, validation = load(array_file, 8, 7, seed=5, repeats=3, flip=True)
    assert levels(validation) == wanted


@pytest.mark.parametrize("limit", [2, 3, 10, 100, 1000])
def test_at_most_limit_images_are_used(array_file, limit):
    train, validation = load(array_file, 8, 1, limit=limit)
    assert len(train.images) + len(validation.images) == min(limit, 100)
    assert len(validation.images) >= 1


def test_a_limit_takes_any_images_and_not_the_first(array_file):
    train, validation = load(array_file, 8, 1, limit=10)
    assert set(levels(train) + levels(validation)) != set(range(10))


def test_repeats_lengthen_the_epoch_and_not_the_validation(array_file):
    train, validation = load(array_file, 8, 16, repeats=3)
    assert (len(train), len(validation)) == (80 * 3 // 16, 2)


def test_flip_is_for_training_alone(array_file):
    train, validation = load(array_file, 8, 16, flip=True)
    assert train.flip
    assert not validation.flip
    assert not load(array_file, 8, 16)[0].flip


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_folders_are_split_at_random_too(picture_folder, kind):
    train, validation = load(kind(picture_folder), 8, 1)
    assert sorted(levels(train) + levels(validation)) == list(range(20))
    assert sorted(levels(validation)) != [16, 17, 18, 19]
    assert levels(load(picture_folder, 8, 1, seed=0)[1]) == levels(validation)
    assert set(levels(load(picture_folder, 8, 1, seed=1)[1])) != set(levels(validation))


def test_folders_take_a_limit_a_size_and_channels(picture_folder):
    train, validation = load(picture_folder, (4, 6), 2, channels=3, limit=5)
    assert len(train.images) + len(validation.images) == 5
    assert train[0].shape == (2, 4, 6, 3)
    assert len(set(levels(train) + levels(validation))) > 3
    assert max(levels(load(picture_folder, 8, 1, limit=5)[0])) > 5


def test_npz_files_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=numbered(10), labels=np.arange(10))
    train, validation = load(str(tmp_path / "a.npz"), 8, 1)
    assert sorted(levels(train) + levels(validation)) == list(range(10))


# Load: what it refuses


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_split_outside_0_to_1_is_refused(array_file, fraction):
    with pytest.raises(ValueError, match=r"Expected `validation_split` in \(0, 1\)\. Received: "):
        load(array_file, 8, validation_split=fraction)


@pytest.mark.parametrize("option", ["batch_size", "repeats", "limit"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_below_one_are_refused(array_file, option, value):
    with pytest.raises(
        ValueError, match=rf"Expected `{option}` to be an int of at least \d\. Received: {value}"
    ):
        load(array_file, 8, **{option: value})


@pytest.mark.parametrize("size", [0, -8, (8,), (8, 0), (8, 8, 3), "8"])
def test_other_sizes_are_refused(array_file, size):
    with pytest.raises(ValueError, match=r"Expected `image_size` as a positive int or \(height"):
        load(array_file, size)


def test_fewer_images_than_a_batch_are_refused(array_file):
    message = r"Expected at least one batch of 81 training images\. Received: 80 images"
    with pytest.raises(ValueError, match=message):
        load(array_file, 8, 81)
    assert len(load(array_file, 8, 80)[0]) == 1
    with pytest.raises(ValueError, match=message):
        load(array_file, 8, 81, repeats=2)


def test_one_image_cannot_be_split(array_file, picture_folder):
    for source in (array_file, picture_folder):
        with pytest.raises(ValueError, match=r"`limit` to be an int of at least 2.*Received: 1"):
            load(source, 8, 1, limit=1)


def test_a_missing_numpy_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected a NumPy file.*missing\.npz, no such file"):
        load(tmp_path / "missing.npz", 8)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r'Expected "digits", a folder.*Received: the file .*\.zip'
    ):
        load(tmp_path / "images.zip", 8)


def test_a_folder_of_no_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected pictures.*Received: none in"):
        load(tmp_path, 8)


def test_a_name_without_tensorflow_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"Received: 'oxford_flowers102'.*install kddim\[tfds\]"):
        load("oxford_flowers102", 64)


# ImageDataset


def test_training_epochs_hold_each_image_once_and_drop_the_rest():
    dataset = ImageDataset(numbered(10), 4, training=True)
    assert len(dataset) == 2
    assert [len(batch) for batch in dataset] == [4, 4]
    assert len(set(levels(dataset))) == 8
    seen = set()
    for _ in range(20):
        seen |= set(levels(dataset))
        dataset.on_epoch_end()
    assert seen == set(range(10))


def test_validation_keeps_its_order_and_all_its_images():
    dataset = ImageDataset(numbered(10), 4, repeats=5, flip=True)
    assert [len(batch) for batch in dataset] == [4, 4, 2]
    dataset.on_epoch_end()
    assert levels(dataset) == list(range(10))


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_repeats_show_each_image_so_many_times(repeats):
    dataset = ImageDataset(numbered(10), 5, training=True, repeats=repeats)
    assert len(dataset) == 2 * repeats
    assert sorted(levels(dataset)) == sorted(list(range(10)) * repeats)
    passes = np.reshape(levels(dataset), (repeats, 10))
    assert all(len(set(one)) == 10 for one in passes.tolist())


def test_each_epoch_has_its_own_order_and_the_seed_repeats_it():
    first, second = (ImageDataset(numbered(50), 10, training=True, seed=1) for _ in range(2))
    other = ImageDataset(numbered(50), 10, training=True, seed=2)
    orders = []
    for _ in range(3):
        orders.append(levels(first))
        assert levels(first) == orders[-1] == levels(second)
        assert levels(other) != orders[-1]
        for dataset in (first, second, other):
            dataset.on_epoch_end()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != list(range(50))


@pytest.mark.parametrize(("steps", "batch_size"), [(3, 4), (7, 4), (2, 64)])
def test_steps_per_epoch_set_the_length(steps, batch_size):
    dataset = ImageDataset(numbered(10), batch_size, training=True, steps_per_epoch=steps)
    assert len(dataset) == steps
    assert [len(batch) for batch in dataset] == [batch_size] * steps
    counts = np.bincount(levels(dataset), minlength=10)
    assert counts.max() - counts.min() <= 1


def test_bytes_are_divided_by_255():
    values = np.arange(256, dtype="uint8").reshape(1, 16, 16, 1)
    batch = ImageDataset(values, 1)[0]
    assert batch.dtype == np.float32
    assert np.allclose(batch.ravel(), np.arange(256) / 255.0, atol=1e-7)
    assert (batch.min(), batch.max()) == (0.0, 1.0)


@pytest.mark.parametrize("index", [2, 100, -1])
def test_batches_beyond_the_end_are_refused(index):
    with pytest.raises(IndexError, match=f"batch {index} of 2"):
        ImageDataset(numbered(8), 4, training=True)[index]


def sided(number):
    """Return float images with their index in the left half and zeros in the right half."""
    images = np.zeros((number, 4, 4, 1), "float32")
    images[:, :, :2] = (np.arange(number)[:, None, None, None] + 1) / number
    return images


def mirrored(batch):
    return batch[:, 0, 0, 0] == 0.0


def test_flips_mirror_half_of_the_images_left_to_right():
    images = sided(400)
    dataset = ImageDataset(images, 100, training=True, flip=True)
    batch = dataset[0]
    rows = np.round(batch.max((1, 2, 3)) * 400).astype(int) - 1
    flips = mirrored(batch)
    assert np.array_equal(batch[flips], images[rows[flips]][:, :, ::-1])
    assert np.array_equal(batch[~flips], images[rows[~flips]])
    share = np.mean([mirrored(batch).mean() for batch in dataset])
    assert 0.35 < share < 0.65


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_flips_leave_the_source_alone(dtype):
    images = sided(50)
    images = to_uint8(images) if dtype == "uint8" else images
    before = images.copy()
    dataset = ImageDataset(images, 10, training=True, flip=True)
    assert any(mirrored(batch).any() for batch in dataset)
    assert np.array_equal(images, before)


def test_flips_are_the_same_when_a_batch_is_read_again_and_new_each_epoch():
    dataset = ImageDataset(sided(64), 64, training=True, flip=True, seed=3)
    again = ImageDataset(sided(64), 64, training=True, flip=True, seed=3)
    assert np.array_equal(dataset[0], dataset[0])
    assert np.array_equal(dataset[0], again[0])

    by_place = mirrored(dataset[0])
    by_image = by_place[np.argsort(dataset[0].max((1, 2, 3)))]
    dataset.on_epoch_end()
    assert not np.array_equal(mirrored(dataset[0]), by_place)
    assert not np.array_equal(mirrored(dataset[0])[np.argsort(dataset[0].max((1, 2, 3)))], by_image)


def test_without_flip_or_training_no_image_is_mirrored():
    for options in ({"training": True}, {"flip": True}):  # Validation never flips.
        dataset = ImageDataset(sided(64), 16, **options)
        assert not any(mirrored(batch).any() for batch in dataset)


# Keras


class Offset(keras.layers.Layer):
    """Layer that subtracts a trained number and adds the squared distance as a loss."""

    def build(self, shape):
        self.offset = self.add_weight(shape=(), initializer="zeros")

    def call(self, images):
        self.add_loss(keras.ops.mean((images - self.offset) ** 2))
        return images - self.offset


def test_keras_fits_on_it_and_shuffles_it_each_epoch():
    dataset = ImageDataset(numbered(32), 8, training=True)
    model = keras.Sequential([keras.Input((8, 8, 1)), Offset()])
    model.compile(optimizer=keras.optimizers.SGD(0.4))
    history = model.fit(dataset, epochs=4, verbose=0)
    assert dataset.epoch >= 4  # Keras also calls `on_epoch_end` before the first epoch.
    offset = float(keras.ops.convert_to_numpy(model.layers[0].offset))
    assert offset == pytest.approx(numbered(32).mean() / 255, abs=0.01)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_keras_predicts_every_image_of_validation_in_order():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    predicted = model.predict(ImageDataset(numbered(10), 4), verbose=0)
    assert np.allclose(predicted[:, 0] * 255, np.arange(10), atol=1e-4)


def test_a_normalizer_adapts_to_it():
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), "uint8")
    normalizer = ImageNormalization()
    normalizer.adapt(ImageDataset(images, 8, training=True))
    normalised = keras.ops.convert_to_numpy(normalizer(images / np.float32(255)))
    assert np.allclose(normalised.mean((0, 1, 2)), 0.0, atol=1e-4)
    assert np.allclose(normalised.std((0, 1, 2)), 1.0, atol=1e-3)
