import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from session2 import DictSession, SessionManager, from_url, get_secret
from session2.cli import main
from session2.errors import ConfigurationError, Conflict, LockTimeout, SessionError, StoreUnavailable
from session2.record import Outcome, Record
from session2.sessions import PROVISIONAL
from session2.store.base import SessionStore
from session2.store.cached import CachedSessionStore
from session2.store.cached.standing import Standing
from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.samples import KEY, key_of, record_at
from session2.testing.store.shop import Shop, again, saved
from session2.traces import is_trace
from session2.urls import SECRETS

BRIEFLY = 1e-6
"""Seconds of `max_stale_seconds` within which a clock that stands still stays, and after which a purge is exact."""


class TestVolatileOverSQLite(StoreSuite):
    store_class = CachedSessionStore
    processes = False
    scale = 0.2

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ("volatile:", f"sqlite:{tmp_path}/sessions.sqlite"), {"max_stale_seconds": BRIEFLY}


class TestCachedWithoutAWindow(StoreSuite):
    store_class = CachedSessionStore
    processes = False
    scale = 0.2

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ("volatile:", "volatile:"), {"max_stale_count": 1}


@pytest.mark.sampled
class TestSQLiteOverDirectory(StoreSuite):
    """A cache that several processes share."""

    store_class = CachedSessionStore
    scale = 0.1

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        urls = f"sqlite:{tmp_path}/cache.sqlite?create=true", f"directory:{tmp_path}/sessions?create=true"
        return urls, {"max_stale_seconds": BRIEFLY}


# -- the tier and its parts --------------------------------------------------------------------------------------------


class Fickle(VolatileSessionStore):
    """May be away, keep its answers to itself, or refuse to list."""

    is_away = False
    loses_answers = False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("read", "write", "touch", "remove", "scan"):
            return found
        if super().__getattribute__("is_away"):
            raise StoreUnavailable("away")
        return self._silent(found) if name == "write" and super().__getattribute__("loses_answers") else found

    @staticmethod
    def _silent(write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any) -> None:
            write(*arguments)
            raise StoreUnavailable("no answer")
        return written


class Tier(CachedSessionStore):
    """A tier whose parts are at hand; they are as they are to the clock of the tier."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        cache, store = Fickle(clock=clock), Fickle(clock=clock)
        self.first, self.behind = cache, store
        super().__init__(cache, store, clock=clock, **options)

    def lose(self) -> None:
        """Have the cache lose everything."""
        self.first._records.clear()

    def away(self, cache: bool = False, store: bool = False) -> None:
        for view in (self.first, self.cache):
            vars(view)["is_away"] = cache
        for view in (self.behind, self.store, self._back._exact):
            vars(view)["is_away"] = store

    def silent(self, store: bool) -> None:
        for view in (self.behind, self.store, self._back._exact):
            vars(view)["loses_answers"] = store

    def kept(self, session: DictSession) -> Record:
        """Return what the store behind has of a session."""
        record = self.behind.read(str(session.key))
        assert record is not None
        return record


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tier(clock: Clock) -> Tier:
    return Tier(clock)


def behind(tier: CachedSessionStore, session: DictSession) -> Shop | None:
    """Return the session as it is after the cache was lost."""
    other = CachedSessionStore(VolatileSessionStore(), tier.store, clock=tier.clock,
                               max_stale_count=tier.pace.saves)
    return other.sessions.load(str(session.id), Shop)


def save(store: SessionStore, session: DictSession, **items: Any) -> Outcome:
    session.data.update(items)
    return store.sessions.save(session)


# -- what reaches the store --------------------------------------------------------------------------------------------


def test_one_save_in_ten_reaches_the_store_and_no_load(tier: Tier) -> None:
    session = saved(tier, n=0)
    tier.reached.clear()
    for number in range(1, 101):
        loaded = again(tier, session)
        save(tier, loaded, n=number)
    assert tier.reached == {"write": 10}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_share_is_as_configured(clock: Clock, count: int) -> None:
    tier = Tier(clock, max_stale_count=count)
    session = saved(tier, n=0)
    tier.reached.clear()
    for number in range(1, 41):
        save(tier, session, n=number)
    assert tier.reached == {"write": 40 // count}


def test_what_begins_is_in_the_store(tier: Tier) -> None:
    session = saved(tier, n=1)
    tier.lose()
    assert again(tier, session).data == {"n": 1}


def test_a_login_and_a_logout_are_in_the_store(tier: Tier) -> None:
    manager = SessionManager(tier, Shop)
    session = manager.new_session()
    session["n"] = 1
    manager.save(session)
    old = session.id
    session.set_user("ann")
    session["n"] = 2
    manager.save(session)
    assert session.id != old
    tier.lose()
    assert manager.load(old) is None
    assert [found["n"] for found in manager.sessions_of("ann")] == [2]
    manager.delete(session)
    tier.lose()
    assert manager.load(session.id) is None
    assert is_trace(tier.kept(session))


def test_a_change_of_the_user_is_in_the_store(tier: Tier) -> None:
    session = saved(tier, n=1)
    session.user = "ann"
    save(tier, session)
    assert [key for key, _ in tier.records_of("ann")] == [session.key]
    assert tier.kept(session).user == "ann"


def test_what_is_revoked_is_revoked_in_the_store(tier: Tier) -> None:
    manager = SessionManager(tier, Shop)
    session = manager.new_session()
    session.set_user("ann")
    manager.save(session)
    assert manager.revoke_user("ann") == 1
    tier.lose()
    assert manager.load(session.id) is None


def test_what_ended_is_not_in_the_cache(tier: Tier) -> None:
    session = saved(tier, n=1)
    tier.sessions.end(session)
    assert tier.first._records == {}
    assert again_or_none(tier, session) is None
    assert tier.first._records == {}


def again_or_none(store: SessionStore, session: DictSession) -> Shop | None:
    return store.sessions.load(str(session.id), Shop)


def test_a_save_after_max_stale_seconds_reaches_the_store(tier: Tier, clock: Clock) -> None:
    session = saved(tier, n=1)
    save(tier, session, n=2)
    clock.advance(59)
    save(tier, session, n=3)
    assert behind(tier, session).data == {"n": 1}  # type: ignore[union-attr]
    clock.advance(1)
    save(tier, session, n=4)
    assert behind(tier, session).data == {"n": 4}  # type: ignore[union-attr]


def test_a_load_after_max_stale_seconds_brings_the_saves_to_the_store(tier: Tier, clock: Clock) -> None:
    session = saved(tier, n=1)
    save(tier, session, n=2)
    clock.advance(60)
    loaded = again(tier, session)
    assert behind(tier, session).data == {"n": 2}  # type: ignore[union-attr]
    assert tier.sessions.save(session) is Outcome.UNCHANGED
    session["n"] = 3
    assert tier.sessions.save(session, merge=False) is Outcome.SAVED  # nobody else has saved
    save(tier, loaded, other=1)
    assert again(tier, session).data == {"n": 3, "other": 1}


def test_a_touch_reaches_the_store(tier: Tier, clock: Clock) -> None:
    session = saved(tier, n=1)
    session._ties.accessed, session._ties.expires = clock.now + 5, clock.now + 1000
    tier.sessions.touch(session)
    assert tier.kept(session).accessed == clock.now + 5
    tier.lose()
    found = again(tier, session)
    assert (found.access_time, found.expires) == (clock.now + 5, pytest.approx(clock.now + 1000))


# -- what a cache may lose ---------------------------------------------------------------------------------------------


def test_what_a_cache_loses_is_at_most_the_saves_since_the_store_was_written(tier: Tier) -> None:
    session = saved(tier, n=0)
    for number in range(1, 30):
        save(tier, session, n=number)
        found = behind(tier, session)
        assert found is not None
        assert number - 9 <= found["n"] <= number


def test_with_a_count_of_one_a_cache_loses_nothing(clock: Clock) -> None:
    tier = Tier(clock, max_stale_count=1)
    session = saved(tier, n=0)
    for number in range(1, 5):
        save(tier, session, n=number)
        tier.lose()
        assert again(tier, session)["n"] == number


def test_who_loaded_what_the_cache_has_lost_merges_onto_what_the_store_has(tier: Tier) -> None:
    session = saved(tier, visits=1)
    for number in range(4):
        save(tier, session, **{f"lost {number}": number})
    mine = again(tier, session)
    tier.lose()
    mine["mine"], mine["visits"] = 1, 2
    assert tier.sessions.save(mine) is Outcome.SAVED
    assert again(tier, session).data == {"visits": 2, "mine": 1}
    assert behind(tier, session).data == {"visits": 2, "mine": 1}  # type: ignore[union-attr]


def test_a_cache_that_loses_everything_at_once_keeps_no_save_from_the_store(tier: Tier) -> None:
    """Else a cache that is too small would keep all of them from it."""
    session = saved(tier, n=0)
    for number in range(1, 5):
        tier.lose()
        save(tier, again(tier, session), n=number)
        assert behind(tier, session)["n"] == number  # type: ignore[index]


def test_what_was_in_the_store_all_the_same_can_be_saved_without_a_merge(tier: Tier) -> None:
    session = saved(tier, n=1)
    loaded = again(tier, session)
    tier.lose()
    loaded["n"] = 2
    assert tier.sessions.save(loaded, merge=False) is Outcome.SAVED


def test_a_late_reader_does_not_cover_what_was_written_since(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    """It read the store before the logout, and would put what it found into the cache after it."""
    session = saved(tier, n=1)
    tier.lose()
    other = CachedSessionStore(tier.cache, tier.store, clock=tier.clock)
    read = tier._back.read

    def slow(key: str, copied: Record | None) -> Record | None:
        found = read(key, copied)
        tier.lose()
        other.sessions.end(str(session.id))
        return found

    monkeypatch.setattr(tier._back, "read", slow)
    tier.read(str(session.key))
    monkeypatch.undo()
    assert again_or_none(tier, session) is None
    assert again_or_none(other, session) is None


def test_the_lock_of_a_session_outlasts_the_cache(tier: Tier) -> None:
    with tier.lock(KEY):
        tier.lose()
        with pytest.raises(LockTimeout):
            tier.lock(KEY, timeout=0)


def test_who_is_killed_while_removing_leaves_nothing_or_all_of_it(tier: Tier, clock: Clock,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def remove(*_: Any) -> None:
        raise Killed

    tier.write(KEY, record_at(clock.now), None)
    monkeypatch.setattr(tier.cache, "remove", remove)
    with pytest.raises(Killed):
        tier.remove(KEY)
    monkeypatch.undo()
    assert tier.read(KEY) is None
    tier.write(KEY, record_at(clock.now, b"new"), None)


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_the_store_ends_no_session_that_the_cache_says_is_live(tier: Tier, clock: Clock) -> None:
    manager = SessionManager(tier, Shop, idle_timeout=300, touch_interval=100)
    session = manager.new_session()
    session["n"] = 1
    manager.save(session)
    clock.advance(50)
    session["n"] = 2
    manager.save(session)  # the store knows nothing of it
    clock.advance(299)
    tier.behind.purge()
    tier.purge()
    session["n"] = 3
    assert manager.save(session) is Outcome.SAVED
    assert manager.load(session.id)["n"] == 3


def test_a_session_lives_no_longer_for_the_store_having_it_longer(tier: Tier, clock: Clock) -> None:
    tier.write(KEY, record_at(clock.now, expires=clock.now + 100), None)
    clock.advance(100)
    assert tier.read(KEY) is None
    assert list(tier.scan()) == []
    assert tier.touch(KEY, clock.now, clock.now + 100) is False
    tier.write(KEY, record_at(clock.now, b"new"), None)
    assert tier.read(KEY).data == b"new"  # type: ignore[union-attr]


def test_what_ends_earlier_than_the_store_knows_is_written_there(tier: Tier, clock: Clock) -> None:
    version = tier.write(KEY, record_at(clock.now, expires=None), None)
    tier.write(KEY, record_at(clock.now, expires=clock.now + 10), version)
    clock.advance(10)
    assert tier.read(KEY) is None


def test_a_purge_does_not_take_what_was_saved_in_the_cache_only(tier: Tier, clock: Clock) -> None:
    version = tier.write(KEY, record_at(clock.now, accessed=clock.now, expires=clock.now + 100), None)
    tier.write(KEY, record_at(clock.now, b"used", accessed=clock.now + 20, expires=clock.now + 120), version)
    clock.advance(110)
    assert tier.purge() == 0
    assert tier.read(KEY).data == b"used"  # type: ignore[union-attr]
    clock.advance(10)
    assert tier.purge() == 1
    assert tier.behind._records == {} == tier.first._records


def test_with_a_cache_that_cannot_list_a_purge_is_late_and_not_wrong(tier: Tier, clock: Clock) -> None:
    vars(tier.cache)["can_list"] = False
    tier.write(KEY, record_at(clock.now, expires=clock.now + 100), None)
    clock.advance(159)
    assert tier.purge() == 0
    clock.advance(1)
    assert tier.purge() == 1


def test_what_the_store_was_not_told_of_is_not_unused(tier: Tier, clock: Clock) -> None:
    vars(tier.cache)["can_list"] = False
    began = clock.now
    version = tier.write(KEY, record_at(began, accessed=began, expires=None), None)
    clock.advance(59)
    tier.write(KEY, record_at(clock.now, b"used", accessed=clock.now, expires=None), version)
    assert tier.behind.read(KEY).accessed == began  # type: ignore[union-attr]
    clock.advance(21)
    assert tier.purge(unused_since=clock.now) == 0
    clock.advance(100)
    assert tier.purge(unused_since=clock.now) == 1


def test_where_the_store_can_be_told_of_all_that_was_used_a_purge_of_the_unused_is_exact(tier: Tier,
                                                                                        clock: Clock) -> None:
    tier.write(KEY, record_at(clock.now, accessed=clock.now, expires=None), None)
    version = tier.write(key_of(2), record_at(clock.now, accessed=clock.now, expires=None), None)
    clock.advance(59)
    tier.write(key_of(2), record_at(clock.now, b"used", accessed=clock.now, expires=None), version)
    clock.advance(41)
    assert tier.purge(unused_since=clock.now - 50) == 1
    assert tier.read(key_of(2)) is not None


def test_what_the_cache_missed_in_the_moment_in_which_it_was_filled_is_read_from_the_store(tier: Tier,
                                                                                        clock: Clock) -> None:
    version = tier.write(KEY, record_at(clock.now, b"old"), None)
    tier.away(cache=True)
    tier.write(KEY, record_at(clock.now, b"new"), version)
    tier.away()
    assert tier.read(KEY).data == b"new"  # type: ignore[union-attr]


def test_a_stranger_in_the_cache_makes_way(tier: Tier, clock: Clock) -> None:
    tier.first.write(KEY, record_at(clock.now, b"of a stranger"), None)
    tier.write(KEY, record_at(clock.now, b"ours"), None)
    assert tier.read(KEY).data == b"ours"  # type: ignore[union-attr]
    assert [record.data.endswith(b"ours") for _, record in tier.first.scan()] == [True]


def test_a_flush_brings_all_saves_to_the_store(tier: Tier) -> None:
    sessions = [saved(tier, n=1) for _ in range(3)]
    for session in sessions[1:]:
        save(tier, session, n=2)
    assert tier.flush() == 2
    assert tier.flush() == 0
    assert [behind(tier, session)["n"] for session in sessions] == [1, 2, 2]  # type: ignore[index]
    sessions[1]["n"] = 3
    assert tier.sessions.save(sessions[1], merge=False) is Outcome.SAVED


# -- what happens beside the tier --------------------------------------------------------------------------------------


def test_what_was_revoked_in_the_store_alone_is_over_after_max_stale_seconds(tier: Tier, clock: Clock) -> None:
    session = saved(tier, n=1)
    tier.behind.sessions.end(str(session.id))
    clock.advance(60)
    assert again_or_none(tier, session) is None


def test_a_store_that_was_there_before_has_its_sessions(clock: Clock) -> None:
    store = VolatileSessionStore(clock=clock)
    session = saved(store, n=1)
    tier = CachedSessionStore(VolatileSessionStore(), store, clock=clock)
    loaded = again(tier, session)
    save(tier, loaded, n=2)
    assert again(store, session)["n"] == 2


def test_something_else_in_the_cache_counts_as_nothing(tier: Tier, clock: Clock) -> None:
    session = saved(tier, n=1)
    for data in (b"something", b"s2 copy nonsense\n", b"s2 copy [1]\nx", b"s2 copy {}\nx"):
        tier.lose()
        tier.first.write(str(session.key), record_at(clock.now, data), None)
        assert again(tier, session).data == {"n": 1}


# -- one of the two is away --------------------------------------------------------------------------------------------


def test_while_the_store_is_away_what_needs_it_is_an_error(tier: Tier) -> None:
    session = saved(tier, n=0)
    for number in range(1, 10):
        save(tier, session, n=number)
    tier.away(store=True)
    assert again(tier, session)["n"] == 9
    for call in (lambda: save(tier, session, n=10), lambda: saved(tier, n=1), lambda: tier.sessions.end(session)):
        with pytest.raises(StoreUnavailable):
            call()
    tier.away()
    assert again(tier, session)["n"] == 9
    assert save(tier, session, n=11) is Outcome.SAVED


def test_while_the_store_is_away_the_cache_goes_on_if_it_shall(clock: Clock) -> None:
    tier = Tier(clock, when_store_is_away="cache")
    session = saved(tier, n=0)
    tier.away(store=True)
    for number in range(1, 30):
        clock.advance(7)
        save(tier, again(tier, session), n=number)
        tier.sessions.touch(session)
    for call in (lambda: saved(tier, n=1), lambda: tier.sessions.end(session)):
        with pytest.raises(StoreUnavailable):
            call()
    tier.away()
    save(tier, again(tier, session), n=30)
    for number in range(31, 41):
        save(tier, again(tier, session), n=number)
    assert again(tier, session)["n"] == 40
    assert behind(tier, session)["n"] >= 31  # type: ignore[index]


def test_nothing_is_lost_if_the_store_did_what_it_gave_no_answer_to(clock: Clock) -> None:
    tier = Tier(clock, when_store_is_away="cache", max_stale_count=2)
    session = saved(tier, n=0)
    save(tier, session, n=1)
    tier.silent(store=True)
    for number in range(2, 6):
        assert save(tier, session, n=number) is Outcome.SAVED
    tier.silent(store=False)
    for number in range(6, 9):
        assert save(tier, session, n=number) is Outcome.SAVED
        assert again(tier, session)["n"] == number
    assert behind(tier, session)["n"] >= 7  # type: ignore[index]


def test_what_may_be_ended_in_the_store_is_not_served_by_the_cache(clock: Clock) -> None:
    tier = Tier(clock, when_store_is_away="cache")
    session = saved(tier, n=0)
    tier.silent(store=True)
    tier.away(store=False)
    with pytest.raises(StoreUnavailable):
        tier.write(str(session.key), record_at(clock.now, b"s2 trace ended\nx"), tier.read(str(session.key)).version)  # type: ignore[union-attr]
    tier.silent(store=False)
    tier.away(store=True)
    with pytest.raises(StoreUnavailable):
        tier.read(str(session.key))
    tier.away()
    assert again_or_none(tier, session) is None


def test_while_the_cache_is_away_the_store_does_its_work(tier: Tier) -> None:
    manager = SessionManager(tier, Shop)
    session = saved(tier, visits=0)
    loaded = again(tier, session)
    tier.away(cache=True)
    save(tier, loaded, visits=1)
    loaded = again(tier, session)
    save(tier, loaded, visits=2)
    tier.sessions.touch(loaded)
    other = saved(tier, n=1)
    manager.delete(str(other.id))
    assert again_or_none(tier, other) is None
    assert behind(tier, session)["visits"] == 2  # type: ignore[index]


def test_a_cache_that_was_away_is_not_believed(tier: Tier, clock: Clock) -> None:
    """It has what was before, unless it has lost it."""
    one, two = saved(tier, n=1), saved(tier, n=1)
    clock.advance(1)
    tier.away(cache=True)
    save(tier, again(tier, one), n=2)
    tier.sessions.end(again(tier, two))
    tier.away()
    assert again(tier, one)["n"] == 2
    assert again_or_none(tier, two) is None


def test_a_cache_that_was_away_does_not_stand_in_for_the_store(clock: Clock) -> None:
    """A session that ended while it was away would be seen again."""
    tier = Tier(clock, when_store_is_away="cache", max_stale_count=1)
    one, two = saved(tier, n=1), saved(tier, n=1)
    clock.advance(1)
    tier.away(cache=True)
    save(tier, again(tier, one), n=2)
    tier.sessions.end(again(tier, two))
    tier.away(store=True)
    for session in (one, two):
        with pytest.raises(StoreUnavailable):
            again_or_none(tier, session)


def test_a_flush_brings_along_what_somebody_claimed_who_was_killed(tier: Tier) -> None:
    session = saved(tier, n=0)
    save(tier, session, n=1)
    tier._front.claim_any(str(session.key))
    assert tier.flush() == 1
    tier.lose()
    assert again(tier, session)["n"] == 1


def test_with_the_cache_away_all_is_an_error_if_it_shall_be(clock: Clock) -> None:
    tier = Tier(clock, when_cache_is_away="error")
    session = saved(tier, n=1)
    tier.away(cache=True)
    for call in (lambda: again(tier, session), lambda: save(tier, session, n=2), lambda: saved(tier),
                 lambda: tier.sessions.end(session), lambda: tier.remove(KEY)):
        with pytest.raises(StoreUnavailable):
            call()


# -- histories ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
def test_threads_lose_no_more_than_the_cache_does(count: int) -> None:
    """They add up, end sessions, and the cache loses records all the time."""
    cache, store = VolatileSessionStore(), VolatileSessionStore()
    tiers = [CachedSessionStore(cache, store, max_stale_count=count) for _ in range(3)]
    sessions = [saved(tiers[0], visits=0) for _ in range(3)]
    doomed = [saved(tiers[0], visits=0) for _ in range(20)]
    lost: list[str] = []

    def lose(chance: random.Random) -> None:
        key = str(chance.choice([*sessions, *doomed]).key)
        if chance.random() < 0.3 and cache.read(key) is not None:
            lost.append(key)
            cache.remove(key)

    def visit(tier: CachedSessionStore) -> None:
        chance = random.Random(tiers.index(tier))
        for turn in range(150):
            lose(chance)
            found = again(tier, sessions[turn % 3])
            lose(chance)
            found["visits"] += 1
            tier.sessions.save(found)
            ended = doomed[turn % 20]
            if turn >= 100:
                tier.sessions.end(str(ended.id))
                assert again_or_none(tier, ended) is None
            elif (late := again_or_none(tier, ended)) is not None:
                late["visits"] += 1
                tier.sessions.save(late)

    with ThreadPoolExecutor(3) as pool:
        for visitor in [pool.submit(visit, tier) for tier in tiers]:
            visitor.result()
    assert len(lost) > 50
    assert [again_or_none(tiers[0], session) for session in doomed] == [None] * 20
    for session in sessions:
        least = 150 - lost.count(str(session.key)) * (count - 1)
        assert least <= again(tiers[0], session)["visits"] <= 150


# -- how it is made ----------------------------------------------------------------------------------------------------


def url_of(cache: str, store: str, **arguments: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in arguments.items())
    return f"cached:?cache={quote(cache, safe='')}&store={quote(store, safe='')}{more}"


def test_a_url_names_both_stores_and_their_arguments(tmp_path: Path) -> None:
    url = url_of("volatile:", f"sqlite:{tmp_path}/s.sqlite?create=true&synchronous=FULL", max_stale_count="3",
                 max_stale_seconds="1.5", when_store_is_away="cache")
    store = from_url(url)
    assert isinstance(store, CachedSessionStore)
    assert store.pace == (3, 1.5)
    assert again(store, saved(store, n=1)).data == {"n": 1}
    store.close()


@pytest.mark.parametrize("url", [
    "cached:", "cached:?cache=volatile:", "cached:volatile:?cache=volatile:&store=volatile:",
    "cached:?cache=volatile:&store=nowhere:", "cached:?cache=volatile:&store=cookie:",
    "cached:?cache=volatile:&store=volatile:&max_stale_count=0",
    "cached:?cache=volatile:&store=volatile:&max_stale_seconds=0",
    "cached:?cache=volatile:&store=volatile:&max_stale_seconds=inf",
    "cached:?cache=volatile:%3Fserializer=json&store=volatile:",
    "cached:?cache=volatile:&store=volatile:%3Fserializer=json&serializer=msgpack",
    "cached:?cache=volatile:%3Fhash_ids=false&store=volatile:",
    "cached:?cache=volatile:&store=volatile:%3Fhash_ids=false&hash_ids=true",
    "cached:?cache=volatile:&store=volatile:&when_store_is_away=x",
    "cached:?cache=volatile:&store=volatile:&when_cache_is_away=x"])
def test_what_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        from_url(url)


def test_sessions_are_kept_as_the_store_was_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRETS, get_secret())
    url = f"sqlite:{tmp_path}/s.sqlite?create=true&serializer=encrypted-json&hash_ids=false"
    store: Any = from_url(url_of("volatile:", url))
    session = saved(store, secret="swordfish")
    for part in store, store.store, store.cache:
        [(key, record)] = part.scan()
        assert (key, b"swordfish" in record.data) == (session.id, False)
    store.close()
    assert again(from_url(url), session).data == {"secret": "swordfish"}


def test_no_error_shows_a_password() -> None:
    for inner in ("postgresql://joe:sesame@[bad/x", "mysql://joe:se@sesame@host/x", "sqlite://joe:sesame@host/x"):
        with pytest.raises(SessionError) as caught:
            from_url(url_of("volatile:", inner))
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("command", [["setup"], ["list"], ["purge"], ["stats"]])
def test_the_command_line_works_on_both(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    url = url_of("volatile:", f"sqlite:{tmp_path}/s.sqlite?create=true")
    store = from_url(url)
    saved(store, n=1)
    store.close()
    with pytest.raises(SystemExit) as end:
        main([*command, url])
    assert end.value.code in (0, None), capsys.readouterr()


def test_the_command_line_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["setup", url_of("volatile:", "postgresql://joe:sesame@localhost:1/x")])
    said = "".join(capsys.readouterr())
    assert "joe" in said
    assert "sesame" not in said


def test_it_is_as_safe_as_both_are(tmp_path: Path) -> None:
    shared = f"sqlite:{tmp_path}/s.sqlite?create=true"
    assert not CachedSessionStore("volatile:", shared).is_multiprocess_safe
    assert CachedSessionStore(shared, f"directory:{tmp_path}/d?create=true").is_multiprocess_safe
    assert CachedSessionStore("volatile:", shared).is_thread_safe


def test_a_store_whose_versions_cannot_be_kept_is_refused(clock: Clock) -> None:
    class Odd(VolatileSessionStore):
        def write(self, key: str, record: Record, expected: Any) -> Any:
            return (super().write(key, record, expected and expected[0]), frozenset())

    with pytest.raises(ConfigurationError, match="neither numbers nor text"):
        saved(CachedSessionStore(VolatileSessionStore(), Odd()), n=1)


def test_a_store_may_have_more_in_its_versions_than_what_they_are_compared_by(clock: Clock) -> None:
    class Rich(VolatileSessionStore):
        def read(self, key: str) -> Record | None:
            found = super().read(key)
            return found and found._replace(version=Numbered(found.version))

        def write(self, key: str, record: Record, expected: Any) -> Any:
            if expected is not None and not isinstance(expected, Numbered):
                raise Conflict("of another store")
            return Numbered(super().write(key, record, expected and expected.number))

        def remove(self, key: str, expected: Any = None) -> None:
            if expected is not None and not isinstance(expected, Numbered):
                raise Conflict("of another store")
            super().remove(key, expected and expected.number)

        def _compare(self, key: str, expected: Any) -> None:
            super()._compare(key, Numbered(expected) if isinstance(expected, int) else expected)

    tier = CachedSessionStore(VolatileSessionStore(), Rich(), clock=clock, max_stale_count=2)
    session = saved(tier, n=0)
    for number in range(1, 8):
        session["n"] = number
        assert tier.sessions.save(session, merge=False) is Outcome.SAVED
    assert behind(tier, session)["n"] >= 6  # type: ignore[index]
    tier.remove(str(session.key), tier.read(str(session.key)).version)  # type: ignore[union-attr]
    assert again_or_none(tier, session) is None


class Numbered:
    """A version that is more than its number."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbered) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


def test_a_version_shows_no_user() -> None:
    assert "ann" not in repr(Standing(1, 2, user="ann"))


def test_a_foreign_version_is_a_conflict(tier: Tier, clock: Clock) -> None:
    tier.write(KEY, record_at(clock.now), None)
    with pytest.raises(Conflict):
        tier.write(KEY, record_at(clock.now), 7)
    with pytest.raises(Conflict):
        tier.remove(KEY, 7)
    assert PROVISIONAL > 60
