"""The psycopg side of `PostgresSessionStore`; imported when such a store is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types import numeric, string

from ...errors import ConfigurationError, StoreUnavailable
from ...events import log
from ..sql.pool import Kind, Lender, Lent, Pool, use_twice
from ..sql.results import Connections, Fault, Result, StatementFailed
from ..sql.wire import is_readable

_BUSY = (errors.SerializationFailure, errors.DeadlockDetected)
_NO_TABLE = (errors.UndefinedTable, errors.UndefinedColumn)
_WRONG_ROLE = (errors.ReadOnlySqlTransaction,)  # a standby, or a primary that was fenced off
_NO_NAMES = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)

_T = TypeVar("_T")

_ADAPTERS: Final = AdaptersMap(psycopg.adapters)
"""What values become on the way: as psycopg has it, whatever the application registered for itself."""
for _types in (numeric, string):
    _types.register_default_adapters(_ADAPTERS)


class Bounded(psycopg.Connection[Any]):
    """A connection on which waiting for the server ends."""

    patience: float = 30.0
    place: Place

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        return super().wait(_until(gen, time.monotonic() + self.patience, self.patience), *args, **options)

    def __del__(self, *_: Any) -> None:
        """Say nothing: pooled connections end with the program, and those of a parent are not the child's to close."""


def _until(steps: Generator[Any, Any, Any], end: float, patience: float) -> Generator[Any, Any, Any]:
    """Pass the steps of a statement on; fail when the server is silent beyond `end`."""
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise psycopg.OperationalError(f"the server did not answer within {patience:g} s")
            wanted = steps.send(ready)
    except StopIteration as stop:
        return stop.value


class _Cursor(psycopg.Cursor[Any]):
    """Believes nothing that a connection was told about types, and gives no names to statements but on our own."""

    adapters = property(lambda self: _ADAPTERS)

    def execute(self, *call: Any, **options: Any) -> _Cursor:
        prepare = None if isinstance(self.connection, Bounded) else False
        return super().execute(*call, **{"prepare": prepare, **options})


@dataclass
class Place:
    """Where the store's own connections lead, and what they are told."""

    conninfo: Callable[[], str]
    kind: Callable[[], type[psycopg.Connection[Any]]]
    may_prepare: Callable[[], bool]
    connect_timeout: float
    timeout: float
    settings: Mapping[str, str]

    def connect(self) -> Bounded:
        """Return a connection that the store makes itself."""
        try:
            connection = _bounded(self.kind()).connect(
                self.conninfo(), autocommit=True, client_encoding="UTF8", prepare_threshold=None,
                connect_timeout=max(1, round(self.connect_timeout)))
            connection.patience, connection.place = self.connect_timeout, self
            if self.may_prepare():
                self._greet(connection)
        except psycopg.Error as error:
            raise StoreUnavailable(f"no connection to PostgreSQL: {_first_line(error)}") from error
        connection.patience = self.timeout + 1  # the server's own limit comes first and leaves the connection intact
        return connection

    def _greet(self, connection: Bounded) -> None:
        """Give names to statements, and set what holds for the session, if there is no pooler in between.

        Behind a pooler the next statement may go to another process of the server: a name means another client's
        statement there, and what is set is set for others.  The process that answers is then not the one that greeted.
        """
        calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in self.settings.items())
        pid = connection.info.backend_pid
        cursor = connection.execute(f"SELECT CASE pg_backend_pid() WHEN {pid} THEN ARRAY[{calls}] END")
        if cursor.fetchall() != [(None,)]:
            connection.prepare_threshold = _NAMED_AFTER

    def stop_preparing(self, error: psycopg.Error) -> None:
        """Give no more names, for they are not kept, or are others' too."""
        log.warning("PostgreSQL does not keep the names of prepared statements (%s): a pooler is in between.  The "
                    "store goes on without; write ?prepare=false into its URL, or prepare=False", _first_line(error))
        self.may_prepare = lambda: False


_NAMED_AFTER: Final = 5
"""How often a statement is sent in full before it gets a name: psycopg's default."""


def _bounded(kind: type[psycopg.Connection[Any]]) -> type[Bounded]:
    """Return a class that connects as the application's own does."""
    return Bounded if kind is psycopg.Connection else type("Bounded", (Bounded, kind), {})


def connections(conn: Any, pool_size: int, connect_timeout: float, timeout: float, durable: bool,
                ssl_ca: str | None, prepare: bool) -> Connections:
    """Return the connections a store works with, given what `PostgresSessionStore` was given."""
    if ssl_ca is not None and not isinstance(conn, str):
        raise ConfigurationError("ssl_ca needs connections the store makes itself; encrypt yours where they are made")
    settings = {"statement_timeout": f"{timeout * 1000:.0f}", **({} if durable else {"synchronous_commit": "off"})}
    place = Place(_conninfo_of(conn, ssl_ca), partial(_kind_of, conn), lambda: prepare and _may_prepare(conn),
                  connect_timeout, timeout, settings)
    close = psycopg.Connection.close
    own = Pool(Kind(place.connect, is_at_rest, is_cut, close, close), pool_size, timeout)
    # A single connection only tells the place: other threads of the application may be in a transaction on it at any
    # moment, and whoever looks first and sends then does so too late.
    return own if isinstance(conn, (str, psycopg.Connection)) else Lent(_lender(conn, connect_timeout), own)


def _conninfo_of(conn: Any, ssl_ca: str | None) -> Callable[[], str]:
    if isinstance(conn, str):
        conninfo = _checked(conn, {} if ssl_ca is None else {"sslmode": "verify-full", "sslrootcert": ssl_ca})
        return lambda: conninfo
    if isinstance(conn, psycopg.Connection):
        secret = {"password": conn.info.password} if conn.info.password else {}
        conninfo = make_conninfo(**{**conn.info.get_parameters(), **secret})
        return lambda: conninfo
    if not hasattr(conn, "getconn"):
        raise ConfigurationError(f"PostgresSessionStore needs a conninfo string, a connection or a pool of psycopg 3, "
                                 f"not {type(conn).__name__}")
    return lambda: _place_of_pool(conn)


def _kind_of(conn: Any) -> type[psycopg.Connection[Any]]:
    """Return the class of what the application lends: it may know how to log in."""
    if isinstance(conn, str):
        return psycopg.Connection
    return type(conn) if isinstance(conn, psycopg.Connection) else getattr(conn, "connection_class", psycopg.Connection)


def _may_prepare(conn: Any) -> bool:
    """Tell whether the application lets its own connections give names to statements."""
    if isinstance(conn, str):
        return True
    if isinstance(conn, psycopg.Connection):
        return conn.prepare_threshold is not None
    return _options_of(conn).get("prepare_threshold", _NAMED_AFTER) is not None


def _checked(conninfo: str, options: Mapping[str, str]) -> str:
    try:
        return make_conninfo(conninfo, **options)
    except psycopg.ProgrammingError:  # which may quote a part of the password
        raise ConfigurationError("libpq cannot read the connection string; in a conninfo a value with blanks needs "
                                 "quotes, in a URL write %40 for @, and likewise for / ? # % and blanks") from None


def _place_of_pool(pool: Any) -> str:
    conninfo = pool.conninfo() if callable(pool.conninfo) else pool.conninfo
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    return make_conninfo(conninfo, **{name: value for name, value in _options_of(pool).items() if name in known})


def _options_of(pool: Any) -> Mapping[str, Any]:
    options = getattr(pool, "kwargs", None)
    return (options() if callable(options) else options) or {}


def _lender(pool: Any, patience: float) -> Lender[psycopg.Connection[Any]]:
    def lend() -> psycopg.Connection[Any] | None:
        if not _options_of(pool).get("autocommit"):
            return None
        try:
            connection: psycopg.Connection[Any] = pool.getconn(timeout=patience)
        except psycopg.Error as error:
            raise StoreUnavailable(f"no connection to PostgreSQL: {_first_line(error)}") from error
        if connection.autocommit and is_at_rest(connection) and not is_cut(connection):
            return connection
        pool.putconn(connection)
        return None

    return Lender(lend, pool.putconn, psycopg.Connection.close, getattr(pool, "drain", pool.check))


def is_at_rest(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the connection is open and no transaction is under way on it."""
    return connection.pgconn.transaction_status == TransactionStatus.IDLE


def is_cut(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the server has ended the connection; other things it says unasked are taken in on the way."""
    try:
        while is_readable(connection.pgconn.socket):
            connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def send(connection: psycopg.Connection[Any], text: str, arguments: Mapping[str, Any]) -> Result:
    """Execute one statement as a transaction of its own."""
    cursor = _Cursor(connection, row_factory=tuple_row)
    try:
        cursor.execute(text, arguments, binary=True)
        has_rows = cursor.pgresult is not None and cursor.pgresult.nfields > 0
        return Result(cursor.rowcount, cursor.fetchall() if has_rows else [])
    except psycopg.Error as error:
        raise StatementFailed(_fault(connection, error), _first_line(error)) from error


def in_transaction(connections: Connections, action: Callable[[Any], _T]) -> _T:
    """Call `action` with a cursor in a transaction, for changes of the table itself."""
    def work(connection: psycopg.Connection[Any]) -> _T:
        with connection.transaction():
            return action(_Cursor(connection, row_factory=tuple_row))

    try:
        return use_twice(connections, work, psycopg.Error)
    except psycopg.Error as error:
        raise StoreUnavailable(f"the table could not be set up: {_first_line(error)}") from error


def _fault(connection: psycopg.Connection[Any], error: psycopg.Error) -> Fault:
    state = error.sqlstate or ""
    if isinstance(error, _NO_NAMES) and isinstance(connection, Bounded):
        connection.place.stop_preparing(error)
        return Fault.WRONG_ROLE
    if connection.closed or state.startswith("08") or state in ("57P01", "57P02", "57P03"):
        return Fault.BROKEN
    for fault, kinds in ((Fault.NO_TABLE, _NO_TABLE), (Fault.BUSY, _BUSY), (Fault.WRONG_ROLE, _WRONG_ROLE)):
        if isinstance(error, kinds):
            return fault
    return Fault.OTHER


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
