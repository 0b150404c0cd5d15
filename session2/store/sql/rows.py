"""What rows are made of: the drivers hand on what the database sends, as numbers and bytes, or as bytes all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...record import Record

COLUMNS: Final = 8
"""Of a row that is a record."""


def text(value: bytes) -> str:
    """Return text; keys are ASCII, and of a comment only what is ASCII matters."""
    return value.decode("ascii", "replace")


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row, of which the first is the key; `ValueError` if it is damaged."""
    _, data, created, modified, accessed, expires, user, version = row
    try:
        return Record(bytes(data), float(created), float(modified), float(accessed),
                      None if expires is None else float(expires),
                      None if user is None else user.decode("utf-8", "surrogatepass"), int(version))
    except TypeError as error:
        raise ValueError(str(error)) from None
