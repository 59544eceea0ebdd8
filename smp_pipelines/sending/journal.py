"""The journal: what a worker has begun, in a file that outlives it, so that its death leaves little unknown.

A worker claims rows in batches. If it is killed, the ledger alone cannot tell which of them had left.
The journal can: before a mail's content may leave, its key is written into a shared memory map, and
the answer is written there before anything else is done with it. Whoever finds the journal of a
worker that is gone (its file is not locked any more) settles what was answered, gives back what was
never begun, and is left with the mails that were on the wire: at most one per connection.

A memory map survives the death of a process, not that of the machine: a journal of an earlier boot
tells nothing, and its claims become unknown when their lease passes.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil

from smp_pipelines.sending.transport import Answer, Kind

_MAGIC = b"SMPJ0001"
_HEAD = struct.Struct("=8s16sq16s")  # magic, token, send, boot
_SLOT = struct.Struct("=16sBBH")  # key, stage, kind, length of the response that follows
_KIND = struct.Struct("=BH")
_STAGE = 16
_SLOT_BYTES = 256
_SLOTS = 2048
_RESPONSE = _SLOT_BYTES - _SLOT.size
_FREE, _BEGUN, _ANSWERED = 0, 1, 2
_KINDS: tuple[Kind, ...] = ("accepted", "refused", "later", "unknown")
_SUFFIX = ".journal"


class Journal:
    """The journal of one worker, locked for as long as the worker lives. Used by one thread but for `forget`."""

    def __init__(self, folder: Path, token: UUID, send_id: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = folder / f"{token}{_SUFFIX}"
        making = folder / f"{token}.new"
        self._descriptor = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._descriptor, (_SLOTS + 1) * _SLOT_BYTES)
        # nobody may take it for the journal of a dead worker: it is locked before it has its name
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._map = mmap.mmap(self._descriptor, 0)
        _HEAD.pack_into(self._map, 0, _MAGIC, token.bytes, send_id, _boot())
        making.rename(self._file)
        self._free = list(range(1, _SLOTS + 1))
        self._slots: dict[UUID, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether so much is not settled yet that no other mail may be begun."""
        return len(self._free) < 64

    def begin(self, key: UUID) -> None:
        """Note that the content of this mail may leave from now on."""
        slot = self._slots[key] = self._free.pop()
        at = slot * _SLOT_BYTES
        self._map[at : at + _STAGE] = key.bytes
        self._map[at + _STAGE] = _BEGUN

    def answer(self, key: UUID, answer: Answer) -> None:
        """Note what is known of a mail that was begun."""
        slot = self._slots.get(key)
        if slot is None:
            return
        at = slot * _SLOT_BYTES
        response = answer.response.encode("utf-8", "replace")[:_RESPONSE]
        self._map[at + _SLOT.size : at + _SLOT.size + len(response)] = response
        # the stage comes last: whoever is killed in between has left the mail on the wire, not a wrong answer
        _KIND.pack_into(self._map, at + _STAGE + 1, _KINDS.index(answer.kind), len(response))
        self._map[at + _STAGE] = _ANSWERED

    def forget(self, keys: Sequence[UUID]) -> None:
        """Free the places of mails whose outcome is in the ledger."""
        for key in keys:
            slot = self._slots.pop(key, None)
            if slot is not None:
                self._map[slot * _SLOT_BYTES + _STAGE] = _FREE
                self._free.append(slot)

    def close(self, *, settled: bool) -> None:
        """Let go; the file stays when something in it is not in the ledger."""
        if settled:
            self._file.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)


@dataclass(frozen=True)
class Estate:
    """What a worker that is gone left behind: the answers it had, and the mails that were on the wire."""

    token: UUID
    send_id: int
    answered: dict[UUID, Answer]
    on_the_wire: list[UUID]


@contextlib.contextmanager
def estates(folder: Path) -> Iterator[list[Estate]]:
    """The estates of all workers of this machine that are gone; their journals are removed when the block succeeds."""
    with contextlib.ExitStack() as stack:
        found = []
        for file in sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else ():
            descriptor = _locked(file)
            if descriptor is not None:
                stack.callback(os.close, descriptor)
                found.append((file, _read(descriptor)))
        yield [estate for _file, estate in found if estate is not None]
        for file, _estate in found:
            file.unlink(missing_ok=True)


def _locked(file: Path) -> int | None:
    """The open file, locked; None when its worker lives, or somebody else is reading it."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _read(descriptor: int) -> Estate | None:
    """The estate in a journal; None for one that is of no use: of an earlier boot, or never finished."""
    data = os.pread(descriptor, (_SLOTS + 1) * _SLOT_BYTES, 0)
    if len(data) < _SLOT_BYTES:
        return None
    magic, token, send_id, boot = _HEAD.unpack_from(data)
    if magic != _MAGIC or boot != _boot():
        return None
    answered, on_the_wire = {}, []
    for at in range(_SLOT_BYTES, len(data), _SLOT_BYTES):
        key, stage, kind, length = _SLOT.unpack_from(data, at)
        if stage == _BEGUN:
            on_the_wire.append(UUID(bytes=key))
        elif stage == _ANSWERED:
            response = data[at + _SLOT.size : at + _SLOT.size + length].decode("utf-8", "replace")
            answered[UUID(bytes=key)] = Answer(_KINDS[kind], response)
    return Estate(UUID(bytes=token), send_id, answered, on_the_wire)


def _boot() -> bytes:
    """What tells this boot of the machine from others."""
    with contextlib.suppress(OSError):
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()).bytes
    return struct.pack("16s", str(int(psutil.boot_time())).encode())
