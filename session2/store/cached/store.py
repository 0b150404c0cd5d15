"""A cache in front of a store: read there, written through now and then, and nothing that ended comes back.

The cache is where a record is compared and set as long as it has it; the store, where everything is that must last.
Three rules keep the two together, whatever is lost in the cache at whatever moment:

- Who is about to write to the store *claims* the record in the cache first.  A claimed record is believed by nobody:
  who reads it asks the store whether it has something newer.
- Nothing gets into the cache but in place of a claim that was there before the store was asked.  What somebody read
  from the store long ago cannot cover what was written since.
- Who finds its claim gone when it has written looks for what took its place, and removes it if it is older.

What ended is in the store only; so is every lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qs

from ...codec import Codec
from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...filing import Filing
from ...record import Record, Version
from ...sessions import Sessions
from ...traces import is_lock, is_trace
from ..base import SessionStore
from ..lease import Lease
from ..records import checked_key
from ..versions import new_version
from .back import Back
from .front import Front, standing_in
from .pace import Pace
from .parts import demand_form, made
from .standing import Standing, standing_of


class CachedSessionStore(SessionStore):
    """Keeps sessions in a store, and reads them from a cache in front of it; both may be any stores, or their URLs.

    :param cache: where sessions are read; it may lose what it has at any moment.
    :param store: where sessions are kept.
    :param max_stale_count: the store is written with every so many saves of a session; 1: with each.
    :param max_stale_seconds: the store is written by a save this long after the last, and a copy in the cache is
        believed this long until it is compared with the store again.
    :param when_store_is_away: "error" raises `StoreUnavailable`; "cache" goes on with what is in the cache, but begins
        and ends no session.
    :param when_cache_is_away: "store" goes on with what is in the store; "error" raises `StoreUnavailable`.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    URL_OPTIONS = ("cache", "store")

    def __init__(self, cache: SessionStore | str, store: SessionStore | str, *, max_stale_count: int = 10,
                 max_stale_seconds: float = 60.0, when_store_is_away: Literal["error", "cache"] = "error",
                 when_cache_is_away: Literal["error", "store"] = "store", **options: Any) -> None:
        self.pace = Pace(max_stale_count, max_stale_seconds)
        self.pace.check()
        if when_store_is_away not in ("error", "cache") or when_cache_is_away not in ("error", "store"):
            raise ConfigurationError('when_store_is_away is "error" or "cache", when_cache_is_away "error" or "store"')
        cache, store = made(cache, "cache"), made(store, "store")
        self._back = Back(store, self.pace.margin)
        self._front = Front(cache, max_stale_seconds, when_cache_is_away == "error")
        self._goes_on = when_store_is_away == "cache"
        self.is_thread_safe = cache.is_thread_safe and store.is_thread_safe
        self.is_multiprocess_safe = cache.is_multiprocess_safe and store.is_multiprocess_safe
        self.can_list = store.can_list
        own = {"clock": store.clock, "observer": store.observer, "serializer": store.serializer,
               "hash_ids": store.hash_ids, **options}
        super().__init__(**own)
        demand_form(self, cache, "cache")
        demand_form(self, store, "store")
        self.queues = store.queues
        self.sessions = Sessions(Filing(self, Codec(self)))

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> CachedSessionStore:
        """Make a store from ``cached:?cache=URL&store=URL``, both URLs quoted."""
        scheme, _, query = location.partition("?")
        given = parse_qs(query)
        if scheme != "cached:" or not given.keys() == {"cache", "store"}:
            raise ConfigurationError("write cached:?cache=URL&store=URL, and in both URLs %26 for &, %23 for #, "
                                     "%2B for + and %25 for %")
        return cls(given["cache"][0], given["store"][0], **options)

    @property
    def cache(self) -> SessionStore:
        """The cache."""
        return self._front.cache

    @property
    def store(self) -> SessionStore:
        """The store behind it."""
        return self._back.store

    @property
    def reached(self) -> Counter[str]:
        """How often this process asked the store, by the name of the primitive, without locks; a gauge."""
        return self._back.reached

    @property
    def clock(self) -> Callable[[], float]:
        """The clock, which is that of both stores."""
        return self._clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._front, self._back = self._front.to_clock(clock), self._back.to_clock(clock)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        if is_lock(checked_key(key)):
            return self.store.read(key)
        try:
            found = self._front.copy(key)
        except StoreUnavailable as error:
            self._front.missed(error)
            return self._back.read(key, None)
        if found is not None and self._front.believes(standing_in(found)):
            return found
        return self._compared(key, found)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        if is_lock(checked_key(key)):
            return self.store.write(key, record, expected)
        if expected is None:
            return self._write_through(key, record, None)
        if not isinstance(expected, Standing):
            raise Conflict(f"the record {key:.8} changed")
        if expected.cached is None or self.pace.is_due(record, expected, self.clock()):
            return self._write_through(key, record, expected)
        mark = new_version()
        try:
            return self._front.keep(key, record, expected, mark)
        except Conflict:
            return self._write_through(key, record, expected)
        except StoreUnavailable as error:
            self._front.missed(error)
            return self._keep_all_the_same(key, record, expected, mark)

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        if is_lock(checked_key(key)):
            return self.store.touch(key, accessed, expires)
        found = self._front.answer(lambda: self._front.copy(key))
        try:
            stands = self._back.touch(key, accessed, expires, found)
        except StoreUnavailable:
            if not self._goes_on or found is None:
                raise
            stands = True
        if found is not None:
            self._front.answer(lambda: self.cache.touch(key, accessed, expires) if stands else self.cache.remove(key))
        return stands

    def remove(self, key: str, expected: Version | None = None) -> None:
        if is_lock(checked_key(key)):
            self.store.remove(key, expected)
        elif expected is None:
            self._front.answer(lambda: self._front.claim_any(key))
            self._back.remove(key)
            self._front.answer(lambda: self.cache.remove(key))
        else:
            self._remove_version(key, expected)

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._newest(self.store.scan())

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        return self._newest(self.store.records_of(user))

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Delete what is over from both.

        Where the cache cannot list, records stay `max_stale_seconds` longer: so long the store need not know of a save.
        What was used in the last `max_stale_seconds` is never unused.
        """
        now = self.clock() if now is None else now
        self._front.answer(lambda: self.cache.purge(now, batch))
        is_told = self.cache.can_list and self._front.answer(self.flush) is not None
        return self._back.purge(now, batch, unused_since, is_told)

    # -- abilities -------------------------------------------------------------------------------------------------

    def lock(self, key: str, *, timeout: float = 30.0, lease: float = 60.0) -> Lease:
        """Take the store's own lock: it excludes others also when the cache begins anew."""
        return self.store.lock(key, timeout=timeout, lease=lease)

    def setup(self, drop: bool = False) -> None:
        self.store.setup()
        self.cache.setup()
        if drop:
            for key, _ in self.scan():
                self.remove(key)
            self.store.setup(drop=True)

    def close(self) -> None:
        self.cache.close()
        self.store.close()

    def flush(self) -> int:
        """Write to the store what the cache alone has, as before a restart of the cache; return of how many sessions.

        Raises `ConfigurationError` if the cache cannot list what it has.
        """
        flushed = 0
        for key, found in self.cache.scan():
            record = standing_of(found)
            if record is not None and standing_in(record).saves:
                with suppress(Conflict):  # saved meanwhile
                    self._flush(key, record)
                    flushed += 1
        return flushed

    def _look_up(self, key: str) -> Record | None:
        return self.store._look_up(key)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _compared(self, key: str, found: Record | None) -> Record | None:
        """Return what is right of what the cache and the store have, and see to it that the cache has it."""
        place = self._front.answer(lambda: self._front.hold(key)) if found is None else standing_in(found)
        try:
            stored = self._back.read(key, found)
        except StoreUnavailable:
            if not self._goes_on or found is None or not self._front.may_be_right(standing_in(found)):
                raise
            return found
        if found is not None and stored is not None and standing_in(found).base == standing_in(stored).base:
            return self._confirmed(key, found, standing_in(stored).since)
        if place is not None and (found is None or place.mark is not None):
            return self._front.fill(key, stored, place)
        return stored

    def _confirmed(self, key: str, found: Record, since: float) -> Record | None:
        """Note that a copy goes back to what the store has."""
        standing = standing_in(found)
        if standing.claimed:
            return found
        if standing.saves:
            try:
                return self._flush(key, found)
            except Conflict:
                return self.read(key)
        return self._front.fill(key, found._replace(version=standing._replace(since=since)), standing)

    def _newest(self, stored: Iterator[tuple[str, Record]]) -> Iterator[tuple[str, Record]]:
        """Put what the cache has instead of what it goes back to."""
        for key, record in stored:
            if is_lock(key):
                yield key, record
                continue
            taken, copied = self._back.taken(record, 0.0), self._front.answer(partial(self._front.copy, key))
            if copied is not None and standing_in(copied).base == standing_in(taken).base:
                yield key, copied
            elif taken.is_live(self.clock()):
                yield key, taken

    # -- writing ---------------------------------------------------------------------------------------------------

    def _keep_all_the_same(self, key: str, record: Record, expected: Standing, mark: Version) -> Version:
        """Save when the cache did not answer to it."""
        unknown = StoreUnavailable("the cache did not say whether it saved the session")
        try:
            found = self._front.copy(key)
        except StoreUnavailable:
            found = None
            place = expected._replace(cached=None)
        else:
            if found is not None and standing_in(found).mark == mark:
                return found.version
            if found is None or not standing_in(found).is_same(expected):
                raise unknown
            place = self._front.claim(key, expected)
        try:
            return self._through(key, record, place, expected.base)
        except Conflict:
            raise unknown from None

    def _write_through(self, key: str, record: Record, expected: Standing | None, mark: Version = None) -> Standing:
        claim = self._front.claim(key, expected)
        return self._through(key, record, claim, None if expected is None else claim.base, mark)

    def _through(self, key: str, record: Record, claim: Standing, base: Version | None,
                 mark: Version = None) -> Standing:
        """Write to the store, and put what was written in place of the claim."""
        since = self.clock()
        try:
            version = self._back.write(key, record, claim, base)
        except Conflict:
            if claim.mark is None and claim.cached is not None:
                self._front.fill(key, None, claim)
            raise
        except StoreUnavailable:
            if not self._may_wait(record, claim, base):
                raise
            with suppress(Conflict):  # it is tried again when it would be due again
                waiting = claim._replace(saves=0, since=since).with_sent(record)
                return self._front.keep(key, record, waiting, new_version())
            raise
        standing = Standing(mark or version, version, 0, since, record.accessed, record.expires, user=record.user)
        return self._front.settle(key, record._replace(version=standing), claim, partial(self._back.version, key))

    def _may_wait(self, record: Record, claim: Standing, base: Version | None) -> bool:
        """Tell whether a save may stay in the cache while the store is away."""
        return (self._goes_on and base is not None and claim.cached is not None
                and claim.mark is not None and claim.base == base
                and not is_trace(record) and record.user == claim.user)

    def _remove_version(self, key: str, expected: Version) -> None:
        try:
            if not isinstance(expected, Standing):
                raise Conflict(f"the record {key:.8} changed")
            claim = self._front.claim(key, expected)
            self._back.remove(key, claim.base)
        except Conflict:
            if self.read(key) is None:
                return
            raise
        self._front.answer(lambda: self._front.remove_older(key, None, partial(self._back.version, key)))

    def _flush(self, key: str, record: Record) -> Record:
        """Write a copy to the store as it is; it stays the same version to whoever has it."""
        standing = standing_in(record)
        return record._replace(version=self._write_through(key, record, standing, standing.mark))
