"""Arguments and answers in PostgreSQL's binary form, of the few types that the store has.

A cursor of psycopg does the same and takes as long as the round trip: it finds out anew, for each statement, how each
argument is to be written and each column of the answer to be read.  And it asks what the application registered for
types of its own, or the encoding of its connections, which has no part in it here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_ARGUMENT: Final = re.compile(r"%\((\w+)\)s")

_BIGINT, _DOUBLE = 20, 701
"""The numbers that PostgreSQL has for these types."""
_FORMS: Final = {_BIGINT: Struct("!q"), _DOUBLE: Struct("!d")}
"""How they are written; all else is text or bytes."""

_TYPES: Final = {
    **dict.fromkeys(("version", "expected", "hour", "until", "page", "stride", "batch"), _BIGINT),
    **dict.fromkeys(("created", "modified", "accessed", "expires", "now", "limit"), _DOUBLE)}
"""The arguments that are numbers."""
_BYTES: Final = {"data", "mark", "owner", "trace"}
"""Those that are bytes; the others are text."""


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
    writers = tuple(_FORMS[number].pack if number else bytes if name in _BYTES else str.encode
                    for name, number in zip(names, types, strict=True))
    return Statement(_ARGUMENT.sub(lambda found: f"${names.index(found[1]) + 1}", text).encode(), names, types, writers)


def rows_of(answer: PGresult) -> list[tuple[Any, ...]]:
    """Return the rows of an answer."""
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
