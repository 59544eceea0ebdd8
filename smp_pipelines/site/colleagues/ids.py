"""Ids in addresses: keys of people, records and sends, as somebody typed them or a link has them."""

from __future__ import annotations

from starlette.exceptions import HTTPException

MOST_DIGITS = 18
"""Every key with more digits is out of bigint's range, or nearly."""


def read_id(text: str, name: str) -> int | None:
    """The id in a text, None for an empty one. HTTPException 400 for one that is no id; `name` says of what."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise HTTPException(400, f"The {name} is chosen by its id, a whole number such as 1.")
    return int(text)
