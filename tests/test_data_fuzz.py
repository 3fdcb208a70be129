"""Fuzzing of picture files: each is decoded or unreadable, and nothing else happens."""

import io

import numpy as np
import pytest
from PIL import Image

from kddim.data.decode import picture_to_array
from kddim.data.pictures import DecodingMemory, open_picture, quiet_pillow
from kddim.data.skipped import Unreadable


def encoded(form, size=(40, 30)):
    values = np.random.default_rng(1).integers(0, 256, (*size, 3), "uint8")
    file = io.BytesIO()
    picture = Image.fromarray(values)
    if form == "animation":
        picture.save(file, "GIF", save_all=True, append_images=[picture.rotate(90)])
    elif form == "palette":
        picture.quantize(16).save(file, "PNG", transparency=3)
    elif form == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(file, "JPEG", exif=exif, progressive=True)
    else:
        picture.save(file, form)
    return file.getvalue()


FORMS = ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "PCX", "JPEG2000"]
FORMS += ["animation", "palette", "exif"]


def damaged(content, random):
    """Return a file with changed bytes, a cut, a repetition or a gap, as chance wants."""
    changed = bytearray(content)
    kind = random.integers(4)
    place, length = int(random.integers(len(changed))), int(random.integers(1, 64))
    if kind == 0:
        for _ in range(int(random.integers(1, 8))):
            changed[random.integers(len(changed))] = random.integers(256)
    elif kind == 1:
        del changed[place:]
    elif kind == 2:
        del changed[place : place + length]
    else:
        changed[place:place] = changed[place : place + length]
    return bytes(changed)


def fuzz(folder, number, capfd):
    """Decode damaged files, each with its reason or its pixels and nothing else."""
    random = np.random.default_rng(11)
    whole = [encoded(form) for form in FORMS]
    outcomes = {True: 0, False: 0}
    path = folder / "a.png"
    for index in range(number):
        path.write_bytes(damaged(whole[index % len(whole)], random))
        with quiet_pillow():
            decoded = open_picture(path, lambda p: to_array(p, DecodingMemory(24, 0.02)))
        if isinstance(decoded, Unreadable):
            assert decoded.path == path
            assert decoded.reason.strip()
        else:
            assert (decoded.shape, decoded.dtype) == ((8, 8, 3), np.dtype("uint8"))
        outcomes[isinstance(decoded, Unreadable)] += 1
    assert min(outcomes.values()) > number // 20
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def to_array(picture, memory):
    with memory.take(picture):
        return picture_to_array(picture, (8, 8), 3)


def test_damaged_files_are_decoded_or_unreadable(tmp_path, capfd):
    fuzz(tmp_path, 400, capfd)


@pytest.mark.slow
def test_many_damaged_files_are_decoded_or_unreadable(tmp_path, capfd):
    fuzz(tmp_path, 10_000, capfd)
