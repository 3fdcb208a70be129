"""Model files and config.json files: damaged, hostile, absurd and not finite."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.attack import Attack, wrong_if
from faults.box import Box
from faults.zips import read_members, set_flag, write_bomb, write_members

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
FILE = "colour.keras"
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1e308, 10**12, "", "x", [], {}, [1, [2]], {"class_name": "x"},
    "\x1b[31m", [None], float("nan"),
)  # fmt: skip
HOSTILE: dict[str, Any] = {
    "lambda": {
        "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
        "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {
            "code": "4wAAAAA=", "defaults": None, "closure": None}}},
    },
    "os.system": {
        "module": "os", "class_name": "system", "registered_name": None,
        "config": {"command": "touch canary"},
    },
    "function": {
        "module": "builtins", "class_name": "function", "config": "exec",
        "registered_name": "function",
    },
    "subprocess": {
        "module": "subprocess", "class_name": "Popen", "registered_name": None,
        "config": {"args": ["touch", "canary"]},
    },
    "get_file": {
        "module": "keras.utils", "class_name": "get_file", "registered_name": None,
        "config": {"origin": "file:///etc/passwd"},
    },
    "partial": {
        "module": "functools", "class_name": "partial", "registered_name": None,
        "config": {"func": "os.system", "args": "touch canary"},
    },
}  # fmt: skip
CLAIMS: dict[str, dict[str, Any]] = {
    "image_size": {"image_size": [4096, 4096]},
    "image_size huge": {"image_size": [2**20, 2**20]},
    "widths": {"widths": [20000, 20000]},
    "widths 1e6": {"widths": [10**6, 10**6]},
    "widths many": {"widths": [2] * 200},
    "channels": {"channels": 10**9},
    "block_depth": {"block_depth": 10**5},
}


def attacks(random: random.Random) -> Iterator[Attack]:
    for key in ("image_size", "widths", "block_depth", "channels", "network", "schedule", "ema",
                "prediction_type", "seed", "dtype", "name", "attention_levels", "remat"):  # fmt: skip
        for number, value in enumerate(NASTY):
            finding = "low models" if key == "network" and value in ("x", 1.5) else ""
            yield _edited(f"models/config/{key}/{number}", {key: value}, finding=finding)
    for name, change in CLAIMS.items():
        for verb in ("info", "generate"):
            finding = "low models" if name == "widths 1e6" else "9"
            # Images of 4096x4096 can be described, and are only too large to be generated.
            refuse = (name, verb) != ("image_size", "info")
            yield _edited(f"models/claims/{name}/{verb}", change, verb, finding, refuse)
    yield _edited("models/claims/network tensor", {"network": _tensor()}, finding="low models")
    for name, value in HOSTILE.items():
        for key in ("network", "schedule", "dtype", "normalizer"):
            yield _edited(f"models/hostile/{name}/{key}", {key: value}, "generate")
        yield _file(f"models/hostile/{name}/whole", _whole(value))
    yield from _raw()
    yield from _random(random)
    yield from _not_finite()
    yield from _run_settings()


def _tensor() -> dict[str, Any]:
    return {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}}


Change = Callable[[Box, Path], None]


def _file(
    name: str, change: Change, verb: str = "info", finding: str = "", refuse: bool | None = None
) -> Attack:
    def act(box: Box) -> None:
        box.use(FILE)
        change(box, box.path(FILE))
        output = ("-n", 2, "--diffusion-steps", 1, "-o", "new.npz") if verb == "generate" else ()
        report = box.kddim(verb, FILE, *output)
        wrong_if(box.path("canary").exists(), "code in the file ran")
        wrong_if(refuse and report.status == 0, "the file is taken")
        wrong_if("nan" in report.out.lower(), f"NaN without comment: {report.out[-300:]}")

    return Attack(name, "models", act, finding)


def _edited(
    name: str,
    changes: dict[str, Any],
    verb: str = "info",
    finding: str = "",
    refuse: bool | None = None,
) -> Attack:
    """A model with other values in its configuration, under correct checksums."""

    def change(box: Box, path: Path) -> None:
        members = read_members(path)
        config = json.loads(members[CONFIG])
        config["config"] |= changes
        members[CONFIG] = json.dumps(config).encode()
        write_members(path, members)

    return _file(name, change, verb, finding, refuse)


def _whole(value: Any) -> Change:
    def change(box: Box, path: Path) -> None:
        write_members(path, read_members(path) | {CONFIG: json.dumps(value).encode()})

    return change


def _member(member: str, data: bytes | None) -> Change:
    def change(box: Box, path: Path) -> None:
        members = {k: v for k, v in read_members(path).items() if k != member}
        write_members(path, members | ({} if data is None else {member: data}))

    return change


def _raw() -> Iterator[Attack]:
    for member in (CONFIG, WEIGHTS, METADATA):
        texts = {
            "absent": None, "empty": b"", "text": b"hello", "null": b"null", "list": b"[]",
            "deep": b"[" * 100_000, "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
            "binary": bytes(range(256)), "number": b"7",
        }  # fmt: skip
        for name, data in texts.items():
            finding = "low models" if name.startswith("deep") and member == CONFIG else ""
            yield _file(f"models/{member}/{name}", _member(member, data), "info", finding)
    for name, (offset, value) in {"encrypted": (8, 1), "method": (10, 99)}.items():
        for member in (CONFIG, WEIGHTS):
            change = _flag(member, offset, value)
            yield _file(f"models/{member}/{name}", change, "info", "low models")
    for tenth in range(11):
        yield _file(f"models/truncated/{tenth}", _truncate(tenth), "info")
    for name, data in {"folder": None, "text": b"hello", "fifo": b"", "zip": b"PK\x05\x06" + bytes(18)}.items():  # fmt: skip
        yield _file(f"models/file/{name}", _replace(name, data), "info", refuse=True)
    yield _file("models/bomb/weights 3 GB", _bomb(WEIGHTS, 3_000_000_000), "info", "9", True)
    yield _file("models/bomb/config 3 GB", _bomb(CONFIG, 3_000_000_000), "info", "9", True)
    yield _file("models/bomb/asset 4 GB", _bomb("assets/x", 4_000_000_000), "info", "9")
    yield _file("models/escape", _escape, "info")
    for verb in ("info", "generate"):
        yield _file(f"models/h5 claims 4 GB/{verb}", _h5_claim((10**9,)), verb, "9", True)
    yield _file("models/h5 claims 400 GB", _h5_claim((10**11,)), "info", "9", True)
    yield _file("models/h5 external", _h5_external, "info", "", True)
    yield _file("models/h5 loop", _h5_loop, "info")


def _flag(member: str, offset: int, value: int) -> Change:
    return lambda box, path: set_flag(path, member, offset, value)


def _truncate(tenth: int) -> Change:
    def change(box: Box, path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: max(0, len(data) * tenth // 10 - 1)])

    return change


def _replace(name: str, data: bytes | None) -> Change:
    def change(box: Box, path: Path) -> None:
        path.unlink()
        if name == "folder":
            path.mkdir()
        elif name == "fifo":
            os.mkfifo(path)
        else:
            path.write_bytes(data or b"")

    return change


def _bomb(member: str, zeros: int) -> Change:
    def change(box: Box, path: Path) -> None:
        members = read_members(path)
        head = members.pop(member, b"")
        write_bomb(path, member, head, zeros, members)

    return change


def _escape(box: Box, path: Path) -> None:
    """Members that name files outside of the archive."""
    write_members(path, read_members(path) | {"../canary": b"x", "/tmp/faults-canary": b"x"})


def _change_h5(path: Path, change: Callable[[Any], None]) -> None:
    """Change the weights of a model as an H5 file, under a correct checksum."""
    import h5py

    members, weights = read_members(path), path.with_suffix(".h5")
    weights.write_bytes(members[WEIGHTS])
    with h5py.File(weights, "r+") as file:
        change(file)
    members[WEIGHTS] = weights.read_bytes()
    weights.unlink()
    write_members(path, members)


def _datasets(file: Any) -> list[str]:
    import h5py

    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(note)
    return names


def _first_dataset(file: Any) -> str:
    return next(name for name in _datasets(file) if file[name].ndim > 1)


def _h5_claim(shape: tuple[int, ...]) -> Change:
    def change(file: Any) -> None:
        name = _first_dataset(file)
        del file[name]
        file.create_dataset(name, shape=shape, dtype="f4", chunks=(10**6,))

    return lambda box, path: _change_h5(path, change)


def _h5_external(box: Box, path: Path) -> None:
    def change(file: Any) -> None:
        name = _first_dataset(file)
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape=shape, dtype="u1", external=[("/etc/passwd", 0, 10**6)])

    _change_h5(path, change)


def _h5_loop(box: Box, path: Path) -> None:
    def change(file: Any) -> None:
        import h5py

        name = _first_dataset(file)
        del file[name]
        file[name] = h5py.SoftLink(f"/{name}")

    _change_h5(path, change)


def _random(random: random.Random) -> Iterator[Attack]:
    for number in range(120):
        yield _file(f"models/flips/{number}", _flip_file, "generate" if number % 4 == 0 else "info")
    for number in range(60):
        finding = "low models"
        yield _file(f"models/h5 flips/{number}", _flip_member(WEIGHTS), "info", finding)
    for number in range(60):
        yield _file(f"models/config flips/{number}", _flip_member(CONFIG), "info")


def _flip_file(box: Box, path: Path) -> None:
    path.write_bytes(flip(path.read_bytes(), box.random))


def _flip_member(member: str) -> Change:
    def change(box: Box, path: Path) -> None:
        members = read_members(path)
        members[member] = flip(members[member], box.random)
        write_members(path, members)

    return change


def flip(data: bytes, random: random.Random) -> bytes:
    """Return data with some bytes changed, often near its beginning."""
    changed = bytearray(data)
    end = random.choice((len(data), min(len(data), 4096)))
    for _ in range(random.choice((1, 1, 2, 8))):
        changed[random.randrange(end)] = random.randrange(256)
    return bytes(changed)


FROM_MODEL: dict[str, tuple[Any, ...]] = {
    "generate": ("-n", 2, "--diffusion-steps", 2, "-o", "new.npz"),
    "reconstruct": ("digits", "--steps", "1,2", "-n", 4, "-o", "new"),
    "consistency": ("--steps", "1,2", "-n", 2, "-o", "new"),
    "interpolate": ("--num-pairs", 1, "-n", 3, "--grid-size", 2, "--diffusion-steps", 2, "-o", "new"),
    "evaluate": ("digits", "-n", 8, "--diffusion-steps", 2, "--encoder", "random_conv"),
    "sweep": ("digits", "-n", 8, "--steps", 1, "--eta", 0, "--encoder", "random_conv", "-o", "new"),
    "info": (),
}  # fmt: skip


def _not_finite() -> Iterator[Attack]:
    for value in ("nan", "inf"):
        for verb, options in FROM_MODEL.items():
            yield Attack(f"models/{value} weights/{verb}", "models", _spoilt(value, verb, options), "4")  # fmt: skip
        for verb in ("generate", "info"):
            yield Attack(f"models/{value} mean/{verb}", "models", _spoilt_mean(value, verb), "4")


def _spoilt(value: str, verb: str, options: tuple[Any, ...]) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.use(f"{value}.keras")
        _expect_told(box, verb, f"{value}.keras", options)

    return act


def _spoilt_mean(value: str, verb: str) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.use(FILE)

        def change(file: Any) -> None:
            for name in _datasets(file):
                if "image_normalization" in name and file[name].dtype.kind == "f":
                    file[name][...] = float(value)

        _change_h5(box.path(FILE), change)
        _expect_told(box, verb, FILE, FROM_MODEL[verb])

    return act


def _expect_told(box: Box, verb: str, file: str, options: tuple[Any, ...]) -> None:
    report = box.kddim(verb, file, *options)
    told = "finite" in report.text.lower()
    wrong_if(report.status == 0 and not (verb == "info" and told), "no word on weights not finite")
    wrong_if(not told, f"the reason is not told: {report.err[-300:]}")


def _run_settings() -> Iterator[Attack]:
    """The config.json of a run."""
    texts = {
        "empty": b"", "text": b"hello", "list": b"[]", "null": b"null", "number": b"7",
        "truncated": b'{"training": {"limit": 6', "deep": b"[" * 100_000, "binary": b"\xff\xfe\x00",
    }  # fmt: skip
    for name, data in texts.items():
        for verb in ("info", "evaluate", "sweep"):
            yield _run(f"models/run config/{name}/{verb}", data, verb, True, "15" if verb != "info" else "low config")  # fmt: skip
    for key in ("training", "kid", "versions", "best_epoch", "parameters"):
        for number, value in enumerate((None, [], [1], "x", 7, {"a": []}, {"seed": "x"})):
            for verb in ("info", "evaluate"):
                finding = "low config" if key == "training" else ""
                name = f"models/run config/{key}/{number}/{verb}"
                yield _run(name, {key: value}, verb, False, finding)
    for key in ("limit", "seed", "validation_split"):
        for number, value in enumerate(("x", -1, 1e300, None, [], "\x1b[31m")):
            change = {"training": {key: value}}
            yield _run(f"models/run config/split {key}/{number}", change, "evaluate", False, "")


def _run(
    name: str, change: bytes | dict[str, Any], verb: str, unreadable: bool, finding: str
) -> Attack:
    def act(box: Box) -> None:
        box.use("run")
        path = box.path("run") / CONFIG
        if isinstance(change, bytes):
            path.write_bytes(change)
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | change))
        report = box.kddim(verb, "run", *FROM_MODEL[verb])
        silent = report.status == 0 and CONFIG not in report.text
        wrong_if(unreadable and silent, "an unreadable config.json is passed over in silence")

    return Attack(name, "models", act, finding)
