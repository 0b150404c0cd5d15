"""What PostgreSQL and MySQL stores have in common: one table, single statements, compare-and-set by version."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeGuard

from ...errors import ConfigurationError, Conflict, StoreMissing, StoreUnavailable
from ...patience import pauses
from ...record import Record, Version
from ...traces import MARK, is_lock, lock_key
from ..base import SessionStore
from ..records import KEY, checked_key
from ..servers.once import (
    AnswerLost,
    Standing,
    applied,
    fate_of_insert,
    fate_of_removal,
    fate_of_replacement,
    standing,
    written,
)
from ..servers.results import Connections, Fault, Result, StatementFailed
from ..versions import new_version
from .answers import check_answer
from .rows import record_of, text
from .statements import statements
from .tables import Found, checked_name, found_in, quoted, refuse_newer

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]
"""Sends a statement with its arguments and returns the rows of the answer."""

Send: TypeAlias = Callable[[Any, str, Mapping[str, Any]], Result]
"""Executes one statement on a connection, as a transaction of its own, or raises `StatementFailed`."""

_LONGEST_USER = 1000
_PAGE = 100
"""Records fetched at once by an iteration: what bounds its memory."""
_STRIDE = 5000
"""Rows counted by one statement of `delete_old_sessions`."""

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


_REPEATS = {Fault.NO_TABLE: 1, Fault.BROKEN: 1, Fault.WRONG_ROLE: 1, Fault.BUSY: 8, Fault.MIXED_UP: 0,
            Fault.SILENT: 0, Fault.OTHER: 0}
_GIVES_UP_CONNECTIONS = (Fault.BROKEN, Fault.WRONG_ROLE, Fault.MIXED_UP)
"""Whatever happened to this connection has most likely happened to all."""

_ONCE = ("insert", "insert_lock", "revive", "replace", "remove_version", "remove_lock")
"""Statements that are not repeated before it is known what became of the first try."""


class SQLSessionStore(SessionStore):
    """A store in one table of an SQL database; every primitive is one statement that is a transaction of its own."""

    is_thread_safe = True
    is_multiprocess_safe = True

    DEFAULT_TABLE: ClassVar[str] = "sessions"

    _quote: ClassVar[str]
    _parts: ClassVar[Mapping[str, str]]
    """What `statements` asks each database for."""
    _shapes: ClassVar[Sequence[Mapping[str, str]]]
    """The columns of each schema and their types; the last is the one that this session2 makes."""
    _comment: ClassVar[str]
    """The statement that gives the table a comment."""
    _connections: Connections
    _send: Send

    def __init__(self, table: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.table = checked_name(self.DEFAULT_TABLE if table is None else table)
        self._table = quoted(self.table, self._quote)
        self._sql = statements(self._table, self._quote, self._parts, self._own_statements())

    # -- what a database implements --------------------------------------------------------------------------------

    @abstractmethod
    def _own_statements(self) -> Mapping[str, str]:
        """Return the texts of ``insert``, of ``revive`` where it takes a second step, and what else is its own.

        ``insert_lock`` and ``remove_lock`` stand in for ``insert`` and ``remove_version`` where a lock, which need not
        outlive a crash of the server, can be had for less.
        """

    @abstractmethod
    def _describe(self, ask: Ask) -> Sequence[Sequence[Any]]:
        """Return the comment of the table with the name and the type of each column; nothing if there is no table."""

    @abstractmethod
    def _purge_some(self, hour: int, after: str, now: float, batch: int) -> tuple[int, str | None]:
        """Delete records of that hour that expired, with keys after `after`; return their number and the last key.

        The key is None when there are no more.
        """

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        if KEY.fullmatch(key) is None:
            checked_key(key)
        rows = self._execute("read", key=key).rows
        return self._live(key, rows[0]) if rows else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        version = new_version()
        values = {"key": checked_key(key), "data": record.data, "version": version, "mark": written(version),
                  "created": record.created, "modified": record.modified, "accessed": record.accessed,
                  "expires": record.expires, "owner": _user_bytes(record.user), "now": self.clock()}
        if expected is None:
            done = applied(lambda: self._insert_row(values),
                           lambda: fate_of_insert(self._standing(key), version, is_lock(key)))
        else:
            done = _is_version(expected) and applied(
                lambda: self._execute("replace", expected=expected, **values).changed > 0,
                lambda: fate_of_replacement(self._standing(key), version, expected))
        if not done:
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        now = self.clock()
        if self._execute("touch", key=checked_key(key), accessed=accessed, expires=expires, now=now).changed:
            return True
        return bool(self._execute("stands", key=key, now=now).rows)

    def remove(self, key: str, expected: Version | None = None) -> None:
        checked_key(key)
        if expected is None:
            self._execute("remove", key=key)
            return
        remove = self._for_locks("remove_lock", key) or "remove_version"
        done = _is_version(expected) and applied(
            lambda: self._execute(remove, key=key, expected=expected).changed > 0,
            lambda: fate_of_removal(self._standing(key), expected))
        if not done and self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._pages("page")

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        return self._pages("page_of_user", owner=_user_bytes(user))

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
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
        return deleted if unused_since is None else deleted + self._purge_unused(now, batch, unused_since)

    def delete_old_sessions(self, minutes: float) -> tuple[int, int]:
        """Delete the sessions nobody used for so many minutes; return how many are deleted and how many remain.

        Walks the table in strides, so that no statement takes long, however large the table is.
        """
        deleted = self.purge(unused_since=self.clock() - minutes * 60)
        return deleted, sum(self._strides("count", _STRIDE, self.clock()))

    def close(self) -> None:
        """Close the connections the store made; the store may be used again afterwards."""
        self._connections.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _insert_row(self, values: dict[str, Any]) -> bool:
        if self._execute(self._for_locks("insert_lock", values["key"]) or "insert", **values).changed:
            return True
        if "revive" not in self._sql:
            return False
        # An expired record that was in the way of the insert may have been purged before it could be revived.
        return any(self._execute(step, **values).changed for step in ("revive", "insert"))

    def _for_locks(self, statement: str, key: str) -> str | None:
        return statement if is_lock(key) and statement in self._sql else None

    def _standing(self, key: str) -> Standing | None:
        rows = self._execute("standing", key=key).rows
        return standing(rows[0][1:], self.clock()) if rows else None

    def _pages(self, statement: str, **arguments: Any) -> Iterator[tuple[str, Record]]:
        after = ""
        while rows := self._execute(statement, after=after, page=_PAGE, **arguments).rows:
            for row in rows:
                after = text(row[0])
                record = self._live(after, row)
                if record is not None:
                    yield after, record

    def _live(self, key: str, row: Sequence[Any]) -> Record | None:
        """Return the record of a row, if it is live and not damaged."""
        try:
            record = record_of(row)
        except ValueError as error:
            self._damaged(key, f"its row cannot be read: {error}")
            return None
        return record if record.expires is None or record.expires > self.clock() else None

    def _purge_unused(self, now: float, batch: int, unused_since: float) -> int:
        return sum(self._strides("delete_unused", batch, now, limit=unused_since))

    def _strides(self, statement: str, most: int, now: float, **arguments: Any) -> Iterator[int]:
        """Walk over all rows, `most` with each statement at most; yield how many it found or deleted."""
        after, stride = "", most
        while (last := self._execute("stride", after=after, stride=stride).rows[0][0]) is not None:
            span = {"after": after, "last": text(last), "trace": MARK, "lock": lock_key(""), "now": now}
            start = time.monotonic()
            result = self._execute(statement, **span, **arguments)
            yield int(result.rows[0][0]) if result.rows else result.changed
            stride = _paced(stride, time.monotonic() - start, most)
            after = text(last)

    def _hours(self, last: int) -> Iterator[int]:
        """Yield the hours up to `last` in which records may have expired.

        To ask for the first one would be short, and slow after a large purge: until the server has cleared the index,
        it passes over all that was deleted.  So the last days are gone through hour by hour.
        """
        hour = self._number("next_hour", hour=_LONG_AGO, until=last - _RECENT)
        while hour is not None:
            yield hour
            hour = self._number("next_hour", hour=hour, until=last - _RECENT)
        yield from range(last - _RECENT + 1, last + 1)

    def _number(self, statement: str, **arguments: Any) -> int | None:
        number = self._execute(statement, **arguments).rows[0][0]
        return None if number is None else int(number)

    def _execute(self, statement: str, **arguments: Any) -> Result:
        exchange = partial(self._exchange, statement, arguments)
        try:
            return self._connections.use(exchange)
        except StatementFailed as failure:
            return self._exchange_again(failure, exchange, statement, arguments)

    def _exchange(self, statement: str, arguments: Mapping[str, Any], connection: Any) -> Result:
        result = self._send(connection, self._sql[statement], arguments)
        check_answer(statement, result, arguments)
        return result

    def _exchange_again(self, failure: StatementFailed, exchange: Callable[[Any], Result], statement: str,
                        arguments: Mapping[str, Any]) -> Result:
        tried: list[Fault] = []
        waits = pauses(0.01, 1.28)
        while True:
            self._mend(failure, statement, tried, arguments, waits)
            fresh = any(fault in _GIVES_UP_CONNECTIONS for fault in tried)
            try:
                return self._connections.use(exchange, fresh)
            except StatementFailed as another:
                failure = another

    def _mend(self, failure: StatementFailed, statement: str, tried: list[Fault],
              arguments: Mapping[str, Any], waits: Iterator[float]) -> None:
        """Return if the statement is worth another try, which then does what the first one would have done."""
        fault = failure.fault
        if fault in _GIVES_UP_CONNECTIONS:
            self._connections.renew()
        if fault is Fault.BROKEN and statement in _ONCE:
            raise AnswerLost(self._explain(failure, arguments)) from failure.__cause__
        if tried.count(fault) >= _REPEATS[fault]:
            raise StoreUnavailable(self._explain(failure, arguments)) from failure.__cause__
        tried.append(fault)
        if fault is Fault.NO_TABLE:
            self._refuse_table()
        elif fault is Fault.BUSY:
            time.sleep(next(waits))

    def _refuse_table(self) -> None:
        """Say what is wrong with the table; return if nothing is, for somebody may be setting it up at this moment."""
        try:
            schema = self._connections.use(self._found_by).schema
        except StatementFailed as failure:
            raise StoreUnavailable(self._explain(failure, {})) from failure.__cause__
        if not schema:
            raise StoreMissing(f"there is no table {self.table!r} in the database")
        if schema < len(self._shapes):
            raise StoreMissing(f"the table {self.table!r} is that of an earlier session2 and lacks columns")

    def _found_by(self, connection: Any) -> Found:
        return self._found(lambda statement, arguments: self._send(connection, statement, arguments).rows)

    def _found(self, ask: Ask) -> Found:
        """Return which table there is; refuse what is not ours or too new."""
        adopt = self._comment.replace("{table}", self._table)
        found = found_in(self._describe(ask), self.table, self._shapes, adopt)
        refuse_newer(found.schema, len(self._shapes), self.table)
        return found

    def _explain(self, failure: StatementFailed, arguments: Mapping[str, Any]) -> str:
        return f"the database failed: {failure}"


def _paced(size: int, seconds: float, most: int) -> int:
    """Return how many rows to delete next, when deleting `size` of them took so long."""
    factor = min(2.0, max(0.25, _BRISK / max(seconds, 1e-6)))
    return max(1, min(most, int(size * factor)))


def _is_version(version: Version) -> TypeGuard[int]:
    """Tell whether it may be the version of a row; one of another store is that of none."""
    return isinstance(version, int) and version.bit_length() < 64


def _user_bytes(user: str | None) -> bytes | None:
    """Users are kept as bytes, so that no collation of the database takes two of them for one."""
    encoded = None if user is None else user.encode("utf-8", "surrogatepass")
    if encoded is not None and len(encoded) > _LONGEST_USER:
        raise ConfigurationError(f"the name of a user has {len(encoded)} bytes, at most {_LONGEST_USER} can be kept; "
                                 "override Session.user_key to return something shorter")
    return encoded
