"""A lock with a lease, kept through the same compare-and-set primitives as the sessions themselves.

Every store has it, across threads and processes.  The lock is a record of its own beside the session's; it is removed
on release, and after a crash another holder takes it over when the lease has run out.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from ..errors import Conflict, LockLost, LockTimeout
from ..forks import PerProcess
from ..record import Record, Version
from ..traces import lock_key

# A lapsed lock stays readable this long, so that who takes it over knows of the holder it has to fence off.
_TRACE = 86400.0


class Records(Protocol):
    """What locks are kept in: the primitives of a `RecordStore`."""

    clock: Callable[[], float]
    queues: Queues

    def read(self, key: str) -> Record | None: ...
    def write(self, key: str, record: Record, expected: Version | None) -> Version: ...
    def remove(self, key: str, expected: Version | None = None) -> None: ...


class Lease:
    """A lock somebody holds.  A context manager: leaving it releases the lock."""

    def __init__(self, store: Records, key: str, owner: bytes, version: Version, seconds: float,
                 taken_over: bool) -> None:
        self.key = key
        self.owner = owner
        self.seconds = seconds
        self.taken_over = taken_over
        """Whether the holder before let its lease lapse: it may still be about to write."""
        self._store = store
        self._version: Version | None = version

    def renew(self) -> None:
        """Start the lease anew; `LockLost` if it was released or another holder has the lock meanwhile."""
        if self._version is None:
            raise LockLost("the lock has been released")
        record = _record(self._store, self.owner, self.seconds)
        try:
            self._version = self._store.write(lock_key(self.key), record, self._version)
        except Conflict:
            raise LockLost("the lock's lease ran out and another request has taken it over") from None

    def is_held(self) -> bool:
        """Ask the store whether this is still the holder."""
        record = self._store.read(lock_key(self.key))
        return self._version is not None and record is not None and record.version == self._version

    def release(self) -> None:
        """Let the lock go; harmless when it was lost or released before."""
        version, self._version = self._version, None
        if version is None:
            return
        try:
            with contextlib.suppress(Conflict):  # taken over after the lease ran out: it is not ours to remove
                self._store.remove(lock_key(self.key), version)
        finally:
            self._store.queues.wake(self.key)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


class _Line:
    """Those of this process who wait for one key."""

    def __init__(self) -> None:
        self.first = threading.Lock()
        self.freed = threading.Event()
        self.waiting = 0


class _Lines:
    """The lines of one process."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.by_key: dict[str, _Line] = {}


class Queues:
    """The waiters of this process, in one line for each key.

    Only the first of a line asks the store, and a release in the same process wakes it at once.
    """

    def __init__(self) -> None:
        self._own = PerProcess(_Lines)

    @contextlib.contextmanager
    def line(self, key: str) -> Iterator[_Line]:
        """Stand in line for `key`."""
        lines = self._own()
        with lines.mutex:
            line = lines.by_key.setdefault(key, _Line())
            line.waiting += 1
        try:
            yield line
        finally:
            with lines.mutex:
                line.waiting -= 1
                if not line.waiting:
                    lines.by_key.pop(key, None)

    def wake(self, key: str) -> None:
        """Let the first in line for `key` look again."""
        line = self._own().by_key.get(key)
        if line is not None:
            line.freed.set()


def acquire(store: Records, key: str, timeout: float, seconds: float) -> Lease:
    """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
    end = time.monotonic() + timeout
    with store.queues.line(key) as line:
        if line.first.acquire(timeout=max(timeout, 0)):
            try:
                lease = _take(store, key, end, seconds, line.freed)
            finally:
                line.first.release()
            if lease is not None:
                return lease
    raise LockTimeout(f"another request kept the session {key:.8} locked for more than {timeout:g} s; try again")


def _take(store: Records, key: str, end: float, seconds: float, freed: threading.Event) -> Lease | None:
    owner = secrets.token_bytes(16)
    pause = 0.001
    while True:
        freed.clear()
        lease = _try(store, key, owner, seconds)
        if lease is not None or time.monotonic() >= end:
            return lease
        freed.wait(random.uniform(pause / 2, pause))
        pause = min(pause * 1.5, 0.02)


def _try(store: Records, key: str, owner: bytes, seconds: float) -> Lease | None:
    record = _record(store, owner, seconds)
    try:
        return Lease(store, key, owner, store.write(lock_key(key), record, None), seconds, taken_over=False)
    except Conflict:
        holder = store.read(lock_key(key))
    if holder is None or holder.modified > store.clock():
        return None
    try:
        return Lease(store, key, owner, store.write(lock_key(key), record, holder.version), seconds, taken_over=True)
    except Conflict:
        return None


def _record(store: Records, owner: bytes, seconds: float) -> Record:
    """The lease ends at `modified`; the trace of it expires later."""
    now = store.clock()
    return Record(b"s2 lock\n" + owner, now, now + seconds, now, now + seconds + _TRACE)

