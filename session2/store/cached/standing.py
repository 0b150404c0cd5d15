"""`Standing`: how a record in the cache stands to the one in the store; it is the version that the tier gives it."""

from __future__ import annotations

import hashlib
import json
from typing import Final, NamedTuple

from ...record import Record, Version

_MARK: Final = b"s2 copy "

_REMEMBERED: Final = 20
"""Of how many writes it is remembered that nobody knows whether they reached the store."""


class Standing(NamedTuple):
    """How a record stands: of which state of the store it is a copy, and what was saved since."""

    mark: Version
    """Of the state; None: the record holds a place in the cache and no state."""
    base: Version
    """The version in the store that the state goes back to."""
    saves: int = 0
    """How many saves the store does not have."""
    since: float = 0.0
    """When store and cache were known to agree, as a time of the clock; with `saves`, when the store was written."""
    used: float = 0.0
    """When the session was used last by what the store has; 0: the cache had lost it, and the store gets the next save.
    """
    until: float | None = None
    """When it expires by what the store has."""
    claimed: bool = False
    """Whether somebody is about to write to the store: it may have something newer by now."""
    sent: str = ""
    """The digests of what was sent to the store without an answer."""
    user: str | None = None
    cached: Version = None
    """The version in the cache; None: it is not there."""

    def __repr__(self) -> str:
        """Leave the user out: versions are shown in logs."""
        return f"<Standing {self.mark!r}, {self.saves} saves since {self.base!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Standing) and self.mark == other.mark

    def __hash__(self) -> int:
        return hash(self.mark)

    def is_same(self, other: Standing) -> bool:
        """Tell whether both stand for the same state."""
        if self.mark is None or self.mark == other.mark:
            return self.mark is not None
        return not self.saves and not other.saves and self.base == other.base

    def on(self, record: Record) -> Record:
        """Return the record with this standing, for the cache."""
        return record._replace(data=_MARK + json.dumps(self[:8]).encode() + b"\n" + record.data)

    def has_sent(self, record: Record) -> bool:
        """Tell whether a record is one that was sent to the store without an answer."""
        return _digest(record) in self.sent

    def with_sent(self, record: Record) -> Standing:
        """Return the standing when a record has been sent without an answer."""
        return self._replace(sent=(self.sent + _digest(record))[-_REMEMBERED * 32:])


def standing_of(found: Record) -> Record | None:
    """Return the record that was put into the cache, its `Standing` as version; None if it is none of ours."""
    head, line_end, data = found.data.partition(b"\n")
    if not head.startswith(_MARK) or not line_end:
        return None
    try:
        standing = Standing(*json.loads(head[len(_MARK):]))
    except (ValueError, TypeError):
        return None
    return found._replace(data=data, version=standing._replace(user=found.user, cached=found.version))


def _digest(record: Record) -> str:
    return hashlib.sha256(record.data).hexdigest()[:32]
