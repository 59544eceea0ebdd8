"""Colleagues: who may open the pages for colleagues, by links that work once and sessions that end.

The database holds hashes of tokens only: who reads it, or a copy of it, cannot sign in with what they find.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import address as addresses
from smp_pipelines.stores.postgres import Connection, engine_sql

LINK_LASTS = timedelta(hours=1)
SESSION_LASTS = timedelta(hours=12)
MOST_LINKS = 5
"""Links that one colleague is mailed …"""
MOST_LINKS_IN = timedelta(minutes=15)
"""… in this time: nobody's mailbox is filled by whoever types an address over and over."""
_KEPT = timedelta(days=30)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_NAME = 100


class BadSignInError(SmpError):
    """A link to sign in that is none, was used, or is too old."""

    def __init__(self) -> None:
        super().__init__("this link was used already, is too old, or a part of it is missing: ask for a new one")


@dataclass(frozen=True)
class Colleague:
    """Somebody who may sign in. `last_seen` is the moment of the latest sign-in by a link, if there was one."""

    name: str
    address: str
    added_at: datetime
    added_by: str
    last_seen: datetime | None


@dataclass(frozen=True)
class Session:
    """A browser that is signed in. `name`: the colleague's; None for whoever sits at this machine.

    `csrf` goes into every form that changes something, and comes back with it.
    """

    name: str | None
    csrf: str


def add(connection: Connection, address: str, name: str, now: datetime, by: str) -> bool:
    """Let somebody sign in; False when they could already. Raises SmpError for an address that cannot exist."""
    address, name = compared(address), " ".join(name.split())
    if not _can_exist(address):
        raise SmpError(f"{address or 'this'} is no e-mail address")
    if not name or len(name) > _LONGEST_NAME:
        raise SmpError(f"give a name of 1 to {_LONGEST_NAME} letters")
    values = {"address": address, "name": name, "now": now, "by": by}
    with connection.transaction():
        return connection.execute(engine_sql("colleagues/add.sql"), values).fetchone() is not None


def remove(connection: Connection, address: str, now: datetime, by: str) -> int:
    """Take somebody's access away at once; how many sessions that ended. Raises SmpError when there is nobody."""
    values = {"address": compared(address), "now": now, "by": by}
    with connection.transaction():
        found = connection.execute(engine_sql("colleagues/remove.sql"), values).fetchone()
    removed, ended = found or (0, 0)
    if not removed:
        raise SmpError("nobody with this address can sign in; `smp colleague list` shows who can")
    return int(ended)


def read_all(connection: Connection) -> list[Colleague]:
    """Everybody who may sign in, by name."""
    return [Colleague(*row) for row in connection.execute(engine_sql("colleagues/list.sql"))]


def make_link(connection: Connection, address: str, now: datetime, *, limited: bool = False) -> str | None:
    """A token to sign in with, once, within LINK_LASTS; None when the address is no colleague's.

    `limited`: none either when they got MOST_LINKS in MOST_LINKS_IN.
    """
    token = secrets.token_urlsafe(32)
    values = {
        "address": compared(address),
        "token_hash": _hashed(token),
        "now": now,
        "expires_at": now + LINK_LASTS,
        "most": MOST_LINKS if limited else None,
        "since": now - MOST_LINKS_IN,
    }
    with connection.transaction():
        # one at a time, by a statement of its own: what others made meanwhile is counted
        connection.execute("select from smp.colleague where address = %(address)s for update", values)
        return token if connection.execute(engine_sql("colleagues/make_link.sql"), values).fetchone() else None


def read_link(connection: Connection, token: str, now: datetime) -> str:
    """The name of whose link it is; it stays good. Raises BadSignInError."""
    found = connection.execute(
        engine_sql("colleagues/read_link.sql"), {"token_hash": _hashed(token), "now": now}
    ).fetchone()
    if found is None:
        raise BadSignInError
    return str(found[0])


def use_link(connection: Connection, token: str, now: datetime) -> str:
    """Use a link: the token of a new session. Raises BadSignInError, also for a link that was used before."""
    with connection.transaction():
        found = connection.execute(
            engine_sql("colleagues/use_link.sql"), {"token_hash": _hashed(token), "now": now}
        ).fetchone()
        if found is None:
            raise BadSignInError
        return start_session(connection, found[0], now)


def start_session(connection: Connection, colleague_id: int | None, now: datetime) -> str:
    """Begin a session of a colleague, or (None) of whoever sits at this machine; its token."""
    token = secrets.token_urlsafe(32)
    with connection.transaction():
        connection.execute("delete from smp.session where expires_at < %s", (now,))
        connection.execute("delete from smp.sign_in where made_at < %s and used_at is null", (now - _KEPT,))
        connection.execute(
            "insert into smp.session (token_hash, colleague_id, created_at, expires_at) values (%s, %s, %s, %s)",
            (_hashed(token), colleague_id, now, now + SESSION_LASTS),
        )
    return token


def read_session(connection: Connection, token: str, now: datetime) -> Session | None:
    """Who is signed in with this token; None when nobody is, or no longer."""
    found = connection.execute(
        engine_sql("colleagues/read_session.sql"), {"token_hash": _hashed(token), "now": now}
    ).fetchone()
    return None if found is None else Session(found[0], hmac.digest(token.encode(), b"csrf", hashlib.sha256).hex())


def end_session(connection: Connection, token: str) -> None:
    """Sign out; nothing happens when that was done already."""
    with connection.transaction():
        connection.execute("delete from smp.session where token_hash = %s", (_hashed(token),))


def is_token(text: str) -> bool:
    """Whether a text has the shape of a token; nothing else is looked up."""
    return _TOKEN.fullmatch(text) is not None


def compared(address: str) -> str:
    """An address as it is compared."""
    return address.strip().lower()


def _can_exist(address: str) -> bool:
    long_label = re.search(addresses.RULE["long_label"], address)
    return bool(re.fullmatch(addresses.PATTERN, address)) and not long_label and len(address.encode()) <= 254


def _hashed(token: str) -> bytes:
    """What is kept of a token. It has 256 random bits, so a plain hash cannot be turned back."""
    return hashlib.sha256(token.encode()).digest()
