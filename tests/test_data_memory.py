"""Memory that pictures and arrays may take: refused from their headers, before it is taken."""

import io
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from kddim.data import NativeImages, load
from kddim.data.decode import arrays_to_size, set_channels
from kddim.data.folder import load_folder
from kddim.data.pictures import DecodingMemory
from kddim.metrics.encoders.random_convolution import random_conv_encoder


def save(path, level=100, size=(12, 10)):
    Image.new("L", size, level).save(path)


def fill(folder, number=12):
    for level in range(number):
        save(folder / f"{level:02d}.png", level)


def claim(path, width, height):
    """Write a PNG of a few bytes whose header claims another size."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        (13_300, "13300x13300 pixels are more than Pillow's limit of 89,478,485"),
        (20_000, "DecompressionBombError"),
        (60_000, "DecompressionBombError"),
    ],
)
def test_decompression_bombs_are_skipped_without_a_warning(tmp_path, side, reason, recwarn):
    fill(tmp_path)
    claim(tmp_path / "bomb.png", side, side)
    warnings.simplefilter("always")
    _, skipped = load_folder(tmp_path, (8, 8))
    native = NativeImages(tmp_path)
    assert sum(map(len, native)) == 12
    for found in (skipped, native.skipped):
        assert [path.name for path, _ in found] == ["bomb.png"]
        assert reason in found[0].reason
    assert not recwarn.list


def test_a_picture_beyond_the_free_memory_is_skipped_before_it_is_decoded(tmp_path, monkeypatch):
    fill(tmp_path)
    claim(tmp_path / "large.png", 3000, 3000)
    monkeypatch.setenv("KDDIM_MEMORY", str(300 * 10**6))
    _, skipped = load_folder(tmp_path, (8, 8))
    assert skipped[0].reason == (
        "3000x3000 pixels take 216 MB, and 150 MB of memory are free for it"
    )
    native = NativeImages(tmp_path)
    assert sum(map(len, native)) == 12
    assert "3000x3000 pixels take 900 MB" in native.skipped[0].reason


def test_a_large_jpeg_is_decoded_at_a_fraction(tmp_path, monkeypatch):
    save(tmp_path / "a.jpg", 90, (3000, 3000))
    monkeypatch.setenv("KDDIM_MEMORY", str(100 * 10**6))
    assert load_folder(tmp_path, (8, 8))[0] == pytest.approx(90, abs=2)


def test_large_pictures_come_in_smaller_batches(tmp_path, monkeypatch):
    for index in range(6):
        save(tmp_path / f"{index}.png", index, (100, 100))
    assert [len(batch) for batch in NativeImages(tmp_path)] == [6]
    monkeypatch.setenv("KDDIM_MEMORY", str(2 * 2 * 100 * 100 * 100))
    small = NativeImages(tmp_path)
    batches = list(small)
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert not small.skipped
    assert sorted(int(image[0, 0, 0] * 255 + 0.5) for b in batches for image in b) == list(range(6))


def test_pictures_wait_for_the_memory_of_others(monkeypatch):
    monkeypatch.setenv("KDDIM_MEMORY", str(2 * 250 * 10))
    memory, picture = DecodingMemory(10), Image.new("L", (10, 10))
    now, counts = [], []
    meet = threading.Barrier(2, timeout=20)

    def decode():
        with memory.take(picture):
            now.append(1)
            meet.wait()  # for one more, which must be decoded at the same time
            counts.append(len(now))
            meet.wait()
            now.pop()

    threads = [threading.Thread(target=decode) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert counts == [2] * 6


def test_images_that_fit_nowhere_are_refused_before_they_are_decoded(tmp_path):
    fill(tmp_path)
    with pytest.raises(ValueError, match=r"Expected 12 images of 1000000x1000000x1 to fit in ha"):
        load(tmp_path, 10**6)
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8, 1), "uint8"))
    for source in ("digits", tmp_path / "a.npy"):
        message = r"Expected \d images of 1000000x1000000x1 to fit in the free.*--limit"
        with pytest.raises(ValueError, match=message):
            load(source, 10**6, 2, limit=4)


def test_absurd_channels_are_refused():
    with pytest.raises(ValueError, match=r"Expected 60 images of 8x8x10000000000 to fit in"):
        load("digits", 8, 2, limit=60, channels=10**10)


def test_arrays_are_measured_before_they_are_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", np.zeros((100, 10, 10, 1), "uint8"))
    monkeypatch.setenv("KDDIM_MEMORY", "15000")
    with pytest.raises(ValueError, match=r"Expected the images of .*a\.npz to fit .* 20 kB\. Spl"):
        load(tmp_path / "a.npz", 10, 2)
    assert len(load(tmp_path / "a.npz", 10, 2, limit=20)[0].images) == 16


def test_resizing_arrays_is_resizing_each():
    images = np.random.default_rng(0).random((5, 12, 10, 3), "float32")
    resized = arrays_to_size(images, (4, 4))
    assert resized.dtype == np.float32
    for image, found in zip(images, resized):
        assert (arrays_to_size(image[None], (4, 4))[0] == found).all()
    assert arrays_to_size(images, (12, 10)) is images
    assert set_channels(images[..., :1], 3).shape == images.shape


# Encoders at the sizes of pictures


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (1, 300), (300, 1), (5, 4)])
def test_tiny_pictures_are_encoded(size):
    image = np.random.default_rng(0).random((2, *size, 3), "float32")
    features = np.asarray(random_conv_encoder(None, None, True)(image))
    assert features.shape == (2, (32 + 64 + 128) * 16)
    assert np.isfinite(features).all()


def test_large_images_are_encoded_in_parts(monkeypatch):
    images = np.random.default_rng(0).random((5, 20, 20, 3), "float32")
    encoder = random_conv_encoder(None, None, True)
    wanted = encoder(images)
    monkeypatch.setenv("KDDIM_MEMORY", str(2 * 2 * 20 * 20 * 800))
    assert np.allclose(encoder(images), wanted, atol=1e-5)
    monkeypatch.setenv("KDDIM_MEMORY", "1000")
    with pytest.raises(ValueError, match=r"one image of 20x20 in random_conv.*--image-size"):
        encoder(images)
