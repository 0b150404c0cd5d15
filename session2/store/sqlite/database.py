"""The connections to one SQLite file, and how they share it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...forks import PerProcess
from ...patience import attempts
from .inherited import index_of, take_locks
from .statements import DROP, DUE_INDEX, MARK, STATEMENTS, TABLE, USER_INDEX

Row = tuple[Any, ...]
_T = TypeVar("_T")


class _Connections:
    """What one process has open."""

    def __init__(self) -> None:
        self.all: set[sqlite3.Connection] = set()
        self.idle: list[sqlite3.Connection] = []
        self.index: int | None = None
        self.has_locks = False
        self.opening = threading.Lock()
        # Writers of this process queue here: SQLite would have each try again and again with pauses.
        self.writing = threading.Lock()
        self.forking: dict[int, list[threading.Lock]] = {}


class Database:
    """The connections to one file.

    A connection serves one statement at a time, whichever thread wants it next; so threads that end leave none behind.
    None should be open while the process forks, see `inherited`; so they are closed before where Python forks.
    """

    def __init__(self, path: str, table: str, synchronous: str, timeout: float) -> None:
        self._path, self._table, self._synchronous, self._timeout = path, table, synchronous, timeout
        names = {"table": f'"{table}"', "due_index": f'"{table}_due"', "user_index": f'"{table}_user"'}
        self._sql = {statement: statement.format_map(names) for statement in STATEMENTS}
        self._own = PerProcess(_Connections, self._leave)
        _databases.add(self)

    # -- statements ------------------------------------------------------------------------------------------------

    def select(self, statement: str, values: dict[str, Any]) -> list[Row]:
        sql = self._sql[statement]
        return self._use(lambda connection: connection.execute(sql, values).fetchall())

    def change(self, statements: tuple[str, ...], values: dict[str, Any]) -> int:
        """Execute the statements until one of them changes rows; return how many it changed."""
        with _Turn(self._own().writing, self._timeout):
            return self._use(lambda connection: self._change(connection, statements, values))

    def _change(self, connection: sqlite3.Connection, statements: tuple[str, ...], values: dict[str, Any]) -> int:
        for statement in statements:
            count = connection.execute(self._sql[statement], values).rowcount
            if count:
                return count
        return 0

    def setup(self, drop: bool) -> None:
        with _Turn(self._own().writing, self._timeout):
            self._use(lambda connection: self._create(connection, drop))

    def _use(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        own = self._own()
        try:
            connection = self._take(own)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        try:
            result = action(connection)
        except BaseException as error:
            own.all.discard(connection)
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        if own.index is None:  # SQLite makes it at the first statement
            own.index = index_of(self._path)
        own.idle.append(connection)
        return result

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        hint = "; it was left as it is, choose another path" if "not a database" in str(error) else ""
        return StoreUnavailable(f"the SQLite database {self._path} cannot be used: {error}{hint}")

    # -- connections -----------------------------------------------------------------------------------------------

    def _take(self, own: _Connections) -> sqlite3.Connection:
        try:
            return own.idle.pop()
        except IndexError:
            with own.opening:
                self._take_inherited_locks(own)
                connection = self._connect()
                own.all.add(connection)
                own.index = None
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
        with self._own().opening:
            self._close_all()

    def _close_all(self) -> None:
        """Close all connections as they become idle; those still busy after the timeout stay open."""
        own = self._own()
        for _ in attempts(self._timeout, longest=0.005):
            while own.idle:
                connection = own.idle.pop()
                connection.close()
                own.all.discard(connection)
            if not own.all:
                return

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Have nothing open, unless a thread is busy for all of the timeout: then it is as if we were not asked."""
        own = self._own()
        locks = [lock for lock in (own.writing, own.opening) if lock.acquire(timeout=self._timeout)]
        own.forking[threading.get_ident()] = locks
        self._close_all()

    def after_fork_in_parent(self) -> None:
        for lock in self._own().forking.pop(threading.get_ident(), []):
            lock.release()

    def _leave(self, inherited: _Connections) -> None:
        if inherited.all:
            _left_open.append((self._path, inherited))

    def _take_inherited_locks(self, own: _Connections) -> None:
        if own.has_locks:
            return
        for database in list(_databases):
            database.notice_fork()
        for path, inherited in _left_open:
            if path == self._path:
                take_locks(path, inherited.index, self._timeout)
        own.has_locks = True

    def notice_fork(self) -> None:
        self._own()


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


# What was open when this process was forked, or one before it.
_left_open: Final[list[tuple[str, _Connections]]] = []

# What a fork needs to know: the databases of this process.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
os.register_at_fork(before=_call_all("before_fork"), after_in_parent=_call_all("after_fork_in_parent"))
