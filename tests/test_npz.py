"""Reading of NumPy files that nobody vouches for."""

import io
import os
import re
import struct
import zipfile

import numpy as np
import pytest

from kddim import npz

ARRAYS = {
    "floats": np.random.default_rng(0).random((5, 3)),
    "bytes": np.arange(24, dtype="uint8").reshape(2, 3, 4),
    "text": np.array('{"version": 1}'),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "swapped": np.arange(5, dtype=">i4"),
    "empty": np.zeros((0, 4), "float32"),
    "nothing": np.array(""),
    "fields": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
}


class Trap:
    """Object that runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def npy_bytes(shape, descr="|u1", content=b"", order=False):
    """A `.npy` file whose header claims anything."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def refuses(path, reason, names=None):
    with pytest.raises(ValueError, match=rf"Expected a NumPy file\. Received: .*{reason}") as found:
        npz.read_arrays(path, names)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_are_read_as_numpy_reads_them(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    described = npz.headers(tmp_path / "a.npz")
    found = npz.read_arrays(tmp_path / "a.npz")
    assert list(found) == list(described) == list(ARRAYS)
    for name, wanted in ARRAYS.items():
        assert described[name] == (wanted.shape, wanted.dtype)
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize("name", ARRAYS)
def test_single_arrays_are_read_as_numpy_reads_them(tmp_path, name):
    np.save(tmp_path / "a.npy", ARRAYS[name])
    assert npz.headers(tmp_path / "a.npy") == {"arr_0": (ARRAYS[name].shape, ARRAYS[name].dtype)}
    np.testing.assert_array_equal(npz.read_arrays(tmp_path / "a.npy")["arr_0"], ARRAYS[name])


def test_only_the_arrays_asked_for_are_read(tmp_path):
    objects = np.array([Trap()], object)
    np.savez(tmp_path / "a.npz", images=ARRAYS["bytes"], names=objects)
    assert npz.headers(tmp_path / "a.npz")["names"] == ((1,), np.dtype(object))
    assert list(npz.read_arrays(tmp_path / "a.npz", ["images"])) == ["images"]
    refuses(tmp_path / "a.npz", "Object arrays cannot be loaded")
    refuses(tmp_path / "a.npz", r"no array 'x' among \['images', 'names'\]", ["x"])
    assert not Trap.sprung


def test_members_that_are_no_arrays_are_ignored_by_their_ending_and_refused_otherwise(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert npz.headers(tmp_path / "a.npz") == {}
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("images.npy", "hello, I am no array")
    refuses(tmp_path / "a.npz", r"images\.npy: .*magic")


# Absurd sizes. Each would take terabytes, or never end, if it were believed.


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((10**12,), "truncated or damaged: .* takes 1 TB, and the file holds 0 bytes"),
        ((2**32, 2**32), "more values than any memory holds"),
        ((2**70, 2**70, 2**70), "more values than any memory holds"),
        ((-1, -5), r"shape \(-1, -5\)"),
        ((True, 5), r"shape \(True, 5\)"),
        ((1,) * 100, "shape"),
        ("x", "shape"),
        ((2.5,), "shape"),
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_absurd_shapes_are_refused(tmp_path, shape, reason, archived):
    path = tmp_path / "a"
    path.write_bytes(npy_bytes(shape))
    if archived:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(path, "images.npy")
        path = tmp_path / "a.npz"
    refuses(path, reason)


def test_deep_and_odd_headers_are_refused(tmp_path):
    for text in ("(" * 9000, "{[]: 1}", "'" * 7, "{'shape': (1,)}", "1" * 9000, "\0\xff"):
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")
        (tmp_path / "a.npy").write_bytes(content)
        refuses(tmp_path / "a.npy", "")
    for descr in ("V99999999999", "nonsense", "|O8", ["x"], ("f4", (10**9, 10**9))):
        (tmp_path / "a.npy").write_bytes(npy_bytes((1,), descr))
        refuses(tmp_path / "a.npy", "")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x09\x00" + b"\0" * 50)
    refuses(tmp_path / "a.npy", "version")


def test_compression_bombs_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(3 << 20, "uint8"))
    assert len(npz.read_arrays(tmp_path / "a.npz")["images"]) == 3 << 20
    monkeypatch.setattr(npz, "_BOMB_BYTES", 2 << 20)
    refuses(tmp_path / "a.npz", r"3\.15 MB compressed to 3.* kB, as no real data can be")


# Damage


def test_other_files_are_refused(tmp_path):
    refuses(tmp_path / "missing.npz", "no such file")
    refuses(tmp_path, "not a regular file")
    (tmp_path / "empty.npz").write_bytes(b"")
    refuses(tmp_path / "empty.npz", "the file is empty")
    for content in (b"hello", b"PK", b"PK\x03\x04" + b"\0" * 50, b"\x93NUMPY"):
        (tmp_path / "a.npz").write_bytes(content)
        refuses(tmp_path / "a.npz", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    refuses(tmp_path / "a.npz", "not a regular file")


def test_names_are_printed_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=re.escape(r"a\nb\x1b[31m.npz (no such file)")):
        npz.headers(tmp_path / "a\nb\x1b[31m.npz")


def test_encrypted_members_and_other_compressions_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy_bytes((1,), content=b"x"))
    refuses(tmp_path / "a.npz", r"a\.npy has a compression that NumPy does not write")
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.npz").write_bytes(content)
    refuses(tmp_path / "a.npz", r"a\.npy is encrypted")


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_every_truncation_is_refused(tmp_path, save):
    buffer = io.BytesIO()
    save(buffer, ARRAYS["floats"])
    whole = buffer.getvalue()
    for length in range(0, len(whole), 7):
        (tmp_path / "a").write_bytes(whole[:length])
        refuses(tmp_path / "a", "")


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_changed_bytes_are_refused_or_read(tmp_path, save):
    """Only a `ValueError` may tell, and an archive never gives other values."""
    buffer = io.BytesIO()
    save(buffer, ARRAYS["floats"])
    whole, random = bytearray(buffer.getvalue()), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "a").write_bytes(changed)
        try:
            found = npz.read_arrays(tmp_path / "a")
        except ValueError:
            continue
        if save is not np.save and found:
            assert [a.tobytes() for a in found.values()] == [ARRAYS["floats"].tobytes()]
