"""A lock with a lease, kept through the same compare-and-set primitives as the sessions themselves.

Every store has it that has no better one, across threads, processes and hosts.  The lock is a record of its own beside
the session's; it is removed on release, and after a crash another holder takes it over when the lease has run out.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from ..errors import ConfigurationError, Conflict, LockLost, StoreUnavailable
from ..forks import Birthplace, PerProcess
from ..mutex import Bell, Mutex
from ..patience import attempts
from ..record import Record, Version
from ..traces import lock_key
from .lease import Lease, lost, timed_out

log = logging.getLogger("session2")

# A lapsed lock stays readable this long, so that who takes it over knows of the holder it has to fence off.
_TRACE = 86400.0

_PATIENCE: Final = 10.0
"""Seconds to wait for those who are just joining a line."""

_MARK = b"s2 lock\n"

_MANY: Final = 1000


class Records(Protocol):
    """What locks are kept in: the primitives of a `RecordStore`."""

    clock: Callable[[], float]
    queues: Queues

    def read(self, key: str) -> Record | None: ...
    def write(self, key: str, record: Record, expected: Version | None) -> Version: ...
    def remove(self, key: str, expected: Version | None = None) -> None: ...


class Left(NamedTuple):
    """A lock of one owner, which may still be there when he is not."""

    key: str
    owner: bytes

    def remove(self, store: Records) -> None:
        """Remove it, unless somebody else has taken it over."""
        record = store.read(self.key)
        if record is not None and record.data == _MARK + self.owner:
            with contextlib.suppress(Conflict):
                store.remove(self.key, record.version)


class RecordLease(Lease):
    """A lock that is a record of its owner's until somebody else takes it over."""

    _version: Version | None = None
    """Of its record; None: it was released, or left for somebody else."""

    def __init__(self, store: Records, key: str, left: Left, version: Version, seconds: float,
                 until: float, taken_over: bool) -> None:
        super().__init__(key, taken_over)
        self.seconds = seconds
        self._store = store
        self._left = left
        self._birthplace = Birthplace()
        self._until = until
        self._version = version

    def check_time(self) -> None:
        if self._store.clock() >= self._until:
            raise LockLost("the lock's lease ran out before the session was loaded; try again")

    def renew(self) -> None:
        if self._version is None:
            raise LockLost("the lock has been released")
        record = _record(self._store, self._left.owner, self.seconds)
        for version in (self._version, None):
            try:
                self._version = self._store.write(self._left.key, record, version or self._known_version())
                self._until = record.modified
                return
            except Conflict:  # perhaps with ourselves: the answer to the last renewal was lost
                continue
        raise lost()

    def is_held(self) -> bool:
        return self._version is not None and self._known_version() is not None

    def _known_version(self) -> Version | None:
        """Return the version that stands there, if this is the holder."""
        record = self._store.read(self._left.key)
        return record.version if record is not None and record.data == _MARK + self._left.owner else None

    def release(self) -> None:
        # Where the store is not available this is done at the next use: nobody shall wait for the lease to end.
        if self._version is None or not self._birthplace.is_here():
            return
        try:
            self._remove(self._left, self._version)
        except StoreUnavailable as error:
            self._store.queues.left.append(self._left)
            log.warning("the lock of %.8s is released later: %s", self.key, error)
        except BaseException:  # interrupted: whether it is gone nobody knows
            self._store.queues.left.append(self._left)
            raise
        finally:
            self._version = None
            self._store.queues.wake(self.key)

    def leave(self) -> None:
        """Do nothing: it is taken over when the lease has run out."""
        self._version = None

    def __del__(self) -> None:
        """Have it released at the next use: an interruption lost it, and nobody else can."""
        if self._version is not None and self._birthplace.is_here():
            self._store.queues.left.append(self._left)

    def _remove(self, left: Left, version: Version) -> None:
        try:
            self._store.remove(left.key, version)
        except Conflict:  # lost to somebody else, or the answer to a renewal was lost
            left.remove(self._store)


class Line:
    """Those of this process who wait for one key."""

    def __init__(self) -> None:
        self.first = threading.RLock()  # knows its owner: who was interrupted while taking it may release it
        self.freed = Bell()


class Queues:
    """The waiters of this process, in one line for each key.

    Only the first of a line asks the store, and a release in the same process wakes it at once.
    """

    def __init__(self) -> None:
        self._lines: PerProcess[WeakValueDictionary[str, Line]] = PerProcess(WeakValueDictionary)
        """There is a line as long as somebody stands in it."""
        self._mutex = Mutex()
        self.left: deque[Left] = deque()
        """Locks that could not be released when it was time to."""
        self._seen: dict[str, tuple[Version, float]] = {}
        """Which version of a lock stood under a key, and since when: by a clock that nobody sets."""

    def clear_left(self, store: Records) -> None:
        """Release what could not be released before; for every use of the store to call, and harmless then."""
        for left in [*self.left]:
            left.remove(store)
            with contextlib.suppress(ValueError):  # another thread did the same
                self.left.remove(left)

    def is_lapsed(self, key: str, holder: Record, now: float) -> bool:
        """Tell whether a lock's lease ran out: by the clock, or because it stood here unchanged for so long.

        The clock of its holder may be hours ahead, or this one have been set back: who died then would keep the lock.
        """
        if holder.modified <= now:
            return True
        version, since = self._seen.get(key, (None, 0.0))
        if version == holder.version:
            return time.monotonic() - since >= holder.modified - holder.created
        if len(self._seen) >= _MANY:
            self._seen.clear()
        self._seen[key] = holder.version, time.monotonic()
        return False

    def line(self, key: str) -> Line:
        """Return the line for `key`, to stand in it while this is kept."""
        lines = self._lines()
        return self._mutex.run(lambda: lines.setdefault(key, Line()), _PATIENCE, "too many wait for locks; try again")

    def wake(self, key: str) -> None:
        """Let the first in line for `key` look again."""
        line = self._lines().get(key)
        if line is not None:
            line.freed.ring()


def acquire(store: Records, key: str, timeout: float, seconds: float) -> Lease:
    """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
    end = time.monotonic() + timeout
    left = Left(lock_key(key), secrets.token_bytes(16))  # beforehand: who is interrupted twice can note it
    try:
        lease = _take_first(store, key, left, end, seconds, store.queues.line(key))
    except ConfigurationError:  # no store takes such a key
        raise
    except BaseException:  # the answer was lost, or this was interrupted: it may be there, and nobody knows
        store.queues.left.append(left)
        raise
    if lease is None:
        raise timed_out(key, timeout)
    return lease


def _take_first(store: Records, key: str, left: Left, end: float, seconds: float, line: Line) -> Lease | None:
    try:
        if not line.first.acquire(timeout=max(end - time.monotonic(), 0)):
            return None
        return _take(store, key, left, end, seconds, line.freed)
    finally:
        try:  # noqa: SIM105 (it calls functions, at which an exception may arrive)
            line.first.release()
        except RuntimeError:  # it is somebody else's
            pass


def _take(store: Records, key: str, left: Left, end: float, seconds: float, freed: Bell) -> Lease | None:
    for _ in attempts(end - time.monotonic(), longest=0.03, sleep=freed.wait):
        freed.clear()
        store.queues.clear_left(store)
        lease = _try(store, key, left, seconds)
        if lease is not None:
            return lease
    return None


def _try(store: Records, key: str, left: Left, seconds: float) -> Lease | None:
    record = _record(store, left.owner, seconds)
    try:
        version = store.write(left.key, record, None)
        return RecordLease(store, key, left, version, seconds, record.modified, taken_over=False)
    except Conflict:
        holder = store.read(left.key)
    if holder is None or not store.queues.is_lapsed(left.key, holder, store.clock()):
        return None
    try:
        version = store.write(left.key, record, holder.version)
        return RecordLease(store, key, left, version, seconds, record.modified, taken_over=True)
    except Conflict:
        return None


def _record(store: Records, owner: bytes, seconds: float) -> Record:
    """The lease ends at `modified`; the trace of it expires later."""
    now = store.clock()
    return Record(_MARK + owner, now, now + seconds, now, now + seconds + _TRACE)
