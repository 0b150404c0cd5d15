"""Sessions in a table of an SQLite database."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ... import traces
from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...record import Record, Version
from .. import rights
from ..base import SessionStore
from ..hostlock import HostLocks
from ..lockfile import LockFile
from ..records import KEY, checked_key
from ..versions import new_version
from . import statements
from .database import Database
from .place import Place

_PAGE_SIZE = 200

_BATCH = 200
"""Rows deleted at once at most: what they change goes into the cache of a connection; more would be written twice."""


class SQLiteSessionStore(SessionStore):
    """Keeps sessions in a table of an SQLite database, in write-ahead mode.

    The file, readable by its owner only, and the table are made by `setup`.  A table of that name which is not ours is
    refused with `ConfigurationError`, and so is a file that is a link, belongs to somebody else or is open to others.

    :param path: the database file; its folder must exist, on a local disk.
    :param table: the table's name: letters, digits and underscores.
    :param synchronous: SQLite's setting. "NORMAL" survives the death of any process but may lose the last saves when
        the machine loses power; "FULL" waits for the disk at each save.
    :param create: make a missing file, and a missing table, when they are first used; else that is `StoreMissing`.
    :param shared: the file may belong to another user, and its group may do all that the owner may.
    :param timeout: how long to wait for other writers, in seconds, before `StoreUnavailable`.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, path: str | os.PathLike[str], *, table: str = "sessions", synchronous: str = "NORMAL",
                 timeout: float = 10.0, create: bool = False, shared: bool = False, **options: Any) -> None:
        super().__init__(**options)
        place = Place(_checked_path(path), shared)
        self._database = Database(place, _checked_table(table), _checked_level(synchronous), timeout, create)
        self._locks = HostLocks(partial(LockFile, f"{place.path}.locks", place.path, rights.rule_of(shared)))
        weakref.finalize(self, self._database.close_idle)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        if KEY.fullmatch(key) is None:
            checked_key(key)
        rows = self._database.select(statements.READ, (key, self.clock()))
        if not rows:
            return None
        data, created, modified, accessed, expires, user, version, found = rows[0]
        if found != key:
            raise StoreUnavailable(f"the SQLite database answered with another record than {key:.8}")
        return Record(data, created, modified, accessed, expires, None if user is None else _string(user), version)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        if KEY.fullmatch(key) is None:
            checked_key(key)
        data, created, modified, accessed, expires, user, _ = record
        version, now, name = new_version(), self.clock(), None if user is None else _text(user)
        if expected is not None and self._database.change(statements.REPLACE_HOT, (
                version, created, modified, accessed, expires, data, key, expected, now, name, expires, expires)):
            return version
        values = {"key": key, "version": version, "created": created, "modified": modified, "accessed": accessed,
                  "expires": expires, "user": name, "data": data, "now": now, "expected": expected}
        if not self._database.change(statements.INSERT if expected is None else statements.REPLACE, values):
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        values = {"key": checked_key(key), "accessed": accessed, "expires": expires, "now": self.clock()}
        return any(self._database.change(step, values) for step in (statements.TOUCH_HOT, statements.TOUCH)) \
            or self.read(key) is not None

    def remove(self, key: str, expected: Version | None = None) -> None:
        if expected is None:
            self._database.change(statements.REMOVE, {"key": checked_key(key)})
        elif not self._database.change(statements.REMOVE_EXPECTED, {"key": checked_key(key), "expected": expected}) \
                and self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._walk(statements.PAGE, {})

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        return self._walk(statements.PAGE_OF_USER, {"user": _text(user)})

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        batch = min(batch, _BATCH)
        values = {"now": self.clock() if now is None else now, "batch": batch}
        total, seen = 0, batch
        while seen >= batch:
            deleted = self._database.change(statements.PURGE, values)
            # As long as each that is due has expired, none needs to be moved.
            seen = deleted if deleted == batch else deleted + self._database.change(statements.POSTPONE, values)
            total += deleted
        return total if unused_since is None else total + self._purge_unused(unused_since, batch)

    def _purge_unused(self, since: float, batch: int) -> int:
        values = {"since": since, "batch": batch, "lock": traces.lock_key(""), "mark": traces.MARK}
        total = after = 0
        while (last := self._database.select(statements.STRETCH, {**values, "after": after})[0][0]) is not None:
            total += self._database.change(statements.PURGE_UNUSED, {**values, "after": after, "last": last})
            after = last
        return total

    # -- abilities -------------------------------------------------------------------------------------------------

    def setup(self, drop: bool = False) -> None:
        """Create the file and the table if they are missing.  With `drop` the table, if ours, is deleted first."""
        self._database.setup(drop)

    def close(self) -> None:
        """Close every connection of this process, each as soon as its statement is done."""
        self._database.close()

    def _walk(self, statement: str, values: dict[str, Any]) -> Iterator[tuple[str, Record]]:
        """Go through the rows a page at a time: an open cursor would keep the write-ahead log from being reused."""
        after = 0
        while True:
            page = {**values, "after": after, "now": self.clock(), "batch": _PAGE_SIZE}
            rows = self._database.select(statement, page)
            for after, key, *columns in rows:  # noqa: B007 (used for the next page)
                yield _string(key), _record(columns)
            if len(rows) < _PAGE_SIZE:
                return


def _checked_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if text in ("", ":memory:"):
        raise ConfigurationError("the SQLite store needs a file; to keep sessions in memory use VolatileSessionStore")
    return os.path.abspath(text)


def _checked_table(table: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,59}", table) or table.lower().startswith("sqlite_"):
        raise ConfigurationError(f"{table!r} cannot be a table's name; use letters, digits and underscores")
    return table


def _checked_level(level: str) -> str:
    if level.upper() not in ("OFF", "NORMAL", "FULL", "EXTRA"):
        raise ConfigurationError(f"synchronous must be OFF, NORMAL, FULL or EXTRA, not {level!r}")
    return level.upper()


def _record(columns: Sequence[Any]) -> Record:
    data, created, modified, accessed, expires, user, version = columns
    return Record(data, created, modified, accessed, expires, None if user is None else _string(user), version)


def _text(value: str) -> str | bytes:
    """Return what SQLite can keep of a string: text, or the bytes of one that is not proper Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _string(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")
