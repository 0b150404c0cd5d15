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
from ..forks import PerProcess, pid
from ..mutex import Place
from ..patience import attempts
from .lease import Lease, lost

_PATIENCE: Final = 10.0
"""Seconds to wait for those who are just taking or releasing a lock."""

_BUSY: Final = "too many wait for locks; try again"

_POLL: Final = 0.002
"""Seconds between two looks at most, whether another process has released a lock."""

_AT_ONCE: Final = 0.0005
"""Seconds within which another process would not have noticed that a lock was free."""

_ROOMS: Final = 16
"""In how many parts the locks of a process are kept, where the system is asked for them: whoever asks keeps the others
of its part waiting."""

_MANY: Final = 1000

_TURN: Final = 0.004
"""Seconds for which a process that has just had a lock leaves it to another one that waits."""


class Bytes(Protocol):
    """Where other processes see which locks are taken: `session2.store.lockfile.LockFile` has it."""

    def take(self, byte: int) -> int | None:
        """Lock a byte and return what `give` needs; None if another process has it."""

    def give(self, taken: int, byte: int) -> None:
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

    def take(self, byte: int) -> int:
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
        self.key = key
        self.taken_over = False
        self.byte = byte
        self.seconds = seconds
        self.clock = clock
        self.until = 0.0
        self.yields_until = 0.0
        self._here = here

    def check_time(self) -> None:
        if not self._here.has(self):
            raise lost()

    def renew(self) -> None:
        if not self.is_held():
            raise lost()
        self.until = self.clock() + self.seconds

    def is_held(self) -> bool:
        return self._here.is_current() and self._here.has(self)

    def release(self) -> None:
        self._here.release(self)

    def leave(self) -> None:
        if self._here.is_current():
            self._here.unfenced.add(self.byte)
            self._here.release(self)


class HostLocks:
    """The locks of a store.

    :param make_bytes: makes what tells other processes of them, in each anew.
    """

    def __init__(self, make_bytes: Callable[[], Bytes] = NoBytes) -> None:
        self._make_bytes = make_bytes
        self._here: PerProcess[list[_Here]] = PerProcess(self._make_rooms, _abandon)

    def _make_rooms(self) -> list[_Here]:
        bytes = self._make_bytes()
        return [_Here(bytes, self._notice_fork) for _ in range(1 if type(bytes) is NoBytes else _ROOMS)]

    def _notice_fork(self) -> None:
        self._here()

    def acquire(self, key: str, timeout: float, seconds: float, clock: Callable[[], float]) -> HostLease:
        """Wait for the lock of `key`, at most `timeout` seconds, and take it for `seconds`."""
        byte, rooms = crc32(key.encode()), self._here()
        here = rooms[byte % len(rooms)]
        lease = HostLease(here, key, byte, seconds, clock)
        try:
            if not (here.alone(partial(here.take, lease, in_line=False)) or here.wait(lease, timeout)):
                raise LockTimeout(f"another request kept the session {key:.8} locked for more than {timeout:g} s; "
                                  "try again")
        except BaseException:  # interrupted, perhaps when the lock was taken already
            here.release(lease)
            raise
        return lease


class _Held(weakref.ref[HostLease]):
    """A lock of this process: which lease it is, until that is no more."""

    __slots__ = ("byte", "taken")
    byte: int
    taken: int


class _Line:
    """Those of this process who wait for one byte: the first of them looks, and a release wakes it at once."""

    def __init__(self) -> None:
        self.first = threading.RLock()  # knows its owner: who was interrupted while taking it may release it
        self.freed = threading.Event()
        self.length = 0


class _Here:
    """A room: what one process has and waits for, of some of the bytes; a child that was forked begins anew."""

    def __init__(self, bytes: Bytes, notice_fork: Callable[[], None]) -> None:
        self._bytes = bytes
        self._pid = pid()
        self._notice_fork = notice_fork
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
        if self._pid == pid():
            return True
        self._notice_fork()
        return False

    def abandon(self) -> None:
        """Let go of what a child inherited."""
        self._bytes.abandon()

    def has(self, lease: HostLease) -> bool:
        """Tell whether a lease has not been released, nor taken over."""
        held = self.held.get(lease.byte)
        return held is not None and held() is lease

    def release(self, lease: HostLease) -> None:
        """Let a lock go, and wake who waits for it; it is not ours to do in a child."""
        if self.is_current():
            self.alone(partial(self._give, lease))

    # -- one at a time ---------------------------------------------------------------------------------------------

    def alone(self, action: Callable[[], bool]) -> bool:
        """Do something that no other thread of the process may come between."""
        if self._deserted:
            self._place.run(self._clear_deserted, _PATIENCE, _BUSY)
        return self._place.run(action, _PATIENCE, _BUSY)

    def take(self, lease: HostLease, in_line: bool) -> bool:
        """Take a lock if it is free, or its lease has run out; not before those who wait for it."""
        byte = lease.byte
        if not in_line and byte in self.lines:
            return False
        held = self.held.get(byte)
        holder = None if held is None else held()
        taken: int | None
        if holder is None:
            given = self.given.get(byte)
            at_once = given is not None and (lease.yields_until or time.monotonic() - given < _AT_ONCE)
            taken = None if at_once and self._is_anothers_turn(lease) else self._bytes.take(byte)
        elif held is not None and holder.until <= holder.clock():
            taken = held.taken
            self.unfenced.add(byte)
        else:
            return False
        if taken is None:
            return False
        lease.taken_over = byte in self.unfenced
        self.unfenced.discard(byte)
        self._note(lease, taken)
        return True

    def _is_anothers_turn(self, lease: HostLease) -> bool:
        """Tell whether a lock that was released here just now is to be left to another process for a moment.

        It looks for the lock now and then; if this one took it again at once, that would never find it free.
        """
        now = time.monotonic()
        lease.yields_until = lease.yields_until or now + _TURN
        return now < lease.yields_until and self._bytes.is_awaited(lease.byte)

    def _note(self, lease: HostLease, taken: int) -> None:
        lease.until = lease.clock() + lease.seconds
        held = _Held(lease, self._desert)
        held.byte, held.taken = lease.byte, taken
        self.held[lease.byte] = held

    def _give(self, lease: HostLease) -> bool:
        byte = lease.byte
        held = self.held.get(byte)
        if held is None:  # the lease was released before, or interrupted when it was about to be noted
            self._bytes.forget(byte)
            return False
        if held() is not lease:
            return False
        self._bytes.give(held.taken, byte)
        del self.held[byte]
        if len(self.given) > _MANY:
            self.given.clear()
        self.given[byte] = time.monotonic()
        if byte in self.lines:
            self.lines[byte].freed.set()
        return True

    def _desert(self, held: weakref.ref[HostLease]) -> None:
        """Note that nobody can release a lock any more; called at any moment, in whatever thread."""
        assert isinstance(held, _Held)
        if self.is_current():
            self._deserted.append(held)
            with suppress(StoreUnavailable):
                self._place.run(self._clear_deserted, _PATIENCE, _BUSY)

    def _clear_deserted(self) -> bool:
        while self._deserted:
            deserted = self._deserted[0]
            if self.held.get(deserted.byte) is deserted:
                self._bytes.give(deserted.taken, deserted.byte)
                del self.held[deserted.byte]
            self._deserted.popleft()
        return True

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, lease: HostLease, timeout: float) -> bool:
        """Take a lock when those who came before had it; tell whether it was free in time."""
        end = time.monotonic() + timeout
        line: list[_Line] = []
        try:
            self.alone(lambda: self._join(lease.byte, line))
            return self._wait_in(line[0], lease, end)
        finally:
            if line:
                self.alone(lambda: self._leave(lease.byte))

    def _wait_in(self, line: _Line, lease: HostLease, end: float) -> bool:
        try:
            if not line.first.acquire(timeout=max(end - time.monotonic(), 0)):
                return False
            self._bytes.wait(lease.byte, True)
            for _ in attempts(end - time.monotonic(), longest=_POLL, sleep=line.freed.wait):
                line.freed.clear()
                if self.alone(lambda: self.take(lease, in_line=True)):
                    return True
            return False
        finally:
            self._bytes.wait(lease.byte, False)
            try:  # noqa: SIM105 (it calls functions, at which an exception may arrive)
                line.first.release()
            except RuntimeError:  # it is somebody else's
                pass

    def _join(self, byte: int, joined: list[_Line]) -> bool:
        line = self.lines.setdefault(byte, _Line())
        joined.append(line)
        line.length += 1
        return True

    def _leave(self, byte: int) -> bool:
        line = self.lines[byte]
        line.length -= 1
        if not line.length:
            del self.lines[byte]
        return True


def _abandon(rooms: list[_Here]) -> None:
    rooms[0].abandon()
