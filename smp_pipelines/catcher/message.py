"""A caught mail, read: its headers decoded, its html and text parts. Never fails on a mail, however broken it is.

The catcher takes in many mails and shows few, so taking in reads the header block only (microseconds); the whole mail
is parsed when a person looks at it.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import email.message
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

HEADER_LIMIT = 64 * 1024
"""Bytes: what a mail has beyond this before its first empty line is not read as headers."""

_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_END = re.compile(rb"\r?\n\r?\n")
_ONE_ADDRESS = re.compile(r'\s*"?([^"<>]*?)"?\s*<[^<>]*>\s*')
_REMOTE = re.compile(r"""(?:\b(?:src|srcset|background)\s*=|url\()\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)
_PLACE_FOR_BASE = re.compile(r"<head(?:\s[^>]*)?>", re.IGNORECASE)


@dataclass(frozen=True)
class Attachment:
    """A part of a mail that is not its text: name, media type and size in bytes."""

    name: str
    media_type: str
    size: int


@dataclass
class Content:
    """What a person sees of a mail: html and text (None when the mail has no such part) and its attachments."""

    html: str | None = None
    text: str | None = None
    attachments: list[Attachment] = field(default_factory=list)

    @property
    def has_remote_images(self) -> bool:
        """Whether the html asks for pictures from elsewhere, which are shown only on request."""
        return self.html is not None and _REMOTE.search(self.html) is not None


def clean(text: str) -> str:
    """Give the text with question marks for lone surrogates (what Python makes of bytes that are not text)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_headers(data: bytes, names: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the headers of a mail as (name, decoded value), in order; with `names` (lower case) only those."""
    end = _END.search(data, 0, HEADER_LIMIT)
    block = data[: end.start() if end else HEADER_LIMIT]
    for line in _FOLD.sub(b"", block).splitlines():
        name, colon, value = line.partition(b":")
        key = name.decode("ascii", "replace").strip()
        if colon and (names is None or key.lower() in names):
            yield key, decode_words(value.decode("utf-8", "replace").strip())


def decode_words(value: str) -> str:
    """Decode the encoded words (=?utf-8?q?…?=) of a header value; what cannot be decoded stays as it came."""
    if "=?" not in value:
        return value
    try:
        chunks = email.header.decode_header(value)
        return clean("".join(_decode_chunk(chunk, charset) for chunk, charset in chunks))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return value


def _decode_chunk(chunk: bytes | str, charset: str | None) -> str:
    """Decode one piece; what stands between encoded words comes without a character set, in a form of Python's own."""
    if isinstance(chunk, str):
        return chunk
    return chunk.decode(charset, "replace") if charset else chunk.decode("raw-unicode-escape")


def short_address(value: str) -> str:
    """Give the name of the one person in an address header, or else the address; several people stay as written."""
    match = _ONE_ADDRESS.fullmatch(value)
    return match[1].strip() or value.strip(" <>") if match else value


def read_content(data: bytes) -> Content:
    """Parse a whole mail: the first html part, the first text part, and the rest as attachments."""
    content = Content()
    try:
        for part in email.message_from_bytes(data).walk():
            if not part.is_multipart():
                _take(part, content)
    except RecursionError:
        # Parts nested a thousand deep: nothing a person made. Source and headers still show.
        return Content()
    return content


def _take(part: email.message.Message, content: Content) -> None:
    """Put one part of a mail where it belongs."""
    media_type = part.get_content_type()
    payload = part.get_payload(decode=True)
    body = payload if isinstance(payload, bytes) else b""
    attached = part.get_content_disposition() == "attachment"
    if media_type == "text/html" and content.html is None and not attached:
        content.html = _decode(body, part)
    elif media_type == "text/plain" and content.text is None and not attached:
        content.text = _decode(body, part)
    else:
        name = clean(decode_words(part.get_filename() or "")) or media_type
        content.attachments.append(Attachment(name, media_type, len(body)))


def _decode(body: bytes, part: email.message.Message) -> str:
    """Decode a text part with the character set it names, or as UTF-8 when that one is unknown or wrong."""
    try:
        return clean(body.decode(str(part.get_content_charset() or "utf-8")))
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def open_links_in_new_tab(html: str) -> str:
    """Make links of the html open in a new tab: inside the page's sandboxed frame they could go nowhere."""
    base = '<base target="_blank">'
    place = _PLACE_FOR_BASE.search(html)
    if place:
        return html[: place.end()] + base + html[place.end() :]
    # Before a doctype it would put the browser in quirks mode, so a page with a doctype and no head stays as it is.
    return html if html.lstrip()[:9].lower() == "<!doctype" else base + html
