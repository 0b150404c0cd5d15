"""Locks among the threads of a process and the processes of one host, kept by the kernel.

Such a lock costs one system call to take and one to give back, leaves nothing behind, and is free the moment its holder
dies.  It is a lock of one byte of a file: which byte, the key says.  Within a process, whose threads all hold their
locks through one open file, it is kept in memory who has which; only there can a lock be taken over whose lease has
run out, for nobody else can tell a holder that hangs from one that works.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol
from zlib import crc32

from ..errors import LockTimeout, StoreUnavailable
from ..forks import Birthplace, PerProcess
from ..mutex import Mutex
from ..patience import attempts
from .lease import Lease, lost

_PATIENCE: Final = 10.0
"""Seconds to wait for those who are just taking or releasing a lock."""

_BUSY: Final = "too many wait for locks; try again"

_POLL: Final = 0.03
"""Seconds between two looks at most, whether another process has released a lock."""


class Bytes(Protocol):
    """Where other processes see which locks are taken: `session2.store.lockfile.LockFile` has it."""

    def take(self, byte: int) -> int | None:
        """Lock a byte and return what `give` needs; None if another process has it."""

    def give(self, taken: int, byte: int) -> None:
        """Unlock a byte; harmless if it is not locked."""


class NoBytes:
    """For a store that only one process uses."""

    def take(self, byte: int) -> int:
        return 0

    def give(self, taken: int, byte: int) -> None:
        pass


class HostLease(Lease):
    """A lock that ends with its holder, be it the process or this object."""

    def __init__(self, locks: HostLocks, key: str, seconds: float, clock: Callable[[], float]) -> None:
        super().__init__(key)
        self.byte = crc32(key.encode())
        self.seconds = seconds
        self.until = clock() + seconds
        self.clock = clock
        self._locks = locks
        self._birthplace = Birthplace()

    def check_time(self) -> None:
        if not self.is_held():
            raise lost()

    def renew(self) -> None:
        if not self.is_held():
            raise lost()
        self.until = self.clock() + self.seconds

    def is_held(self) -> bool:
        return self._birthplace.is_here() and self._locks.is_holder(self)

    def release(self) -> None:
        if self._birthplace.is_here():
            self._locks.release(self)

    def leave(self) -> None:
        if self._birthplace.is_here():
            self._locks.leave(self)


class _Held:
    """A lock of this process, and which lease it is."""

    def __init__(self, lease: HostLease, taken: int, deserted: Callable[[object], object]) -> None:
        self.lease = weakref.ref(lease, deserted)
        self.taken = taken


class _Line:
    """Those of this process who wait for one byte: the first of them looks, and a release wakes it at once."""

    def __init__(self) -> None:
        self.first = threading.RLock()  # knows its owner: who was interrupted while taking it may release it
        self.freed = threading.Event()
        self.length = 0


class _Here:
    """What one process has and waits for; a child that was forked begins anew."""

    def __init__(self) -> None:
        self.held: dict[int, _Held] = {}
        self.lines: dict[int, _Line] = {}
        self.unfenced: set[int] = set()
        """What counts as taken over by whoever has it next."""


class HostLocks:
    """The locks of a store.

    :param bytes: where other processes see them.
    """

    def __init__(self, bytes: Bytes | None = None) -> None:
        self._bytes: Bytes = bytes or NoBytes()
        self._here = PerProcess(_Here)
        self._mutex = Mutex()
        self._deserted: deque[tuple[int, int]] = deque()
        """What was held by leases that are no more: nobody released them."""

    def acquire(self, key: str, timeout: float, seconds: float, clock: Callable[[], float]) -> HostLease:
        """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
        lease = HostLease(self, key, seconds, clock)
        try:
            if not (self._alone(lambda: self._take(lease, in_line=False)) or self._wait(lease, timeout)):
                raise LockTimeout(f"another request kept the session {key:.8} locked for more than {timeout:g} s; "
                                  "try again")
        except BaseException:  # interrupted, perhaps when the lock was taken already
            self.release(lease)
            raise
        return lease

    def is_holder(self, lease: HostLease) -> bool:
        """Tell whether a lease has not been released, nor taken over."""
        held = self._here().held.get(lease.byte)
        return held is not None and held.lease() is lease

    def release(self, lease: HostLease) -> None:
        """Let a lock go, and wake who waits for it."""
        self._alone(lambda: self._give(lease))

    def leave(self, lease: HostLease) -> None:
        """Let a lock go as if its holder had let the lease lapse."""
        self._here().unfenced.add(lease.byte)
        self.release(lease)

    # -- one at a time ---------------------------------------------------------------------------------------------

    def _alone(self, action: Callable[[], bool]) -> bool:
        if self._deserted:
            self._mutex.run(self._clear_deserted, _PATIENCE, _BUSY)
        return self._mutex.run(action, _PATIENCE, _BUSY)

    def _take(self, lease: HostLease, in_line: bool) -> bool:
        here, byte = self._here(), lease.byte
        if not in_line and byte in here.lines:
            return False
        held = here.held.get(byte)
        holder = None if held is None else held.lease()
        if holder is None:
            taken = self._bytes.take(byte)
        elif held is not None and holder.until <= holder.clock():
            taken = held.taken
            here.unfenced.add(byte)
        else:
            return False
        if taken is None:
            return False
        lease.taken_over = byte in here.unfenced
        here.unfenced.discard(byte)
        lease.until = lease.clock() + lease.seconds
        here.held[byte] = _Held(lease, taken, partial(self._desert, byte, taken))
        return True

    def _give(self, lease: HostLease) -> bool:
        here = self._here()
        held = here.held.get(lease.byte)
        if held is None or held.lease() is not lease:
            return False
        self._bytes.give(held.taken, lease.byte)
        del here.held[lease.byte]
        if lease.byte in here.lines:
            here.lines[lease.byte].freed.set()
        return True

    def _desert(self, byte: int, taken: int, _: object) -> None:
        """Note that nobody can release a lock any more; called at any moment, in whatever thread."""
        self._deserted.append((byte, taken))
        with suppress(StoreUnavailable):
            self._mutex.run(self._clear_deserted, _PATIENCE, _BUSY)

    def _clear_deserted(self) -> bool:
        held = self._here().held
        while self._deserted:
            byte, taken = self._deserted[0]
            if byte in held and held[byte].lease() is None:
                del held[byte]
            if byte not in held:
                self._bytes.give(taken, byte)
            self._deserted.popleft()
        return True

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _wait(self, lease: HostLease, timeout: float) -> bool:
        end, here = time.monotonic() + timeout, self._here()
        line: list[_Line] = []
        try:
            self._alone(lambda: _join(here, lease.byte, line))
            return self._wait_in(line[0], lease, end)
        finally:
            if line:
                self._alone(lambda: _leave(here, lease.byte))

    def _wait_in(self, line: _Line, lease: HostLease, end: float) -> bool:
        try:
            if not line.first.acquire(timeout=max(end - time.monotonic(), 0)):
                return False
            for _ in attempts(end - time.monotonic(), longest=_POLL, sleep=line.freed.wait):
                line.freed.clear()
                if self._alone(lambda: self._take(lease, in_line=True)):
                    return True
            return False
        finally:
            try:  # noqa: SIM105 (it calls functions, at which an exception may arrive)
                line.first.release()
            except RuntimeError:  # it is somebody else's
                pass


def _join(here: _Here, byte: int, joined: list[_Line]) -> bool:
    line = here.lines.setdefault(byte, _Line())
    joined.append(line)
    line.length += 1
    return True


def _leave(here: _Here, byte: int) -> bool:
    line = here.lines[byte]
    line.length -= 1
    if not line.length:
        del here.lines[byte]
    return True
