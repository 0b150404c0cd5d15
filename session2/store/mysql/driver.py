"""The PyMySQL side of `MySQLSessionStore`; imported when such a store is made."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import pymysql
from pymysql.constants import COMMAND, CR, ER, SERVER_STATUS
from pymysql.cursors import Cursor

from ...errors import ConfigurationError, StoreUnavailable
from ...forks import Birthplace
from ...urls import parts_of
from ..servers.pool import Kind, Lender, Lent, Pool, use_twice
from ..servers.results import Connections, Fault, Result, StatementFailed
from ..servers.wire import polling
from . import packets
from .literals import filled
from .packets import Answer, Row

Connection = pymysql.connections.Connection

_BUSY = {ER.LOCK_DEADLOCK, 1020}  # 1020: the row changed since it was read (MariaDB, with innodb_snapshot_isolation)
_NO_TABLE = {ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR}
_BROKEN = {0, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_LOST_EXTENDED, ER.SERVER_SHUTDOWN,
           1927, 4031}  # 1927: MariaDB killed the connection; 4031: MySQL 8 ended it for being silent

_IN_TRANSACTION = SERVER_STATUS.SERVER_STATUS_IN_TRANS

_WRONG_ROLE = {1047, ER.OPTION_PREVENTS_STATEMENT, 1792, 1836}
"""Out of its Galera cluster; read only, by an option or by a mode."""

_MADE = {ER.TABLE_EXISTS_ERROR, ER.DUP_FIELDNAME, ER.DUP_KEYNAME}
"""What somebody else has made meanwhile."""

_QUERY: Final = bytes([COMMAND.COM_QUERY])
_PIECE, _LARGE_PIECE = 1 << 13, 1 << 18
"""How many bytes are received at once: most answers are short."""

_SETUP_PATIENCE: Final = 20

_T = TypeVar("_T")


class Own(Connection):
    """A connection that the store made itself: what it is asked goes past the driver."""

    poll: Callable[[float | None], object]
    """Whether there is something to be read."""
    patience: float
    """How many seconds an answer may take."""


def connections(conn: Any, pool_size: int, connect_timeout: float, timeout: float, ssl_ca: str | None,
                wsrep_sync_wait: int) -> Connections:
    """Return the connections a store works with, given what `MySQLSessionStore` was given."""
    def own(place: Callable[[], Mapping[str, Any]]) -> Pool[Any]:
        return Pool(_kind(place, connect_timeout, timeout, wsrep_sync_wait), pool_size, timeout)

    if isinstance(conn, (str, Mapping)):
        tls = {} if ssl_ca is None else {"ssl_ca": ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True}
        place = {**(_from_url(conn) if isinstance(conn, str) else conn), **tls}
        return own(lambda: place)
    if ssl_ca is not None:
        raise ConfigurationError("ssl_ca needs connections the store makes itself; encrypt yours where they are made")
    if isinstance(conn, Connection):
        # A single connection only tells the place: other threads of the application may be using it at any moment.
        place_of_it = _place(conn)
        return own(lambda: place_of_it)
    if not hasattr(conn, "connection"):
        raise ConfigurationError("MySQLSessionStore needs a URL, the arguments of pymysql.connect, a connection of "
                                 f"PyMySQL or a pool of them, not {type(conn).__name__}")
    if wsrep_sync_wait:
        raise ConfigurationError("wsrep_sync_wait needs connections the store makes itself; set it on those of your "
                                 "pool")
    theirs = _Theirs(conn)
    return Lent(Lender(theirs.lend, theirs.give_back, _drop, lambda: None), own(theirs.place))


def _from_url(url: str) -> dict[str, Any]:
    parts = parts_of(url)
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


def _kind(place: Callable[[], Mapping[str, Any]], connect_timeout: float, timeout: float,
          wsrep_sync_wait: int) -> Kind[Any]:
    limit = max(1, math.ceil(timeout))
    fixed = {"autocommit": True, "charset": "utf8mb4", "connect_timeout": connect_timeout,
             "read_timeout": connect_timeout, "write_timeout": limit + 1}

    def connect() -> Any:
        try:
            connection: Any = Own(**{**place(), **fixed})
            connection._sock.settimeout(connect_timeout)
            connection.poll, connection.patience = polling(connection._sock.fileno()), connect_timeout
            for setting in _settings(connection, limit, wsrep_sync_wait):
                _answer(connection, setting)
        except RuntimeError as error:  # PyMySQL has no other way to say what it misses
            raise ConfigurationError(f"no connection to MySQL: {error}: pip install 'session2[mysql]'") from error
        except (pymysql.err.Error, OSError) as error:
            if wsrep_sync_wait and error.args[0] == ER.UNKNOWN_SYSTEM_VARIABLE:
                raise ConfigurationError("this server has no wsrep_sync_wait, it is no cluster of Galera") from error
            raise StoreUnavailable(f"no connection to MySQL: {_text(error)}") from error
        # The server's own limits come first: what it would still carry out after the store gave up would surprise
        # everybody.
        connection._sock.settimeout(limit + 1)
        connection.patience = limit + 1
        return connection

    return Kind(connect, _is_at_rest, _is_cut, _close, _drop)


def _settings(connection: Any, limit: int, wsrep_sync_wait: int) -> list[str]:
    most = f"max_statement_time = {limit}, " if "MariaDB" in connection.get_server_info() else ""
    return ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            f"SET SESSION {most}innodb_lock_wait_timeout = {limit}, lock_wait_timeout = {limit}",
            *([_SYNC.format(wsrep_sync_wait)] if wsrep_sync_wait else [])]


_SYNC: Final = "SET SESSION wsrep_sync_wait = {:d}"


def is_free(connection: Any) -> bool:
    """Tell whether the connection is open and no transaction is under way on it."""
    return _is_at_rest(connection) and not _is_cut(connection)


def _is_at_rest(connection: Any) -> bool:
    return connection._sock is not None and not connection.server_status & _IN_TRANSACTION


def _is_cut(connection: Any) -> bool:
    """Tell whether the server has ended the connection, or said something else that nobody has read."""
    poll = connection.poll if isinstance(connection, Own) else polling(connection._sock.fileno())
    return bool(poll(0))


def _close(connection: Any) -> None:
    with contextlib.suppress(pymysql.err.Error, OSError):
        connection.close()


def _drop(connection: Any) -> None:
    """Close without a farewell, which might be taken for something else, or wait."""
    _raw(connection)._force_close()


def _raw(connection: Any) -> Any:
    """Return the connection of PyMySQL in what a pool lends.

    A wrapper may repeat statements on another connection without telling, and roll back what somebody else began.
    """
    if isinstance(connection, Connection):
        return connection
    with connection.cursor(Cursor) as cursor:
        return cursor.connection


class _Theirs:
    """The pool of an application, of DBUtils or of its own making."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._birthplace = Birthplace()
        self._place: Mapping[str, Any] | None = None
        self._is_autocommit = True

    def lend(self) -> Any:
        """Return a connection nobody is in a transaction on, in autocommit mode; None if there is none such."""
        if not self._is_autocommit:
            return None
        try:
            connection = self._pool.connection()
            raw = _raw(connection)
        except (pymysql.err.Error, OSError) as error:
            raise StoreUnavailable(f"no connection to MySQL: {_text(error)}") from error
        self._place = _place(raw)
        if raw.open and not is_free(raw):  # the application's own, in this thread: giving it back would end it
            return None
        self._is_autocommit = raw.get_autocommit()
        if raw.open and self._is_autocommit:
            return connection
        connection.close()
        return None

    def give_back(self, connection: Any) -> None:
        connection.close()

    def place(self) -> Mapping[str, Any]:
        """Return the arguments for another connection like those of the pool."""
        if self._place is None:
            if not self._birthplace.is_here() and not hasattr(self._pool, "steady_connection"):
                raise ConfigurationError("this pool cannot make connections for a forked process; make the store after "
                                         "the fork")
            connection = getattr(self._pool, "steady_connection", self._pool.connection)()
            self._place = _place(_raw(connection))
            connection.close()
        return self._place


def ask(connection: Any, text: str, arguments: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a statement answers."""
    return _answer(connection, filled(text, arguments)).rows


def change(connection: Any, text: str) -> None:
    """Change the table; what is there already was made by another node of a cluster, whose locks are not seen here."""
    try:
        _answer(connection, text)
    except pymysql.err.Error as error:
        if error.args[0] not in _MADE:
            raise


def send(connection: Any, text: str, arguments: Mapping[str, Any]) -> Result:
    """Execute one statement as a transaction of its own."""
    statement = filled(text, arguments)
    try:
        return _answer(_raw(connection), statement)
    except (pymysql.err.Error, OSError) as error:
        raise StatementFailed(_fault(error), _text(error)) from error


def _answer(connection: Any, statement: str) -> Result:
    """Execute a statement on a connection of PyMySQL itself; what is no answer has broken the connection."""
    try:
        ask = _ask_directly if isinstance(connection, Own) else _ask_by_driver
        changed, rows, connection.server_status = ask(connection, statement.encode("ascii"))
    except packets.Refused as refusal:
        pymysql.err.raise_mysql_exception(refusal.packet)
    except (OSError, ValueError, LookupError) as error:
        raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, str(error)) from error
    return Result(changed, rows)


def _ask_directly(connection: Any, statement: bytes) -> Answer:
    wire, number = connection._sock, 1
    if len(statement) < packets.LONGEST - 1:
        wire.sendall(packets.framed(_QUERY + statement, 0))
    else:
        connection._execute_command(COMMAND.COM_QUERY, statement)
        number = connection._next_seq_id
    end = monotonic() + connection.patience
    return packets.answer(wire.recv(_PIECE), lambda count: _received(wire, count, end), number)


def _received(wire: Any, count: int, end: float) -> bytes:
    """Return so many bytes, or more, if they are there by a moment of the monotonic clock."""
    data = bytearray()
    while len(data) < count:
        piece = wire.recv(_LARGE_PIECE)
        if not piece:
            raise ConnectionError("the server closed the connection")
        if monotonic() > end:
            raise TimeoutError("timed out")
        data += piece
    return bytes(data)


def _ask_by_driver(connection: Any, statement: bytes) -> Answer:
    """Ask on a connection that an application lends, whose time limits are the driver's to keep."""
    connection._execute_command(COMMAND.COM_QUERY, statement)
    first = connection._read_packet().get_all_data()
    return packets.answer(packets.framed(first, 1), connection._read_bytes)


def alone(connections: Connections, name: str, action: Callable[[Any], _T]) -> _T:
    """Call `action` with a connection while nobody else does so under this name, for changes of the table itself."""
    def work(lent: Any) -> _T:
        connection = _raw(lent)
        [(taken,)] = ask(connection, "SELECT get_lock(%(name)s, %(patience)s)",
                         {"name": name, "patience": _SETUP_PATIENCE})
        if int(taken or 0) != 1:
            raise StoreUnavailable(f"another process has been setting up the table for {_SETUP_PATIENCE} s")
        result = action(connection)
        # If this failed, the lock would end with the connection.
        ask(connection, "SELECT release_lock(%(name)s)", {"name": name})
        return result

    try:
        return use_twice(connections, work, pymysql.err.Error)
    except (pymysql.err.Error, OSError) as error:
        raise StoreUnavailable(f"the table could not be set up: {_text(error)}") from error


def _fault(error: Exception) -> Fault:
    code = error.args[0] if error.args else 0
    if code in _BROKEN:
        return Fault.OTHER if "timed out" in str(error) else Fault.BROKEN
    known = {Fault.NO_TABLE: _NO_TABLE, Fault.BUSY: _BUSY, Fault.WRONG_ROLE: _WRONG_ROLE}
    return next((fault for fault, codes in known.items() if code in codes), Fault.OTHER)


def _text(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
