"""How tables are named, and how one of ours is told from any other."""

from __future__ import annotations

import re
from typing import Final

from ...errors import ConfigurationError

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


def schema_of(comment: str | bytes | None, table: str) -> int:
    """Return the schema version a table's comment tells; refuse a table that is not ours."""
    told = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment or ""
    ours = _OURS.fullmatch(told)
    if ours is None:
        raise ConfigurationError(f"there is a table {table!r} that this version of session2 did not make: it is left "
                                 "as it is; name another with table=")
    return int(ours[1])


def comment_of(schema: int) -> str:
    """Return the comment that marks a table as ours."""
    return f"session2 sessions, schema {schema}"


def refuse_newer(schema: int, known: int, table: str) -> None:
    """Refuse a table that a later version of session2 made."""
    if schema > known:
        raise ConfigurationError(f"the table {table!r} has schema {schema}, this session2 knows schema {known}; "
                                 "install the newer session2 here too")
