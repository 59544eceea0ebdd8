"""Files: pictures of campaigns and the theme's own, as browsers get them: one folder deep, known kinds only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
"""The kinds of pictures that a block may show, by how the file's name ends."""
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
_LONGEST = 20 * 2**20
"""Bytes of a file that is given; a mail or page needs far less."""
_SHORT, _LONG = "public, max-age=300", "public, max-age=31536000, immutable"

Find = Callable[[Mapping[str, str]], Path | None]
"""Which file the parts of an address mean."""


def file_mark(file: Path) -> str:
    """A mark of a file's contents, for ETag and for addresses that change with the file."""
    found = file.stat()
    return _mark(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _mark(file: Path, _changed: int, _size: int) -> str:
    return _mark_of(file.read_bytes())


def _mark_of(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def give_file(find: Find, kinds: Mapping[str, str]) -> Callable[[Request], Response]:
    """The endpoint of files; 404 for every name that is not plain, every other kind and every file elsewhere.

    An address that carries the file's mark (?v=…) may be kept for ever; others for five minutes.
    """

    def answer(request: Request) -> Response:
        parts = {name: str(value) for name, value in request.path_params.items()}
        if not all(_NAME.fullmatch(part) for part in parts.values()):
            raise HTTPException(404)
        file = find(parts)
        kind = kinds.get(Path(parts["file"]).suffix)
        # a link must not lead out of the folder
        if kind is None or file is None or not file.is_file() or file.resolve().parent != file.parent.resolve():
            raise HTTPException(404)
        return _given(request, file, kind)

    return answer


def _given(request: Request, file: Path, kind: str) -> Response:
    if file.stat().st_size > _LONGEST:
        raise HTTPException(404)
    content = file.read_bytes()
    mark = _mark_of(content)
    headers = {
        "ETag": f'"{mark}"',
        "Cache-Control": _LONG if request.query_params.get("v") == mark else _SHORT,
        # pictures stand in mails too, which other sites show
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    known = request.headers.get("if-none-match", "")
    if f'"{mark}"' in [each.strip().removeprefix("W/") for each in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
