"""Suppression: the list of addresses that are never mailed, and the audit of who changed it.

Addresses are compared trimmed and in lower case, as in planning and at the claim. The audit knows
them by their md5 only: erasing an address from the list leaves nothing to read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import address
from smp_pipelines.stores.postgres import Connection, engine_sql

Reason = Literal["hard_bounce", "complaint", "manual"]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why an address is on the list: it does not exist, its owner complained, or somebody put it there."""

# The status comes right after the code, on every line of an answer (RFC 2034); what reads the answers leaves the code
# out of the lines after the first.
_STATUS = re.compile(r"^(?:\d{3}[ -])?([245])\.(\d{1,3})\.(\d{1,3})(?=[ \t]|$)")
_NO_SUCH_ADDRESS = {("5", "1", detail) for detail in ("1", "2", "3", "6", "10")}
_NO_ADDRESS = "this is no e-mail address"


@dataclass(frozen=True)
class Suppressed:
    """One line of the list. `email` is as it stands there."""

    email: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class Added:
    """What adding did: how many are new on the list, and how many were there already."""

    new: int
    already: int


@dataclass(frozen=True)
class BadLine:
    """A line of a file that was left out, counted from 1, and what is wrong with it."""

    line: int
    why: str


def read_list(connection: Connection) -> list[Suppressed]:
    """The whole list, the latest first."""
    found = connection.execute("select email_key, reason, since from crm.suppression order by since desc, email_key")
    return [Suppressed(*row) for row in found]


def shortened(email: str) -> str:
    """An address that one recognises and cannot use: its first letter and its domain."""
    name, _, domain = email.strip().rpartition("@")
    return f"{name[:1]}…@{domain}"


def address_of(connection: Connection, person_id: int) -> str:
    """The address of a person as it is compared. Raises SmpError when there is none."""
    found = connection.execute("select email_key from crm.person where person_id = %s", (person_id,)).fetchone()
    if found is None:
        raise SmpError(f"there is no person {person_id}")
    if found[0] is None:
        raise SmpError(f"person {person_id} has no e-mail address: nothing is mailed to them anyway")
    return str(found[0])


def add(connection: Connection, addresses: Sequence[str], reason: str, now: datetime, by: str) -> Added:
    """Put addresses on the list, all of them or none; those that are there keep their reason and moment.

    Raises SmpError for a reason that is none, for nobody in `by`, and for what is no address.
    """
    if reason not in REASONS:
        raise SmpError(f"{reason!r} is no reason; give one of {', '.join(REASONS)}")
    _refuse_nobody(by)
    if bad := _bad_places(connection, addresses):
        raise SmpError(f"{_NO_ADDRESS}: {addresses[bad[0]]!r}" + (f", and {len(bad) - 1} more" if bad[1:] else ""))
    return _add(connection, addresses, reason, now, by)


def add_file(connection: Connection, file: Path, reason: str, now: datetime, by: str) -> tuple[Added, list[BadLine]]:
    """Put the addresses of a text file on the list: UTF-8, one a line; empty lines and lines that begin with # are not.

    Lines that are no address are left out and told; the others are added all together or not at all.
    Raises SmpError as `add` does, and for a file that cannot be read.
    """
    try:
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise SmpError(f"{file} cannot be read: {error.strerror}") from error
    written, bad = _read_lines(lines)
    places = list(written)
    dead = {places[place] for place in _bad_places(connection, list(written.values()))}
    bad += [BadLine(line, _NO_ADDRESS) for line in dead]
    good = [text for line, text in written.items() if line not in dead]
    return add(connection, good, reason, now, by), sorted(bad, key=lambda each: each.line)


def remove(connection: Connection, addresses: Sequence[str], why: str, now: datetime, by: str) -> int:
    """Take addresses off the list, with `why` in the audit; says how many were on it. Raises SmpError without a why."""
    _refuse_nobody(by)
    if not why.strip():
        raise SmpError("say why it goes off the list: the audit keeps it")
    parameters = {"addresses": list(addresses), "reason": why.strip(), "now": now, "by": by.strip()}
    with connection.transaction():
        found = connection.execute(engine_sql("suppression/remove.sql"), parameters).fetchone()
    return int(found[0]) if found else 0


def note_bounces(connection: Connection, send_id: int, addresses: Sequence[str], now: datetime) -> int:
    """Put addresses that do not exist on the list, with reason hard_bounce; says how many are new.

    They are the addresses that were mailed, not what people have by now. One statement, in the
    transaction that is open: the caller settles in it.
    """
    if not addresses:
        return 0
    parameters = {"addresses": list(addresses), "now": now, "send_id": send_id}
    return connection.execute(engine_sql("ledger/bounce.sql"), parameters).rowcount


def is_hard_bounce(response: str) -> bool:
    """Whether a mail server's answer to a recipient says that the address does not exist, and never will.

    Only the enhanced status tells that for sure (RFC 3463): X.1.1 no such mailbox, X.1.2 no such domain, X.1.3 no
    address, X.1.6 moved away, X.1.10 the domain takes no mail (RFC 7505); and only for good (5xx).
    """
    if not re.match(r"5\d\d\b", response):
        return False
    found = (_STATUS.match(line) for line in response.splitlines())
    first = next((match for match in found if match), None)
    return first is not None and first.groups() in _NO_SUCH_ADDRESS


def _add(connection: Connection, addresses: Sequence[str], reason: str, now: datetime, by: str) -> Added:
    parameters = {"addresses": list(addresses), "reason": reason, "now": now, "by": by.strip()}
    with connection.transaction():
        found = connection.execute(engine_sql("suppression/add.sql"), parameters).fetchone()
    wanted, new = found or (0, 0)
    return Added(new, wanted - new)


def _refuse_nobody(by: str) -> None:
    if not by.strip():
        raise SmpError("say who changes the list: the audit keeps it")


def _bad_places(connection: Connection, lines: Sequence[str]) -> list[int]:
    """The places, from 0, of what is no address."""
    found = connection.execute(engine_sql("suppression/judge.sql"), {"lines": list(lines), **address.POSTGRES_RULE})
    return [place - 1 for (place,) in found]


def _read_lines(lines: Sequence[bytes]) -> tuple[dict[int, str], list[BadLine]]:
    """The addresses by their line, and the lines that are no text."""
    written, bad = {}, []
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            bad.append(BadLine(number, "this is not UTF-8 text"))
            continue
        if "\x00" in text:
            bad.append(BadLine(number, _NO_ADDRESS))
        elif text and not text.startswith("#"):
            written[number] = text
    return written, bad
