"""Connections to a server between requests: the store's own, and those an application lends it.

A connection is only as good as its last exchange.  After anything but a completed statement, or an error of the server
that leaves the connection as it was, it is closed: what is still under way on it would be taken for the answer to
the next question.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...errors import ConfigurationError
from ...forks import Birthplace
from ...mutex import Place, Places
from .results import Connections, StatementFailed

C = TypeVar("C")
T = TypeVar("T")

# Firewalls and servers cut what is silent for long, often without saying so; such a connection would only time out.
_MAX_IDLE = 240.0


@dataclass(frozen=True)  # a generic NamedTuple needs Python 3.11
class Kind(Generic[C]):
    """What a pool must know of a kind of connection."""

    connect: Callable[[], C]
    is_at_rest: Callable[[C], bool] | None
    """Whether, as far as is known here, the connection is open and nothing is under way on it; None where that is so
    whenever an action ends without an exception."""
    is_cut: Callable[[C], bool]
    """Whether the server has ended the connection meanwhile, or said what nobody asked for."""
    close: Callable[[C], object]
    drop: Callable[[C], object]
    """Close without another word: nobody knows what the server would answer to it."""


@dataclass
class _Pooled(Generic[C]):
    connection: C
    made: float
    used: float
    """When it was last needed."""


class Pool(Generic[C]):
    """At most `size` connections, each made by the thread that needs it, at the moment it does.

    There is no thread behind it that would have to survive a fork or to notice that the server is back.  A forked
    child starts with an empty pool and leaves its parent's connections alone.

    :param patience: how many seconds to wait for a connection when all are busy.
    """

    def __init__(self, kind: Kind[C], size: int, patience: float) -> None:
        if size < 1:
            raise ConfigurationError(f"pool_size must be 1 or more, not {size}")
        self._kind, self._patience = kind, patience
        self._busy = (f"all {size} connections to the server were busy for {patience:g} s; "
                      "make the store with a larger pool_size")
        self._places = Places(size)
        """Of each process; in each place there is a connection, or none."""
        self._cleared = float("-inf")
        """When the connections there were have been given up; those in use at the time end with their statement."""

    def use(self, action: Callable[[C], T], fresh: bool = False) -> T:
        """Call `action` with a connection and return what it returns.

        :param fresh: whether to trust only connections made after `clear` was last called; here all are.
        """
        return self._places.run(self._use, action, self._patience, self._busy)

    def clear(self) -> None:
        """Close what nobody uses at the moment, the rest after its statement; the pool may be used again."""
        self._cleared = time.monotonic()
        self._places.visit_free(self._close_idle)

    renew = clear

    def _use(self, place: Place, action: Callable[[C], T]) -> T:
        pooled: _Pooled[C] | None
        pooled, place.holds, now = place.holds, None, time.monotonic()
        # It is in no place now: whatever interrupts this, nobody gets it again.
        if (pooled is None or now - pooled.used >= _MAX_IDLE or pooled.made <= self._cleared
                or self._kind.is_cut(pooled.connection)):
            pooled = self._renewed(pooled, now)
        pooled.used = now
        try:
            result = action(pooled.connection)
        except BaseException as error:
            if isinstance(error, StatementFailed) and error.fault.leaves_connection:
                self._give(place, pooled)
            else:
                self._kind.drop(pooled.connection)
            raise
        self._give(place, pooled)
        return result

    def _renewed(self, idle: _Pooled[C] | None, now: float) -> _Pooled[C]:
        if idle is not None:
            self._kind.close(idle.connection)
        return _Pooled(self._kind.connect(), now, now)

    def _give(self, place: Place, pooled: _Pooled[C]) -> None:
        is_at_rest = self._kind.is_at_rest
        if pooled.made <= self._cleared:
            self._kind.close(pooled.connection)
        elif is_at_rest is None or is_at_rest(pooled.connection):
            place.holds = pooled
        else:
            self._kind.drop(pooled.connection)

    def _close_idle(self, place: Place) -> None:
        idle, place.holds = place.holds, None
        if idle is not None:
            self._kind.close(idle.connection)


@dataclass(frozen=True)
class Lender(Generic[C]):
    """What must be known of a pool of the application."""

    lend: Callable[[], C | None]
    """Return a connection that is the store's alone until it is given back, in autocommit mode and on which nothing is
    under way; None if there is none such."""
    give_back: Callable[[C], object]
    drop: Callable[[C], object]
    renew: Callable[[], object]
    """Called after a connection broke."""


class Lent(Generic[C]):
    """The connections of a pool of the application; `own` ones where that lends none that will do.

    What is lent is never switched to another mode, committed or rolled back.  A forked child uses `own` connections,
    for the pool is its parent's; and so does what is tried again after a connection broke.
    """

    def __init__(self, lender: Lender[C], own: Pool[C]) -> None:
        self._lender, self._own = lender, own
        self._birthplace = Birthplace()

    def use(self, action: Callable[[C], T], fresh: bool = False) -> T:
        """Call `action` with a connection and return what it returns.

        :param fresh: whether to use one that the store made itself.
        """
        loan = self._lender.lend() if self._birthplace.is_here() and not fresh else None
        return self._own.use(action) if loan is None else self._use(loan, action)

    def clear(self) -> None:
        """Close what the store made itself; what is lent stays as it is."""
        self._own.clear()

    def renew(self) -> None:
        """Have no more to do with connections that were made before."""
        self._own.clear()
        if self._birthplace.is_here():
            self._lender.renew()

    def _use(self, loan: C, action: Callable[[C], T]) -> T:
        try:
            return action(loan)
        except BaseException as error:
            if not (isinstance(error, StatementFailed) and error.fault.leaves_connection):
                self._lender.drop(loan)
            raise
        finally:
            self._lender.give_back(loan)


def use_twice(connections: Connections, action: Callable[[Any], T], errors: type[Exception]) -> T:
    """Call `action` with a connection of the store's own, and again with a new one if that fails."""
    try:
        return connections.use(action, fresh=True)
    except errors:
        connections.renew()
        return connections.use(action, fresh=True)
