"""Folders: mails as files, each written whole or not at all, and on the disk before it counts as accepted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, unquote

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.transport import Answer, Mail, TransportDownError


def folder_of(parts: SplitResult) -> Path:
    """The folder that a URL like maildir:///path names. Raises SmpError when it names none."""
    path = unquote(parts.path)
    if parts.netloc or parts.query or parts.fragment or not path.startswith("/") or "\0" in path or not path.strip("/"):
        raise SmpError(
            f"SMP_MAIL_URL must name a whole path, with three slashes: {parts.scheme}:///srv/mail"
            " (write a space as %20, a question mark as %3F and a # as %23)"
        )
    return Path(path)


def name_of(message_id: str) -> str:
    """The name of a mail's file: the same for the same Message-ID, and without a clue to who gets it."""
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def make_folders(folder: Path, *names: str) -> None:
    """Make a folder with its subfolders, for this user only, where they are missing, and see that it can be written to.

    Raises TransportDownError in words.
    """
    try:
        for each in (folder, *(folder / name for name in names)):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(each, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _down(folder, error) from error


class FolderConnection:
    """Writes mails into a folder: a temporary file first, which then gets its name.

    `temporary` and `folder` must be on one disk. `shape` makes a file's bytes from a mail.
    """

    eight_bit = True

    def __init__(self, folder: Path, temporary: Path, suffix: str, shape: Callable[[Mail], bytes]) -> None:
        self._folder = folder
        self._temporary = temporary
        self._suffix = suffix
        self._shape = shape

    def send(self, mail: Mail) -> Answer:
        """Write a mail; the same Message-ID twice is one file. Raises TransportDownError when that cannot be done."""
        name = name_of(mail.message_id) + self._suffix
        try:
            written = self._write(self._shape(mail))
        except OSError as error:
            raise _down(self._folder, error) from error
        try:
            Path(written).replace(self._folder / name)
        except OSError as error:
            _forget(written)
            raise _down(self._folder, error) from error
        try:
            _flush(self._folder)
        except OSError as error:
            # it has its name, but the disk does not say that it keeps it
            return Answer("unknown", f"{name}: {error.strerror}")
        return Answer("accepted", name)

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, content: bytes) -> str:
        """A temporary file with this content, on the disk. Its name begins with a point: no reader looks at it."""
        handle, path = tempfile.mkstemp(prefix=".", dir=self._temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            _forget(path)
            raise
        return path


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _down(folder: Path, error: OSError) -> TransportDownError:
    why = (error.strerror or type(error).__name__).lower()
    return TransportDownError(
        f"mails cannot be written to {folder}: {why}. "
        "Let this user write there and see that the disk has room, or name another folder with SMP_MAIL_URL."
    )
