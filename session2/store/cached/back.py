"""`Back`: the store of a tier, in which records expire later than their sessions."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

from ...errors import ConfigurationError, Conflict
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
        return None if found is None else number_of(found.version)

    def taken(self, found: Record, since: float) -> Record:
        """Return a record of the store as it is for the tier; `since` is when the store was asked."""
        expires = _later(found.expires, -self.margin)
        version = number_of(found.version)
        standing = Standing(version, version, 0, since, 0.0, expires, user=found.user)
        return found._replace(expires=expires, version=standing)

    def write(self, key: str, record: Record, claim: Standing, base: Version | None) -> Version:
        """Write what takes the place of a claim, if the store has `base`, or what was sent there without an answer."""
        kept = record._replace(expires=_later(record.expires, self.margin))
        self.reached["write"] += 1
        store = self._for(claim)
        try:
            return number_of(store.write(key, kept, base))
        except Conflict:
            version = self._own_version(store, key, base, claim)
        return number_of(store.write(key, kept, version))

    def touch(self, key: str, accessed: float, expires: float | None, copied: Record | None) -> bool:
        """Move the idle clock of a record of which the cache has this copy, or none."""
        self.reached["touch"] += 1
        return self._for(copied and standing_in(copied)).touch(key, accessed, _later(expires, self.margin))

    def remove(self, key: str, expected: Version | None = None) -> None:
        """Remove a record."""
        self.reached["remove"] += 1
        try:
            self.store.remove(key, expected)
        except Conflict:
            self.store.remove(key, self._own_version(self.store, key, expected))

    def _own_version(self, store: SessionStore, key: str, number: Version,
                     claim: Standing | None = None) -> Version:
        """Return the version that the store itself has of this number, or of what was sent; else raise `Conflict`."""
        stored = store.read(key)
        if stored is not None and stored.version != number and number_of(stored.version) == number:
            return stored.version
        if stored is not None and claim is not None and claim.has_sent(stored):
            return stored.version
        raise Conflict(f"the record {key:.8} changed")

    def purge(self, until: float, batch: int, unused_since: float | None, is_told: bool) -> int:
        """Delete what is over; what was used in the last seconds only if the store was told of all that was used."""
        if unused_since is not None:
            unused_since = min(unused_since, self.store.clock() - self.margin) - (0.0 if is_told else self.margin)
        return self.store.purge(until + (self.margin if is_told else 0.0), batch, unused_since)

    def _for(self, standing: Standing | None) -> SessionStore:
        return self._exact if standing is None or standing.mark is None else self.store


def number_of(version: Version) -> Version:
    """Return what the cache can keep of a version of the store: itself, or the number by which it is compared."""
    found = version if isinstance(version, int | str) else getattr(version, "number", None)
    if found is None:
        raise ConfigurationError("the versions of this store are neither numbers nor text, and have no number: it "
                                 "cannot have a cache in front")
    return found


def _later(expires: float | None, seconds: float) -> float | None:
    return None if expires is None else expires + seconds
