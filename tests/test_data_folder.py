"""Tests of folders of pictures: files, skipped files and their log."""

import logging

import numpy as np
import pytest
from PIL import Image, ImageOps

from kddim.data import folder as folder_module
from kddim.data.decode import picture_to_array
from kddim.data.folder import load_folder as load_and_report
from kddim.data.scan import scan

COLOURS = {"red": (220, 10, 10), "green": (10, 200, 30), "blue": (20, 30, 210)}


def find_pictures(folder):
    return scan(folder).pictures


def load_folder(*args, **options):
    return load_and_report(*args, **options)[0]


def save(path, colour=(220, 10, 10), size=(12, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(colour, int) else "RGB"
    Image.new(mode, size, colour).save(path, **options)
    return path


def truncate(path, keep=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def levels(images):
    """Return the levels of grey images that have one level each."""
    return images[:, 0, 0, 0].tolist()


# Which files


def test_pictures_are_found_at_every_depth_in_order(tmp_path):
    names = ["b.png", "a/z.jpg", "a/b/c/d.webp", "Ünïcode 花/лес.png", "UPPER.JPG", "Mixed.PnG"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    found = find_pictures(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in found) == sorted(names)
    assert found == sorted(found)


def test_hidden_files_hidden_folders_and_other_endings_are_passed_over(tmp_path):
    kept = save(tmp_path / "kept.png")
    save(tmp_path / ".hidden.png")
    save(tmp_path / ".thumbnails" / "small.png")
    save(tmp_path / "sub" / "._mac.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "labels.csv").write_text("1,2")
    (tmp_path / "no_ending").write_bytes(kept.read_bytes())
    (tmp_path / "folder.png").mkdir()
    assert find_pictures(tmp_path) == [kept]


def test_a_folder_inside_a_hidden_one_is_read(tmp_path):
    save(tmp_path / ".cache" / "flowers" / "a.png")
    assert len(find_pictures(tmp_path / ".cache" / "flowers")) == 1


def test_names_beyond_ascii_and_capital_endings_are_decoded(tmp_path):
    save(tmp_path / "花 é ß.JPEG", 50)
    save(tmp_path / "naïve" / "ПРИВЕТ.PNG", 90)
    assert sorted(levels(load_folder(tmp_path, (8, 8)))) == pytest.approx([50, 90], abs=1)


# What they become


def test_pictures_of_all_sizes_become_one_array(tmp_path):
    for index, size in enumerate([(12, 10), (8, 8), (1, 30), (300, 7), (40, 90)]):
        save(tmp_path / f"{index}.png", 40 * index, size)
    images = load_folder(tmp_path, (8, 8))
    assert images.dtype == np.uint8
    assert images.shape == (5, 8, 8, 1)
    assert (images == np.arange(0, 200, 40)[:, None, None, None]).all()


def test_a_rectangular_size_is_height_then_width(tmp_path):
    save(tmp_path / "a.png", size=(30, 30))
    assert load_folder(str(tmp_path), (6, 10)).shape == (1, 6, 10, 3)


def test_formats_and_modes_mix_in_one_folder(tmp_path):
    red = Image.new("RGB", (16, 16), COLOURS["red"])
    red.save(tmp_path / "a.png")
    red.save(tmp_path / "b.jpg", quality=95)
    red.convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    red.convert("RGBA").save(tmp_path / "d.webp", lossless=True)
    red.quantize(4).save(tmp_path / "e.gif")
    red.save(tmp_path / "f.gif", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    red.save(tmp_path / "g.bmp")
    red.save(tmp_path / "h.tiff")
    images = load_folder(tmp_path, (8, 8))
    assert images.shape == (8, 8, 8, 3)
    assert np.abs(images.astype(int) - COLOURS["red"]).max() <= 6


def test_grey_folders_have_one_channel(tmp_path):
    save(tmp_path / "a.png", 10)
    save(tmp_path / "b.jpg", 200)
    Image.new("LA", (8, 8), (70, 255)).save(tmp_path / "c.png")
    Image.fromarray(np.full((8, 8), 257 * 30, "uint16")).save(tmp_path / "d.png")
    Image.new("1", (8, 8), 1).save(tmp_path / "e.png")
    images = load_folder(tmp_path, (8, 8))
    assert images.shape[-1] == 1
    assert levels(images) == pytest.approx([10, 200, 70, 30, 255], abs=1)


def test_one_picture_in_colour_gives_three_channels(tmp_path):
    save(tmp_path / "a.png", 10)
    save(tmp_path / "b.png", COLOURS["green"])
    images = load_folder(tmp_path, (8, 8))
    assert images.shape[-1] == 3
    assert (images[0] == 10).all()
    assert (images[1] == COLOURS["green"]).all()


def test_channels_can_be_chosen(tmp_path):
    save(tmp_path / "a.png", COLOURS["green"])
    luma = round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)
    assert levels(load_folder(tmp_path, (8, 8), channels=1)) == pytest.approx([luma], abs=1)
    save(tmp_path / "a.png", 44)
    assert (load_folder(tmp_path, (8, 8), channels=3) == 44).all()


@pytest.mark.parametrize("channels", [0, 2, 4, -1])
def test_other_channels_are_refused(tmp_path, channels):
    save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"Expected channels of 1 or 3.*Received: {channels}"):
        load_folder(tmp_path, (8, 8), channels=channels)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("size", [(16, 16), (48, 48), (40, 56)])
def test_large_jpegs_are_those_of_a_whole_decode(tmp_path, orientation, size):
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), "uint8")
    picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "large.jpg", quality=95, exif=exif)
    whole = picture_to_array(Image.open(tmp_path / "large.jpg"), size, 3)
    difference = np.abs(load_folder(tmp_path, size)[0].astype(int) - whole)
    assert difference.max() <= 15
    assert difference.mean() < 2.5
    unturned = picture_to_array(picture, size, 3)
    turned = np.abs(load_folder(tmp_path, size)[0].astype(int) - unturned).mean() > 10
    assert turned == (orientation != 1)


def test_a_rotated_jpeg_of_a_folder_stands_upright(tmp_path):
    values = np.zeros((32, 64), "uint8")
    values[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "a.jpg", quality=95, exif=exif)
    image = load_folder(tmp_path, (64, 32))[0]
    assert image[:28].min() > 240
    assert image[36:].max() < 15
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    assert upright.size == (32, 64)


# Order and limit


def test_pictures_stay_sorted_without_an_order(tmp_path):
    for level in (30, 10, 20):
        save(tmp_path / f"{level}.png", level)
    assert levels(load_folder(tmp_path, (8, 8))) == [10, 20, 30]
    assert levels(load_folder(tmp_path, (8, 8), limit=2)) == [10, 20]
    assert levels(load_folder(tmp_path, (8, 8), limit=50)) == [10, 20, 30]


def test_an_order_shuffles_before_the_limit(tmp_path):
    for level in range(20):
        save(tmp_path / f"{level:02d}.png", level)

    def order(seed, limit=None):
        return levels(load_folder(tmp_path, (8, 8), None, np.random.default_rng(seed), limit))

    assert sorted(order(0)) == list(range(20))
    assert order(0) != list(range(20))
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0, 7) == order(0)[:7]


def test_no_more_than_the_limit_are_decoded(tmp_path, monkeypatch):
    for level in range(10):
        save(tmp_path / f"{level}.png", level)
    decoded = []
    decode = folder_module._decode
    monkeypatch.setattr(
        folder_module, "_decode", lambda path, *rest: decoded.append(path) or decode(path, *rest)
    )
    assert len(load_folder(tmp_path, (8, 8), limit=3)) == 3
    assert len(decoded) == 3


# Broken files


def broken_folder(tmp_path):
    save(tmp_path / "a.png", 10)
    (tmp_path / "b_zero.png").write_bytes(b"")
    (tmp_path / "c_text.jpg").write_text("I am no picture")
    rough = np.random.default_rng(0).integers(0, 256, (64, 64), "uint8")
    Image.fromarray(rough).save(tmp_path / "d_cut.jpg")
    truncate(tmp_path / "d_cut.jpg")
    Image.fromarray(rough).save(tmp_path / "e_cut.png")
    truncate(tmp_path / "e_cut.png")
    save(tmp_path / "f.png", 60)
    return tmp_path


def test_broken_files_are_skipped_and_named(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "kddim"):
        images = load_folder(broken_folder(tmp_path), (8, 8))
    assert levels(images) == [10, 60]
    assert (images == np.array([10, 60])[:, None, None, None]).all()
    (message,) = [record.getMessage() for record in caplog.records]
    assert "skipped 4 unreadable pictures" in message
    for name in ("b_zero.png", "c_text.jpg", "d_cut.jpg", "e_cut.png"):
        assert name in message
    assert "a.png" not in message


def test_a_whole_folder_raises_no_warning(tmp_path, caplog):
    save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING, "kddim"):
        load_folder(tmp_path, (8, 8))
    assert not caplog.records


def test_many_broken_files_are_counted_and_five_are_named(tmp_path, caplog):
    save(tmp_path / "good.png", 10)
    for index in range(8):
        (tmp_path / f"bad{index}.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "kddim"):
        load_folder(tmp_path, (8, 8))
    message = caplog.records[0].getMessage()
    assert "skipped 8 unreadable pictures" in message
    assert message.count(".jpg (") == 5
    assert "and 3 more" in message


def test_broken_files_have_no_say_in_the_channels(tmp_path):
    assert load_folder(broken_folder(tmp_path), (8, 8)).shape[-1] == 1


def test_a_picture_that_is_too_large_is_skipped_and_named(tmp_path, monkeypatch, caplog):
    save(tmp_path / "bomb.png", 5, (40, 40))
    save(tmp_path / "small.png", 7, (9, 9))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with caplog.at_level(logging.WARNING, "kddim"):
        images = load_folder(tmp_path, (8, 8))
    assert levels(images) == [7]
    assert "bomb.png" in caplog.records[0].getMessage()


def test_a_folder_without_a_readable_picture_is_refused(tmp_path):
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    message = r"Expected at least one readable picture\. Received: 2 files.*cannot identify"
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, (8, 8))


@pytest.mark.parametrize("hidden", [True, False])
def test_a_folder_without_pictures_is_refused(tmp_path, hidden):
    if hidden:
        save(tmp_path / ".only.png")
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(ValueError, match=r"Expected pictures.*in the folder\. Received: none in"):
        load_folder(tmp_path, (8, 8))
