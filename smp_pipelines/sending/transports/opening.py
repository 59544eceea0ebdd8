"""Opening: from SMP_MAIL_URL to a transport. No error repeats the URL, which may hold a password."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import SplitResult, urlsplit

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.transport import Transport
from smp_pipelines.sending.transports.eml import EmlTransport
from smp_pipelines.sending.transports.folder import folder_of
from smp_pipelines.sending.transports.maildir import MaildirTransport
from smp_pipelines.sending.transports.memory import MemoryTransport

TIMEOUT = 30.0
"""Seconds that one answer may take."""


def open_transport(url: str, *, timeout: float = TIMEOUT) -> Transport:
    """The transport that a URL names; nothing is connected yet. `timeout` is in seconds, for each answer.

    Raises SmpError, which never repeats the URL, when it names none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        raise SmpError(f"SMP_MAIL_URL must begin with one of {', '.join(f'{each}://' for each in _OPENERS)}")
    return opener(url, parts, timeout)


def _smtp(url: str, _parts: SplitResult, timeout: float) -> Transport:
    # here, and not above: whoever writes files needs no TLS
    from smp_pipelines.sending.smtp import SmtpTransport

    return SmtpTransport(url, timeout)


def _maildir(_url: str, parts: SplitResult, _timeout: float) -> Transport:
    return MaildirTransport(folder_of(parts))


def _eml(_url: str, parts: SplitResult, _timeout: float) -> Transport:
    return EmlTransport(folder_of(parts))


def _memory(_url: str, parts: SplitResult, _timeout: float) -> Transport:
    if not parts.netloc or parts.path.strip("/"):
        raise SmpError("SMP_MAIL_URL must look like memory://name")
    return MemoryTransport(parts.netloc)


def _own(url: str, parts: SplitResult, timeout: float) -> Transport:
    """One that somebody wrote: `python://package.module:factory`, which is called with the URL and the timeout."""
    module, _colon, name = parts.netloc.partition(":")
    if not module or not name.isidentifier() or parts.path.strip("/"):
        raise SmpError("SMP_MAIL_URL must look like python://package.module:factory, with ?… for what else it needs")
    try:
        factory = getattr(import_module(module), name, None)
    except ImportError as error:
        raise SmpError(
            f"the transport {module}:{name} cannot be loaded: {error}. "
            "Install its package, or put its folder on PYTHONPATH."
        ) from error
    except Exception as error:
        raise SmpError(f"the transport {module}:{name} cannot be loaded: {module} fails with {_kind(error)}") from error
    if not callable(factory):
        raise SmpError(f"the transport {module}:{name} is not there: {module} has no function or class {name}")
    try:
        made: Any = factory(url, timeout)
    except SmpError:
        raise
    except Exception as error:
        # its words may hold the URL, and that a password
        raise SmpError(
            f"the transport {module}:{name} cannot be made: it fails with {_kind(error)}. It is called with the URL "
            "and the seconds that an answer may take; let it raise SmpError to tell people more."
        ) from error
    missing = _missing(made)
    if missing:
        raise SmpError(f"the transport {module}:{name} gives something without {', '.join(missing)}")
    transport: Transport = made
    return transport


def _missing(made: object) -> list[str]:
    methods = [name for name in ("connect", "look_up") if not callable(getattr(made, name, None))]
    return methods if isinstance(getattr(made, "name", None), str) else ["name", *methods]


def _kind(error: Exception) -> str:
    return type(error).__name__


_OPENERS: dict[str, Callable[[str, SplitResult, float], Transport]] = {
    "smtp": _smtp,
    "smtps": _smtp,
    "smtp+starttls": _smtp,
    "maildir": _maildir,
    "eml": _eml,
    "memory": _memory,
    "python": _own,
}
