"""The connections to one SQLite file, and how they share it."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from ... import forks, mutex
from ...errors import ConfigurationError, StoreMissing, StoreUnavailable
from ...mutex import Mutex
from ...patience import attempts
from .inherited import index_of, take_locks
from .place import Place
from .statements import DROP, DUE_INDEX, MARK, STATEMENTS, TABLE, USER_INDEX

Row = tuple[Any, ...]
Values: TypeAlias = "tuple[Any, ...] | dict[str, Any]"
"""Of what a statement leaves open: by place or by name."""

_T = TypeVar("_T")

_NEEDS_FOLDER: Final = "; its folder has to be writable too, for the files that SQLite makes beside it"

_HINTS: Final = {"not a database": "; it was left as it is, choose another path", "unable to open": _NEEDS_FOLDER,
                 "readonly database": _NEEDS_FOLDER}
"""What to do about an error of SQLite's, by its words."""

_LONGEST_PAUSE: Final = 0.004
"""Seconds: what others keep the database busy with takes no longer as a rule."""


class Connection(sqlite3.Connection):
    """One that can be referred to weakly: what an interruption makes everybody forget is closed by that."""


class Database:
    """The connections to one file.

    A connection serves one statement at a time, whichever thread wants it next; so threads that end leave none behind.
    None may be open while the process forks: SQLite keeps its locks in memory as well, and a child would take those of
    its parent for its own and not ask the system for any.

    :param create: make the file and the table when they are first used; else only `setup` does.
    """

    def __init__(self, place: Place, table: str, synchronous: str, timeout: float, create: bool) -> None:
        self._place, self._table, self._synchronous, self._timeout = place, table, synchronous, timeout
        self._create_at_use = create
        self._busy = f"other writers kept the SQLite database busy for {timeout:g} s"
        names = {"table": f'"{table}"', "due_index": f'"{table}_due"', "user_index": f'"{table}_user"'}
        self._sql = {statement: statement.format_map(names) for statement in STATEMENTS}
        self._abandoned: list[Connection] = []
        self._opening = Mutex()
        self._start()
        _databases.add(self)

    def _start(self) -> None:
        self._index: int | None = None
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._idle: list[Connection] = []
        self._forking = False
        # Writers of this process queue here: SQLite would have each try again and again with pauses.
        self._writing = mutex.Place()
        self._pid = forks.pid()

    # -- statements ------------------------------------------------------------------------------------------------

    def select(self, statement: str, values: Values) -> list[Row]:
        return self._use(partial(_rows, self._sql[statement], values))

    def change(self, statement: str, values: Values) -> int:
        """Execute a statement; return how many rows it changed."""
        return self._in_turn(partial(self._use, partial(_count, self._sql[statement], values)))

    def setup(self, drop: bool) -> None:
        """Make the file and the table, and leave nothing open: a program may fork its workers next."""
        self._in_turn(partial(self._use, partial(self._create, drop), create=True))
        self.close_idle()

    def _in_turn(self, action: Callable[[], _T]) -> _T:
        if self._pid != forks.pid():
            notice_fork()
        return self._writing.run(action, self._timeout, self._busy)

    def _use(self, action: Callable[[Connection], _T], create: bool = False) -> _T:
        connection = None
        try:
            if self._pid != forks.pid():
                notice_fork()
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._take_new(create or self._create_at_use)
            try:
                result = action(connection)
            except sqlite3.OperationalError as error:
                result = self._again(action, connection, error)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        if self._index is None:  # it is there since the first statement
            self._index = index_of(self._place.path)
        self._idle.append(connection)
        return result

    def _again(self, action: Callable[[Connection], _T], connection: Connection, busy: sqlite3.OperationalError) -> _T:
        """Do it when no other process writes any more, or raise what went wrong.

        SQLite itself asks again after up to 100 ms only: it hardly ever gets in between the batches of a purge.
        """
        for _ in attempts(self._timeout, longest=_LONGEST_PAUSE):
            if not _is_busy(busy):
                break
            try:
                return action(connection)
            except sqlite3.OperationalError as error:
                busy = error
        raise busy

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        hint = next((hint for what, hint in _HINTS.items() if what in str(error)), "")
        return StoreUnavailable(f"the SQLite database {self._place.path} cannot be used: {error}{hint}")

    # -- connections -----------------------------------------------------------------------------------------------

    def _take_new(self, create: bool) -> Connection:
        for _ in attempts(max(self._timeout, 1.0)):
            try:
                return self._idle.pop()
            except IndexError:
                found = self._alone(lambda: self._open(create))
            if found is not None:
                return found
        raise StoreUnavailable("the process was about to fork all the time")

    def _alone(self, action: Callable[[], _T]) -> _T:
        """Do what opens or closes connections while no other thread does."""
        return self._opening.run(action, self._timeout, "others open the SQLite database")

    def _open(self, create: bool) -> Connection | None:
        """Return a new connection, None if there must be none just now."""
        if self._forking:
            return None
        notice_fork()  # another store may have the same file open, from before
        connection = self._connect(create)
        self._connections.add(connection)
        return connection

    def _connect(self, create: bool) -> Connection:
        self._place.check(create)
        connection = sqlite3.connect(self._place.path, timeout=self._timeout, isolation_level=None,
                                     check_same_thread=False, factory=Connection)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            if not self._has_table(connection):
                if not create:
                    raise StoreMissing(f"there is no table {self._table!r} in {self._place.path}", self._place.how)
                self._create(False, connection)
            self._write_ahead(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on `_again` waits
        except BaseException:
            connection.close()
            raise
        self._index = None
        return connection

    def _write_ahead(self, connection: Connection) -> None:
        """Switch the mode on; SQLite does not wait for its turn here, so this does."""
        end = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise
                time.sleep(0.005)
            else:
                return

    def _has_table(self, connection: Connection) -> bool:
        """Tell whether the table is there; `ConfigurationError` if it is not ours."""
        found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (self._table,))
        definitions = [str(row[0]) for row in found]
        if any(MARK not in definition for definition in definitions):
            raise ConfigurationError(f"{self._table!r} in {self._place.path} is not a table of this version of "
                                     "session2; it was left as it is, choose another name with table=")
        return bool(definitions)

    def _create(self, drop: bool, connection: Connection) -> None:
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
        """Close all connections as they become idle; those still busy after the timeout stay open."""
        if self._pid == forks.pid():
            self._alone(self._close_all)

    def close_idle(self) -> None:
        """Close what nobody uses, and wait for nobody: this may run anywhere, also when the interpreter ends."""
        if self._pid != forks.pid():
            return
        while self._idle:
            with contextlib.suppress(IndexError, sqlite3.Error):
                self._idle.pop().close()

    def _close_all(self) -> None:
        end = time.monotonic() + self._timeout
        self.close_idle()
        if any(map(_is_open, list(self._connections))):
            gc.collect()  # a connection refers to itself: one that an interruption lost is still there
        while any(map(_is_open, list(self._connections))) and time.monotonic() < end:
            time.sleep(0.001)
            self.close_idle()

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        def forbid() -> None:
            self._forking = True

        with contextlib.suppress(StoreUnavailable):  # somebody has been opening for all of the timeout
            self._opening.run(forbid, self._timeout, "")
        self._forking = True
        self._close_all()

    def after_fork_in_parent(self) -> None:
        self._forking = False

    def after_fork_in_child(self) -> None:
        """Leave connections there should be none of untouched, for closing them is not safe either.

        To start anew is for `begin_in_child`, at the first use: locks made here might be those that gevent replaces.
        """
        self._abandoned += list(self._connections)
        self._connections = weakref.WeakSet()

    def begin_in_child(self) -> None:
        """Start anew after a fork."""
        if self._pid != forks.pid():
            self._alone(self._begin_in_child)

    def _begin_in_child(self) -> None:
        """What is open here, after a fork that ran no hooks, is the parent's, and so are its locks."""
        if self._pid == forks.pid():  # another thread was faster
            return
        inherited = [connection for connection in self._connections if _is_open(connection)]
        if inherited:
            take_locks(self._place.path, self._index, self._timeout)
        self._abandoned += inherited
        self._start()


def _rows(sql: str, values: Values, connection: Connection) -> list[Row]:
    return connection.execute(sql, values).fetchall()


def _count(sql: str, values: Values, connection: Connection) -> int:
    return connection.execute(sql, values).rowcount


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error)


def _is_open(connection: Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


def notice_fork() -> None:
    """Have all databases of this process start anew if it was forked: several may be of one file."""
    for database in list(_databases):
        database.begin_in_child()


def _call_all(method: str) -> Callable[[], None]:
    def call() -> None:
        for database in list(_databases):
            getattr(database, method)()
    return call


# What a fork needs to know: the databases of this process.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
os.register_at_fork(before=_call_all("before_fork"), after_in_parent=_call_all("after_fork_in_parent"),
                    after_in_child=_call_all("after_fork_in_child"))
