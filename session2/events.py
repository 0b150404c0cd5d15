"""What happens to sessions, told to the log and to an observer.

Events carry the first characters of a key, never an id: who reads the log cannot take over a session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

log = logging.getLogger("session2")

Name = Literal["created", "renewed", "rotated", "ended", "revoked", "conflict", "corrupt", "absent"]


class Event(NamedTuple):
    """One thing that happened to one session."""

    name: Name
    key: str
    """The first eight characters of the session's key."""
    detail: str = ""


Observer = Callable[[Event], None]
"""A function that counts or records events.  What it raises is logged and goes no further."""

_LEVELS: Final[dict[Name, int]] = {"corrupt": logging.WARNING, "conflict": logging.DEBUG}


def tell(observer: Observer | None, name: Name, key: str, detail: str = "", level: int | None = None) -> None:
    """Log an event and pass it on to the observer."""
    level = _LEVELS.get(name, logging.INFO) if level is None else level
    log.log(level, "session %s %s%s", key[:8], name, detail and f": {detail}")
    if observer is None:
        return
    try:
        observer(Event(name, key[:8], detail))
    except Exception:  # a broken gauge must not fail a request
        log.exception("the observer failed on %s", name)
