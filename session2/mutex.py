"""The one way to hold a mutex: for a bounded wait, and so that no interruption leaves it locked."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import StoreUnavailable

_T = TypeVar("_T")


class Mutex:
    """Lets one thread of the process do something at a time; a forked child begins with a free one.

    An exception from outside (of a signal, a time limit, a greenlet that is killed) may arrive at any instruction, also
    between the one that takes the lock and the one that notes it.  So it is taken inside the ``try``, and it is a lock
    that knows its owner: releasing it does nothing for whoever does not have it.
    """

    def __init__(self) -> None:
        self._rooms: dict[int, _Room] = {}

    def run(self, action: Callable[[], _T], seconds: float, busy: str) -> _T:
        """Do something alone and return what comes of it.

        `StoreUnavailable` with the message `busy` if others take longer than `seconds`, and at once if this thread is
        inside already: what a signal or the garbage collector calls there must not see what is half done.
        """
        room, me = self._room(), threading.get_ident()
        if room.inside == me:
            raise StoreUnavailable(busy)
        try:
            if not room.lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
                raise StoreUnavailable(busy)
            room.inside = me
            return action()
        finally:
            # Nothing is called before the release: an exception arrives when a call ends, or a function begins.
            if room.inside == me:
                room.inside = None
            try:  # noqa: SIM105 (calls several functions)
                room.lock.release()
            except RuntimeError:  # somebody else's
                pass

    def _room(self) -> _Room:
        """Return the lock of this process: not every fork runs hooks, so the process id is compared."""
        pid = os.getpid()
        return self._rooms.get(pid) or self._rooms.setdefault(pid, _Room())  # atomic


class _Room:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.inside: int | None = None
        """The thread that is doing something."""
