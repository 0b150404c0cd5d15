"""The one way to hold a mutex or one of several places: for a bounded wait, and so that no interruption keeps it.

An exception from outside (of a signal, a time limit, a greenlet that is killed) may arrive at any instruction, also
between the one that takes a lock and the one that notes it.  So a lock is taken inside the ``try``, and it is one that
knows its owner: releasing it does nothing for whoever does not have it.  Nothing is called before the release, for an
exception arrives when a call ends or a function begins; in Python 3.10 also before a handler that does not begin with
``try``, and at an ``if``.  And since Python 3.12 one that arrives where a loop jumps back may pass a ``finally`` by: no
loop is in the ``try``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from .errors import StoreUnavailable
from .forks import PerProcess

_A = TypeVar("_A")
_T = TypeVar("_T")

_LONGEST_NAP = 0.05
"""Seconds; whoever gives a place back wakes who waits for one, unless something interrupts it."""


class Place:
    """What one thread of one process can use at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_ours: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        """Tell whether this thread is doing something here."""
        self.holds: Any = None
        """What stands here; it is for whoever is inside."""

    def run(self, action: Callable[[], _T], seconds: float, busy: str) -> _T:
        """Do something alone and return what comes of it.

        `StoreUnavailable` with the message `busy` if others take longer than `seconds`, and at once if this thread is
        inside already: what a signal or the garbage collector calls there must not see what is half done.
        """
        if self.is_ours():
            raise StoreUnavailable(busy)
        try:
            if not (self.lock.acquire(False) or self.lock.acquire(timeout=_bounded(seconds))):
                raise StoreUnavailable(busy)
            return action()
        finally:
            try:  # noqa: SIM105 (it calls functions)
                self.lock.release()
            except RuntimeError:  # somebody else's
                pass


class Mutex:
    """Lets one thread of the process do something at a time; a forked child begins with a free one."""

    def __init__(self) -> None:
        self._place = PerProcess(Place)

    def run(self, action: Callable[[], _T], seconds: float, busy: str) -> _T:
        """Do something alone, as `Place.run`."""
        return self._place().run(action, seconds, busy)


class Places:
    """Lets so many threads of the process do something at a time, each in a place of its own, in turns."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._door = Mutex()
        """Only the first in line looks for a free place."""
        self._hall = PerProcess(lambda: _Hall(size))

    def run(self, action: Callable[[Place, _A], _T], argument: _A, seconds: float, busy: str) -> _T:
        """Call `action` with a place that nobody else has meanwhile, and the argument; return what it returns.

        `StoreUnavailable` with the message `busy` if there is none for so many seconds.
        """
        hall = self._hall()
        for place in () if hall.is_awaited else hall.places:
            if place.is_ours():
                continue
            try:
                if place.lock.acquire(False):
                    return action(place, argument)
            finally:
                try:
                    place.lock.release()
                    if hall.is_awaited:
                        hall.bell.ring()
                except RuntimeError:  # somebody else's
                    pass
        return self._run_in_turn(hall, action, argument, seconds, busy)

    def _run_in_turn(self, hall: _Hall, action: Callable[[Place, _A], _T], argument: _A, seconds: float,
                     busy: str) -> _T:
        end, seat = time.monotonic() + seconds, _Seat()
        try:
            self._door.run(partial(seat.take, hall, end, busy), seconds, busy)
            return action(seat.place, argument)
        finally:
            try:
                seat.place.lock.release()
                if hall.is_awaited:
                    hall.bell.ring()
            except RuntimeError:  # somebody else's
                pass

    def visit_free(self, action: Callable[[Place], object]) -> None:
        """Call `action` with each place that is free now, one after the other."""
        for place in self._hall().places:
            if not place.is_ours():
                _visit(place, action)


class Bell:
    """What somebody waits for.  It is no Event, for that an interruption may leave locked."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake who waits, or who does so next."""
        try:  # noqa: SIM105 (it calls functions)
            self._silence.release()
        except RuntimeError:  # it has rung already
            pass

    def clear(self) -> None:
        """Forget that it rang."""
        self._silence.acquire(False)

    def wait(self, seconds: float) -> None:
        """Wait until it rings, so long at most."""
        self._silence.acquire(timeout=seconds)


class _Hall:
    def __init__(self, size: int) -> None:
        self.places = [Place() for _ in range(size)]
        self.bell = Bell()
        self.is_awaited = False
        """Whether somebody waits for a place; who comes then stands in line."""


_NOWHERE = Place()


class _Seat:
    """The place that somebody waits for."""

    def __init__(self) -> None:
        self.place = _NOWHERE

    def take(self, hall: _Hall, end: float, busy: str) -> None:
        """Take the first place that becomes free."""
        hall.is_awaited = True  # before one is looked for: who gives one back after that rings the bell
        try:
            self._wait(hall, end, busy)
        finally:
            hall.is_awaited = False

    def _wait(self, hall: _Hall, end: float, busy: str) -> None:
        while not self._take_free(hall):
            left = end - time.monotonic()
            if left <= 0:
                raise StoreUnavailable(busy)
            hall.bell.wait(min(left, _LONGEST_NAP))

    def _take_free(self, hall: _Hall) -> bool:
        for place in hall.places:
            if not place.is_ours():
                self.place = place  # beforehand: so who is interrupted can give it back
                if place.lock.acquire(False):
                    return True
        return False


def _visit(place: Place, action: Callable[[Place], object]) -> None:
    try:
        if place.lock.acquire(False):
            action(place)
    finally:
        try:  # noqa: SIM105 (it calls functions)
            place.lock.release()
        except RuntimeError:
            pass


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), threading.TIMEOUT_MAX)
