"""Files of arrays as images: claims, bombs, types and shapes."""

import io
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from faults.attack import Attack, wrong_if
from faults.base import TRAIN
from faults.box import Box
from faults.zips import npy_header, write_bomb, write_members

Write = Callable[[Path], None]


def attacks(random: random.Random) -> Iterator[Attack]:
    for name, (ending, write, refuse, finding) in _files().items():
        for verb in ("stats", "train"):
            yield _attack(f"images/array {name}/{verb}", verb, ending, write, refuse, finding)
    for number in range(30):
        ending = random.choice(("npy", "npz"))
        yield _attack(f"images/array flipped/{number}", "stats", ending, _flipped(number), None)


def _attack(
    name: str, verb: str, ending: str, write: Write, refuse: bool | None, finding: str = ""
) -> Attack:
    def act(box: Box) -> None:
        source = f"source.{ending}"
        write(box.path(source))
        command = ("stats", source, "-o", "new.npz", "--encoder", "random_conv")
        if verb == "train":
            options = ("--image-size", "8", "--epochs", "1", "--steps-per-epoch", "1", "-o", "new")
            command = ("train", source, *TRAIN[2:], *options)
        report = box.kddim(*command)
        wrong_if(box.path("canary").exists(), "code in the file ran")
        wrong_if(refuse and report.status == 0, "the array is taken")
        wrong_if(refuse is False and report.status == 2, f"refused: {report.err[-300:]}")

    return Attack(name, "images", act, finding)


def _array(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


def _npy(array: np.ndarray, pickled: bool = False) -> Write:
    return lambda path: np.save(path, array, allow_pickle=pickled)


def _bytes(data: bytes) -> Write:
    return lambda path: path.write_bytes(data) and None


class _Code:
    def __reduce__(self):
        import os

        return (os.system, ("touch canary",))


def _files() -> dict[str, tuple[str, Write, bool | None, str]]:
    good, floats = _array(40, 8, 8, 3), _array(40, 8, 8, 3) / 255.0
    spoilt, infinite = floats.copy(), floats.copy()
    spoilt[3, 2, 2, 1], infinite[3, 2, 2, 1] = np.nan, np.inf
    code = np.array([_Code()] * 3, dtype=object)
    zeros = npy_header((3_900_000, 10, 10, 10), "|u1")
    found: dict[str, tuple[str, Write, bool | None, str]] = {
        "good": ("npy", _npy(good), False, ""),
        "fortran": ("npy", _npy(np.asfortranarray(good)), False, ""),
        "float64": ("npy", _npy(floats), False, ""),
        "big endian": ("npy", _npy(floats.astype(">f4")), False, ""),
        "float16": ("npy", _npy(floats.astype("f2")), None, ""),
        "nan": ("npy", _npy(spoilt), True, "numbers"),
        "inf": ("npy", _npy(infinite), True, "numbers"),
        "0 to 255": ("npy", _npy(255.0 * floats), True, ""),
        "-1 to 1": ("npy", _npy(2.0 * floats - 1.0), True, ""),
        "channels first": ("npy", _npy(_array(40, 3, 8, 8)), True, "14"),
        "channels first grey": ("npy", _npy(_array(40, 1, 8, 8)), True, "14"),
        "objects": ("npy", _npy(code, True), True, ""),
        "complex": ("npy", _npy(floats.astype("c8")), True, ""),
        "bool": ("npy", _npy(good > 9), None, ""),
        "int16": ("npy", _npy(good.astype("i2")), True, ""),
        "text": ("npy", _npy(np.array(["a", "b"])), True, ""),
        "no images": ("npy", _npy(good[:0]), True, ""),
        "one image": ("npy", _npy(good[:1]), None, ""),
        "no pixels": ("npy", _npy(good[:, :0]), True, ""),
        "vectors": ("npy", _npy(_array(40, 64)), True, ""),
        "number": ("npy", _npy(np.float32(1)), True, ""),
        "five axes": ("npy", _npy(good[None]), True, ""),
        "claims 931 GiB": ("npy", _bytes(npy_header((10**9, 10, 10, 10), "|u1")), True, "low array"),
        "claims 4 GB": ("npy", _bytes(npy_header((4_000_000, 10, 10, 10), "|u1")), True, "9"),
        "claims negative": ("npy", _bytes(npy_header((-5, 10, 10, 3), "|u1")), True, ""),
        "claims overflow": ("npy", _bytes(npy_header((2**40, 2**40, 4, 3), "|u1")), True, ""),
        "header of code": ("npy", _bytes(npy_header((5,), "|O") + b"cos\nsystem\n"), True, ""),
        "empty": ("npy", _bytes(b""), True, ""),
        "two arrays": ("npz", lambda p: np.savez(p, a=good, b=good), True, ""),
        "other name": ("npz", lambda p: np.savez(p, pictures=good), False, ""),
        "no array": ("npz", lambda p: write_members(p, {"images.npy": b"hello"}), True, "low array"),
        "no member": ("npz", lambda p: write_members(p, {}), True, ""),
        "text member": ("npz", lambda p: write_members(p, {"images.txt": b"hello"}), True, "low array"),
        "bomb": ("npz", lambda p: write_bomb(p, "images.npy", zeros, 3_900_000_000, {}), True, "9"),
    }  # fmt: skip
    return found


def _flipped(number: int) -> Write:
    def write(path: Path) -> None:
        random_, buffer = random.Random(number), io.BytesIO()
        array = _array(12, 8, 8, 3)
        if path.suffix == ".npy":
            np.save(buffer, array)
        else:
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
                member = io.BytesIO()
                np.save(member, array)
                file.writestr("images.npy", member.getvalue())
        data = bytearray(buffer.getvalue())
        for _ in range(random_.choice((1, 3, 10))):
            place = random_.randrange(min(len(data), random_.choice((140, 10**9))))
            data[place] ^= 1 << random_.randrange(8)
        path.write_bytes(bytes(data))

    return write
