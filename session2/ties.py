"""`Ties`: what binds a session to its record and to its request."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .record import Record


class Request(Protocol):
    """What a session knows of its request: `session2.Exchange` has it."""

    headers_sent: bool
    """Whether it is too late to send a cookie."""

    def post_value(self, name: str) -> str | None:
        """Return the field `name` of a posted form."""


class Origin(NamedTuple):
    """The stored state a session was loaded from or last saved as: what compare-and-set compares with."""

    id: str | None
    """None for a session met by iteration: only its visitor knows its id."""
    key: str
    record: Record
    payload: bytes
    seen: dict[str, Any] | None = None
    """The items, or the attributes of a session without items, as they were decoded; what can change may have."""

    def __repr__(self) -> str:
        return f"<Origin {self.key[:8]}>"


class Ties:
    """What binds a session to its record and to its request; never stored with it."""

    __slots__ = ("accessed", "created", "ends_early", "expires", "id", "origin", "visit")

    def __init__(self, id: str | None, created: float, accessed: float) -> None:
        self.id = id
        """What the cookie carries, or will carry: another id than that of `origin` is still to be given."""
        self.created = created
        self.accessed = accessed
        self.expires: float | None = None
        self.origin: Origin | None = None
        """None as long as nothing is stored."""
        self.visit: Any = None
        """The stay of a request in the session (`session2.visit.Visit`), None outside of requests."""
        self.ends_early = False
        """Whether the record ends earlier than the session: its rotation was interrupted, or its clocks were others."""

    @property
    def exchange(self) -> Request | None:
        """The request that the session was opened in, as long as there is one."""
        return None if self.visit is None else self.visit.request()

    @property
    def can_be_told(self) -> bool:
        """Whether the browser can still be told of another id; else a renewal would log the visitor out."""
        exchange = self.exchange
        return exchange is not None and not self.visit.finished and not exchange.headers_sent

    @property
    def key(self) -> str | None:
        """What the store files the session under."""
        return None if self.origin is None else self.origin.key
