"""Sessions in the memory of one process; for tests and for sites that may forget."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from .. import traces
from ..errors import ConfigurationError, Conflict
from ..mutex import Mutex
from ..record import Record, Version
from .base import SessionStore
from .hostlock import HostLocks
from .records import KEY, checked_key

_PATIENCE: Final = 10.0
"""Seconds to wait for the other threads."""

_BUSY: Final = "other threads kept the volatile store busy"


class VolatileSessionStore(SessionStore):
    """Keeps records in a dict: as bytes, so that nothing unsaved leaks from one request into another."""

    is_thread_safe = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._records: dict[str, Record] = {}
        self._versions = itertools.count(1)
        self._mutex = Mutex()
        self._locks = HostLocks()

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> VolatileSessionStore:
        """Make a store from ``volatile:``."""
        if location != "volatile:":
            raise ConfigurationError("a volatile store has no place: write 'volatile:' and nothing more")
        return cls(**options)

    def read(self, key: str) -> Record | None:
        if KEY.fullmatch(key) is None:
            checked_key(key)
        record = self._records.get(key)
        return record if record is not None and (record.expires is None or record.expires > self.clock()) else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        return self._mutex.run(partial(self._put, key, record, expected), _PATIENCE, _BUSY)

    def _put(self, key: str, record: Record, expected: Version | None) -> Version:
        self._compare(key, expected)
        version = next(self._versions)
        self._records[key] = Record(*record[:-1], version)
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        def move() -> bool:
            record = self.read(key)
            if record is not None and accessed > record.accessed:
                self._records[key] = record._replace(accessed=accessed, expires=expires)
            return record is not None

        return self._mutex.run(move, _PATIENCE, _BUSY)

    def remove(self, key: str, expected: Version | None = None) -> None:
        def take_away() -> None:
            if expected is not None and self.read(key) is not None:
                self._compare(key, expected)
            self._records.pop(checked_key(key), None)

        self._mutex.run(take_away, _PATIENCE, _BUSY)

    def scan(self) -> Iterator[tuple[str, Record]]:
        now, records = self.clock(), self._mutex.run(lambda: [*self._records.items()], _PATIENCE, _BUSY)
        return ((key, record) for key, record in records if record.is_live(now))

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        time = self.clock() if now is None else now

        def clear() -> int:
            over = [key for key, record in self._records.items() if traces.is_over(key, record, time, unused_since)]
            for key in over:
                del self._records[key]
            return len(over)

        return self._mutex.run(clear, _PATIENCE, _BUSY)

    def _compare(self, key: str, expected: Version | None) -> None:
        record = self.read(key)
        if (None if record is None else record.version) != expected:
            raise Conflict(f"the record {key:.8} changed")
