"""Statements and answers as libpq takes and gives them.

A cursor of psycopg does the same and takes twice as long: it finds out anew, for each statement, how the types of its
arguments are to be written and those of the answer to be read.  Here they are known.  And whatever the application
registered for types of its own, or the encoding of its connections, has no part in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus, Format

from ..sql.results import Fault, Result, StatementFailed
from ..sql.wire import Ear, is_ready

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

_ROWS, _DONE = ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK
_BINARY = Format.BINARY

_ARGUMENT: Final = re.compile(r"%\((\w+)\)s")

_BIGINT, _DOUBLE = 20, 701
"""The numbers that PostgreSQL has for these types."""
_FORMS: Final = {_BIGINT: Struct("!q"), _DOUBLE: Struct("!d")}
"""How they are written; all else is text or bytes."""

_TYPES: Final = {
    **dict.fromkeys(("version", "expected", "hour", "until", "page", "stride", "batch"), _BIGINT),
    **dict.fromkeys(("created", "modified", "accessed", "expires", "now", "limit"), _DOUBLE)}
"""The arguments that are numbers."""


class Wire(NamedTuple):
    """The way to a server, for one exchange after the other."""

    server: PGconn
    ear: Ear
    patience: float | None
    """How many seconds to wait for the server each time; None: as long as it takes."""


def wire_of(connection: psycopg.Connection[Any], patience: float | None) -> Wire:
    """Return the way to the server that a connection leads to."""
    return Wire(connection.pgconn, Ear(connection.pgconn.socket), patience)


class Statement(NamedTuple):
    """A statement with numbers in place of the names of its arguments."""

    text: bytes
    names: tuple[str, ...]
    types: tuple[int, ...]
    writers: tuple[Callable[[Any], bytes], ...]


@lru_cache
def numbered(text: str) -> Statement:
    """Return a statement as the server wants it."""
    names = tuple(dict.fromkeys(_ARGUMENT.findall(text)))
    types = tuple(_TYPES.get(name, 0) for name in names)  # 0: the server finds out
    writers = tuple(_FORMS[number].pack if number else _written for number in types)
    return Statement(_ARGUMENT.sub(lambda found: f"${names.index(found[1]) + 1}", text).encode(), names, types, writers)


def _written(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def ask(wire: Wire, text: str, arguments: Mapping[str, Any], name: bytes | None = None) -> Result:
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
    rows = _rows(answer)
    return Result(len(rows) if answer.status == _ROWS else answer.command_tuples or 0, rows)


def give_name(wire: Wire, text: str, name: bytes) -> None:
    """Have the server know a statement by a name."""
    statement = numbered(text)
    wire.server.send_prepare(name, statement.text, statement.types)
    _answer(wire)


def _answer(wire: Wire) -> PGresult:
    """Return what the server answers, when it has been read whole."""
    server, ear, patience = wire
    while server.flush():
        _expect(is_ready(server.socket, patience), patience)
        server.consume_input()  # or each side might wait for the other to read
    answers = []
    while True:
        while server.is_busy():
            _expect(ear.hears(patience), patience)
            server.consume_input()
        answer = server.get_result()
        if answer is None:
            break
        answers.append(answer)
    if len(answers) != 1:
        raise StatementFailed(Fault.MIXED_UP, f"one statement was sent, {len(answers)} answers came")
    if answers[0].status not in (_ROWS, _DONE):
        raise errors.error_from_result(answers[0])
    return answers[0]


def _expect(came: bool, patience: float | None) -> None:
    if not came:
        raise psycopg.OperationalError(f"the server did not answer within {patience:g} s")


def _rows(answer: PGresult) -> list[tuple[Any, ...]]:
    columns = range(answer.nfields)
    rows = []
    for row in range(answer.ntuples):
        values: list[Any] = []
        for column in columns:
            value = answer.get_value(row, column)
            form = _FORMS.get(answer.ftype(column))
            values.append(value if value is None or form is None else form.unpack(value)[0])
        rows.append(tuple(values))
    return rows
