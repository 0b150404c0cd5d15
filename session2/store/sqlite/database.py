"""The connections to one SQLite file, and how they share it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...patience import attempts
from .statements import DROP, DUE_INDEX, MARK, STATEMENTS, TABLE, USER_INDEX

Row = tuple[Any, ...]
_T = TypeVar("_T")


class Database:
    """The connections to one file.

    A connection serves one statement at a time, whichever thread wants it next; so threads that end leave none behind.
    None may be open while the process forks: SQLite keeps its locks in memory as well, and a child would take those of
    its parent for its own and not ask the system for any.
    """

    def __init__(self, path: str, table: str, synchronous: str, timeout: float) -> None:
        self._path, self._table, self._synchronous, self._timeout = path, table, synchronous, timeout
        names = {"table": f'"{table}"', "due_index": f'"{table}_due"', "user_index": f'"{table}_user"'}
        self._sql = {statement: statement.format_map(names) for statement in STATEMENTS}
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
        for _ in attempts(self._timeout, longest=0.01):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
        raise sqlite3.OperationalError("database is locked")

    def _has_table(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the table is there; `ConfigurationError` if it is not ours."""
        found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (self._table,))
        definitions = [str(row[0]) for row in found]
        if any(MARK not in definition for definition in definitions):
            raise ConfigurationError(f"{self._table!r} in {self._path} is not a table of this version of session2; "
                                     f"it was left as it is, choose another name with table=")
        return bool(definitions)

    def _create(self, connection: sqlite3.Connection, drop: bool = False) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            exists = self._has_table(connection)
            if exists and drop:
                connection.execute(self._sql[DROP])
            if drop or not exists:
                for statement in (TABLE, DUE_INDEX, USER_INDEX):
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
        for _ in attempts(self._timeout, longest=0.005):
            while self._idle:
                connection = self._idle.pop()
                connection.close()
                self._connections.discard(connection)
            if not self._connections:
                return

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


def _call_all(method: str) -> Callable[[], None]:
    def call() -> None:
        for database in list(_databases):
            getattr(database, method)()
    return call


# What a fork needs to know: the databases of this process.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
os.register_at_fork(before=_call_all("before_fork"), after_in_parent=_call_all("after_fork_in_parent"),
                    after_in_child=_call_all("after_fork_in_child"))
