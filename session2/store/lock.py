"""A lock with a lease, kept through the same compare-and-set primitives as the sessions themselves.

Every store has it, across threads and processes.  The lock is a record of its own beside the session's; it is removed
on release, and after a crash another holder takes it over when the lease has run out.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import Conflict, LockLost, LockTimeout
from .record import Record, Version

if TYPE_CHECKING:
    from .base import SessionStore

# A lapsed lock stays readable this long, so that who takes it over knows of the holder it has to fence off.
_TRACE = 86400.0


class Lease:
    """A lock somebody holds.  A context manager: leaving it releases the lock."""

    def __init__(self, store: SessionStore, key: str, owner: bytes, version: Version, seconds: float,
                 taken_over: bool) -> None:
        self.key = key
        self.owner = owner
        self.seconds = seconds
        self.taken_over = taken_over
        """Whether the holder before let its lease lapse: it may still be about to write."""
        self._store = store
        self._version: Version | None = version

    def renew(self) -> None:
        """Start the lease anew; `LockLost` if another holder has the lock meanwhile."""
        record = _record(self._store, self.owner, self.seconds)
        try:
            self._version = self._store.write(_lock_key(self.key), record, self._version)
        except Conflict:
            raise LockLost("the lock's lease ran out and another request has taken it over") from None

    def is_held(self) -> bool:
        """Ask the store whether this is still the holder."""
        record = self._store.read(_lock_key(self.key))
        return self._version is not None and record is not None and record.version == self._version

    def release(self) -> None:
        """Let the lock go; harmless when it was lost or released before."""
        version, self._version = self._version, None
        if version is None:
            return
        with contextlib.suppress(Conflict):  # taken over after the lease ran out: it is not ours to remove
            self._store.remove(_lock_key(self.key), version)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


def acquire(store: SessionStore, key: str, timeout: float, seconds: float) -> Lease:
    """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
    owner = secrets.token_bytes(16)
    end = time.monotonic() + timeout
    pause = 0.001
    while True:
        lease = _try(store, key, owner, seconds)
        if lease is not None:
            return lease
        if time.monotonic() >= end:
            raise LockTimeout(f"the session {key:.8} was locked by another request for more than {timeout:g} s")
        time.sleep(random.uniform(pause / 2, pause))
        pause = min(pause * 1.5, 0.02)


def _try(store: SessionStore, key: str, owner: bytes, seconds: float) -> Lease | None:
    record = _record(store, owner, seconds)
    try:
        return Lease(store, key, owner, store.write(_lock_key(key), record, None), seconds, taken_over=False)
    except Conflict:
        holder = store.read(_lock_key(key))
    if holder is None or holder.modified > store.clock():
        return None
    try:
        return Lease(store, key, owner, store.write(_lock_key(key), record, holder.version), seconds, taken_over=True)
    except Conflict:
        return None


def _record(store: SessionStore, owner: bytes, seconds: float) -> Record:
    """The lease ends at `modified`; the trace of it expires later."""
    now = store.clock()
    return Record(b"s2 lock\n" + owner, now, now + seconds, now, now + seconds + _TRACE)


def _lock_key(key: str) -> str:
    return "lock-" + key
