"""The psycopg side of `PostgresSessionStore`; imported when such a store is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.rows import tuple_row

from ...errors import ConfigurationError, StoreUnavailable
from ..sql.pool import Borrowed, Kind, Pool, one_at_a_time
from ..sql.results import Connections, Fault, Result, StatementFailed
from ..sql.wire import is_readable

_BUSY = (errors.SerializationFailure, errors.DeadlockDetected)
_NO_TABLE = (errors.UndefinedTable, errors.UndefinedColumn)


class Bounded(psycopg.Connection[Any]):
    """A connection on which waiting for the server ends."""

    patience: float

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


def connections(conn: Any, pool_size: int, connect_timeout: float, timeout: float, durable: bool,
                ssl_ca: str | None) -> Connections:
    """Return the connections a store works with, given what `PostgresSessionStore` was given."""
    if ssl_ca is not None and not isinstance(conn, str):
        raise ConfigurationError("ssl_ca needs connections the store makes itself; encrypt yours where they are made")
    how = _kind(_place(conn, ssl_ca), connect_timeout, timeout, durable)
    own = Pool(how, pool_size, timeout)
    if isinstance(conn, str):
        return own
    if isinstance(conn, psycopg.Connection):
        return Borrowed(one_at_a_time(conn, is_free, own), own)
    return Borrowed(_from_pool(conn, connect_timeout), own, conn.check)


def _place(conn: Any, ssl_ca: str | None) -> Callable[[], str]:
    """Return what tells the conninfo for connections of the store's own."""
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


def _checked(conninfo: str, options: Mapping[str, str]) -> str:
    try:
        return make_conninfo(conninfo, **options)
    except psycopg.ProgrammingError:  # which may quote a part of the password
        raise ConfigurationError("libpq cannot read the connection string; in a conninfo a value with blanks needs "
                                 "quotes, in a URL write %40 for @, and likewise for / ? # % and blanks") from None


def _place_of_pool(pool: Any) -> str:
    conninfo = pool.conninfo() if callable(pool.conninfo) else pool.conninfo
    options = pool.kwargs() if callable(pool.kwargs) else pool.kwargs or {}
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    return make_conninfo(conninfo, **{name: value for name, value in options.items() if name in known})


def _from_pool(pool: Any, patience: float) -> Callable[[], AbstractContextManager[psycopg.Connection[Any]]]:
    @contextmanager
    def lend() -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = pool.getconn(timeout=patience)
        except psycopg.Error as error:
            raise StoreUnavailable(f"no connection to PostgreSQL: {_first_line(error)}") from error
        try:
            yield connection
        finally:
            pool.putconn(connection)

    return lend


def _kind(place: Callable[[], str], connect_timeout: float, timeout: float,
            durable: bool) -> Kind[psycopg.Connection[Any]]:
    settings = {"statement_timeout": f"{timeout * 1000:.0f}", **({} if durable else {"synchronous_commit": "off"})}
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())

    def connect() -> psycopg.Connection[Any]:
        try:
            connection = Bounded.connect(place(), autocommit=True, connect_timeout=max(1, round(connect_timeout)))
            connection.patience = connect_timeout
            connection.execute(f"SELECT {calls}")
        except psycopg.Error as error:
            raise StoreUnavailable(f"no connection to PostgreSQL: {_first_line(error)}") from error
        connection.patience = timeout + 1  # the server's own limit comes first and leaves the connection intact
        return connection

    return Kind(connect, is_free, psycopg.Connection.close)


def is_free(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the connection is open and no transaction is under way on it."""
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def is_cut(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the server has ended the connection, as far as that is known here; close it then.

    What else the server says unasked, such as a notification, is taken in on the way.
    """
    try:
        while not connection.closed and is_readable(connection.pgconn.socket):
            connection.pgconn.consume_input()
    except psycopg.Error:
        connection.close()
    return connection.closed


def send(connection: psycopg.Connection[Any], text: str, arguments: Mapping[str, Any]) -> Result:
    """Execute one statement as a transaction of its own."""
    try:
        if connection.autocommit:
            return _execute(connection, text, arguments)
        with _outside_transactions(connection):
            return _execute(connection, text, arguments)
    except psycopg.Error as error:
        raise StatementFailed(_fault(connection, error), _first_line(error)) from error


def _execute(connection: psycopg.Connection[Any], text: str, arguments: Mapping[str, Any]) -> Result:
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    cursor.execute(text, arguments, binary=True)
    has_rows = cursor.pgresult is not None and cursor.pgresult.nfields > 0
    return Result(cursor.rowcount, cursor.fetchall() if has_rows else [])


@contextmanager
def transaction(connections: Connections) -> Iterator[psycopg.Cursor[Any]]:
    """Yield a cursor in a transaction, for changes of the table itself."""
    try:
        with connections.connection() as connection, connection.transaction():
            yield psycopg.Cursor(connection, row_factory=tuple_row)
    except psycopg.Error as error:
        raise StoreUnavailable(f"the table could not be set up: {_first_line(error)}") from error


@contextmanager
def _outside_transactions(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have statements commit themselves; costs no round trip, for psycopg keeps the mode on its own side."""
    connection.autocommit = True
    try:
        yield
    finally:
        if is_free(connection):
            connection.autocommit = False


def _fault(connection: psycopg.Connection[Any], error: psycopg.Error) -> Fault:
    if isinstance(error, _NO_TABLE):
        return Fault.NO_TABLE
    if isinstance(error, _BUSY):
        return Fault.BUSY
    state = error.sqlstate or ""
    if connection.closed or state.startswith("08") or state in ("57P01", "57P02", "57P03"):
        connection.close()
        return Fault.BROKEN
    return Fault.OTHER


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
