"""eml: a folder with one file a mail, named after its Message-ID, to look at or to hand on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smp_pipelines.sending.transport import Answer, Mail
from smp_pipelines.sending.transports.folder import FolderConnection, make_folders, name_of


class EmlTransport:
    """Writes each mail to `<hash of its Message-ID>.eml`, byte for byte as a mail server would get it."""

    def __init__(self, folder: Path) -> None:
        self.name = f"eml:{folder}"
        self._folder = folder

    def connect(self) -> FolderConnection:
        """Make the folder when it is missing. Raises TransportDownError when it cannot be written to."""
        make_folders(self._folder)
        return FolderConnection(self._folder, self._folder, ".eml", _as_it_is)

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:
        """Accepted, for a mail whose file is there; of the others nothing is known: files get moved and deleted."""
        names = {message_id: f"{name_of(message_id)}.eml" for message_id in message_ids}
        return {
            message_id: Answer("accepted", name)
            for message_id, name in names.items()
            if (self._folder / name).is_file()
        }


def _as_it_is(mail: Mail) -> bytes:
    return mail.content
