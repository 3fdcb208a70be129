"""Files of statistics, as `kddim stats` writes them: damaged, of other types, hostile."""

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.areas.models import NASTY, flip
from faults.attack import Attack, wrong_if
from faults.box import Box
from faults.zips import npy_header, read_members, write_bomb, write_members

FILE, ABOUT = "reference.npz", "kddim_reference"
KEYS = (
    "version", "images", "description", "protocol", "encoder", "encoder_options", "remarks",
    "fingerprint",
)  # fmt: skip
Change = Callable[[Box, Path], None]


def attacks(random: random.Random) -> Iterator[Attack]:
    for key in KEYS:
        for number, value in enumerate((*NASTY, "foo")):
            yield _attack(f"models/reference {key}/{number}", _about({key: value}), "low references" if number < 9 else "")  # fmt: skip
        yield _attack(f"models/reference {key}/absent", _about({}, key), "low references")
    for name, data in _texts().items():
        yield _attack(f"models/reference about/{name}", data, "low references")
    for name, array in _arrays().items():
        yield _attack(f"models/reference features/{name}", _array("features", array), "low references")  # fmt: skip
        yield _attack(f"models/reference mu/{name}", _array("mu", array))
    for tenth in range(10):
        yield _attack(f"models/reference truncated/{tenth}", _truncate(tenth))
    for number in range(40):
        yield _attack(f"models/reference flips/{number}", _flip)
    for number in range(20):
        yield _attack(f"models/reference member flips/{number}", _flip_member)
    yield _attack("models/reference bomb", _bomb, "9")
    yield _attack("models/reference claims", _claim, "9")
    yield Attack("models/reference protocol late", "models", _protocol_late, "low references")


def _attack(name: str, change: Change, finding: str = "") -> Attack:
    """`compare`, which reads the file at once, or `evaluate`, which may read it late."""

    def act(box: Box) -> None:
        box.use(FILE, "pictures", "colour.keras")
        change(box, box.path(FILE))
        if box.random.random() < 0.3:
            options = ("-n", 8, "--diffusion-steps", 1)
            report = box.kddim("evaluate", "colour.keras", FILE, *options)
        else:
            report = box.kddim("compare", FILE, "pictures")
        wrong_if(box.path("canary").exists(), "code in the file ran")
        wrong_if("nan" in report.out.lower().split(), f"NaN as a score: {report.out[-300:]}")

    return Attack(name, "models", act, finding)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _about(changes: dict[str, Any], without: str = "") -> Change:
    def change(box: Box, path: Path) -> None:
        about = json.loads(str(np.load(path)[ABOUT])) | changes
        about.pop(without, None)
        _write(path, ABOUT, _npy(json.dumps(about)))

    return change


def _write(path: Path, name: str, data: bytes) -> None:
    write_members(path, read_members(path) | {f"{name}.npy": data})


def _texts() -> dict[str, Change]:
    texts = {
        "list": "[]", "null": "null", "number": "7", "broken": "{", "deep": "[" * 100_000,
        "empty": "",
    }  # fmt: skip
    found: dict[str, Change] = {}
    for name, text in texts.items():
        found[name] = lambda box, path, text=text: _write(path, ABOUT, _npy(text))
    found["array"] = lambda box, path: _write(path, ABOUT, _npy(np.zeros((3, 3))))
    found["bytes"] = lambda box, path: _write(path, ABOUT, b"hello")
    return found


class _Code:
    def __reduce__(self):
        import os

        return (os.system, ("touch canary",))


def _arrays() -> dict[str, bytes]:
    return {
        "nan": _npy(np.full((24, 64), np.nan, "f4")),
        "inf": _npy(np.full((24, 64), np.inf, "f4")),
        "one axis": _npy(np.zeros(24, "f4")),
        "other size": _npy(np.zeros((24, 3), "f4")),
        "fewer": _npy(np.zeros((3, 64), "f4")),
        "none": _npy(np.zeros((0, 64), "f4")),
        "text": _npy(np.array(["a", "b"])),
        "complex": _npy(np.zeros((24, 64), "c8")),
        "integers": _npy(np.zeros((24, 64), "i8")),
        "code": _npy(np.array([_Code()], dtype=object)),
        "no array": b"hello",
        "huge values": _npy(np.full((24, 64), 1e38, "f4")),
    }


def _array(name: str, data: bytes) -> Change:
    return lambda box, path: _write(path, name, data)


def _truncate(tenth: int) -> Change:
    def change(box: Box, path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * tenth // 10])

    return change


def _flip(box: Box, path: Path) -> None:
    path.write_bytes(flip(path.read_bytes(), box.random))


def _flip_member(box: Box, path: Path) -> None:
    members = read_members(path)
    name = box.random.choice(sorted(members))
    write_members(path, members | {name: flip(members[name], box.random)})


def _bomb(box: Box, path: Path) -> None:
    members = read_members(path)
    members.pop("features.npy")
    head = npy_header((15_000_000, 64), "<f4")
    write_bomb(path, "features.npy", head, 3_840_000_000, members)


def _claim(box: Box, path: Path) -> None:
    _write(path, "features", npy_header((10**10, 64), "<f4"))


def _protocol_late(box: Box) -> None:
    """An unknown protocol is refused before images are generated."""
    box.use(FILE, "colour.keras")
    _about({"protocol": "foo"})(box, box.path(FILE))
    report = box.refused("evaluate", "colour.keras", FILE, "-n", 8, "--diffusion-steps", 1)
    wrong_if("generating" in report.text, "refused only after the images were generated")
