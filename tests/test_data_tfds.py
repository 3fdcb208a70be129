"""Tests of data sets of TensorFlow Datasets, without a network.

`tfds.testing.mock_data` serves the data sets. The tests write their metadata, with official
splits of a few images. Every image has one level, which no other image has.
"""

import contextlib
import json
import os
import socket

import numpy as np
import pytest
from PIL import Image

from kddim.data import load
from kddim.data import tfds as tfds_module
from kddim.data.tfds import load_tfds, split_names

tfds = pytest.importorskip("tensorflow_datasets")
tf = pytest.importorskip("tensorflow")

FLOWERS = {"train": 20, "test": 60, "validation": 20}
VERSIONS = {"oxford_flowers102": "2.1.1", "mnist": "3.0.1"}


def write_metadata(folder, name, splits):
    """Write the metadata of a prepared data set, without its images."""
    version = VERSIONS[name]
    info = {
        "name": name,
        "version": version,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "shardLengths": [str(number)],
                "numBytes": "1",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, number in splits.items()
        ],
    }
    folder = folder / name / version
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps(info))


def rows_of(split, infos):
    """Return the indices of the images of a split such as "train[:80%]" among all images."""
    starts = dict(zip(infos, np.cumsum([0, *(info.num_examples for info in infos.values())])))
    rows = []
    for part in tfds.core.ReadInstruction.from_spec(split).to_absolute(infos):
        number = infos[part.splitname].num_examples
        rows += [int(starts[part.splitname]) + row for row in range(number)[part.from_ : part.to]]
    return rows


def flat_picture(number):
    return np.full((10 + number % 3, 12, 3), number, "uint8")


@pytest.fixture
def serve(tmp_path):
    """Function that serves a data set from now on, and returns the list of requested splits."""
    with contextlib.ExitStack() as stack:

        def start(name="oxford_flowers102", splits=FLOWERS, picture=flat_picture):
            asked = []

            def as_dataset(builder, split, **_):
                asked.append(str(split))
                rows = rows_of(str(split), builder.info.splits)
                dataset = tf.data.Dataset.from_generator(
                    lambda: ({"image": picture(row), "label": row % 10} for row in rows),
                    output_signature={
                        "image": tf.TensorSpec((None, None, None), "uint8"),
                        "label": tf.TensorSpec((), "int64"),
                    },
                )
                return dataset.apply(tf.data.experimental.assert_cardinality(len(rows)))

            write_metadata(tmp_path, name, splits)
            stack.enter_context(
                tfds.testing.mock_data(
                    policy=tfds.testing.MockPolicy.USE_FILES,
                    data_dir=str(tmp_path),
                    as_dataset_fn=as_dataset,
                )
            )
            return asked

        yield start


@pytest.fixture
def connections(monkeypatch):
    """Refused and recorded attempts to look up a host or to connect to it."""
    attempts = []

    def refuse(*args, **_):
        attempts.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def levels(images):
    """Return the levels of uint8 images that have one level each."""
    return images[:, 0, 0, 0].tolist()


# Splits


def test_split_names_are_those_of_the_keras_io_example():
    assert split_names(["train", "validation", "test"], 0.2) == (
        "train[:80%]+validation[:80%]+test[:80%]",
        "train[80%:]+validation[80%:]+test[80%:]",
    )


@pytest.mark.parametrize(("fraction", "percent"), [(0.1, 90), (0.25, 75), (0.5, 50), (0.29, 71)])
def test_split_names_have_whole_percents(fraction, percent):
    assert split_names(["a"], fraction) == (f"a[:{percent}%]", f"a[{percent}%:]")


def test_the_real_flowers_split_into_6551_and_1638(serve):
    serve(splits={"train": 1020, "test": 6149, "validation": 1020})
    splits = tfds.builder("oxford_flowers102").info.splits
    train, validation = split_names(list(splits), 0.2)
    assert splits[train].num_examples == 816 + 4919 + 816
    assert splits[validation].num_examples == 204 + 1230 + 204


def test_flowers_give_80_and_20_percent_of_every_official_split(serve):
    asked = serve()
    train, validation = load("oxford_flowers102", 8, 16)
    official = [range(20), range(20, 80), range(80, 100)]
    first = [row for rows in official for row in rows[: len(rows) * 4 // 5]]
    rest = [row for rows in official for row in rows[len(rows) * 4 // 5 :]]
    assert sorted(levels(train.images)) == first
    assert sorted(levels(validation.images)) == rest
    assert len(asked) == 2
    assert set(asked[0].split("+")) == {"train[:80%]", "validation[:80%]", "test[:80%]"}
    assert set(asked[1].split("+")) == {"train[80%:]", "validation[80%:]", "test[80%:]"}


def test_another_fraction_is_taken_of_every_split(serve):
    serve()
    train, validation = load("oxford_flowers102", 8, 16, validation_split=0.25)
    assert (len(train.images), len(validation.images)) == (75, 25)
    assert set(levels(validation.images)) == {*range(15, 20), *range(65, 80), *range(95, 100)}


# Images


def test_flowers_come_as_shuffled_training_and_ordered_validation_batches(serve):
    serve()
    train, validation = load("oxford_flowers102", 8, 16, repeats=2, flip=True, seed=1)
    assert (len(train), len(validation)) == (80 * 2 // 16, 2)
    assert train[0].shape == (16, 8, 8, 3)
    assert train[0].dtype == np.float32
    assert train.flip
    first = [round(float(level) * 255) for level in train[0][:, 0, 0, 0]]
    assert first != sorted(first)
    ordered = np.concatenate(list(validation))[:, 0, 0, 0] * 255
    assert np.allclose(ordered, levels(validation.images))


def test_images_are_cropped_at_their_centre_as_every_picture_is(serve):
    def picture(_):
        ramp = np.arange(20, dtype="uint8")[None, :, None]
        return np.broadcast_to(ramp, (8, 20, 3)).copy()

    serve(picture=picture)
    train, _ = load_tfds("oxford_flowers102", (8, 8))
    assert (train == np.arange(6, 14)[None, None, :, None]).all()
    wide, _ = load_tfds("oxford_flowers102", (8, 16))
    assert (wide[..., 0] == np.arange(2, 18)).all()


def test_channels_can_be_chosen(serve):
    def red(_):
        return np.full((8, 8, 3), (200, 60, 20), "uint8")

    serve(picture=red)
    assert (load_tfds("oxford_flowers102", (8, 8))[0] == (200, 60, 20)).all()
    assert (load_tfds("oxford_flowers102", (8, 8), channels=1)[0] == 97).all()


def test_grey_data_sets_stay_grey_or_become_three_channels(serve):
    splits = {"train": 30, "test": 20}
    serve("mnist", splits, lambda number: flat_picture(number)[..., :1])
    train, validation = load("mnist", 8, 4)
    assert (len(train.images), len(validation.images)) == (40, 10)
    assert train[0].shape == (4, 8, 8, 1)
    assert set(levels(validation.images)) == {*range(24, 30), *range(46, 50)}
    colour, _ = load("mnist", 8, 4, channels=3)
    assert colour[0].shape == (4, 8, 8, 3)
    assert (colour[0][..., 0] == colour[0][..., 2]).all()


def test_made_up_data_that_know_no_splits_are_read(connections):
    with tfds.testing.mock_data(num_examples=12, policy=tfds.testing.MockPolicy.USE_CODE):
        train, validation = load("oxford_flowers102", (8, 12), 4)
    assert train.images.shape == validation.images.shape == (12, 8, 12, 3)
    assert train.images.std() > 10
    assert not connections


@pytest.mark.parametrize(("limit", "parts"), [(10, (8, 2)), (50, (40, 10)), (1000, (80, 20))])
def test_a_limit_is_shared_by_the_parts(serve, limit, parts):
    serve()
    train, validation = load("oxford_flowers102", 8, 4, limit=limit)
    assert (len(train.images), len(validation.images)) == parts


def test_no_more_than_the_limit_are_decoded(serve):
    decoded = []

    def picture(number):
        decoded.append(number)
        return np.zeros((8, 8, 3), "uint8")

    serve(picture=picture)
    load("oxford_flowers102", 8, 4, limit=10)
    assert len(decoded) <= 20  # tf.data reads ahead.


def test_fewer_images_than_a_batch_are_refused(serve):
    serve()
    with pytest.raises(ValueError, match=r"Expected at least one batch of 128.*Received: 80"):
        load("oxford_flowers102", 8, 128)


# The real data set, prepared from archives that the test writes


def write_archives(folder):
    """Write the files of oxford_flowers102 with 40 flowers, 10 in train and 20 in test."""
    scipy_io = pytest.importorskip("scipy.io")
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 41):
        flower = Image.new("RGB", (50 + number, 40), (6 * number, 0, 0))
        flower.save(folder / "jpg" / f"image_{number:05d}.jpg", quality=95)
    scipy_io.savemat(folder / "labels.mat", {"labels": np.arange(1, 41)[None]})
    ids = np.arange(1, 41)[None]
    sets = {"trnid": ids[:, :10], "valid": ids[:, 10:20], "tstid": ids[:, 20:]}
    scipy_io.savemat(folder / "setid.mat", sets)
    return {
        "images": os.fspath(folder),
        "labels": os.fspath(folder / "labels.mat"),
        "setid": os.fspath(folder / "setid.mat"),
    }


def test_flowers_are_prepared_once_and_read_from_their_records(tmp_path, monkeypatch, connections):
    pytest.importorskip("importlib_resources")  # TFDS needs it, and does not declare it.
    archives, downloads = write_archives(tmp_path / "archives"), []

    def download(_, urls):
        downloads.append(sorted(urls))
        return archives

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", os.fspath(tmp_path / "data"))
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download)
    monkeypatch.setattr(tfds.core.utils.gcs_utils, "is_dataset_on_gcs", lambda _: False)
    train, validation = load("oxford_flowers102", 16, 8)
    assert downloads == [["images", "labels", "setid"]]
    assert (len(train.images), len(validation.images)) == (32, 8)
    reds = np.concatenate([train.images, validation.images])[:, 8, 8, 0].astype(int)
    assert np.abs(np.sort(reds) - 6 * np.arange(1, 41)).max() <= 3
    again, _ = load("oxford_flowers102", 16, 8)
    assert len(downloads) == 1
    assert np.array_equal(again.images, train.images)
    assert not connections


# Refused


def test_an_unknown_name_is_refused_at_once_without_a_network(tmp_path, monkeypatch, connections):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", os.fspath(tmp_path))
    with pytest.raises(ValueError, match=r"TensorFlow data set\. Received: 'no_such_flowers'"):
        load("no_such_flowers", 64)
    assert not connections
    assert not list(tmp_path.iterdir())


def test_a_misspelt_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", os.fspath(tmp_path))
    with pytest.raises(ValueError, match=r'Expected "digits", a folder.*Received: \'oxford_flower'):
        load("oxford_flowers103", 64)


def test_a_data_set_without_images_is_refused(tmp_path, monkeypatch, connections):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", os.fspath(tmp_path))
    with pytest.raises(ValueError, match=r'feature "image".*Received: \'iris\' with \[\'features'):
        load("iris", 64)
    assert not connections


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("no route to host\nsecond line"), "ConnectionError: no route to host$"),
        (OSError("Not enough disk space"), "OSError: Not enough disk space$"),
        (AssertionError(), "AssertionError: AssertionError$"),
    ],
)
def test_a_failed_download_is_said_in_one_line(tmp_path, monkeypatch, error, said):
    def fail(self, **_):
        raise error

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", os.fspath(tmp_path))
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    message = rf"Expected to download and prepare the data set 'oxford_flowers102'\..* {said}"
    with pytest.raises(ValueError, match=message):
        load("oxford_flowers102", 64)


# Memory


def test_images_that_fit_nowhere_are_refused_before_the_download(serve, monkeypatch):
    serve()
    monkeypatch.setattr(tfds_module, "_prepare", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(ValueError, match=r"Expected 100 images of 1000000x1000000x3 to fit in ha"):
        load("oxford_flowers102", 10**6, 2)
    with pytest.raises(ValueError, match=r"Expected 10 images of 1000000x1000000x3 to fit in ha"):
        load("oxford_flowers102", 10**6, 2, limit=10)


def test_labels_are_those_of_the_data_set_with_their_names(serve):
    serve()
    train, validation = load("oxford_flowers102", 8, 16, labels=True, limit=40)
    for data in (train, validation):
        assert (data.images[:, 0, 0, 0] % 10 == data.labels).all()
    assert train.class_names[:2] == ("pink primrose", "hard-leaved pocket orchid")
    assert len(train.class_names) == 102


def test_streamed_data_sets_are_those_in_memory_and_decoded_once(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("KDDIM_CACHE", str(tmp_path / "cache"))
    decoded = []

    def picture(number):
        decoded.append(number)
        return flat_picture(number)

    serve(picture=picture)
    wanted = load("oxford_flowers102", 8, 16, stream=False, limit=50)
    for made in (True, False):
        decoded.clear()
        streamed = load("oxford_flowers102", 8, 16, stream=True, limit=50)
        assert bool(decoded) == made
        for one, other in zip(wanted, streamed):
            assert not isinstance(other.images, np.ndarray)
            np.testing.assert_array_equal(np.asarray(other.images), one.images)


def test_a_data_set_that_is_shorter_than_it_says_is_told(serve, monkeypatch):
    serve()
    parts = tfds_module._parts
    monkeypatch.setattr(
        tfds_module, "_parts", lambda *args: [p._replace(number=p.number + 5) for p in parts(*args)]
    )
    with pytest.raises(ValueError, match=r"Expected 85 images in .* Received: 80\. Prepare"):
        load("oxford_flowers102", 8, 16)
