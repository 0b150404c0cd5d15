"""`Front`: the cache of a tier, with copies of what the store has, claims on them, and places held for new ones."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

from ...errors import Conflict, StoreUnavailable
from ...record import Record, Version
from ...traces import is_trace
from ..base import SessionStore
from .standing import Standing, standing_of

log = logging.getLogger("session2")

_T = TypeVar("_T")

_HELD: Final = 30.0
"""Seconds for which a place is held by somebody who may be no more."""

_TRIES: Final = 100
"""How often a record is looked at again that others change in the cache at this moment."""


class Front:
    """The cache, and how far it is believed.

    :param believed_for: seconds after which a copy is to be compared with the store.
    :param is_needed: whether it is an error if the cache does not answer.
    """

    def __init__(self, cache: SessionStore, believed_for: float, is_needed: bool) -> None:
        self.cache = cache
        self.believed_for = believed_for
        self.is_needed = is_needed
        self._failed_at = 0.0

    def to_clock(self, clock: Callable[[], float]) -> Front:
        """Return the cache as it looks to a clock."""
        view = copy.copy(self)
        view.cache = with_clock(self.cache, clock)
        return view

    # -- copies ----------------------------------------------------------------------------------------------------

    def copy(self, key: str) -> Record | None:
        """Return what is in the cache under a key, a `Standing` its version."""
        found = self.cache.read(key)
        if found is None:
            return None
        record = standing_of(found)
        if record is None:
            self.cache._damaged(key, "it is no copy of a session")
            with suppress(Conflict):
                self.cache.remove(key, found.version)
        return record

    def believes(self, standing: Standing) -> bool:
        """Tell whether a copy needs no comparison with the store now."""
        return self.may_be_right(standing) and self.cache.clock() < standing.since + self.believed_for

    def may_be_right(self, standing: Standing) -> bool:
        """Tell whether nothing is known that a copy might not know of."""
        return not standing.claimed and standing.mark is not None and standing.since > self._failed_at

    def keep(self, key: str, record: Record, standing: Standing, mark: Version) -> Standing:
        """Save what the store does not have, in place of what stands so."""
        kept = standing._replace(mark=mark, saves=standing.saves + 1, claimed=False, user=record.user)
        return kept._replace(cached=self.cache.write(key, kept.on(record), standing.cached))

    def fill(self, key: str, record: Record | None, place: Standing) -> Record | None:
        """Put a record of the store in place of what was here before the store was asked, and return it."""
        with suppress(Conflict):
            return self.answer(lambda: self._put(key, record, place)) or record
        return record

    def settle(self, key: str, record: Record, claim: Standing, in_store: Callable[[], Version]) -> Standing:
        """Put what was written to the store in place of the claim.

        What is older is not in the cache when this returns, or is claimed, or the cache does not answer.

        :param in_store: asks the store for the version that it has.
        """
        try:
            if claim.cached is not None:
                put = self.answer(lambda: self._put(key, record, claim))
                return standing_in(record if put is None else put)
        except Conflict:
            pass
        self.answer(lambda: self.remove_older(key, standing_in(record).base, in_store))
        return standing_in(record)

    def remove_older(self, key: str, base: Version | None, in_store: Callable[[], Version]) -> None:
        """Remove what does not go back to what the store has, which was `base` a moment ago."""
        for _ in range(_TRIES):
            found = self.copy(key)
            if found is None or (standing_in(found).base == base and base is not None):
                return
            with suppress(StoreUnavailable):
                if in_store() == standing_in(found).base is not None:
                    return
            with suppress(Conflict):
                self.cache.remove(key, standing_in(found).cached)
                return

    def _put(self, key: str, record: Record | None, place: Standing) -> Record | None:
        if record is None or is_trace(record):  # what ended is in the store only
            self.cache.remove(key, place.cached)
            return record
        version = self.cache.write(key, standing_in(record).on(record), place.cached)
        return record._replace(version=standing_in(record)._replace(cached=version))

    # -- claims ----------------------------------------------------------------------------------------------------

    def hold(self, key: str) -> Standing | None:
        """Hold a place for what the store is about to be asked for; None if something is there."""
        now = self.cache.clock()
        place = Standing(None, None, claimed=True)
        holder = Record(b"", now, now, now + _HELD, now + _HELD)  # used to its end: no touch prolongs it
        try:
            return place._replace(cached=self.cache.write(key, place.on(holder), None))
        except Conflict:
            return None

    def claim(self, key: str, expected: Standing | None) -> Standing:
        """Have everybody ask the store for what is under a key; `Conflict` if that is not what is expected.

        Returns what stood there, `base` being what to expect in the store.
        """
        changed = Conflict(f"the record {key:.8} changed")
        base = None if expected is None else expected.base
        try:
            for _ in range(_TRIES):
                found = self.copy(key)
                if found is None and expected is not None and expected.saves:
                    raise changed
                place = self.hold(key) if found is None else self._claim(key, found, expected, changed)
                if place is not None:
                    return place if place.base is not None else place._replace(base=base)
        except StoreUnavailable as error:
            self.missed(error)
            if expected is not None and expected.saves:
                raise changed from None
            return Standing(None, base)
        raise StoreUnavailable("too many change this session in the cache; try again")

    def _claim(self, key: str, found: Record, expected: Standing | None, changed: Conflict) -> Standing | None:
        standing = standing_in(found)
        is_known = expected is not None and standing.is_same(expected)
        if not is_known:
            is_there = expected is not None or self.believes(standing)
            if standing.mark is not None and not standing.claimed and is_there:
                raise changed
            if expected is not None and (expected.saves or expected.base == standing.base):
                raise changed
        claim = self._claimed(key, found)
        return claim if claim is None or is_known or expected is None else claim._replace(base=expected.base)

    def claim_any(self, key: str) -> None:
        """Have everybody ask the store for what is under a key, whatever that is."""
        for _ in range(_TRIES):
            found = self.copy(key)
            if found is None or self._claimed(key, found) is not None:
                return

    def _claimed(self, key: str, found: Record) -> Standing | None:
        """Claim what was found, and return how it stands; None if it is there no more."""
        claim = standing_in(found)._replace(claimed=True)
        try:
            return claim._replace(cached=self.cache.write(key, claim.on(found), claim.cached))
        except Conflict:
            return None

    # -- when it does not answer -----------------------------------------------------------------------------------

    def answer(self, ask: Callable[[], _T]) -> _T | None:
        """Return what the cache answers, None if it does not."""
        try:
            return ask()
        except StoreUnavailable as error:
            self.missed(error)
            return None

    def missed(self, error: StoreUnavailable) -> None:
        """Note that the cache did not answer: what it has may be older than what is written meanwhile."""
        self._failed_at = self.cache.clock()
        if self.is_needed:
            raise error
        log.warning("the cache does not answer, the store does its work: %s", error)


def standing_in(record: Record) -> Standing:
    """Return how a record stands that came out of the cache, or is to get there."""
    return cast(Standing, record.version)


def with_clock(store: SessionStore, clock: Callable[[], float]) -> SessionStore:
    """Return a store as it looks to a clock."""
    if store.clock is clock:
        return store
    view = copy.copy(store)
    view.clock = clock
    return view
