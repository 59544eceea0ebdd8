"""Bodies: the small forms that public pages take, as browsers and mail programs post them."""

from __future__ import annotations

from email import message_from_bytes
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

LONGEST = 4096
"""Bytes of a body that are read; a confirmation needs fifty."""
LONGEST_FORM = 65_536
"""Bytes of a body that are read of a form with questions."""
_FIELDS = 8
_FIELDS_OF_FORM = 200


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form, names in small letters; none for a body that is no form.

    A mail program may post either kind of form (RFC 8058, section 3.2). HTTPException 413 when there is more
    than LONGEST bytes, which are not read.
    """
    body = await _body(request, LONGEST)
    kind = request.headers.get("content-type", "")
    multipart = kind.lower().startswith("multipart/form-data")
    return {name.lower(): value for name, value in (_multipart(kind, body) if multipart else _encoded(body, _FIELDS))}


async def read_pairs(request: Request) -> list[tuple[str, str]]:
    """The names and values of a form with questions, as they were posted; a name may be there several times.

    What is no UTF-8 becomes the sign for that. HTTPException 413 when there is more than LONGEST_FORM bytes; none
    for a body that is no form, or has more fields than any form.
    """
    body = await _body(request, LONGEST_FORM)
    # our own pages post no other kind, and taking apart what is nested could be made to take seconds
    is_multipart = request.headers.get("content-type", "").lower().startswith("multipart/")
    return [] if is_multipart else _encoded(body, _FIELDS_OF_FORM)


async def _body(request: Request, longest: int) -> bytes:
    # as Request.stream() reads, whose generator takes as long as all checks of a form together
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size, more = size + len(chunk), message.get("more_body", False)
        if size > longest:
            raise HTTPException(413)
    return b"".join(chunks)


def _encoded(body: bytes, most: int) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=most)
    except ValueError:
        return []


def _multipart(kind: str, body: bytes) -> list[tuple[str, str]]:
    if b"multipart/" in body.lower() or b"message/" in body.lower():
        return []  # a form within a form is no mail program's
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode("latin-1") + body)
    if not message.is_multipart():
        return []
    parts = [part for part in message.walk() if not part.is_multipart()][:_FIELDS]
    named = [(part.get_param("name", header="content-disposition"), part.get_payload(decode=True)) for part in parts]
    return [
        (name, value.decode("utf-8", "replace").strip())
        for name, value in named
        if isinstance(name, str) and isinstance(value, bytes)
    ]
