"""`RecordStore`: six primitives for a back end to implement, and abilities it may better."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from ..errors import ConfigurationError
from ..events import Observer, tell
from ..record import Record, Version
from .hostlock import HostLocks
from .lease import Lease
from .lock import Queues, acquire

_R = TypeVar("_R", bound="RecordStore")

KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
"""Every key of a record: a hash, an id, or ``lock-`` and one of these."""


def checked_key(key: str) -> str:
    """Return the key; `ConfigurationError` if it cannot be one."""
    if KEY.fullmatch(key) is None:
        raise ConfigurationError(f"a key consists of 1 to 80 letters, digits, '-' and '_'; {key[:8]!a} is none")
    return key


class RecordStore(ABC):
    """The lower half of every store: records under keys; it knows nothing of sessions.

    A key is 1 to 80 letters, digits, ``-`` and ``_``, all ASCII; capitals count.  `checked_key` refuses anything else.
    An expired record counts as absent for all primitives but `purge`.  All raise `StoreUnavailable` when the system
    behind them fails.
    """

    is_thread_safe: bool = False
    is_multiprocess_safe: bool = False
    can_list: bool = True
    """Whether the store can tell what it holds.  One that cannot says False and leaves `scan` alone."""
    _locks: HostLocks | None = None
    """The locks of a store all of whose users are on one host; without them a lock is a record."""

    clock: Callable[[], float]
    observer: Observer | None
    queues: Queues

    # -- primitives: what a back end implements --------------------------------------------------------------------

    @abstractmethod
    def read(self, key: str) -> Record | None:
        """Return the record, or None if it is missing, expired or damaged beyond reading.

        A damaged record is one log line, never an exception: an exception means that the system failed.
        """

    @abstractmethod
    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        """Store the record if the version there is `expected` (None: if nothing is there) and return its version.

        Raises `Conflict` otherwise.  Atomic across threads and, where the store says so, processes.  A crash at any
        point leaves the old record or the new one, whole.  ``record.version`` is ignored.
        """

    @abstractmethod
    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        """Move the idle clock without rewriting the state; tell whether a live record stands there.

        Moves nothing unless `accessed` is later than what is stored; never re-creates a record and does not change its
        version.
        """

    @abstractmethod
    def remove(self, key: str, expected: Version | None = None) -> None:
        """Remove the record.  It is no error if nothing is there.

        With `expected` the record is removed only if that is its version; otherwise `Conflict` is raised.
        """

    def scan(self) -> Iterator[tuple[str, Record]]:
        """Iterate over ``(key, record)`` of all live records; tolerates concurrent change.

        A store that cannot list raises `ConfigurationError`, and so does all that needs to look through its sessions.
        """
        raise ConfigurationError(f"{type(self).__name__} cannot list its sessions: keep a list of your own of those to "
                                 "be found without their ids, or use a store that can list them")

    @abstractmethod
    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Delete the records expired at `now` (default: the clock's time), `batch` at a time; return their number.

        With `unused_since` also those of sessions (no locks, no traces: `session2.traces.is_session`) whose `accessed`
        is earlier.  A record that is touched or written meanwhile is never deleted.

        A store that cannot list leaves this to the system behind it and returns 0.
        """

    # -- abilities: working defaults a back end may better ---------------------------------------------------------

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        """Iterate over ``(key, record)`` of what is live of one user, named as by `Session.user_key`."""
        return ((key, record) for key, record in self.scan() if record.user == user)

    def lock(self, key: str, *, timeout: float = 30.0, lease: float = 60.0) -> Lease:
        """Take the lock of `key` and return it; release it with ``with`` or `Lease.release`.

        :param timeout: how long to wait, in seconds, before `LockTimeout`.
        :param lease: after how many seconds without `Lease.renew` another may take the lock over; on a store of one
            host, another thread of the same process.
        """
        if self._locks is not None:
            if KEY.fullmatch(key) is None:
                checked_key(key)
            return self._locks.acquire(key, timeout, lease, self.clock)
        return acquire(self, key, timeout, lease)

    def setup(self, drop: bool = False) -> None:
        """Create what is missing.  With `drop` delete all sessions first; otherwise nothing is ever dropped."""
        if drop:
            self.purge()
            for key, _ in self.scan():
                self.remove(key)

    def for_request(self: _R, exchange: Any, policy: Any) -> _R:
        """Return the store that serves one request: itself, unless the records travel with the request.

        Where they do, requests that overlap do not meet (`can_merge`): the last answer wins.  What needs that they meet
        is refused; `lock` has to refuse, too.

        :param exchange: the request, a `session2.Exchange`.
        :param policy: what its session cookie looks like, a `session2.CookiePolicy`.
        """
        return self

    def close(self) -> None:  # noqa: B027 (a store with nothing to let go of has nothing to override)
        """Let go of files and connections; the store may be used again afterwards."""

    def _look_up(self, key: str) -> Record | None:
        """Return what `read` does, or a record whose time is over while it is still there.

        For those who ask why there is no session: they see the store as it looks to a clock that stands at the epoch.
        """
        view = copy.copy(self)
        view.clock = lambda: 0.0
        return view.read(key)

    def _damaged(self, key: str, why: str) -> None:
        """Tell the log and the observer of a record that cannot be read; a back end calls this and returns None."""
        tell(self.observer, "corrupt", key, f"treated as missing: {why}")


def can_merge(store: type) -> bool:
    """Tell of a class of stores whether requests that overlap meet in them: the later one finds what is stored."""
    return getattr(store, "for_request", None) is RecordStore.for_request or not issubclass(store, RecordStore)


def demand_merging(store: Any, what: str) -> None:
    """Refuse what asks for a store in which requests that overlap meet."""
    if not can_merge(type(store)):
        raise ConfigurationError(f"{what} needs a store in which requests that overlap meet; in {type(store).__name__} "
                                 "the last answer wins")
