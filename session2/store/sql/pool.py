"""Database connections between requests: the store's own, and those an application lends it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...errors import StoreUnavailable

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


class Pool(Generic[C]):
    """At most `size` connections, each made by the thread that needs it, at the moment it does.

    There is no thread behind it that would have to survive a fork or to notice that the server is back.  A forked
    child starts with an empty pool and leaves its parent's connections alone.

    :param patience: how many seconds to wait for a connection when all are busy.
    """

    def __init__(self, kind: Kind[C], size: int, patience: float) -> None:
        self._kind, self._size, self._patience = kind, size, patience
        self._inherited: list[Any] = []  # never closed here: that would end them for the parent too
        self._start()
        after_fork(self, Pool._restart)

    @contextmanager
    def connection(self) -> Iterator[C]:
        """Lend a connection for one statement."""
        places = self._places
        if not places.acquire(timeout=self._patience):
            raise StoreUnavailable(f"all {self._size} database connections were busy for {self._patience:g} s; "
                                   "make the store with a larger pool_size")
        try:
            connection = self._take() or self._kind.connect()
            try:
                yield connection
            finally:
                self._give(connection)
        finally:
            places.release()

    def clear(self) -> None:
        """Close what nobody uses at the moment; the pool may be used again."""
        while self._idle:
            try:
                connection, _ = self._idle.pop()
            except IndexError:  # another thread was faster
                return
            self._kind.close(connection)

    def _take(self) -> C | None:
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _MAX_IDLE:
                return connection
            self._kind.close(connection)
        return None

    def _give(self, connection: C) -> None:
        if self._kind.is_usable(connection):
            self._idle.append((connection, time.monotonic()))
        else:
            self._kind.close(connection)

    def _start(self) -> None:
        self._idle: list[tuple[C, float]] = []
        self._places = threading.Semaphore(self._size)

    def _restart(self) -> None:
        self._inherited.append(self._idle)
        self._start()


class Borrowed(Generic[C]):
    """What the application lends; a forked child uses `own` instead, for the loan is its parent's.

    :param lend: returns a context manager that yields a connection on which no transaction is open.
    :param renew: called after a connection broke.
    """

    def __init__(self, lend: Callable[[], AbstractContextManager[C]], own: Pool[C],
                 renew: Callable[[], object] | None = None) -> None:
        self._lend, self._own, self._renew = lend, own, renew
        after_fork(self, Borrowed._restart)

    def connection(self) -> AbstractContextManager[C]:
        """Lend a connection for one statement."""
        return self._lend()

    def clear(self) -> None:
        """Close what the store made itself; what is lent stays as it is."""
        self._own.clear()
        if self._renew is not None:
            self._renew()

    def _restart(self) -> None:
        self._lend, self._renew = self._own.connection, None


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


def after_fork(thing: C, restart: Callable[[C], object]) -> None:
    """Call `restart` with `thing` in every forked child, as long as `thing` lives."""
    reference = weakref.ref(thing)

    def call() -> None:
        living = reference()
        if living is not None:
            restart(living)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)
