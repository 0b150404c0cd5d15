"""How tables are named, and how one of ours is told from any other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ...errors import ConfigurationError
from .rows import text

_TABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_OURS: Final = re.compile(r"session2 sessions, schema (\d+)")


def checked_name(table: str) -> str:
    """Return a table's name, or raise `ConfigurationError`."""
    if not _TABLE.fullmatch(table):
        raise ConfigurationError(f"{table!r} cannot be a table's name; use letters, digits and underscores, "
                                 "with at most one dot between schema and table")
    return table


def quoted(name: str, quote: str) -> str:
    """Quote an identifier, part by part.  What is quoted has been checked to hold no quotes."""
    return ".".join(f"{quote}{part}{quote}" for part in name.split("."))


def columns_after(*steps: Mapping[str, str]) -> tuple[dict[str, str], ...]:
    """Return the columns of each schema, given what each one added."""
    return tuple({name: kind for step in steps[:number] for name, kind in step.items()}
                 for number in range(1, len(steps) + 1))


class Found(NamedTuple):
    """The table there is."""

    schema: int
    """0 if there is none."""
    is_marked: bool = True
    """Whether its comment says so."""


def found_in(rows: Sequence[Sequence[Any]], table: str, shapes: Sequence[Mapping[str, str]], adopt: str) -> Found:
    """Return which table there is, told by its comment or, if that was lost, by its columns; refuse what is not ours.

    :param rows: the comment with the name and type of one column each; none if there is no table.
    :param shapes: the columns of each schema.
    :param adopt: the statement that gives a table a comment.
    """
    if not rows:
        return Found(0)
    ours = _OURS.fullmatch(text(rows[0][0] or b""))
    if ours is not None:
        return Found(int(ours[1]))
    columns = {text(name): text(kind).partition("(")[0] for _, name, kind in rows}
    for schema, shape in reversed(list(enumerate(shapes, 1))):
        if columns == shape:
            return Found(schema, is_marked=False)
        if columns.items() >= shape.items():
            raise ConfigurationError(
                f"there is a table {table!r} with the columns of session2 and others, and without its comment: it is "
                f"left as it is; if it is ours, adopt it with: {adopt.format(comment=comment_of(schema))}")
    raise ConfigurationError(f"there is a table {table!r} that this version of session2 did not make: it is left "
                             "as it is; name another with table=")


def comment_of(schema: int) -> str:
    """Return the comment that marks a table as ours."""
    return f"session2 sessions, schema {schema}"


def refuse_newer(schema: int, known: int, table: str) -> None:
    """Refuse a table that a later version of session2 made."""
    if schema > known:
        raise ConfigurationError(f"the table {table!r} has schema {schema}, this session2 knows schema {known}; "
                                 "install the newer session2 here too")
