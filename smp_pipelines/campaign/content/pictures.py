"""Pictures: how wide and high a picture is, read from the first bytes of its file, so that pages do not jump."""

from __future__ import annotations

import struct
from pathlib import Path

_HEAD = 256 * 1024
"""Bytes that are read: a photograph may carry a long preview before its size."""
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(file: Path) -> tuple[int, int] | None:
    """Width and height in pixels of a png, gif, jpeg or webp; None for a file that is none of these or not there."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_HEAD)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            size = struct.unpack(">II", data[16:24])
        elif data.startswith((b"GIF87a", b"GIF89a")):
            size = struct.unpack("<HH", data[6:10])
        elif data.startswith(b"\xff\xd8"):
            size = _jpeg(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            size = _webp(data)
        else:
            return None
    except (OSError, struct.error, IndexError):
        return None
    width, height = size
    return (width, height) if width and height else None


def _jpeg(data: bytes) -> tuple[int, ...]:
    place = 2
    while data[place] == 0xFF:
        kind = data[place + 1]
        if kind in _FRAMES:
            return struct.unpack(">HH", data[place + 5 : place + 9])[::-1]
        place += 2 if kind in _STANDALONE else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise IndexError


def _webp(data: bytes) -> tuple[int, ...]:
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return tuple(side & 0x3FFF for side in struct.unpack("<HH", data[26:30]))
