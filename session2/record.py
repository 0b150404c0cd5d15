"""`Record`: what a store keeps of one session; `Outcome`: what became of saving it."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import NamedTuple, TypeAlias

Version: TypeAlias = Hashable
"""Opaque token of one stored state.  A version never comes back for the same key, not even after a removal."""


class Record(NamedTuple):
    """What is at rest: the state as bytes, with its times (seconds since the epoch), user and version."""

    data: bytes
    created: float
    modified: float
    accessed: float
    expires: float | None = None
    user: str | None = None
    version: Version = None

    def __repr__(self) -> str:
        """Tell what the record is like, and nothing of what is in it."""
        return f"<Record of {len(self.data)} bytes, version {self.version!r}>"

    def is_live(self, now: float) -> bool:
        """Tell whether the record still counts; an expired one is absent for every primitive but `purge`."""
        return self.expires is None or self.expires > now


class Outcome(enum.Enum):
    """What became of a save."""

    SAVED = "saved"
    REVIVED = "revived"
    """Saved, where the session had been emptied meanwhile: the browser may have been told to forget it."""
    UNCHANGED = "unchanged"
    GONE = "gone"
    """The session was logged out or revoked meanwhile; it was not restored."""
    REPLACED = "replaced"
    """The session goes on under another id (somebody logged in meanwhile); this id is dead, the new cookie is not."""
