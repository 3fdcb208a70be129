"""Data in the wild: what may lie in a folder, and what the package then says and does."""

import logging
import os
import socket
import stat

import numpy as np
import pytest
from PIL import Image

from kddim.checks import printable
from kddim.cli import main
from kddim.cli.runtime import _OneLine
from kddim.data import NativeImages, fingerprint, load, write_skipped
from kddim.data import scan as scan_module
from kddim.data.folder import load_folder
from kddim.data.scan import scan


def save(path, level=100, size=(12, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path, **options)
    return path


def fill(folder, number=12):
    for level in range(number):
        save(folder / f"{level:02d}.png", level)


def reasons(skipped):
    """Return the reasons by the names of the files."""
    return {path.name: reason for path, reason in skipped}


@pytest.fixture
def wild(tmp_path):
    """A folder of twelve good pictures and one of everything else."""
    fill(tmp_path)
    (tmp_path / "zero.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "eps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), "uint8")
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
    (tmp_path / "notes.txt").symlink_to("nowhere")
    return tmp_path


WRONG = {
    "zero.png": "the file is empty",
    "text.png": "cannot identify a picture in the file",
    "eps.png": "cannot identify a picture in the file",
    "cut.png": "image file is truncated (1804 bytes not processed)",
    "gone.png": "a link to nothing",
    "gone": "a link to nothing",
    "loop.png": "Too many levels of symbolic links",
    "again": "a link to a folder, which is not followed",
    "pipe.png": "a named pipe",
    "socket.png": "a socket",
}
needs_unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


# What is skipped


@needs_unix
def test_everything_that_is_no_picture_is_skipped_and_named(wild, caplog):
    with caplog.at_level(logging.WARNING, "kddim"):
        train, validation = load(wild, 8, 2)
    assert len(train.images) + len(validation.images) == 12
    found = reasons(train.skipped)
    assert set(found) == set(WRONG)
    assert {name: found[name] for name in WRONG if name != "cut.png"} == {
        name: reason for name, reason in WRONG.items() if name != "cut.png"
    }
    assert "truncated" in found["cut.png"]
    assert train.skipped == validation.skipped == sorted(train.skipped)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("skipped 10 unreadable pictures or folders: ")
    assert message.endswith("; and 5 more")


@needs_unix
def test_native_images_skip_the_same(wild, caplog):
    images = NativeImages(wild)
    with caplog.at_level(logging.WARNING, "kddim"):
        assert sum(map(len, images)) == 12
    assert set(reasons(images.skipped)) == set(WRONG)
    assert caplog.records[0].getMessage().startswith("skipped 10 unreadable pictures or folders")
    assert sum(map(len, images)) == 12
    assert len(images.skipped) == 10


@needs_unix
def test_a_strict_load_is_refused(wild):
    with pytest.raises(ValueError, match=r"Expected only readable.*6 that cannot.*leave out --st"):
        load(wild, 8, 2, strict=True)  # before anything is decoded
    for name in ("gone.png", "gone", "loop.png", "again", "pipe.png", "socket.png"):
        (wild / name).unlink()
    with pytest.raises(ValueError, match=r"Received: 4 that cannot be read: .*cut\.png \("):
        load(wild, 8, 2, strict=True)
    for name in ("zero.png", "text.png", "eps.png", "cut.png"):
        (wild / name).unlink()
    assert load(wild, 8, 2, strict=True)[0].skipped == []


@needs_unix
def test_the_skipped_files_are_written_one_per_line(wild, tmp_path_factory):
    save(wild / "odd\n\x1b[31m\tname.png").write_bytes(b"")
    output = tmp_path_factory.mktemp("run") / "skipped.txt"
    write_skipped(load(wild, 8, 2)[0].skipped, output)
    lines = dict(line.split("\t") for line in output.read_text("utf-8").splitlines())
    assert len(lines) == 11
    assert lines[f"{wild}/odd\\n\\x1b[31m\\tname.png"] == "the file is empty"
    assert lines[f"{wild}/pipe.png"] == "a named pipe"


def test_nothing_is_written_without_skipped_files(tmp_path):
    fill(tmp_path / "pictures")
    train, _ = load(tmp_path / "pictures", 8, 2)
    write_skipped(train.skipped, tmp_path / "skipped.txt")
    assert not (tmp_path / "skipped.txt").exists()


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    fill(tmp_path)
    save(tmp_path / "locked" / "a.png")
    listed = os.scandir

    def refuse(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(scan_module.os, "scandir", refuse)
    found = scan(tmp_path)
    assert len(found.pictures) == 12
    assert found.skipped == [(tmp_path / "locked", "folder: Permission denied")]
    with pytest.raises(ValueError, match=r"none in .*locked; 1 cannot be read.*Permission denied"):
        load(tmp_path / "locked", 8)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_locked_folder_is_named(tmp_path):
    fill(tmp_path)
    save(tmp_path / "locked" / "a.png").parent.chmod(0)
    try:
        assert reasons(scan(tmp_path).skipped) == {"locked": "folder: Permission denied"}
    finally:
        (tmp_path / "locked").chmod(stat.S_IRWXU)


def test_links_to_pictures_are_followed(tmp_path):
    save(tmp_path / "elsewhere.data", 77, format="PNG")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").symlink_to(tmp_path / "elsewhere.data")
    images, skipped = load_folder(tmp_path / "pictures", (8, 8))
    assert (images == 77).all()
    assert not skipped


def test_a_folder_without_a_readable_picture_names_the_first_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b\n.png").write_text("text")
    message = r"Received: 2 files, .*a\.png \(the file is empty\); .*b\\n\.png \(cannot identify"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, 8)
    with pytest.raises(ValueError, match=message):
        list(NativeImages(tmp_path))


# Names


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("花 é ß ПРИВЕТ.png", "花 é ß ПРИВЕТ.png"),
        ("a\nb\rc\x1b[31md\x07", "a\\nb\\rc\\x1b[31md\\x07"),
        ("\udcff\udcfe.png", "\\udcff\\udcfe.png"),
        ("right\u202eto left", "right\\u202eto left"),
    ],
)
def test_names_are_printed_in_one_line(text, wanted):
    assert printable(text) == wanted


def test_the_command_line_prints_odd_names_in_one_line(capsys):
    record = logging.LogRecord("kddim", logging.INFO, "", 0, "read %s", ("a\n\x1b[31m.png",), None)
    assert _OneLine().format(record) == "read a\\n\\x1b[31m.png"
    record.name = "other.library"
    assert "\n" in _OneLine().format(record)
    for name in ("a\x1b[31m\x00", "\udcff"):
        with pytest.raises(SystemExit):
            main(["stats", name, "-o", "no\x1b[31mnpz"])
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.rstrip("\n").isprintable()


def test_names_of_any_bytes_are_read_and_have_a_fingerprint(tmp_path):
    fill(tmp_path)
    before = fingerprint(tmp_path)
    try:
        save(tmp_path / "plain.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    except OSError:
        pytest.skip("this file system has no such names")
    train, validation = load(tmp_path, 8, 2)
    assert len(train.images) + len(validation.images) == 13
    assert len(fingerprint(tmp_path)) == 32
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_source_is_not_the_current_folder(source, tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    for open_source in (NativeImages, lambda source: load(source, 8)):
        with pytest.raises(ValueError, match=r'Expected "digits", a folder of pictures'):
            open_source(source)


# Content


@pytest.mark.parametrize("form", ["JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_the_content_decides_the_format(tmp_path, form):
    save(tmp_path / "a.png", 80, (32, 32), format=form)
    assert load_folder(tmp_path, (8, 8))[0] == pytest.approx(80, abs=2)


def test_a_jpeg_of_several_pictures_is_read(tmp_path):
    picture = Image.new("L", (32, 32), 80)
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("L", (9, 9))])
    assert load_folder(tmp_path, (8, 8))[0] == pytest.approx(80, abs=2)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(tmp_path, form):
    frames = [Image.new("L", (16, 16), level) for level in (30, 120, 250)]
    frames[0].save(tmp_path / "a.png", form, save_all=True, append_images=frames[1:])
    images, skipped = load_folder(tmp_path, (8, 8))
    assert images == pytest.approx(30, abs=2)
    assert len(images) == 1
    assert not skipped
    (batch,) = NativeImages(tmp_path)
    assert batch[0].shape == (16, 16, 3)
