"""Locks among the threads of a process and the processes of one host, kept by the kernel.

Such a lock costs one system call to take and one to give back, leaves nothing behind, and is free the moment its holder
dies.  It is a lock of one byte of a file: which byte, the key says.  Within a process, whose threads all hold their
locks through one open file, it is kept in memory who has which; only there can a lock be taken over whose lease has
run out, for nobody else can tell a holder that hangs from one that works.

No thread waits for another to take a free lock or to give it back: a single step of a dict or list decides between two
that do so at once.  A lock is held by the lease whose entry is in `_Here.held`.  The entry is put there before the byte
is locked, and taken away after it is unlocked, by whoever emptied the `token` of the lease.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from zlib import crc32

from ..errors import StoreUnavailable
from ..forks import PerProcess, pid
from ..mutex import Bell, Place
from ..patience import attempts
from .lease import Lease, lost, timed_out

_T = TypeVar("_T")

_PATIENCE: Final = 10.0
"""Seconds to wait for those who are just joining or leaving a line, or taking a lock over."""

_BUSY: Final = "too many wait for locks; try again"

_POLL: Final = 0.002
"""Seconds between two looks at most, whether another process has released a lock."""

_AT_ONCE: Final = 0.0005
"""Seconds within which another process would not have noticed that a lock was free."""

_MANY: Final = 1000

_TURN: Final = 0.004
"""Seconds for which a process that has just had a lock leaves it to another one that waits."""


class Bytes(Protocol):
    """Where other processes see which locks are taken: `session2.store.lockfile.LockFile` has it."""

    def take(self, byte: int, now: float) -> Any:
        """Lock a byte at this time of `time.monotonic`; return what `give` needs, None if another process has it."""

    def give(self, taken: Any, byte: int) -> None:
        """Unlock a byte; harmless if it is not locked."""

    def wait(self, byte: int, waits: bool) -> None:
        """Have other processes know that this one waits for a byte, or that it does no more."""

    def is_awaited(self, byte: int) -> bool:
        """Tell whether another process waits for a byte."""

    def forget(self, byte: int) -> None:
        """Unlock a byte that was taken, perhaps, by somebody who was interrupted before he knew."""

    def abandon(self) -> None:
        """In a child that was forked: keep nothing open that is the parent's."""


class NoBytes:
    """For a store that only one process uses."""

    def take(self, byte: int, now: float) -> int:
        return 0

    def give(self, taken: int, byte: int) -> None:
        pass

    def wait(self, byte: int, waits: bool) -> None:
        pass

    def is_awaited(self, byte: int) -> bool:
        return False

    def forget(self, byte: int) -> None:
        pass

    def abandon(self) -> None:
        pass


class HostLease(Lease):
    """A lock that ends with its holder, be it the process or this object."""

    def __init__(self, here: _Here, key: str, byte: int, seconds: float, clock: Callable[[], float]) -> None:
        self.key, self.taken_over = key, False
        self.byte = byte
        self.seconds = seconds
        self.clock = clock
        self.until = self.latest = self.yields_until = 0.0  # the first by the store's clock, which may be set back
        self.token: list[None] = [None]
        """Whoever empties it may let the lock go: the holder, or who takes it over."""
        self._here = here

    def check_time(self) -> None:
        if not self.token:
            raise lost()

    def renew(self) -> None:
        if not self.is_held():
            raise lost()
        self.until, self.latest = self.clock() + self.seconds, time.monotonic() + self.seconds

    def is_held(self) -> bool:
        return bool(self.token) and self._here.is_current()

    def release(self) -> None:
        here = self._here
        if here.pid != pid():  # it is not ours to do in a child
            here.notice_fork()
            return
        try:
            del self.token[0]
        except IndexError:  # it was released before, or taken over
            return
        try:
            here.let_go(here.held.get(self.byte), self)
        except BaseException:  # again, for who keeps the lease, in a traceback perhaps, shall not keep the lock
            here.let_go(here.held.get(self.byte), self)
            raise

    def leave(self) -> None:
        if self._here.is_current():
            self._here.unfenced.add(self.byte)
            self.release()


class HostLocks:
    """The locks of a store.

    :param make_bytes: makes what tells other processes of them, in each anew.
    """

    def __init__(self, make_bytes: Callable[[], Bytes] = NoBytes) -> None:
        self._here: PerProcess[_Here] = PerProcess(lambda: _Here(make_bytes(), lambda: self._here()), _Here.abandon)

    def acquire(self, key: str, timeout: float, seconds: float, clock: Callable[[], float]) -> HostLease:
        """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
        here = self._here()
        lease = HostLease(here, key, crc32(key.encode()), seconds, clock)
        try:
            if not (here.take(lease) or here.wait(lease, timeout)):
                raise timed_out(key, timeout)
        except BaseException:  # interrupted, perhaps when the lock was taken already
            if lease.taken_over:
                lease.leave()
            lease.release()
            raise
        return lease


class _Held(weakref.ref[HostLease]):
    """A lock of this process: which lease it is, until that is no more."""

    __slots__ = ("byte", "taken")
    byte: int
    taken: Any
    """What `Bytes.take` returned, once it has."""


class _Line:
    """Those of this process who wait for one byte: the first of them looks, and a release wakes it at once."""

    def __init__(self) -> None:
        self.first = threading.RLock()  # knows its owner: who was interrupted while taking it may release it
        self.freed = Bell()
        self.waiting: weakref.WeakSet[HostLease] = weakref.WeakSet()


class _Here:
    """What one process has and waits for; a child that was forked begins anew."""

    def __init__(self, bytes: Bytes, notice_fork: Callable[[], object]) -> None:
        self._bytes = bytes
        self.pid = pid()
        self.notice_fork = notice_fork
        self._place = Place()
        self.held: dict[int, _Held] = {}
        self.lines: dict[int, _Line] = {}
        self.unfenced: set[int] = set()
        """What counts as taken over by whoever has it next."""
        self.given: dict[int, float] = {}
        """When locks were released here, of late."""
        self._deserted: deque[_Held] = deque()
        """What leases had that are no more: nobody released them."""

    def is_current(self) -> bool:
        """Tell whether this is the process; one that was forked notices it hereby."""
        if self.pid == pid():
            return True
        self.notice_fork()
        return False

    def abandon(self) -> None:
        """Let go of what a child inherited."""
        self._bytes.abandon()

    # -- taking and giving back; the order of the steps counts -----------------------------------------------------

    def take(self, lease: HostLease, in_line: bool = False) -> bool:
        """Take a lock if it is free, or its lease has run out; not before those who wait for it."""
        byte, now = lease.byte, time.monotonic()
        if self._deserted:
            self._alone(self._clear_deserted)
        if byte in self.lines and not in_line:
            return False
        if byte not in self.held and (lease.yields_until or now - self.given.get(byte, 0.0) < _AT_ONCE) \
                and self._is_anothers_turn(lease, now):
            return False
        lease.until, lease.latest = lease.clock() + lease.seconds, now + lease.seconds
        entry = _Held(lease, self._desert)
        entry.byte, entry.taken = byte, None
        held = self.held.setdefault(byte, entry)
        if held is not entry:
            return _is_over(held) and self._alone(partial(self._take_over, lease, entry))
        entry.taken = self._bytes.take(byte, now)
        if entry.taken is None:
            del self.held[byte]
            return False
        if byte in self.unfenced:
            lease.taken_over = True
            self.unfenced.discard(byte)
        return True

    def _is_anothers_turn(self, lease: HostLease, now: float) -> bool:
        """Tell whether a lock that was released here just now is to be left to another process for a moment.

        It looks for the lock now and then; if this one took it again at once, that would never find it free.
        """
        lease.yields_until = lease.yields_until or now + _TURN
        return now < lease.yields_until and self._bytes.is_awaited(lease.byte)

    def let_go(self, held: _Held | None, lease: HostLease | None) -> None:
        """Unlock what a lease has, None if it is no more, and wake who waits for it; nobody else may meanwhile."""
        if held is None or held() is not lease:
            return
        byte = held.byte
        if held.taken is None:  # interrupted when it was about to be noted
            self._bytes.forget(byte)
        else:
            self._bytes.give(held.taken, byte)
        del self.held[byte]
        if len(self.given) > _MANY:
            self.given.clear()
        self.given[byte] = time.monotonic()
        if byte in self.lines and (line := self.lines.get(byte)):
            line.freed.ring()

    # -- one at a time ---------------------------------------------------------------------------------------------

    def _alone(self, action: Callable[[], _T]) -> _T:
        """Do something that no other thread of the process may come between, but for taking and giving back."""
        return self._place.run(action, _PATIENCE, _BUSY)

    def _take_over(self, lease: HostLease, entry: _Held) -> bool:
        """Take a lock whose lease has run out, unless its holder is just releasing it."""
        held = self.held.get(entry.byte)
        if held is None or not _is_over(held):
            return False
        holder = held()
        if holder is None:  # perhaps nobody noted that it is lost, for that was interrupted
            self._deserted.append(held)
            self._clear_deserted()
            return False
        entry.taken = held.taken
        try:
            del holder.token[0]
        except IndexError:
            return False
        self.held[entry.byte] = entry
        lease.taken_over = True
        return True

    def _desert(self, held: weakref.ref[HostLease]) -> None:
        """Note that nobody can release a lock any more; called at any moment, in whatever thread."""
        assert isinstance(held, _Held)
        self._deserted.append(held)  # first, for this may be interrupted, too
        if self.is_current():
            with suppress(StoreUnavailable):
                self._alone(self._clear_deserted)

    def _clear_deserted(self) -> None:
        while self._deserted:
            deserted = self._deserted[0]
            if self.held.get(deserted.byte) is deserted:
                self.let_go(deserted, None)
            self._deserted.popleft()

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, lease: HostLease, timeout: float) -> bool:
        """Take a lock when those who came before had it; tell whether it was free in time."""
        end = time.monotonic() + timeout
        try:
            line = self._alone(lambda: self._join(lease))
            return self._wait_in(line, lease, end)
        finally:
            self._alone(lambda: self._leave(lease))

    def _wait_in(self, line: _Line, lease: HostLease, end: float) -> bool:
        try:
            return line.first.acquire(timeout=max(end - time.monotonic(), 0)) and self._wait_first(line, lease, end)
        finally:
            try:  # noqa: SIM105 (it calls functions, at which an exception may arrive)
                line.first.release()
            except RuntimeError:  # it is somebody else's
                pass

    def _wait_first(self, line: _Line, lease: HostLease, end: float) -> bool:
        try:
            self._bytes.wait(lease.byte, True)
            return self._look(line, lease, end)
        finally:
            self._bytes.wait(lease.byte, False)

    def _look(self, line: _Line, lease: HostLease, end: float) -> bool:
        for _ in attempts(end - time.monotonic(), longest=_POLL, sleep=line.freed.wait):
            line.freed.clear()
            if self.take(lease, in_line=True):
                return True
        return False

    def _join(self, lease: HostLease) -> _Line:
        line = self.lines.setdefault(lease.byte, _Line())
        line.waiting.add(lease)
        return line

    def _leave(self, lease: HostLease) -> None:
        if line := self.lines.get(lease.byte):  # none if this one was interrupted before he joined it
            line.waiting.discard(lease)
            if not line.waiting:
                del self.lines[lease.byte]


def _is_over(held: _Held) -> bool:
    holder = held()
    return holder is None or (held.taken is not None
                              and (holder.until <= holder.clock() or holder.latest <= time.monotonic()))
