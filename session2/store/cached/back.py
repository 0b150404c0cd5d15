"""`Back`: the store of a tier, in which records expire later than their sessions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

from ...errors import Conflict
from ...record import Record, Version
from ..base import SessionStore
from .front import standing_in, with_clock
from .standing import Standing


class Back:
    """The store behind a cache.

    :param margin: how many seconds later records expire in it: so long it need not be told that they are used.
    """

    def __init__(self, store: SessionStore, margin: float) -> None:
        self.store = store
        self.margin = margin
        self.reached: Counter[str] = Counter()

    def to_clock(self, clock: Callable[[], float]) -> Back:
        """Return the store as it looks to a clock."""
        view = copy.copy(self)
        view.store = with_clock(self.store, clock)
        view._exact = with_clock(self.store, lambda: clock() + self.margin)
        return view

    _exact: SessionStore
    """The store to a clock by which records expire when their sessions do."""

    def read(self, key: str, copied: Record | None) -> Record | None:
        """Return what the store has, a `Standing` its version.

        :param copied: what the cache has; that is live, and then what it goes back to shall be.
        """
        since = self.store.clock()
        self.reached["read"] += 1
        found = self._for(copied and standing_in(copied)).read(key)
        return None if found is None else self.taken(found, since)

    def version(self, key: str) -> Version:
        """Return the version that the store has, None if there is none."""
        found = self.store.read(key)
        return None if found is None else found.version

    def taken(self, found: Record, since: float) -> Record:
        """Return a record of the store as it is for the tier; `since` is when the store was asked."""
        expires = _later(found.expires, -self.margin)
        standing = Standing(found.version, found.version, 0, since, 0.0, expires, user=found.user)
        return found._replace(expires=expires, version=standing)

    def write(self, key: str, record: Record, claim: Standing, base: Version | None) -> Version:
        """Write what takes the place of a claim, if the store has `base`, or what was sent there without an answer."""
        kept = record._replace(expires=_later(record.expires, self.margin))
        self.reached["write"] += 1
        try:
            return self._for(claim).write(key, kept, base)
        except Conflict:
            if not claim.sent:
                raise
        stored = self._for(claim).read(key)
        if stored is None or not claim.has_sent(stored):
            raise Conflict(f"the record {key:.8} changed")
        return self._for(claim).write(key, kept, stored.version)

    def touch(self, key: str, accessed: float, expires: float | None, copied: Record | None) -> bool:
        """Move the idle clock of a record of which the cache has this copy, or none."""
        self.reached["touch"] += 1
        return self._for(copied and standing_in(copied)).touch(key, accessed, _later(expires, self.margin))

    def remove(self, key: str, expected: Version | None = None) -> None:
        """Remove a record."""
        self.reached["remove"] += 1
        self.store.remove(key, expected)

    def purge(self, until: float, batch: int, unused_since: float | None, is_told: bool) -> int:
        """Delete what is over; what was used in the last seconds only if the store was told of all that was used."""
        if unused_since is not None:
            unused_since = min(unused_since, self.store.clock() - self.margin) - (0.0 if is_told else self.margin)
        return self.store.purge(until + (self.margin if is_told else 0.0), batch, unused_since)

    def _for(self, standing: Standing | None) -> SessionStore:
        return self._exact if standing is None or standing.mark is None else self.store


def _later(expires: float | None, seconds: float) -> float | None:
    return None if expires is None else expires + seconds
