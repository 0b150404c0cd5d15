"""What a question to a server came to, in words that all servers share."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

_T = TypeVar("_T")


class Fault(enum.Enum):
    """Why a statement failed."""

    NO_TABLE = "there is no table, or one of an older schema"
    BUSY = "a deadlock or serialisation failure: the server undid the statement"
    BROKEN = "the connection broke; the statement may or may not have been executed"
    SILENT = "the server is there and says nothing: to ask again takes as long again"
    WRONG_ROLE = "the server does not write, or is out of its cluster: it refused the statement, others may take it"
    MIXED_UP = "the answer belongs to another question"
    OTHER = "anything else"

    @property
    def leaves_connection(self) -> bool:
        """Whether the server said so itself, on a connection that is as good as before."""
        return self in (Fault.NO_TABLE, Fault.BUSY)


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
    """The store's own or those that an application lends."""

    def use(self, action: Callable[[Any], _T], fresh: bool = False) -> _T: ...
    def clear(self) -> None: ...
    def renew(self) -> None: ...
