"""Sessions in a table of an SQLite database."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import ConfigurationError, Conflict, StoreUnavailable
from ..record import Record, Version
from .base import SessionStore

# ruff: noqa: S608 (the statements are put together from the constants here and a checked name, never from values)

_MARK = "session2 schema 1"

# The comment is part of what SQLite keeps of the table, so that a table can be told to be ours.
#
# `due` is when a purge has to look at the row: never later than `expires`, but often earlier.  Saves and touches move
# `expires` all the time; as a rule they leave `due` and `user` alone and so have no index to update, which would add
# two thirds to their time.  A purge that meets a live row moves its `due`.
_TABLE = f"""CREATE TABLE {{table}} ( -- {_MARK}
    key TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    accessed REAL NOT NULL,
    expires REAL,
    due REAL,
    user TEXT,
    data BLOB NOT NULL
)"""
_DUE_INDEX = "CREATE INDEX {due_index} ON {table} (due) WHERE due IS NOT NULL"
_USER_INDEX = "CREATE INDEX {user_index} ON {table} (user) WHERE user IS NOT NULL"
_DROP = "DROP TABLE {table}"

_COLUMNS = "data, created, modified, accessed, expires, user, version"
_LIVE = "(expires IS NULL OR expires > :now)"
_INDEXES_HOLD = "(:expires IS NULL OR due <= :expires)"
_TIMES = "created = :created, modified = :modified, accessed = :accessed, expires = :expires"

_READ = f"SELECT {_COLUMNS} FROM {{table}} WHERE key = :key AND {_LIVE}"
_INSERT = f"""INSERT INTO {{table}} (key, version, created, modified, accessed, expires, due, user, data)
    VALUES (:key, :version, :created, :modified, :accessed, :expires, :expires, :user, :data)
    ON CONFLICT (key) DO UPDATE SET version = :version, {_TIMES}, due = :expires, user = :user, data = :data
    WHERE expires <= :now"""
_REPLACE_HOT = f"""UPDATE {{table}} SET version = :version, {_TIMES}, data = :data
    WHERE key = :key AND version = :expected AND {_LIVE} AND user IS :user AND {_INDEXES_HOLD}"""
_REPLACE = f"""UPDATE {{table}} SET version = :version, {_TIMES}, due = :expires, user = :user, data = :data
    WHERE key = :key AND version = :expected AND {_LIVE}"""
_TOUCH_HOT = f"""UPDATE {{table}} SET accessed = :accessed, expires = :expires
    WHERE key = :key AND accessed < :accessed AND {_LIVE} AND {_INDEXES_HOLD}"""
_TOUCH = f"""UPDATE {{table}} SET accessed = :accessed, expires = :expires, due = :expires
    WHERE key = :key AND accessed < :accessed AND {_LIVE}"""
_REMOVE = "DELETE FROM {table} WHERE key = :key"
_REMOVE_EXPECTED = "DELETE FROM {table} WHERE key = :key AND version = :expected"
_PAGE = f"SELECT rowid, key, {_COLUMNS} FROM {{table}} WHERE rowid > :after AND {_LIVE} ORDER BY rowid LIMIT :batch"
_PAGE_OF_USER = f"""SELECT rowid, key, {_COLUMNS} FROM {{table}}
    WHERE user = :user AND rowid > :after AND {_LIVE} ORDER BY rowid LIMIT :batch"""
_DUE = "rowid IN (SELECT rowid FROM {table} WHERE due <= :now ORDER BY due LIMIT :batch)"
_PURGE = f"DELETE FROM {{table}} WHERE {_DUE} AND expires <= :now"
_POSTPONE = f"UPDATE {{table}} SET due = expires WHERE {_DUE} AND {_LIVE}"

_STATEMENTS = (_TABLE, _DUE_INDEX, _USER_INDEX, _DROP, _READ, _INSERT, _REPLACE_HOT, _REPLACE, _TOUCH_HOT, _TOUCH,
               _REMOVE, _REMOVE_EXPECTED, _PAGE, _PAGE_OF_USER, _PURGE, _POSTPONE)
_PAGE_SIZE = 200

Row = tuple[Any, ...]
_T = TypeVar("_T")


class SQLiteSessionStore(SessionStore):
    """Keeps sessions in a table of an SQLite database, in write-ahead mode.

    The file and the table are made on first use, the file readable by its owner only.  A table of that name which is
    not ours is refused with `ConfigurationError`.

    :param path: the database file; its folder must exist, on a local disk.
    :param table: the table's name: letters, digits and underscores.
    :param synchronous: SQLite's setting. "NORMAL" survives the death of any process but may lose the last saves when
        the machine loses power; "FULL" waits for the disk at each save.
    :param timeout: how long to wait for other writers, in seconds, before `StoreUnavailable`.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, path: str | os.PathLike[str], *, table: str = "sessions", synchronous: str = "NORMAL",
                 timeout: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        self._database = _Database(_checked_path(path), _checked_table(table), _checked_level(synchronous), timeout)
        weakref.finalize(self, self._database.close)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        rows = self._database.select(_READ, {"key": _text(key), "now": self.clock()})
        return _record(rows[0]) if rows else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        version = int.from_bytes(os.urandom(8), "big") >> 2
        data, created, modified, accessed, expires, user, _ = record
        values = {"key": _text(key), "version": version, "created": created, "modified": modified, "accessed": accessed,
                  "expires": expires, "user": None if user is None else _text(user), "data": data,
                  "now": self.clock(), "expected": expected}
        statements = (_INSERT,) if expected is None else (_REPLACE_HOT, _REPLACE)
        if not self._database.change(statements, values):
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        values = {"key": _text(key), "accessed": accessed, "expires": expires, "now": self.clock()}
        self._database.change((_TOUCH_HOT, _TOUCH), values)

    def remove(self, key: str, expected: Version | None = None) -> None:
        if expected is None:
            self._database.change((_REMOVE,), {"key": _text(key)})
        elif not self._database.change((_REMOVE_EXPECTED,), {"key": _text(key), "expected": expected}) \
                and self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._walk(_PAGE, {})

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        return self._walk(_PAGE_OF_USER, {"user": _text(user)})

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        values = {"now": self.clock() if now is None else now, "batch": batch}
        total = 0
        while True:
            deleted = self._database.change((_PURGE,), values)
            total += deleted
            if not self._database.change((_POSTPONE,), values) and not deleted:
                return total

    # -- abilities -------------------------------------------------------------------------------------------------

    def setup(self, drop: bool = False) -> None:
        """Create the table if it is missing.  With `drop` the table, if it is ours, is deleted first."""
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


class _Database:
    """The connections to one file.

    A connection serves one statement at a time, whichever thread wants it next; so threads that end leave none behind.
    None may be open while the process forks: SQLite keeps its locks in memory as well, and a child would take those of
    its parent for its own and not ask the system for any.
    """

    def __init__(self, path: str, table: str, synchronous: str, timeout: float) -> None:
        self._path, self._table, self._synchronous, self._timeout = path, table, synchronous, timeout
        names = {"table": f'"{table}"', "due_index": f'"{table}_due"', "user_index": f'"{table}_user"'}
        self._sql = {statement: statement.format_map(names) for statement in _STATEMENTS}
        self._connections: set[sqlite3.Connection] = set()
        self._idle: list[sqlite3.Connection] = []
        self._abandoned: set[sqlite3.Connection] = set()
        self._make_locks()
        _databases.add(self)

    def _make_locks(self) -> None:
        self._opening = threading.Lock()
        # Writers of this process queue here: SQLite would have each try again and again with pauses.
        self._writing = threading.Lock()

    # -- statements ------------------------------------------------------------------------------------------------

    def select(self, statement: str, values: dict[str, Any]) -> list[Row]:
        sql = self._sql[statement]
        return self._use(lambda connection: connection.execute(sql, values).fetchall())

    def change(self, statements: tuple[str, ...], values: dict[str, Any]) -> int:
        """Execute the statements until one of them changes rows; return how many it changed."""
        with _Turn(self._writing, self._timeout):
            return self._use(lambda connection: self._change(connection, statements, values))

    def _change(self, connection: sqlite3.Connection, statements: tuple[str, ...], values: dict[str, Any]) -> int:
        for statement in statements:
            count = connection.execute(self._sql[statement], values).rowcount
            if count:
                return count
        return 0

    def setup(self, drop: bool) -> None:
        with _Turn(self._writing, self._timeout):
            self._use(lambda connection: self._create(connection, drop))

    def _use(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            connection = self._take()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        try:
            result = action(connection)
        except BaseException as error:
            self._connections.discard(connection)
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        self._idle.append(connection)
        return result

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        hint = "; it was left as it is, choose another path" if "not a database" in str(error) else ""
        return StoreUnavailable(f"the SQLite database {self._path} cannot be used: {error}{hint}")

    # -- connections -----------------------------------------------------------------------------------------------

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            with self._opening:
                connection = self._connect()
                self._connections.add(connection)
                return connection

    def _connect(self) -> sqlite3.Connection:
        try:
            _create_private(self._path)
        except OSError as error:
            raise StoreUnavailable(f"the SQLite database {self._path} cannot be made: {error.strerror}") from error
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None,
                                     check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            if not self._has_table(connection):
                self._create(connection)
            self._write_ahead(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Switch the mode on; SQLite does not wait for its turn here, so this does."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.005)
            else:
                return

    def _has_table(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the table is there; `ConfigurationError` if it is not ours."""
        found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (self._table,))
        definitions = [str(row[0]) for row in found]
        if any(_MARK not in definition for definition in definitions):
            raise ConfigurationError(f"{self._table!r} in {self._path} is not a table of this version of session2; "
                                     f"it was left as it is, choose another name with table=")
        return bool(definitions)

    def _create(self, connection: sqlite3.Connection, drop: bool = False) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            exists = self._has_table(connection)
            if exists and drop:
                connection.execute(self._sql[_DROP])
            if drop or not exists:
                for statement in (_TABLE, _DUE_INDEX, _USER_INDEX):
                    connection.execute(self._sql[statement])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        with self._opening:
            self._close_all()

    def _close_all(self) -> None:
        """Close all connections as they become idle; those still busy after the timeout stay open."""
        end = time.monotonic() + self._timeout
        while self._connections and time.monotonic() < end:
            try:
                connection = self._idle.pop()
            except IndexError:
                time.sleep(0.001)
            else:
                connection.close()
                self._connections.discard(connection)

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        self._writing.acquire(timeout=self._timeout)
        self._opening.acquire(timeout=self._timeout)
        self._close_all()

    def after_fork_in_parent(self) -> None:
        for lock in (self._opening, self._writing):
            with contextlib.suppress(RuntimeError):  # not acquired: a thread held it for all of the timeout
                lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew; connections there should be none of stay untouched, for closing them is not safe either."""
        self._abandoned |= self._connections
        self._connections, self._idle = set(), []
        self._make_locks()


class _Turn:
    """The wait for a lock, for a bounded time."""

    def __init__(self, lock: threading.Lock, timeout: float) -> None:
        self._lock, self._timeout = lock, timeout

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreUnavailable(f"other writers kept the SQLite database busy for {self._timeout:g} s")

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _create_private(path: str) -> None:
    """Make the file, empty and for its owner only, if it is missing.

    It must not be opened here: closing it would drop the locks SQLite has on it in this process.
    """
    if os.path.exists(path):
        return
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


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


def _call_all(method: str) -> Callable[[], None]:
    def call() -> None:
        for database in list(_databases):
            getattr(database, method)()
    return call


# What a fork needs to know: the databases of this process.
_databases: weakref.WeakSet[_Database] = weakref.WeakSet()
os.register_at_fork(before=_call_all("before_fork"), after_in_parent=_call_all("after_fork_in_parent"),
                    after_in_child=_call_all("after_fork_in_child"))
