"""What a statement came to, in words that all databases share."""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol


class Fault(enum.Enum):
    """Why a statement failed."""

    NO_TABLE = "there is no table, or one of an older schema"
    BROKEN = "the connection broke; the statement may or may not have been executed"
    CUT = "the connection was cut before anything was sent"
    BUSY = "a deadlock or serialisation failure: the server undid the statement"
    OTHER = "anything else"


class StatementFailed(Exception):
    """Raised by `SQLSessionStore._send` in place of the driver's error."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Result(NamedTuple):
    """How many rows a statement changed, and those it returned."""

    changed: int
    rows: list[tuple[Any, ...]]


class Connections(Protocol):
    """A `Pool` or what an application lends."""

    def connection(self) -> AbstractContextManager[Any]: ...
    def clear(self) -> None: ...
