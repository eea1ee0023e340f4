"""Files that are made to hurt: a few kilobytes that would fill memory or disk, or that never end."""

import io
import os
import shutil
import socket
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

SPECIAL = ("pipe", "device", "socket")


def special(kind: str, file: Path) -> Path:
    """Put something that never ends in place of a file."""
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        short = Path(tempfile.mkdtemp()) / "s"  # a socket's address has at most 107 bytes
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(short))
        shutil.move(short, file)
        short.parent.rmdir()
    return file


def image(kind: str, width: int, height: int) -> bytes:
    """An image of a few kilobytes whose header says that it is so large."""
    if kind == "png":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(5000))), (b"IEND", b""))
        chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    if kind == "bmp":
        head = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
        return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    small = bytearray(cv2.imencode(f".{kind}", np.zeros((60, 80, 3), np.uint8))[1].tobytes())
    if kind == "webp":
        at = small.find(b"VP8L") + 9
        small[at : at + 4] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        at = small.find(b"\xff\xc0") + 5
        small[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(small)


def zip_of(entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def crowded_zip(names: int, content: bytes, size: int, *, announced: int | None = None) -> bytes:
    """An archive of many entries that share the same packed bytes, which says how many there are."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    about = struct.pack("<HHHIIII", 8, 0, 0, zlib.crc32(content), len(packed), size, 9)[:-4]
    local = b"PK\3\4" + struct.pack("<HH", 20, 0) + about + struct.pack("<HH", 9, 0) + b"%09d" % 0 + packed
    tail = struct.pack("<HHHHHII", 9, 0, 0, 0, 0, 0, 0)
    listed = b"".join(b"PK\1\2" + struct.pack("<HHH", 20, 20, 0) + about + tail + b"%09d" % n for n in range(names))
    count = names if announced is None else announced
    end = local + listed
    end += b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(listed), len(local))
    end += b"PK\6\7" + struct.pack("<IQI", 0, len(local) + len(listed), 1)
    return end + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
