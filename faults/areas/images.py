"""Folders of pictures with one bad file among 24 good ones."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from faults.attack import Attack, wrong_if
from faults.base import TRAIN, smooth_images
from faults.box import Box

FORMATS = ("png", "jpg", "gif", "bmp", "webp", "tiff")
MODES = ("1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "F", "I;16")

# Pictures whose layers have other limits on TensorFlow than on PyTorch.
ON_TENSORFLOW = ("tiny_1x1.png", "tiny_4x4.png", "tiny_1x10000.png")


def attacks(random: random.Random) -> Iterator[Attack]:
    for name, (write, finding) in _bad_files().items():
        for verb in ("stats", "stats 8", "train"):
            yield _attack(f"images/{name}/{verb}", verb, write, finding)
    for ending in FORMATS:
        for tenth in range(10):
            yield _attack(f"images/truncated {ending}/{tenth}", "stats", _truncated(ending, tenth))
        for number in range(12):
            yield _attack(f"images/flipped {ending}/{number}", "stats 8", _flipped(ending))
    for name, number in {"many": 3000, "deep": 60}.items():
        yield Attack(f"images/{name}", "images", _many(number, name == "deep"))
    for name in ("empty", "only bad", "one", "alike"):
        yield Attack(f"images/folder {name}", "images", _folder(name))


Write = Callable[[Box], str]


def _attack(name: str, verb: str, write: Write, finding: str = "") -> Attack:
    """The bad file is skipped and the others are counted, or it is named."""

    def act(box: Box) -> None:
        box.use("pictures")
        bad = write(box)
        tensorflow = verb == "stats" and bad in ON_TENSORFLOW
        options = {"real": True, "env": {"KERAS_BACKEND": "tensorflow"}} if tensorflow else {}
        report = box.kddim(*_command(verb), **options)
        if report.status == 2:
            shown = bad.split("\n")[0].split("\x1b")[0][:40]
            wrong_if(shown not in report.err, f"{bad} is not named: {report.err[-300:]}")
        elif verb != "train":
            counted = ("24 images" in report.out, "25 images" in report.out)
            wrong_if(not any(counted), f"24 or 25 images were expected: {report.out[-200:]}")
            features = np.load(box.path("new.npz"))["features"]
            wrong_if(not np.isfinite(features).all(), "features that are not finite")

    return Attack(name, "images", act, finding)


def _command(verb: str) -> tuple[str, ...]:
    if verb == "train":
        options = ("--image-size", "8", "--steps-per-epoch", "1", "--epochs", "1", "-o", "new")
        return ("train", "pictures", *TRAIN[2:], *options)
    size = ("--image-size", "8") if verb == "stats 8" else ()
    return ("stats", "pictures", "-o", "new.npz", "--encoder", "random_conv", *size)


def _picture(size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    pixels = smooth_images(1, 32, 3, 5)[0]
    image = Image.fromarray(pixels).resize(size)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype("uint16") << 8)
    if mode == "LAB":
        from PIL import ImageCms

        rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image.convert(mode)


def _save(name: str, image: Image.Image, **options) -> Write:
    def write(box: Box) -> str:
        image.save(box.path("pictures") / name, **options)
        return name

    return write


def _bytes(name: str, data: bytes | Callable[[], bytes]) -> Write:
    def write(box: Box) -> str:
        (box.path("pictures") / name).write_bytes(data() if callable(data) else data)
        return name

    return write


def _encoded(ending: str) -> bytes:
    buffer = io.BytesIO()
    _picture((64, 48)).save(buffer, {"jpg": "jpeg"}.get(ending, ending))
    return buffer.getvalue()


def _truncated(ending: str, tenth: int) -> Write:
    data = _encoded(ending)
    return _bytes(f"bad.{ending}", data[: len(data) * tenth // 10])


def _flipped(ending: str) -> Write:
    def write(box: Box) -> str:
        data = bytearray(_encoded(ending))
        for _ in range(box.random.choice((1, 1, 3, 10, 100))):
            data[box.random.randrange(len(data))] ^= 1 << box.random.randrange(8)
        return _bytes(f"bad.{ending}", bytes(data))(box)

    return write


def _bad_files() -> dict[str, tuple[Write, str]]:
    found: dict[str, tuple[Write, str]] = {}
    for width, height in ((1, 1), (4, 4), (1, 10000), (10000, 1), (2, 3), (31, 1)):
        name = f"tiny_{width}x{height}.png"
        found[name] = (_save(name, _picture((width, height))), "13")
    found["large.png"] = (_bytes("large.png", lambda: _zero_png(13300, 13300, True)), "9")
    for ending in ("gif", "bmp", "png"):
        found[f"claims {ending}"] = (_bytes(f"claims.{ending}", _claims(ending)), "9")
    for mode in MODES:
        ending = "jpg" if mode in ("CMYK", "YCbCr") else "tiff" if mode in ("LAB", "F", "PA", "HSV") else "png"  # fmt: skip
        image = _picture(mode=mode).convert("RGB") if mode in ("HSV", "PA") else _picture(mode=mode)
        found[f"mode {mode}"] = (_save(f"mode.{ending}", image), "")
    frames = [_picture((32, 32 + i)).resize((32, 32)) for i in range(5)]
    for ending in ("gif", "webp", "png"):
        many = {"save_all": True, "append_images": frames[1:]}
        found[f"animated {ending}"] = (_save(f"animated.{ending}", frames[0], **many), "")
    for number in range(9):
        exif = Image.Exif()
        exif[0x0112] = number
        found[f"exif {number}"] = (_save("exif.jpg", _picture(), exif=exif), "")
    found["bad exif"] = (_save("exif.jpg", _picture(), exif=b"Exif\0\0MM\0*" + b"\xff" * 60), "")
    found |= _special()
    found |= _named()
    return found


def _special() -> dict[str, tuple[Write, str]]:
    """Entries that are no regular files, or not what their names say."""

    def fifo(box: Box) -> str:
        os.mkfifo(box.path("pictures") / "fifo.png")
        return "fifo.png"

    def link(target: str) -> Write:
        def write(box: Box) -> str:
            os.symlink(target, box.path("pictures") / "link.png")
            return "link.png"

        return write

    def loop(box: Box) -> str:
        os.symlink(".", box.path("pictures") / "loop")
        os.symlink("..", box.path("pictures") / "up")
        return "loop"

    def folder(box: Box) -> str:
        (box.path("pictures") / "folder.png").mkdir()
        return "folder.png"

    found = {
        "fifo": fifo,
        "to zeros": link("/dev/zero"),
        "dangling": link("nowhere.png"),
        "itself": link("link.png"),
        "loop": loop,
        "folder": folder,
        "empty": _bytes("empty.png", b""),
        "text": _bytes("text.png", b"hello " * 100),
        "jpg as png": _bytes("jpg.png", _encoded("jpg")),
        "png as txt": _bytes("png.jpeg", _encoded("png")),
        "svg": _bytes("svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "pickle": _bytes("pickle.png", b"\x80\x04cos\nsystem\n(S'touch canary'\ntR."),
        "eps": _bytes("eps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        "zlib text": _bytes("ztxt.png", _text_png()),
    }
    return {name: (write, "") for name, write in found.items()}


def _named() -> dict[str, tuple[Write, str]]:
    names = {
        "japanese": "日本語.png",
        "right to left": "\u202egnp.png",
        "newline": "a\nb.png",
        "escape": "\x1b[31mred.png",
        "long": "a" * 250 + ".png",
        "space": " .png",
        "emoji": "\U0001f600.png",
        "quote": "'\"`$(touch canary).png",
    }
    found: dict[str, tuple[Write, str]] = {}
    for name, file in names.items():
        finding = "low escapes" if name in ("newline", "escape") else ""
        found[f"name {name}"] = (_bytes(file, _encoded("png")), "")
        found[f"bad name {name}"] = (_bytes(file, b"broken"), finding)

    def undecodable(box: Box) -> str:
        path = os.path.join(os.fsencode(box.path("pictures")), b"\xff\xfe.png")
        with open(path, "wb") as file:
            file.write(b"broken")
        return ""

    found["name undecodable"] = (undecodable, "")
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _zero_png(width: int, height: int, whole: bool) -> bytes:
    """A grey picture of zeros: 13,300 x 13,300 in 170 kB."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b""
    if whole:
        compress = zlib.compressobj(1)
        data = b"".join(compress.compress(bytes(1 + 3 * width)) for _ in range(height))
        data += compress.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


def _text_png() -> bytes:
    bomb = zlib.compress(bytes(50_000_000), 9)
    text = b"".join(_chunk(b"zTXt", b"k%d\0\0" % i + bomb) for i in range(20))
    data = _encoded("png")
    return data[:33] + text + data[33:]


def _claims(ending: str) -> bytes:
    """A picture whose header claims 60,000 x 60,000 pixels or more."""
    if ending == "png":
        return _zero_png(60000, 60000, False)
    data = bytearray(_encoded(ending))
    if ending == "gif":
        struct.pack_into("<HH", data, 6, 65535, 65535)
    else:
        struct.pack_into("<ii", data, 18, 60000, 60000)
    return bytes(data)


def _many(number: int, deep: bool) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        box.use("pictures")
        folder, data = box.path("pictures"), _encoded("png")
        for index in range(number):
            if deep:
                folder = folder / "d"
                folder.mkdir()
            (folder / f"{index}.png").write_bytes(data)
        report = box.done(*_command("stats 8"), cpu=120.0)
        wrong_if(f"{24 + number:,} images" not in report.out, report.out[-200:])

    return act


def _folder(name: str) -> Callable[[Box], None]:
    def act(box: Box) -> None:
        folder = box.path("pictures")
        folder.mkdir()
        if name == "only bad":
            (folder / "bad.png").write_bytes(b"broken")
        if name == "one":
            _picture().save(folder / "one.png")
        for index in range(24 if name == "alike" else 0):
            Image.new("RGB", (32, 32), (9, 9, 9)).save(folder / f"{index}.png")
        if name != "alike":
            box.refused(*_command("train"), says="image" if name == "one" else "picture")
            return
        report = box.kddim(*_command("train"))
        told = any(word in report.text for word in ("alike", "constant", "same", "variance"))
        wrong_if(report.status == 0 and not told, "training on all-alike images says nothing")

    return act
