"""The PyMySQL side of `MySQLSessionStore`; imported when such a store is made."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.constants import CR, ER, SERVER_STATUS
from pymysql.converters import encoders
from pymysql.cursors import Cursor

from ...errors import ConfigurationError, StoreUnavailable
from ..sql.pool import Borrowed, Kind, Pool, one_at_a_time
from ..sql.results import Connections, Fault, Result, StatementFailed
from ..sql.wire import is_readable

Connection = pymysql.connections.Connection

_BUSY = {ER.LOCK_DEADLOCK, 1020}  # 1020: the row changed since it was read (MariaDB, with innodb_snapshot_isolation)
_NO_TABLE = {ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR}
_BROKEN = {0, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_LOST_EXTENDED, ER.SERVER_SHUTDOWN,
           1927, 4031}  # 1927: MariaDB killed the connection; 4031: MySQL 8 ended it for being silent

_MADE = {ER.TABLE_EXISTS_ERROR, ER.DUP_FIELDNAME, ER.DUP_KEYNAME}

_SETUP_PATIENCE = 20


def connections(conn: Any, pool_size: int, connect_timeout: float, timeout: float, ssl_ca: str | None) -> Connections:
    """Return the connections a store works with, given what `MySQLSessionStore` was given."""
    if isinstance(conn, (str, Mapping)):
        place = _from_url(conn) if isinstance(conn, str) else dict(conn)
        tls = {} if ssl_ca is None else {"ssl_ca": ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True}
        return Pool(_kind({**place, **tls}, connect_timeout, timeout), pool_size, timeout)
    if ssl_ca is not None:
        raise ConfigurationError("ssl_ca needs connections the store makes itself; encrypt yours where they are made")
    if isinstance(conn, Connection):
        own = Pool(_kind(_place(conn), connect_timeout, timeout), pool_size, timeout)
        return Borrowed(one_at_a_time(conn, is_free, own), own)
    if not hasattr(conn, "connection"):
        raise ConfigurationError("MySQLSessionStore needs a URL, the arguments of pymysql.connect, a connection of "
                                 f"PyMySQL or a pool of them, not {type(conn).__name__}")
    child = Kind(getattr(conn, "steady_connection", _unshared), lambda _: True, _close)  # it repairs itself
    return Borrowed(_from_pool(conn), Pool(child, pool_size, timeout))


def _from_url(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    place = {"user": parts.username, "password": parts.password, "database": parts.path[1:], "host": parts.hostname}
    given = {name: unquote(value) for name, value in place.items() if value}
    if given.get("host", "").startswith("/"):
        given["unix_socket"] = given.pop("host")
    try:
        return {**given, **({} if parts.port is None else {"port": parts.port})}
    except ValueError:
        raise ConfigurationError("the port in the URL of a MySQL store is not a number") from None


def _place(connection: Any) -> dict[str, Any]:
    """Return the arguments for another connection like this one."""
    names = ("host", "port", "unix_socket", "user", "password", "charset", "bind_address")
    place = {name: getattr(connection, name) for name in names}
    database = connection.db.decode() if isinstance(connection.db, bytes) else connection.db
    # Encryption that was demanded is demanded again; what the driver tries by itself it tries again by itself.
    demanded = getattr(connection, "_ssl_required", connection.ssl)
    return {**place, "database": database, **({"ssl": connection.ctx} if demanded else {})}


def _kind(place: Mapping[str, Any], connect_timeout: float, timeout: float) -> Kind[Any]:
    def connect() -> Any:
        options: dict[str, Any] = {"init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"}
        options = {**options, **place, "autocommit": True, "connect_timeout": connect_timeout,
                   "read_timeout": connect_timeout, "write_timeout": timeout}
        try:
            connection: Any = Connection(**options)
        except (pymysql.err.Error, OSError) as error:
            raise StoreUnavailable(f"no connection to MySQL: {error}") from error
        # PyMySQL has one limit for the handshake and for statements; the handshake is over.
        connection._read_timeout = timeout
        return connection

    return Kind(connect, is_free, _close)


def is_free(connection: Any) -> bool:
    """Tell whether the connection is open and no transaction is under way on it."""
    return bool(connection.open and not connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)


def _close(connection: Any) -> None:
    with contextlib.suppress(pymysql.err.Error, OSError):
        connection.close()


def _unshared() -> Any:
    raise ConfigurationError("this pool cannot make connections for a forked process; make the store after the fork")


def _from_pool(pool: Any) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def lend() -> Iterator[Any]:
        try:
            connection = pool.connection()
        except (pymysql.err.Error, OSError) as error:
            raise StoreUnavailable(f"no connection to MySQL: {error}") from error
        try:
            yield connection
        finally:
            connection.close()

    return lend


def is_cut(connection: Any) -> bool:
    """Tell whether the server has ended the connection, as far as that is known here; close it then.

    Unasked a server says nothing else; an encrypted connection may have something to read nevertheless.
    """
    wire = getattr(connection, "_sock", None) if isinstance(connection, Connection) else None
    if wire is None or isinstance(wire, ssl.SSLSocket) or not is_readable(wire.fileno()):
        return False
    connection._force_close()
    return True


def filled(connection: Any, text: str, arguments: Mapping[str, Any]) -> str:
    """Return a statement with its arguments, which converters that an application gave a connection do not get."""
    return text % {name: _literal(connection, value) for name, value in arguments.items()} if arguments else text


def _literal(connection: Any, value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(_literal(connection, part) for part in value)})"
    return str(connection.escape(value, encoders))


def ask(cursor: Any, text: str, arguments: Mapping[str, Any]) -> list[Any]:
    """Return the rows that a statement answers."""
    cursor.execute(filled(cursor.connection, text, arguments))
    return list(cursor.fetchall())


def change(cursor: Any, text: str) -> None:
    """Change the table; what is there already was made by another node of a cluster, whose locks are not seen here."""
    try:
        cursor.execute(text)
    except pymysql.err.Error as error:
        if error.args[0] not in _MADE:
            raise


def send(connection: Any, text: str, arguments: Mapping[str, Any]) -> Result:
    """Execute one statement as a transaction of its own."""
    try:
        with connection.cursor(Cursor) as cursor, _committed(connection, cursor):
            count = cursor.execute(filled(cursor.connection, text, arguments))
            return Result(count, list(cursor.fetchall()) if cursor.description else [])
    except (pymysql.err.Error, OSError) as error:
        raise StatementFailed(_fault(error), _text(error)) from error


@contextmanager
def alone(connections: Connections, name: str) -> Iterator[Any]:
    """Yield a cursor while nobody else does so under this name, for changes of the table itself."""
    try:
        with connections.connection() as connection, connection.cursor(Cursor) as cursor:
            cursor.execute("SELECT get_lock(%s, %s)", (name, _SETUP_PATIENCE))
            if cursor.fetchone() != (1,):
                raise StoreUnavailable(f"another process has been setting up the table for {_SETUP_PATIENCE} s")
            try:
                yield cursor
            finally:
                cursor.execute("SELECT release_lock(%s)", (name,))
    except (pymysql.err.Error, OSError) as error:
        raise StoreUnavailable(f"the table could not be set up: {_text(error)}") from error


@contextmanager
def _committed(connection: Any, cursor: Any) -> Iterator[None]:
    """Commit what is done inside, if the server does not do so by itself."""
    try:
        yield
        if not cursor.connection.get_autocommit():
            connection.commit()
    except BaseException:
        with contextlib.suppress(pymysql.err.Error, OSError):
            connection.rollback()
        raise


def _fault(error: Exception) -> Fault:
    code = error.args[0] if error.args else 0
    if code in _NO_TABLE:
        return Fault.NO_TABLE
    if code in _BUSY:
        return Fault.BUSY
    return Fault.BROKEN if code in _BROKEN and "timed out" not in str(error) else Fault.OTHER


def _text(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
