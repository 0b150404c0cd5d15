"""Races: between threads that share a store, and between processes, for a store that claims to stand them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...errors import LockTimeout
from ...record import Outcome
from ...store.base import SessionStore
from ...traces import lock_key
from ..fakes import Clock
from . import work
from .claims import Claims, needs_listing, needs_merging
from .crew import Crew, Worker, runner
from .recipe import Recipe
from .samples import KEY, contents, key_of, record_at
from .shop import Shop, again, alive, saved
from .visitor import Visitor, is_locked, manage

Together = Callable[..., list[Any]]


class RaceTests(Claims):
    """Each test runs once with threads and once with processes, as far as the store claims."""

    @pytest.fixture(scope="class")
    @classmethod
    def crew(cls) -> Iterator[Crew]:
        """Processes, started when first needed."""
        crew = Crew()
        yield crew
        crew.dismiss()

    @pytest.fixture
    def together(self, merging: None, kind: str, crew: Crew, recipe: Recipe, clock: Clock,
                 store: SessionStore) -> Together:
        """A function that does jobs at the same time."""
        return runner(kind, crew, recipe, clock, store)

    @pytest.fixture
    def racers(self, kind: str) -> int:
        """How many do it at the same time."""
        return 4 if kind == "processes" else 8

    def test_increments_add_up(self, store: SessionStore, together: Together, racers: int) -> None:
        """The brief of a session store: 1000 requests, 1000 counted."""
        session = saved(store, visits=0)
        times = self.times(1000) // racers
        together([(work.increment, session.id, times)] * racers)
        assert again(store, session)["visits"] == times * racers

    def test_everybody_sets_a_key(self, store: SessionStore, together: Together, kind: str) -> None:
        session = saved(store, start=1)
        each = 10 if kind == "processes" else 1
        names = [f"key {number}" for number in range(40)]
        together([(work.set_keys, session.id, names[first:first + each]) for first in range(0, 40, each)])
        assert again(store, session).data == {"start": 1, **{name: name for name in names}}

    def test_live_sessions_lose_nothing(self, store: SessionStore, together: Together, racers: int) -> None:
        """Whatever the order, each key is there and each increment is counted."""
        session = saved(store, visits=0)
        times = self.times(100) // racers
        together([(work.use_live, session.id, number, times) for number in range(racers)])
        found = again(store, session)
        assert found.pop("visits") == times * racers
        assert found.data == {f"{number} {key}": key for number in range(racers) for key in range(10)}

    def test_one_insert_wins(self, store: SessionStore, together: Together, racers: int) -> None:
        keys = [key_of(number) for number in range(self.times(50))]
        won = together([(work.insert_each, keys, b"%d" % racer) for racer in range(racers)])
        assert Counter(key for keys_won in won for key in keys_won) == Counter(keys)
        assert contents(store, *keys) == {key: b"%d" % racer for racer, keys_won in enumerate(won) for key in keys_won}

    def test_compare_and_set_loses_nothing(self, store: SessionStore, clock: Clock, together: Together,
                                           racers: int) -> None:
        """Nor is a version ever given twice."""
        versions = [store.write(KEY, record_at(clock.now, b"0"), None)]
        times = self.times(50)
        for written in together([(work.count, KEY, times)] * racers):
            versions += written
        assert contents(store, KEY) == {KEY: b"%d" % (times * racers)}
        assert len(set(versions)) == times * racers + 1

    def test_one_of_replace_and_remove_wins(self, store: SessionStore, clock: Clock, together: Together) -> None:
        versions = {key_of(number): store.write(key_of(number), record_at(clock.now), None)
                    for number in range(self.times(50))}
        backwards = dict(reversed(versions.items()))  # so that each is first somewhere
        removed, replaced = together([(work.remove_each, versions), (work.replace_each, backwards)])
        assert contents(store, *versions) == dict.fromkeys(replaced, b"replaced")
        assert (removed | replaced, removed & replaced) == (set(versions), set())

    def test_logout_is_final(self, store: SessionStore, together: Together, racers: int) -> None:
        ids = [saved(store, n=number).id for number in range(self.times(25))]
        together([(work.delete_all, ids), *[(work.change_all, ids)] * (racers - 1)])
        assert contents(store, *[store.sessions.key(str(id)) for id in ids]) == {}

    def test_two_logins_leave_one_session(self, store: SessionStore, together: Together) -> None:
        ids = [saved(store, n=number).id for number in range(self.times(20))]
        one, two = together([(work.login_each, ids, "anna"), (work.login_each, ids, "anna")])
        assert sorted(session["n"] for session in alive(store, *ids, *one, *two)) == list(range(len(ids)))
        assert not any(store.has_session(id) for id in ids)
        if store.can_list:
            assert len(list(store.records_of("anna"))) == len(ids)

    @needs_listing
    def test_limit_of_sessions_is_exact(self, store: SessionStore, together: Together, racers: int) -> None:
        together([(work.log_in_limited, "anna", self.times(10), 3)] * racers)
        assert len(list(store.records_of("anna"))) == 3

    @needs_listing
    def test_login_submitted_twice_ends_no_session(self, store: SessionStore, together: Together) -> None:
        """What comes to nothing, because the other one was first, does not count among the sessions of the user."""
        ids = [saved(store, n=number).id for number in range(self.times(20))]
        together([(work.log_in_each, ids)] * 2)
        assert sorted(session.user for session in store.sessions.each(Shop)) == list(range(len(ids)))

    def test_lock_excludes(self, store: SessionStore, together: Together, racers: int, tmp_path: Path) -> None:
        path = tmp_path / "count.outside"
        path.write_text("0")
        times = self.times(25)
        together([(work.count_under_lock, KEY, path, times)] * racers)
        assert path.read_text() == str(times * racers)
        assert contents(store, KEY, lock_key(KEY)) == {}

    def test_locked_requests_count(self, store: SessionStore, together: Together, racers: int) -> None:
        visitor = Visitor(manage(store))
        with visitor.visit() as session:
            session["plain"] = 0
        times = self.times(25)
        together([(work.count_in_requests, visitor.cookie, times)] * racers)
        assert visitor.look() == {"plain": times * racers}
        assert not is_locked(store, visitor.key)

    def test_readers_see_whole_records(self, store: SessionStore, clock: Clock, together: Together) -> None:
        store.write(KEY, record_at(clock.now, work.checksummed(0)), None)
        store.write(key_of(1), record_at(clock.now), None)
        times = self.times(100)
        together([(work.write_whole, KEY, times), *[(work.read_whole, KEY, times - 1)] * 3])
        found = store.read(KEY)
        assert found is not None
        assert found.data == work.checksummed(times - 1)

    def test_touch_does_not_undo_a_write(self, store: SessionStore, clock: Clock, together: Together) -> None:
        store.write(KEY, record_at(clock.now), None)
        times = self.times(200)
        together([(work.rewrite, KEY, times), (work.touch_often, KEY, times), (work.touch_often, KEY, times)])
        assert contents(store, KEY) == {KEY: b"%d" % (times - 1)}

    def test_purge_spares_what_is_new(self, store: SessionStore, clock: Clock, together: Together) -> None:
        """A record put where an expired one was is not the expired one."""
        keys = [key_of(number) for number in range(self.times(50))]
        for key in keys:
            store.write(key, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(10)
        won, *_ = together([(work.insert_each, keys, b"new"), (work.purge_often, 20), (work.purge_often, 20)])
        assert won == set(keys)
        assert contents(store, *keys) == dict.fromkeys(keys, b"new")

    def test_purge_spares_what_is_used_meanwhile(self, store: SessionStore, clock: Clock, together: Together) -> None:
        """A session that was touched, or written, in time stands; and only then the visitor was told so."""
        touched, written = ([key_of(number + turn) for number in range(self.times(50))] for turn in (0, 10_000))
        for key in touched + written:
            store.write(key, record_at(clock.now), None)
        kept, saved, *_ = together([(work.touch_each, touched), (work.write_each, written),
                                    *[(work.purge_unused, 5)] * 2])
        assert set(contents(store, *touched, *written)) == kept | saved

    @needs_listing
    def test_scan_misses_nothing_that_stays(self, store: SessionStore, clock: Clock, together: Together) -> None:
        keys = {key_of(number) for number in range(20)}
        for key in keys:
            store.write(key, record_at(clock.now), None)
        times = self.times(10)
        passing = [[key_of(number + turn * 20) for number in range(20)] for turn in (1, 2)]
        together([*[(work.insert_and_remove, passed, times) for passed in passing],
                  *[(work.scan_often, keys, times)] * 2])
        assert set(contents(store)) == keys

    @needs_merging
    def test_released_lock_goes_to_who_waits(self, store: SessionStore, kind: str, recipe: Recipe,
                                             clock: Clock) -> None:
        lease = store.lock(KEY)
        if kind == "threads":
            waiting = threading.Thread(target=work.take_lock, args=(store, KEY))
            waiting.start()
            with pytest.raises(LockTimeout):  # who cannot wait is not kept waiting by those who do
                store.lock(KEY, timeout=0)
            lease.release()
            waiting.join()
        elif kind == "processes":
            waiter = Worker()
            waiter.start(recipe, clock, (work.take_lock, KEY))
            waiter.go()
            lease.release()
            waiter.hear()
            waiter.kill()
        lease.release()
        assert not is_locked(store, KEY)

    @needs_merging
    def test_store_goes_on_after_fork(self, store: SessionStore, kind: str, crew: Crew, recipe: Recipe,
                                      clock: Clock) -> None:
        """A server that forks its workers after the store was made and used."""
        session = saved(store, visits=0)
        if kind == "processes":
            times = self.times(20)
            crew.do(recipe, clock, store, [(work.fork_and_increment, session.id, times)])
            assert again(store, session)["visits"] == 5 * times
        assert store.sessions.save(again(store, session)) is Outcome.UNCHANGED
