"""What PostgreSQL and MySQL stores have in common: one table, single statements, compare-and-set by version."""

from __future__ import annotations

import math
import random
import secrets
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...record import Record, Version
from ...traces import MARK, lock_key
from ..base import SessionStore
from ..records import checked_key
from .answers import check_answer, text
from .results import Connections, Fault, Result, StatementFailed
from .statements import statements
from .tables import checked_name, quoted

_LONGEST_USER = 1000
_PAGE = 100
"""Records fetched at once by an iteration: what bounds its memory."""
_STRIDE = 5000
"""Rows looked at by one statement of `delete_old_sessions`."""

HOUR = 3600
"""The grain of the column ``expires_hour``, in seconds.

`expires` moves with nearly every save and touch; an index on it would have to be updated each time, and PostgreSQL
could make no heap-only updates.  The hour moves once an hour.
"""


_BRISK = 0.1
"""Seconds a statement of a clean-up should take: batches shrink where the server is slow or busy."""

_LONG_AGO = -2**62
_RECENT = 48
"""Hours; a purge is expected to run every day at least."""


_REPEATS = {Fault.NO_TABLE: 1, Fault.BROKEN: 1, Fault.WRONG_ROLE: 1, Fault.BUSY: 8, Fault.MIXED_UP: 0, Fault.OTHER: 0}
_GIVES_UP_CONNECTIONS = (Fault.BROKEN, Fault.WRONG_ROLE, Fault.MIXED_UP)
"""Whatever happened to this connection has most likely happened to all."""


class SQLSessionStore(SessionStore):
    """A store in one table of an SQL database; every primitive is one statement that is a transaction of its own."""

    is_thread_safe = True
    is_multiprocess_safe = True

    DEFAULT_TABLE: ClassVar[str] = "sessions"

    _quote: ClassVar[str]
    _connections: Connections

    def __init__(self, table: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.table = checked_name(self.DEFAULT_TABLE if table is None else table)
        self._table = quoted(self.table, self._quote)
        self._sql = statements(self._table, self._quote, self._own_statements())

    # -- what a database implements --------------------------------------------------------------------------------

    @abstractmethod
    def _own_statements(self) -> Mapping[str, str]:
        """Return the texts of ``insert``, of ``revive`` where it takes a second step, and what else is its own."""

    @abstractmethod
    def _send(self, connection: Any, text: str, arguments: Mapping[str, Any]) -> Result:
        """Execute one statement as a transaction of its own, or raise `StatementFailed`."""

    @abstractmethod
    def _purge_some(self, hour: int, after: str, now: float, batch: int) -> tuple[int, str | None]:
        """Delete records of that hour that expired, with keys after `after`; return their number and the last key.

        The key is None when there are no more.
        """

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        rows = self._execute("read", key=checked_key(key)).rows
        record = _record(rows[0][1:]) if rows else None
        return record if record is not None and record.is_live(self.clock()) else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        version = secrets.randbits(62)
        values = {"key": checked_key(key), "data": record.data, "version": version, "created": record.created,
                  "modified": record.modified, "accessed": record.accessed, "expires": record.expires,
                  "owner": _user_bytes(record.user), "now": self.clock()}
        if expected is None:
            done = self._insert_row(values)
        elif isinstance(expected, int):
            done = self._execute("replace", expected=expected, **values).changed > 0
        else:
            done = False
        if not done and not self._holds(key, version):
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        self._execute("touch", key=checked_key(key), accessed=accessed, expires=expires, now=self.clock())

    def remove(self, key: str, expected: Version | None = None) -> None:
        if expected is None:
            self._execute("remove", key=checked_key(key))
            return
        checked_key(key)
        if isinstance(expected, int) and self._execute("remove_version", key=key, expected=expected).changed:
            return
        if self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._pages("page")

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        return self._pages("page_of_user", owner=_user_bytes(user))

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        now = self.clock() if now is None else now
        deleted, size = 0, batch
        for hour in self._hours(math.ceil(now / HOUR)):
            # Each batch begins where the one before it did and so passes over what that one deleted: PostgreSQL then
            # notes in its index that this is dead.  Else the next purge would look at all of it, on disk by then.
            before: str = ""
            after: str | None = ""
            while after is not None:
                start = time.monotonic()
                count, last = self._purge_some(hour, before, now, size)
                before, after = after, last
                deleted += count
                size = _paced(size, time.monotonic() - start, batch)
        return deleted

    def delete_old_sessions(self, minutes: float) -> tuple[int, int]:
        """Delete the sessions nobody used for so many minutes; return how many are deleted and how many remain.

        Walks the table in strides, so that no statement takes long, however large the table is.
        """
        deleted, remaining = self.purge(), 0
        limit = self.clock() - minutes * 60
        after, stride = "", _STRIDE
        while (last := self._execute("stride", after=after, stride=stride).rows[0][0]) is not None:
            last = text(last)
            span = {"after": after, "last": last, "trace": MARK, "lock": lock_key(""), "now": self.clock()}
            start = time.monotonic()
            deleted += self._execute("delete_old", limit=limit, **span).changed
            stride = _paced(stride, time.monotonic() - start, _STRIDE)
            remaining += int(self._execute("count", **span).rows[0][0])
            after = last
        return deleted, remaining

    def close(self) -> None:
        """Close the connections the store made; the store may be used again afterwards."""
        self._connections.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _insert_row(self, values: dict[str, Any]) -> bool:
        if self._execute("insert", **values).changed:
            return True
        if "revive" not in self._sql:
            return False
        # An expired record that was in the way of the insert may have been purged before it could be revived.
        return any(self._execute(step, **values).changed for step in ("revive", "insert"))

    def _holds(self, key: str, version: int) -> bool:
        """Tell whether a write that seems refused is there after all.

        Its first try may have been done and only the answer lost with the connection; the second then finds the row
        changed, by itself.
        """
        return [int(found) for _, found in self._execute("version", key=key).rows] == [version]

    def _pages(self, statement: str, **arguments: Any) -> Iterator[tuple[str, Record]]:
        after = ""
        while rows := self._execute(statement, after=after, page=_PAGE, **arguments).rows:
            now = self.clock()
            for key, *fields in rows:
                record = _record(fields)
                if record.is_live(now):
                    yield text(key), record
            after = text(rows[-1][0])

    def _hours(self, last: int) -> Iterator[int]:
        """Yield the hours up to `last` in which records may have expired.

        To ask for the first one would be short, and slow after a large purge: until the server has cleared the index,
        it passes over all that was deleted.  So the last days are gone through hour by hour.
        """
        hour = self._next_hour(_LONG_AGO, last - _RECENT)
        while hour is not None:
            yield hour
            hour = self._next_hour(hour, last - _RECENT)
        yield from range(last - _RECENT + 1, last + 1)

    def _next_hour(self, hour: int, last: int) -> int | None:
        found = self._execute("next_hour", hour=hour, last=last).rows[0][0]
        return None if found is None else int(found)

    def _execute(self, statement: str, **arguments: Any) -> Result:
        tried: list[Fault] = []
        while True:
            fresh = not set(tried).isdisjoint(_GIVES_UP_CONNECTIONS)
            try:
                return self._connections.use(lambda lent: self._exchange(lent, statement, arguments), fresh)
            except StatementFailed as failure:
                self._mend(failure, tried, arguments)

    def _exchange(self, connection: Any, statement: str, arguments: Mapping[str, Any]) -> Result:
        result = self._send(connection, self._sql[statement], arguments)
        check_answer(statement, result, arguments)
        return result

    def _mend(self, failure: StatementFailed, tried: list[Fault], arguments: Mapping[str, Any]) -> None:
        """Return if the statement is worth another try.

        Every statement may be repeated: a write chooses its version beforehand, and `_holds` recognises it.
        """
        fault = failure.fault
        if fault in _GIVES_UP_CONNECTIONS:
            self._connections.renew()
        if tried.count(fault) >= _REPEATS[fault]:
            raise StoreUnavailable(self._explain(failure, arguments)) from failure.__cause__
        tried.append(fault)
        if fault is Fault.NO_TABLE:
            self.setup()
        elif fault is Fault.BUSY:
            time.sleep(random.uniform(0, 0.005 * 2 ** len(tried)))

    def _explain(self, failure: StatementFailed, arguments: Mapping[str, Any]) -> str:
        return f"the database failed: {failure}"


def _paced(size: int, seconds: float, most: int) -> int:
    """Return how many rows to delete next, when deleting `size` of them took so long."""
    factor = min(2.0, max(0.25, _BRISK / max(seconds, 1e-6)))
    return max(1, min(most, int(size * factor)))


def _user_bytes(user: str | None) -> bytes | None:
    """Users are kept as bytes, so that no collation of the database takes two of them for one."""
    encoded = None if user is None else user.encode("utf-8", "surrogatepass")
    if encoded is not None and len(encoded) > _LONGEST_USER:
        raise ConfigurationError(f"the name of a user has {len(encoded)} bytes, at most {_LONGEST_USER} can be kept; "
                                 "override Session.user_key to return something shorter")
    return encoded


def _record(row: Any) -> Record:
    data, created, modified, accessed, expires, user, version = row
    name = None if user is None else bytes(user).decode("utf-8", "surrogatepass")
    return Record(bytes(data), float(created), float(modified), float(accessed),
                  None if expires is None else float(expires), name, int(version))
