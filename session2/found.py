"""`Found`: where a session is, or why there is none."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from .record import Record
from .session import Session

_S = TypeVar("_S", bound=Session)


class Absence(enum.Enum):
    """Why there is no session."""

    NO_COOKIE = "no cookie"
    MALFORMED = "malformed"
    """The cookie holds nothing that we could have issued."""
    UNKNOWN = "unknown"
    """Nothing is filed under the id: never was, or not any more."""
    EXPIRED = "expired"
    """Its idle clock or its lifetime has run out."""
    ROTATED = "rotated"
    """The browser was given another id, at a login, a moment ago."""
    ENDED = "ended"
    """By a logout, by the application or from outside, a moment ago."""
    UNREADABLE = "unreadable"
    """The record is damaged, of another format, or needs a class that is no more."""


def tell_absence(tell: Callable[..., None], absence: Absence | None, key: str = "", reason: str = "") -> None:
    """Say why there is no session: what visitors notice at a level that is seen, what bots cause at another."""
    if absence is None or absence in (Absence.NO_COOKIE, Absence.UNREADABLE):  # the last is told already
        return
    noticed = absence in (Absence.EXPIRED, Absence.ENDED)
    tell("absent", key, f"{absence.value}{reason and ': '}{reason}", logging.INFO if noticed else logging.DEBUG)


class Found(Generic[_S]):
    """A session and where it is filed, or why there is none."""

    __slots__ = ("absence", "id", "key", "reason", "record", "session")

    def __init__(self, id: str | None, key: str, record: Record | None = None, session: _S | None = None,
                 absence: Absence | None = None, reason: str = "") -> None:
        self.id = id
        """The id it has by now; None where only the visitor knows it."""
        self.key = key
        self.record = record
        """Of the session, or of one that was emptied a moment ago and goes on if anybody changes it."""
        self.session = session
        """A private copy, where one was asked for; one that was emptied has nothing in it."""
        self.absence = absence
        """None if the session is there."""
        self.reason = reason
        """What else is known of the absence."""

    def __repr__(self) -> str:
        return f"<Found {self.key[:8]} {self.absence and self.absence.value}>"
