"""What rows are made of, in whatever types a connection delivers them.

A connection that an application lends may have converters of its own, and a database without an encoding answers text
as bytes; so every value is taken for what it is, not for what a driver makes of it by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import StoreUnavailable
from ...record import Record


def text(value: Any) -> str:
    """Return text as `str`; keys are ASCII, and of a comment only what is ASCII matters."""
    return value if isinstance(value, str) else bytes(value).decode("ascii", "replace")


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row, of which the first is the key; `ValueError` if it is damaged."""
    _, data, created, modified, accessed, expires, user, version = row
    if isinstance(data, str) or isinstance(user, str):
        raise StoreUnavailable("the connection converts binary columns to text; lend one without converters of its own")
    try:
        end = None if expires is None else float(expires)
        name = None if user is None else bytes(user).decode("utf-8", "surrogatepass")
        return Record(bytes(data), float(created), float(modified), float(accessed), end, name, int(version))
    except TypeError as error:
        raise ValueError(str(error)) from None
