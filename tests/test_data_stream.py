"""Images that are streamed from a file: the same images, read in an order that suits a disk."""

import json
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import make_model
from PIL import Image

from kddim.cache import cache_folder
from kddim.data import ImageDataset, array_files, load, stored
from kddim.data import folder as folder_module
from kddim.data.decoded import DecodedImages, open_npy
from kddim.data.storage import is_streamed
from kddim.data.stored import StoredImages

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (50, 8, 6, 3), "uint8")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDDIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for index, pixels in enumerate(PIXELS):
        path = folder / f"{index % 2}" / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """Paths that were decoded, of all calls."""
    paths, decode = [], folder_module._decode

    def note(path, *args):
        paths.append(path)
        return decode(path, *args)

    monkeypatch.setattr(folder_module, "_decode", note)
    return paths


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    return open_npy(tmp_path / "a.npy")


# Reading


def test_images_of_a_file_are_indexed_as_an_array_is(file):
    assert (file.shape, file.dtype, len(file), file.ndim) == (PIXELS.shape, np.uint8, 50, 4)
    assert file.nbytes == PIXELS.nbytes
    for key in (np.array([3, 4, 5, 9, 3, 0]), np.array([], int), np.array([49, 0])):
        np.testing.assert_array_equal(file[key], PIXELS[key])
    for key in (7, -1):
        np.testing.assert_array_equal(file[key], PIXELS[key])
    for key in (slice(5, 40, 3), slice(None), slice(0, 0), slice(None, None, -1)):
        assert isinstance(file[key], StoredImages)
        np.testing.assert_array_equal(np.asarray(file[key]), PIXELS[key])
    nested = file[10:40][::2]
    np.testing.assert_array_equal(nested[np.array([4, 1])], PIXELS[10:40][::2][[4, 1]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(nested))), PIXELS[10:40:2])
    with pytest.raises(IndexError):
        file[50]


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="this system reads one image per call")
def test_reads_that_are_cut_short_are_continued(file, monkeypatch):
    """As those of more than 2 GB are, here of 100 bytes, in the midst of an image."""
    preadv, lengths = os.preadv, []

    def read_100(number, arrays, place):
        data = np.concatenate(arrays)[:100]
        lengths.append(preadv(number, [data], place))
        for array in arrays:
            array[: len(data)], data = data[: len(array)], data[len(array) :]
        return lengths[-1]

    monkeypatch.setattr(os, "preadv", read_100)
    np.testing.assert_array_equal(np.asarray(file), PIXELS)
    assert len(lengths) >= PIXELS.nbytes // 100


def test_files_in_fortran_order_say_how_to_save_them(tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(PIXELS))
    with pytest.raises(ValueError, match=r"in C order.*Fortran order.*np\.ascontiguousarray"):
        open_npy(tmp_path / "f.npy")


def test_other_files_are_named(tmp_path):
    (tmp_path / "a.npy").write_text("hello")
    with pytest.raises(ValueError, match=r"Expected a \.npy file of images.*a\.npy"):
        open_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("parts", [3, 512])
@pytest.mark.parametrize("vectored", [True, False])
def test_runs_of_images_are_read_with_any_calls(file, parts, vectored, monkeypatch):
    monkeypatch.setattr(stored, "_PARTS", parts)
    if not vectored:
        monkeypatch.delattr(os, "preadv")
    rows = np.array([8, 2, 3, 4, 5, 6, 7, 30, 31, 1, 40])
    np.testing.assert_array_equal(file[rows], PIXELS[rows])


def test_threads_read_at_once(file):
    wrong = []

    def read(seed):
        rows = np.random.default_rng(seed).permutation(50)
        for _ in range(50):
            if not (file[rows] == PIXELS[rows]).all():
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_becomes_shorter_is_told(file):
    with open(file.path, "r+b") as content:
        content.truncate(os.path.getsize(file.path) - 1)
    with pytest.raises(
        ValueError, match=r"Expected 1 images at row 49 of .*a\.npy\. Received: 143"
    ):
        file[49]


# Order


def blocks_of(images, monkeypatch, block, window):
    monkeypatch.setattr(stored, "_BLOCK", block * images.bytes_per_image)
    monkeypatch.setattr(stored, "_WINDOW", window)
    return images


def test_an_order_holds_every_image_once_and_stays_within_windows(file, monkeypatch):
    images = blocks_of(file.take(RANDOM.permutation(50)[:44]), monkeypatch, block=4, window=3)
    order = images.permutation(np.random.default_rng(1))
    assert sorted(order) == list(range(44))
    assert images.window == 12
    in_file = np.argsort(np.argsort(images.rows))  # rank of each image within the file
    for start in range(0, 44, 12):
        ranks = in_file[order[start : start + 12]]
        # Whole blocks of four, which are in no other window.
        assert len(ranks) - 1 <= 4 * len(set(ranks // 4)) <= 12
    again = images.permutation(np.random.default_rng(1))
    np.testing.assert_array_equal(order, again)
    assert (order != images.permutation(np.random.default_rng(2))).any()


def test_every_image_is_as_likely_at_every_place(file, monkeypatch):
    images = blocks_of(file[:24], monkeypatch, block=2, window=3)
    random = np.random.default_rng(0)
    places = np.array([np.argsort(images.permutation(random)) for _ in range(4000)])
    # Mean of the discrete uniform distribution on 0 ... 23, and five of its standard errors.
    error = np.sqrt((24**2 - 1) / 12 / 4000)
    assert np.abs(places.mean(axis=0) - 11.5).max() < 5 * error


def test_a_small_file_is_shuffled_completely(file):
    order = file.permutation(np.random.default_rng(0))
    assert np.abs(np.diff(order)).mean() > 10


def test_the_system_reads_ahead_what_training_will_use(file, monkeypatch):
    images = blocks_of(file, monkeypatch, block=2, window=4)
    asked = []
    monkeypatch.setattr(StoredImages, "read_ahead", lambda self, rows: asked.append(list(rows)))
    train = ImageDataset(images, 4, training=True)
    for index in range(len(train)):
        rows = train._order[index * 4 : index * 4 + 4]
        assert set(rows) <= {row for rows in asked for row in rows} or index == 0
        train[index]
    assert len(asked) == 6  # once per window of eight images
    validation = ImageDataset(images, 4)
    asked.clear()
    validation[2]
    assert asked == [list(range(12, 20))]


def test_reading_ahead_works_on_this_system(file):
    file[::3].read_ahead(np.arange(10))
    file.read_ahead(np.array([], int))


# Loading


def levels(dataset):
    return np.sort(dataset.images[np.arange(len(dataset.images))].mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"limit": 20}, {"seed": 3, "limit": 20}])
def test_streamed_pictures_are_those_in_memory(pictures, options, decoded):
    memory = load(pictures, (8, 6), 4, stream=False, labels=True, **options)
    for count in (options.get("limit", 50), 0):  # decoded once
        decoded.clear()
        streamed = load(pictures, (8, 6), 4, stream=True, labels=True, **options)
        assert len(decoded) == count
        for one, other in zip(memory, streamed):
            assert isinstance(other.images, StoredImages)
            np.testing.assert_array_equal(np.asarray(other.images), one.images)
            np.testing.assert_array_equal(other.labels, one.labels)
        for one, other in zip(memory[1], streamed[1]):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_all_seeds_share_one_file(pictures, decoded, cache):
    for seed in (0, 1):
        train, _ = load(pictures, (8, 6), 4, stream=True, seed=seed)
        # With the default seed, training reads one part of the file, and validation the other.
        assert (train.images.rows == np.arange(40)).all() == (seed == 0)
    assert len(decoded) == 50
    assert sorted(p.suffix for p in (cache / "images").iterdir()) == [".json", ".npy"]
    load(pictures, (8, 6), 4, stream=True, channels=1)
    assert len(decoded) == 100


def test_a_changed_folder_is_decoded_again(pictures, decoded):
    load(pictures, 8, 4, stream=True)
    Image.new("RGB", (9, 9)).save(pictures / "0" / "00.png")
    train, validation = load(pictures, 8, 4, stream=True)
    assert len(decoded) == 100
    assert min(levels(train)[0], levels(validation)[0]) == 0


def test_streamed_pictures_keep_what_was_skipped(pictures, decoded, caplog):
    (pictures / "0" / "02.png").write_text("no picture")
    (pictures / "1" / "03.png").write_bytes(b"")
    wanted = load(pictures, 8, 4, stream=False)
    for _ in range(2):
        train, validation = load(pictures, 8, 4, stream=True)
        assert train.skipped == wanted[0].skipped
        assert len(train.skipped) == 2
        for one, other in zip(wanted, (train, validation)):
            np.testing.assert_array_equal(np.asarray(other.images), one.images)
    with pytest.raises(ValueError, match="cannot be read"):
        load(pictures, 8, 4, stream=True, strict=True)


def test_a_picture_that_can_be_read_later_is(pictures, monkeypatch):
    decode = folder_module._decode

    def deny(path, *args):
        if path.name == "02.png":
            return folder_module.Unreadable(path, "Permission denied")
        return decode(path, *args)

    monkeypatch.setattr(folder_module, "_decode", deny)
    train, validation = load(pictures, 8, 4, stream=True)
    assert len(train.images) + len(validation.images) == 49
    monkeypatch.setattr(folder_module, "_decode", decode)
    train, validation = load(pictures, 8, 4, stream=True)
    assert len(train.images) + len(validation.images) == 50
    assert not train.skipped


def damage_description(path):
    content = json.loads(path.with_suffix(".json").read_text())
    content["content"]["shape"][0] -= 1
    path.with_suffix(".json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        damage_description,
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("[]"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    ],
)
def test_a_damaged_entry_is_made_again(pictures, decoded, cache, damage):
    load(pictures, 8, 4, stream=True)
    (path,) = (cache / "images").glob("*.npy")
    whole = path.read_bytes()
    damage(path)
    load(pictures, 8, 4, stream=True)
    assert len(decoded) == 100
    assert path.read_bytes() == whole


def test_an_interrupted_decoding_leaves_no_entry(pictures, cache, monkeypatch):
    monkeypatch.setattr(folder_module, "_CHUNK", 10)
    decode, done = folder_module._decode, []

    def interrupt(path, *args):
        done.append(path)
        if len(done) == 25:
            raise KeyboardInterrupt
        return decode(path, *args)

    monkeypatch.setattr(folder_module, "_decode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(pictures, 8, 4, stream=True)
    assert not list(cache.rglob("*.*"))


def test_many_pictures_are_decoded_once_even_for_the_memory(pictures, decoded, monkeypatch):
    monkeypatch.setattr(folder_module, "_MANY", 50)
    wanted = load(pictures, 8, 4, limit=49)[0]
    assert len(decoded) == 49
    for _ in range(2):
        train = load(pictures, 8, 4)[0]
        assert isinstance(train.images, np.ndarray)
    assert len(decoded) == 99
    assert wanted.images.shape[1:] == train.images.shape[1:]


def test_a_cache_that_cannot_be_written_costs_only_time(pictures, decoded, monkeypatch, tmp_path):
    monkeypatch.setattr(folder_module, "_MANY", 50)
    (tmp_path / "cache").write_text("a file")
    assert len(load(pictures, 8, 4)[0].images) == 40
    with pytest.raises((OSError, ValueError), match="cache"):
        load(pictures, 8, 4, stream=True)


def test_images_beyond_half_of_the_memory_are_streamed(pictures, monkeypatch, caplog):
    caplog.set_level("INFO", "kddim")
    monkeypatch.setattr("kddim.data.storage.free_memory", lambda: 2 * 50 * 8 * 8 * 3 - 1)
    train, _ = load(pictures, 8, 4)
    assert isinstance(train.images, StoredImages)
    assert "50 images of 8x8x3: more than half of the free memory, streamed from" in caplog.text
    monkeypatch.setattr("kddim.data.storage.free_memory", lambda: 2 * 50 * 8 * 8 * 3)
    assert isinstance(load(pictures, 8, 4)[0].images, np.ndarray)
    monkeypatch.setenv("KDDIM_MEMORY", "9000")
    with pytest.raises(ValueError, match=r"Expected 50 images of 8x8x3 to fit .* with --stream"):
        is_streamed((50, 8, 8, 3), False)


# NumPy files


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"limit": 20, "seed": 2}])
def test_streamed_arrays_are_those_in_memory(tmp_path, dtype, options, cache):
    images = PIXELS if dtype == "uint8" else (PIXELS / 255.0).astype(dtype)
    np.save(tmp_path / "a.npy", images)
    for size in ((8, 6), 4):
        memory = load(tmp_path / "a.npy", size, 4, stream=False, **options)
        streamed = load(tmp_path / "a.npy", size, 4, stream=True, **options)
        for one, other in zip(memory, streamed):
            assert isinstance(other.images, StoredImages)
            assert one.images.dtype == other.images.dtype
            np.testing.assert_array_equal(np.asarray(other.images), one.images)


def test_bytes_of_the_right_size_are_read_where_they_are(tmp_path, cache, monkeypatch):
    np.save(tmp_path / "a.npy", PIXELS[..., 0])
    monkeypatch.setattr(array_files, "_convert", pytest.fail)
    train, _ = load(tmp_path / "a.npy", (8, 6), 4, stream=True)
    assert train.images.path == str(tmp_path / "a.npy")
    assert train.images.shape == (40, 8, 6, 1)
    assert not cache.exists()


def test_arrays_are_converted_once_and_checked(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", PIXELS / 255.0)
    load(tmp_path / "a.npy", 4, 4, stream=True)
    convert = array_files._convert
    monkeypatch.setattr(array_files, "_convert", pytest.fail)
    load(tmp_path / "a.npy", 4, 4, stream=True)
    monkeypatch.setattr(array_files, "_convert", convert)
    np.save(tmp_path / "a.npy", np.where(np.arange(50)[:, None, None, None] == 30, 7.0, PIXELS / 255.0))  # fmt: skip
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        load(tmp_path / "a.npy", 4, 4, stream=True)


def test_archives_and_digits_are_in_memory(tmp_path, caplog):
    np.savez(tmp_path / "a.npz", PIXELS)
    assert isinstance(load(tmp_path / "a.npz", 8, 4, stream=True)[0].images, np.ndarray)
    assert "save its images as a .npy file to stream them" in caplog.text
    assert isinstance(load("digits", 8, 4, stream=True)[0].images, np.ndarray)


# Training


def test_a_model_trains_on_streamed_images(pictures):
    train, validation = load(pictures, 8, 5, stream=True)
    model = make_model(np.asarray(train.images).astype("float32") / 255.0, widths=(4, 8))
    history = model.fit(train, validation_data=validation, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    kept = train.get_state()
    order = train._order.copy()
    train.on_epoch_end()
    train.set_state(kept)
    np.testing.assert_array_equal(train._order, order)


def test_epochs_hold_each_streamed_image_once(file):
    train = ImageDataset(file, 5, training=True)
    for _ in range(2):
        seen = np.concatenate([train[index] for index in range(len(train))])
        wanted = PIXELS.astype("float32") / np.float32(255.0)
        assert sorted(seen.sum(axis=(1, 2, 3))) == pytest.approx(sorted(wanted.sum(axis=(1, 2, 3))))
        train.on_epoch_end()


def test_two_processes_decode_a_folder_once(pictures, cache):
    """The second one waits for the first one's file."""
    program = """
import sys
from kddim.data import load, folder
decode, count = folder._decode, 0
def note(*args):
    global count
    count += 1
    return decode(*args)
folder._decode = note
load(sys.argv[1], 8, 4, stream=True)
print(count)
"""
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(pictures)], stdout=subprocess.PIPE, env=environment
        )
        for _ in range(2)
    ]
    counts = [int(process.communicate(timeout=300)[0]) for process in processes]
    assert sorted(counts) == [0, 50]


def test_entries_differ_by_their_key(cache):
    one, other = DecodedImages({"a": 1}), DecodedImages({"a": 2})
    assert one.path != other.path
    assert one.path.is_relative_to(cache_folder())
    made = one.make((5, 8, 6, 3), "uint8", lambda notes: notes.update(x=[1]) or [PIXELS[:3]])
    assert made.shape == (3, 8, 6, 3)  # fewer than were expected
    assert (np.asarray(one.open()) == PIXELS[:3]).all()
    assert DecodedImages({"a": 1}).open() is not None
    assert one.notes == {"x": [1]}
    np.testing.assert_array_equal(np.load(one.path), PIXELS[:3])  # any NumPy reads it
    assert other.open() is None
