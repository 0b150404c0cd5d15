"""Database connections between requests: the store's own, and those an application lends it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...errors import StoreUnavailable
from ...forks import Birthplace, PerProcess

C = TypeVar("C")

# Firewalls and servers cut what is silent for long, often without saying so; such a connection would only time out.
_MAX_IDLE = 240.0


@dataclass(frozen=True)  # a generic NamedTuple needs Python 3.11
class Kind(Generic[C]):
    """What a pool must know of a kind of connection."""

    connect: Callable[[], C]
    is_usable: Callable[[C], bool]
    """Whether the connection is open and nothing is under way on it."""
    close: Callable[[C], object]


class _Share(Generic[C]):
    """What one process has of a pool."""

    def __init__(self, size: int) -> None:
        self.idle: deque[tuple[C, float]] = deque()
        self.places = threading.Semaphore(size)


class Pool(Generic[C]):
    """At most `size` connections, each made by the thread that needs it, at the moment it does.

    There is no thread behind it that would have to survive a fork or to notice that the server is back.  A forked
    child starts with an empty pool and leaves its parent's connections alone.

    :param patience: how many seconds to wait for a connection when all are busy.
    """

    def __init__(self, kind: Kind[C], size: int, patience: float) -> None:
        self._kind, self._size, self._patience = kind, size, patience
        self._own: PerProcess[_Share[C]] = PerProcess(lambda: _Share(size))

    @contextmanager
    def connection(self) -> Iterator[C]:
        """Lend a connection for one statement."""
        own = self._own()
        if not own.places.acquire(timeout=self._patience):
            raise StoreUnavailable(f"all {self._size} database connections were busy for {self._patience:g} s; "
                                   "make the store with a larger pool_size")
        try:
            connection = self._take(own) or self._kind.connect()
            try:
                yield connection
            finally:
                self._give(own, connection)
        finally:
            own.places.release()

    def clear(self) -> None:
        """Close what nobody uses at the moment; the pool may be used again."""
        idle = self._own().idle
        while idle:
            try:
                connection, _ = idle.pop()
            except IndexError:  # another thread was faster
                return
            self._kind.close(connection)

    def _take(self, own: _Share[C]) -> C | None:
        while own.idle:
            try:
                connection, since = own.idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _MAX_IDLE:
                return connection
            self._kind.close(connection)
        return None

    def _give(self, own: _Share[C], connection: C) -> None:
        if own is not self._own() or self._kind.is_usable(connection):  # lent before a fork: still the parent's
            own.idle.append((connection, time.monotonic()))
        else:
            self._kind.close(connection)


class Borrowed(Generic[C]):
    """What the application lends; a forked child uses `own` instead, for the loan is its parent's.

    :param lend: returns a context manager that yields a connection on which no transaction is open.
    :param renew: called after a connection broke.
    """

    def __init__(self, lend: Callable[[], AbstractContextManager[C]], own: Pool[C],
                 renew: Callable[[], object] | None = None) -> None:
        self._lend, self._own, self._renew = lend, own, renew
        self._birthplace = Birthplace()

    def connection(self) -> AbstractContextManager[C]:
        """Lend a connection for one statement."""
        return self._lend() if self._birthplace.is_here() else self._own.connection()

    def clear(self) -> None:
        """Close what the store made itself; what is lent stays as it is."""
        self._own.clear()
        if self._renew is not None and self._birthplace.is_here():
            self._renew()


def one_at_a_time(connection: C, is_usable: Callable[[C], bool], own: Pool[C]) \
        -> Callable[[], AbstractContextManager[C]]:
    """Lend one connection to a thread at a time, and one of `own` while the application is in a transaction on it.

    So neither side ever ends a transaction of the other.  The same way leads on when the connection has broken.
    """
    mutex = threading.Lock()

    @contextmanager
    def lend() -> Iterator[C]:
        with mutex:
            if is_usable(connection):
                yield connection
                return
        with own.connection() as another:
            yield another

    return lend

