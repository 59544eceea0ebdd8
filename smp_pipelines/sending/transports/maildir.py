"""Maildir: a folder that mail programs read, in which every mail is a file in `new` until it was seen, then in `cur`.

The standard library's mailbox.Maildir writes such folders as well, but chooses the names itself, so that
nobody could look a mail up by its Message-ID, and does not wait until the names are on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smp_pipelines.sending.transport import Answer, Mail
from smp_pipelines.sending.transports.folder import FolderConnection, make_folders, name_of

_SUFFIX = ".smp"


class MaildirTransport:
    """Delivers into a Maildir; the unique name of a mail is the hash of its Message-ID."""

    def __init__(self, folder: Path) -> None:
        self.name = f"maildir:{folder}"
        self._folder = folder

    def connect(self) -> FolderConnection:
        """Make the Maildir when it is missing. Raises TransportDownError when it cannot be written to."""
        make_folders(self._folder, "tmp", "new", "cur")
        return FolderConnection(self._folder / "new", self._folder / "tmp", _SUFFIX, _delivered)

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:
        """Accepted, for a mail that is there, seen or not; of the others nothing is known: readers move and delete."""
        there: set[str] = set()
        for part in ("new", "cur"):
            folder = self._folder / part
            if folder.is_dir():
                # a mail program adds its flags to the name, after a colon
                there.update(file.name.partition(":")[0] for file in folder.iterdir())
        names = {message_id: name_of(message_id) + _SUFFIX for message_id in message_ids}
        return {message_id: Answer("accepted", name) for message_id, name in names.items() if name in there}


def _delivered(mail: Mail) -> bytes:
    """The mail with its envelope on top, as whoever delivers into a Maildir writes it, and lines as files have them."""
    envelope = f"Return-Path: <{_one_line(mail.sender)}>\nDelivered-To: {_one_line(mail.recipient)}\n"
    return envelope.encode("utf-8", "replace") + mail.content.replace(b"\r\n", b"\n")


def _one_line(address: str) -> str:
    return "".join(address.splitlines())
