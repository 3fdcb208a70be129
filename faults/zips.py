"""Zip files with any content: altered members, false sizes, bombs."""

import io
import struct
import zipfile
import zlib
from pathlib import Path


def read_members(path: Path) -> dict[str, bytes]:
    """Return the members of a zip file by name."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write_members(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    """Write a zip file with correct checksums."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)


def set_flag(path: Path, member: str, offset: int, value: int) -> None:
    """Set a 16-bit field in both headers of a member.

    Args:
        path: Zip file to change.
        member: Name of the member.
        offset: Offset of the field in the central header: 8 for flags, 10 for the method.
        value: New value.
    """
    data = bytearray(path.read_bytes())
    name = member.encode()
    for magic, start, shift in ((b"PK\x01\x02", 46, 0), (b"PK\x03\x04", 30, 2)):
        place = data.find(magic)
        while place >= 0:
            if data[place + start : place + start + len(name)] == name:
                struct.pack_into("<H", data, place + offset - shift, value)
            place = data.find(magic, place + 4)
    path.write_bytes(bytes(data))


def deflated_zeros(head: bytes, size: int) -> bytes:
    """Return a raw deflate stream of `head` and `size` zero bytes, without computing each."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compress.compress(head) + compress.flush(zlib.Z_FULL_FLUSH)
    block = 1 << 22
    one = compress.compress(bytes(block)) + compress.flush(zlib.Z_FULL_FLUSH)
    two = compress.compress(bytes(block)) + compress.flush(zlib.Z_FULL_FLUSH)
    last = compress.compress(bytes(size % block)) + compress.flush()
    return first + (one + two * (size // block - 1) if size >= block else b"") + last


def write_bomb(path: Path, member: str, head: bytes, zeros: int, others: dict[str, bytes]) -> None:
    """Write a zip file with a member that inflates to `head` and many zeros, below 4 GiB.

    Args:
        path: File to write.
        member: Name of the member.
        head: First bytes of the member.
        zeros: Number of zero bytes that follow.
        others: Other members.
    """
    stream, size, name = deflated_zeros(head, zeros), len(head) + zeros, member.encode()
    checksum = _checksum(head, zeros)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for other, data in others.items():
            file.writestr(other, data)
        place = file.start_dir
        about = (checksum, len(stream), size, len(name), 0)
        file.fp.seek(place)
        file.fp.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, *about))
        file.fp.write(name + stream)
        file.start_dir = file.fp.tell()
        info = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
        info.compress_type, info.CRC = zipfile.ZIP_DEFLATED, checksum
        info.compress_size, info.file_size, info.header_offset = len(stream), size, place
        info.external_attr = 0o600 << 16
        file.filelist.append(info)
        file.NameToInfo[member] = info
        file._didModify = True
    path.write_bytes(buffer.getvalue())


def _checksum(head: bytes, zeros: int) -> int:
    found, block = zlib.crc32(head), bytes(1 << 22)
    for _ in range(zeros // len(block)):
        found = zlib.crc32(block, found)
    return zlib.crc32(bytes(zeros % len(block)), found)


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the header of a .npy file that claims a shape and a type."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")
