"""The psycopg side of `PostgresSessionStore`; imported when such a store is made."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo, ExecStatus, Format, TransactionStatus

from ...errors import ConfigurationError, StoreUnavailable
from ...events import log
from ..servers.pool import Kind, Lender, Lent, Pool, use_twice
from ..servers.results import Connections, Fault, Result, StatementFailed
from ..servers.wire import polling
from .binary import numbered, rows_of

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

_ROWS, _DONE = ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK
_BINARY = Format.BINARY

_BUSY = (errors.SerializationFailure, errors.DeadlockDetected)
_NO_TABLE = (errors.UndefinedTable, errors.UndefinedColumn)
_WRONG_ROLE = (errors.ReadOnlySqlTransaction,)  # a standby, or a primary that was fenced off

_T = TypeVar("_T")

Send: TypeAlias = Callable[[str, Mapping[str, Any]], Result]
"""Sends a statement with its arguments."""


class Wire(NamedTuple):
    """The way to a server, for one exchange after the other."""

    server: PGconn
    poll: Callable[[float | None], object]
    """Whether there is something to be read."""
    patience: float | None
    """How many seconds an answer may take; None: as long as it takes."""


def _wire_of(connection: psycopg.Connection[Any], patience: float | None) -> Wire:
    """Return the way to the server that a connection leads to."""
    return Wire(connection.pgconn, polling(connection.pgconn.socket), patience)


class Own(psycopg.Connection[Any]):
    """A connection that the store made itself."""

    wire: Wire
    place: Place
    names: dict[str, bytes]
    """The names of statements, by which the server knows them."""
    sent: Counter[str]
    """How often statements without a name were sent."""

    def __del__(self, *_: Any) -> None:
        """Say nothing: pooled connections end with the program, and those of a parent are not the child's to close."""


def _name(connection: Own, text: str) -> bytes | None:
    """Give a name to a statement that is sent often, and return it.

    Nobody else ever gives the same: where a pooler sends a statement to another process of the server after all, that
    knows no such name, and does not run what somebody else gave it to.
    """
    connection.sent[text] += 1
    if connection.prepare_threshold is None or connection.sent[text] <= connection.prepare_threshold:
        return None
    name = f"session2_{secrets.token_hex(8)}".encode()
    statement = numbered(text)
    connection.wire.server.send_prepare(name, statement.text, statement.types)
    _answer(connection.wire)
    connection.names[text] = name
    return name


@dataclass(repr=False)  # it knows the password
class Place:
    """Where the store's own connections lead, and what they are told."""

    conninfo: Callable[[], str]
    kind: Callable[[], type[psycopg.Connection[Any]]]
    may_prepare: Callable[[], bool]
    connect_timeout: float
    timeout: float
    settings: Mapping[str, str]

    def connect(self) -> Own:
        """Return a connection that the store makes itself."""
        try:
            connection = _own(self.kind()).connect(
                self.conninfo(), autocommit=True, client_encoding="UTF8", prepare_threshold=None,
                connect_timeout=max(1, round(self.connect_timeout)))
            connection.place, connection.wire = self, _wire_of(connection, self.connect_timeout)
            connection.names, connection.sent = {}, Counter()
            if self.may_prepare():
                self._greet(connection)
        except psycopg.Error as error:
            raise StoreUnavailable(f"no connection to PostgreSQL: {_first_line(error)}") from error
        # The server's own limit comes first, and leaves the connection intact.
        connection.wire = connection.wire._replace(patience=self.timeout + 1)
        return connection

    def _greet(self, connection: Own) -> None:
        """Give names to statements, and set what holds for the session, if there is no pooler in between.

        Behind a pooler the next statement may go to another process of the server: there names are not known, and what
        is set is set for others.  The process that answers is then not the one that greeted.
        """
        calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in self.settings.items())
        pid = connection.info.backend_pid
        question = f"SELECT CASE pg_backend_pid() WHEN {pid} THEN ARRAY[{calls}] END"
        if _ask(connection.wire, question, {}).rows != [(None,)]:
            connection.prepare_threshold = _NAMED_AFTER

    def stop_preparing(self, error: psycopg.Error) -> None:
        """Give no more names, for they are not kept."""
        log.warning("PostgreSQL does not keep the names of prepared statements (%s): a pooler is in between.  The "
                    "store goes on without; write ?prepare=false into its URL, or prepare=False", _first_line(error))
        self.may_prepare = lambda: False


_NAMED_AFTER: Final = 5
"""How often a statement is sent in full before it gets a name: psycopg's default."""


def _own(kind: type[psycopg.Connection[Any]]) -> type[Own]:
    """Return a class that connects as the application's own does."""
    return Own if kind is psycopg.Connection else type("Own", (Own, kind), {})


def connections(conn: Any, pool_size: int, connect_timeout: float, timeout: float, durable: bool,
                ssl_ca: str | None, prepare: bool) -> Connections:
    """Return the connections a store works with, given what `PostgresSessionStore` was given."""
    if ssl_ca is not None and not isinstance(conn, str):
        raise ConfigurationError("ssl_ca needs connections the store makes itself; encrypt yours where they are made")
    settings = {"statement_timeout": f"{timeout * 1000:.0f}", **({} if durable else {"synchronous_commit": "off"})}
    place = Place(_conninfo_of(conn, ssl_ca), lambda: _kind_of(conn), lambda: prepare and _may_prepare(conn),
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
        poll = connection.wire.poll if isinstance(connection, Own) else polling(connection.pgconn.socket)
        while poll(0):
            connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def send(connection: psycopg.Connection[Any], text: str, arguments: Mapping[str, Any]) -> Result:
    """Execute one statement as a transaction of its own."""
    try:
        if isinstance(connection, Own):
            name = connection.names.get(text) or _name(connection, text)
            return _ask(connection.wire, text, arguments, name)
        return _ask(_wire_of(connection, None), text, arguments)
    except psycopg.Error as error:
        raise StatementFailed(_fault(connection, error), _first_line(error)) from error


def in_transaction(connections: Connections, action: Callable[[Send], _T]) -> _T:
    """Call `action` in a transaction, with what sends a statement, for changes of the table itself."""
    def work(connection: psycopg.Connection[Any]) -> _T:
        send(connection, "BEGIN", {})
        result = action(partial(send, connection))
        send(connection, "COMMIT", {})
        return result

    try:
        return use_twice(connections, work, StatementFailed)
    except StatementFailed as failure:
        raise StoreUnavailable(f"the table could not be set up: {failure}") from failure.__cause__


def _ask(wire: Wire, text: str, arguments: Mapping[str, Any], name: bytes | None = None) -> Result:
    """Send a statement and return its result; `psycopg.Error` if there is none.

    :param name: the name that the server knows the statement by, if it has one.
    """
    statement, server = numbered(text), wire.server
    values = []
    for argument, write in zip(statement.names, statement.writers, strict=True):
        value = arguments[argument]
        values.append(None if value is None else write(value))
    formats = [_BINARY] * len(values)
    if name is None:
        server.send_query_params(statement.text, values, statement.types, formats, _BINARY)
    else:
        server.send_query_prepared(name, values, formats, _BINARY)
    answer = _answer(wire)
    rows = rows_of(answer)
    return Result(len(rows) if answer.status == _ROWS else answer.command_tuples or 0, rows)


def _answer(wire: Wire) -> PGresult:
    """Return what the server answers, when it has been read whole."""
    server, poll, patience = wire
    end = None if patience is None else monotonic() + patience
    while server.flush():
        if not polling(server.socket, or_written=True)(_left(end)):
            raise _late(patience)
        server.consume_input()  # or each side might wait for the other to read
    answers = []
    while True:
        while server.is_busy():
            if not poll(_left(end)):
                raise _late(patience)
            server.consume_input()
        answer = server.get_result()
        if answer is None:
            break
        answers.append(answer)
    for answer in answers:  # behind what a statement did the error may stand that undid it, at its commit
        if answer.status not in (_ROWS, _DONE):
            raise errors.error_from_result(answer)
    if len(answers) != 1:
        raise StatementFailed(Fault.MIXED_UP, f"one statement was sent, {len(answers)} answers came")
    return answers[0]


def _left(end: float | None) -> float | None:
    """Return for how many milliseconds an answer may still be under way, however many pieces it comes in."""
    return None if end is None else max(end - monotonic(), 0.0) * 1000


def _late(patience: float | None) -> psycopg.OperationalError:
    return psycopg.OperationalError(f"the server did not answer within {patience:g} s")


def _fault(connection: psycopg.Connection[Any], error: psycopg.Error) -> Fault:
    state = error.sqlstate or ""
    if isinstance(error, errors.InvalidSqlStatementName) and isinstance(connection, Own):
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
