"""This machine: a link to sign in for whoever started `smp` here, so that a laptop needs no mail and no password.

`smp up` makes a new key in the state folder each time, which only its owner can read. A link is signed with it, says
until when it is good, and works on this machine only; it ends with the `smp up` that made the key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.links import BadLinkError, LinkSigner
from smp_pipelines.stores.secret import own_secret

LASTS = timedelta(days=7)
_PURPOSE = "machine"


def renew(home: Path) -> None:
    """Make a new key: links of an earlier `smp up` no longer work. Raises SmpError when it cannot be written."""
    forget(home)
    own_secret(_file(home))


def forget(home: Path) -> None:
    """End all links."""
    _file(home).unlink(missing_ok=True)


def sign_in_path(home: Path, now: datetime) -> str:
    """The path of a link to sign in. Raises SmpError when nothing runs here."""
    if not _file(home).is_file():
        raise SmpError("nothing runs here that one could sign in to; `smp up` starts it")
    until = int((now + LASTS).timestamp())
    return f"/sign-in/here/{LinkSigner([own_secret(_file(home))]).sign(_PURPOSE, until)}"


def is_good(home: Path, token: str, now: datetime) -> bool:
    """Whether a link is one of the `smp up` that runs, and not too old."""
    if not _file(home).is_file():
        return False
    try:
        match LinkSigner([own_secret(_file(home))]).read(_PURPOSE, token):
            case (int(until),):
                return now.timestamp() < until
    except BadLinkError:
        return False
    return False


def _file(home: Path) -> Path:
    return home / "sign-in.key"
