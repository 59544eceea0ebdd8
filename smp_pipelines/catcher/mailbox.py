"""The mailbox: a folder with each caught mail as an .eml file, and one line about it in index.jsonl.

Both are only ever added to. The .eml file is written first, so a process killed half-way leaves at most an .eml file
that no line names, or a torn last line; the sender got no answer for that mail, and the next open repairs the index.
Nothing is fsynced: what was answered survives the death of the process, though not of the machine.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from smp_pipelines.catcher.message import clean, read_headers
from smp_pipelines.problems import SmpError

FIELD_LIMIT = 1000
"""Characters: longer header values are cut in the index (the .eml file keeps them)."""

_ID = re.compile(r"\d{8}-\d{6}-\d{6,}")
_HEADERS = {"from", "to", "subject", "message-id", "x-smp-step"}


def _write_whole(file: int, data: bytes) -> None:
    """Write in one go. Raises OSError when the disk took less."""
    if os.write(file, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True, slots=True)
class Mail:
    """What the index knows of a mail. `sender` and `recipients` are those of the envelope, `size` is in bytes."""

    id: str
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    from_: str
    to: str
    subject: str
    message_id: str
    size: int
    step: str

    def as_json(self) -> dict[str, object]:
        """Give the mail as the index and the API write it."""
        return {
            "id": self.id,
            "received_at": self.received_at.isoformat(timespec="milliseconds"),
            "sender": self.sender,
            "recipients": list(self.recipients),
            "from": self.from_,
            "to": self.to,
            "subject": self.subject,
            "message_id": self.message_id,
            "size": self.size,
            "step": self.step,
        }

    @staticmethod
    def from_line(line: bytes) -> Mail | None:
        """Read a line of the index; None for a line that is torn or not ours."""
        try:
            row = json.loads(line)
            mail = Mail(
                id=row["id"],
                received_at=datetime.fromisoformat(row["received_at"]),
                sender=row["sender"],
                recipients=tuple(row["recipients"]),
                from_=row["from"],
                to=row["to"],
                subject=row["subject"],
                message_id=row["message_id"],
                size=int(row["size"]),
                step=row["step"],
            )
        except (ValueError, KeyError, TypeError):
            return None
        return mail if isinstance(mail.id, str) and _ID.fullmatch(mail.id) else None

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each word (casefolded) is in the subject, from, to, a recipient or the step."""
        text = "\n".join((self.subject, self.from_, self.to, *self.recipients, self.step)).casefold()
        return all(word in text for word in words)


@dataclass(frozen=True)
class Listing:
    """A part of the mailbox, newest first, and how many mails there are in all for this search."""

    mails: list[Mail]
    total: int


class Mailbox:
    """The mails in a folder (made when missing). Safe to use from several threads; one process at a time.

    Raises SmpError when another process has this mailbox open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = folder / "mails"
        self._files.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._index = os.open(folder / "index.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._index)
            raise SmpError(
                f"the mailbox {folder} is in use: stop the other catcher, or choose another folder"
            ) from error
        for left in folder.glob("deleted-*"):
            shutil.rmtree(left, ignore_errors=True)
        self._mails = {mail.id: mail for mail in self._read_index()}
        self._number = 1 + max((int(mail_id.rpartition("-")[2]) for mail_id in self._mails), default=0)

    def _read_index(self) -> list[Mail]:
        """Read the index. A torn last line is cut off; a last line that lost only its end gets it back."""
        with open(self._index, "rb", closefd=False) as file:
            data = file.read()
        last = data[data.rfind(b"\n") + 1 :]
        if last and Mail.from_line(last) is not None:
            os.write(self._index, b"\n")
        elif last:
            os.ftruncate(self._index, len(data) - len(last))
        return [mail for line in data.split(b"\n") if (mail := Mail.from_line(line)) is not None]

    def close(self) -> None:
        """Let go of the folder. The mailbox takes no mail after this."""
        with self._lock:
            if self._index >= 0:
                fcntl.flock(self._index, fcntl.LOCK_UN)
                os.close(self._index)
                self._index = -1

    def add(self, data: bytes, *, sender: str, recipients: Sequence[str], received_at: datetime) -> Mail:
        """Store a mail as it came in. `received_at` is aware. After an OSError (disk full) nothing of it stays."""
        found: dict[str, str] = {}
        for name, value in read_headers(data, _HEADERS):
            found.setdefault(name.lower(), value[:FIELD_LIMIT])
        received_at = received_at.astimezone(UTC)
        with self._lock:
            mail = Mail(
                id=self._write_file(data, received_at),
                received_at=received_at,
                sender=clean(sender),
                recipients=tuple(clean(recipient) for recipient in recipients),
                from_=found.get("from", ""),
                to=found.get("to", ""),
                subject=found.get("subject", ""),
                message_id=found.get("message-id", ""),
                size=len(data),
                step=found.get("x-smp-step", ""),
            )
            try:
                self._write_line(mail)
            except OSError:
                Path(self._path(mail.id)).unlink()
                raise
            self._mails[mail.id] = mail
        return mail

    def _path(self, mail_id: str) -> str:
        return f"{self._files}/{mail_id}.eml"

    def _write_file(self, data: bytes, received_at: datetime) -> str:
        """Write the .eml file under an id that no file has yet (not even one that the index lost), and give the id."""
        moment = f"{received_at:%Y%m%d-%H%M%S}"
        while True:
            mail_id = f"{moment}-{self._number:06d}"
            self._number += 1
            try:
                # Plain system calls: pathlib and io take longer than the file system.
                file = os.open(self._path(mail_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            try:
                _write_whole(file, data)
            except OSError:
                Path(self._path(mail_id)).unlink()
                raise
            finally:
                os.close(file)
            return mail_id

    def _write_line(self, mail: Mail) -> None:
        """Append the mail's line to the index; a line that did not fit is taken back."""
        line = json.dumps(mail.as_json(), separators=(",", ":")).encode() + b"\n"
        size = os.lseek(self._index, 0, os.SEEK_END)
        try:
            _write_whole(self._index, line)
        except OSError:
            os.ftruncate(self._index, size)
            raise

    def count(self) -> int:
        """How many mails there are."""
        return len(self._mails)

    def search(self, query: str = "", *, limit: int = 50, offset: int = 0) -> Listing:
        """Give mails, newest first: those in which every word of the query is found (all for an empty query)."""
        words = query.casefold().split()
        with self._lock:
            if not words:
                newest_first = reversed(self._mails.values())
                return Listing(list(islice(newest_first, offset, offset + limit)), len(self._mails))
            mails = list(self._mails.values())
        found = [mail for mail in reversed(mails) if mail.matches(words)]
        return Listing(found[offset : offset + limit], len(found))

    def get(self, mail_id: str) -> Mail | None:
        """Give one mail, or None when there is none with this id."""
        return self._mails.get(mail_id)

    def raw(self, mail_id: str) -> bytes | None:
        """Give a mail's bytes as they came in, or None. Only ids of the index reach the disk: no id leads elsewhere."""
        if mail_id not in self._mails:
            return None
        try:
            return Path(self._path(mail_id)).read_bytes()
        except FileNotFoundError:
            return None

    def clear(self) -> int:
        """Delete all mails and give how many there were. New mail can come in while the files are being removed."""
        with self._lock:
            count = len(self._mails)
            os.ftruncate(self._index, 0)
            self._mails.clear()
            trash = Path(tempfile.mkdtemp(prefix="deleted-", dir=self.folder))
            self._files.rename(trash / "mails")
            self._files.mkdir()
        shutil.rmtree(trash, ignore_errors=True)
        return count
