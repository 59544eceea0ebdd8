"""Quoted-printable (RFC 2045, 6.7), made with the few operations that Python runs at the speed of C.

`binascii.b2a_qp` goes through a body byte by byte and needs about twice the time.
"""

from __future__ import annotations

import binascii
import re

# Python writes a byte that is no ASCII as \xc3, in C. To make =C3 of it: before, the letters that stand in such
# an escape (and the backslash) move out of the way, to control characters that no line of text holds; after, they
# move back. A real control character becomes 255, which no UTF-8 holds, and is left to the slow way.
_IN_ESCAPES = b"abcdefx\\"
_AWAY = bytes(range(1, 9))
_CONTROLS = bytes(c for c in (*range(32), 127) if c not in b"\t\n")
_BEFORE = bytes.maketrans(_IN_ESCAPES + _CONTROLS, _AWAY + b"\xff" * len(_CONTROLS))
_AFTER = bytes.maketrans(b"\\abcdef" + _AWAY, b"=ABCDEF" + _IN_ESCAPES)
# Whole lines of at most 76, up to and with the first 73 to 75 bytes of a longer one; at last, what is left. Of the
# two bytes that may still be taken neither can begin an escape, so none is broken in two.
_UP_TO_A_BREAK = re.compile(rb"(?:.{0,76}+\n)*+.{73}[^=]{0,2}|(?s:.+)")
# begins with the one byte, so that the search leaps from line end to line end
_BLANK_AT_END = re.compile(rb"\n(?<=[ \t]\n)")


def quoted_printable(body: bytes) -> bytes:
    r"""The body of one part, UTF-8 with \n line ends, as quoted-printable with CRLF: ASCII, no line over 76 bytes."""
    quoted = _quoted(body)
    if quoted is None:
        return binascii.b2a_qp(body, istext=True).replace(b"\n", b"\r\n")
    # the line end that the part ends in lets every line be treated alike
    quoted += b"\n"
    if _BLANK_AT_END.search(quoted):
        # white space at the end of a line may be lost on the way
        quoted = quoted.replace(b" \n", b"=20\n").replace(b"\t\n", b"=09\n")
    return b"=\n".join(_UP_TO_A_BREAK.findall(quoted))[:-1].replace(b"\n", b"\r\n")


def _quoted(body: bytes) -> bytes | None:
    """The body with every byte quoted that must be; None when it holds control characters."""
    moved = body.replace(b"=", b"=3D").translate(_BEFORE)
    if b"\xff" in moved:
        return None
    return moved.decode("latin-1").encode("ascii", "backslashreplace").translate(_AFTER, b"x")
