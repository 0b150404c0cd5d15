"""No store is purged by a clock that its newest records contradict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session2 import DictSession, SessionManager, from_url
from session2.store import cleaning
from session2.store.base import SessionStore
from session2.store.cleaning import clean
from session2.store.turns import purge_in_turn
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock
from session2.testing.store.samples import key_of, record_at
from session2.traces import is_lock

HOUR = 3600.0
DAY = 24 * HOUR

FILES = ["directory", "shelve", "sqlite", pytest.param("durus", marks=pytest.mark.durus)]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was started days ago."""
    monkeypatch.setattr(cleaning, "elapsed", lambda: 5 * DAY)


@pytest.fixture(params=["volatile", *FILES, "mariadb", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site that has been in use for a day."""
    name = request.param
    url = "volatile:" if name == "volatile" else f"{name}:{tmp_path}/{name}"
    if name in ("mariadb", "postgres"):
        url = f"{request.getfixturevalue(name).url}?table=cleaning"
    site = Site(url)
    site.store.setup(drop=True)
    for number in range(24):
        site.visit(number, -number * HOUR - 60)
    yield site
    site.store.setup(drop=True)
    site.store.close()


class Site:
    """A store with its clock; sessions live for two hours, and are found by number."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        create = {"create": True} if url.startswith("directory:") else {}
        self.store = from_url(url, clock=self.clock, **create)

    def visit(self, number: int, at: float = 0.0) -> None:
        now = self.clock() + at
        self.store.write(key_of(number), record_at(now, created=now - 60, modified=now - 60, accessed=now,
                                                   expires=now + 2 * HOUR), None)

    def left(self) -> int:
        """Count what is stored, expired or not."""
        now, self.clock.now = self.clock.now, 0.0
        count = sum(not is_lock(key) for key, _ in self.store.scan())
        self.clock.now = now
        return count



def test_what_is_expired_is_deleted_while_the_site_is_in_use(site: Site) -> None:
    assert clean(site.store) == (22, None)
    site.clock.advance(HOUR)
    assert clean(site.store) == (1, None)
    assert site.left() == 1


@pytest.mark.parametrize("ahead", [5 * HOUR, 72 * HOUR])
def test_a_clock_that_is_ahead_deletes_no_live_session(site: Site, ahead: float) -> None:
    site.clock.advance(ahead)
    for _ in range(5):
        assert clean(site.store).until == pytest.approx(site.clock() - ahead - 60)
    site.clock.advance(-ahead)
    assert [site.store.read(key_of(number)) is not None for number in (0, 1)] == [True, True]


@pytest.mark.parametrize("ahead", [72 * HOUR])
def test_a_clock_that_is_ahead_when_the_machine_was_started_does_not_vouch_for_itself(
        site: Site, ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Visitors that it has taken for new leave its own times."""
    monkeypatch.setattr(cleaning, "elapsed", lambda: 60.0)
    site.clock.advance(ahead)
    for number in range(1000, 1005):
        site.visit(number)
        site.clock.advance(5 * 60)
        _deleted, until = clean(site.store)
        assert until is not None
        assert until <= site.clock() - ahead
    site.clock.advance(-ahead - 25 * 60)
    assert [site.store.read(key_of(number)) is not None for number in (0, 1)] == [True, True]


def test_whose_clock_was_ahead_does_not_take_the_others_turns(site: Site) -> None:
    site.clock.advance(72 * HOUR)
    assert purge_in_turn(site.store, 300) is not None
    site.clock.advance(-72 * HOUR)
    assert purge_in_turn(site.store, 300) is not None
    assert purge_in_turn(site.store, 300) is None


def test_a_host_with_a_wrong_clock_deletes_nothing_that_others_use() -> None:
    """It may be wrong for ever: the others' records are newer at each look, so it is never taken for right."""
    site = Site("volatile:")
    for hour in range(100):
        site.visit(1000 + hour)
        site.clock.advance(72 * HOUR)
        clean(site.store)
        site.clock.advance(-72 * HOUR)
        assert site.store.read(key_of(1000 + hour)) is not None
        site.clock.advance(HOUR)


def test_a_store_that_rests_is_cleaned_all_the_same(site: Site) -> None:
    site.clock.advance(5 * DAY)
    deleted, until = clean(site.store)
    left = site.left()
    assert (deleted, left, until) == (22, 2, site.clock() - 5 * DAY - 60)
    site.clock.advance(HOUR / 2)
    assert clean(site.store)[0] == 0
    assert site.left() == left
    site.clock.advance(HOUR / 2)
    assert clean(site.store) == (left, None)


@pytest.mark.parametrize("pause", [300.0, HOUR, DAY, 7 * DAY])
def test_a_store_that_rests_is_cleaned_however_often_that_is_tried(pause: float) -> None:
    site = Site("volatile:")
    site.visit(1)
    for _ in range(3 + int(4 * HOUR / pause)):
        site.clock.advance(pause)
        clean(site.store)
    assert site.left() == 0


def test_a_clock_that_was_put_right_meanwhile_starts_anew() -> None:
    site = Site("volatile:")
    site.visit(1)
    site.clock.advance(72 * HOUR)
    clean(site.store)
    site.clock.advance(-72 * HOUR)
    clean(site.store)
    site.clock.advance(HOUR)
    clean(site.store)
    assert site.left() == 1
    site.clock.advance(72 * HOUR)
    clean(site.store)
    assert site.left() == 1


def test_a_purge_that_is_told_to_trusts_the_clock(site: Site) -> None:
    site.clock.advance(72 * HOUR)
    assert clean(site.store, trust_clock=True) == (24, None)


@pytest.mark.parametrize("ahead", [0.0, 72 * HOUR])
def test_unused_sessions_are_told_by_the_same_time(ahead: float) -> None:
    store = VolatileSessionStore(clock=(clock := Clock()))
    for number, age in enumerate([10.0, 80 * 60, 100 * 60, 10 * DAY]):
        store.write(key_of(number), record_at(clock(), accessed=clock() - age, expires=None), None)
    clock.advance(ahead)
    deleted = clean(store, unused_for=90 * 60).deleted
    assert deleted == 2 if not ahead else 1
    assert store.read(key_of(0)) is not None


def test_a_site_that_has_just_begun_is_cleaned_by_its_clock() -> None:
    manager: SessionManager[Any] = SessionManager(VolatileSessionStore(clock=(clock := Clock())), DictSession,
                                                  idle_timeout=60)
    session = manager.new_session()
    session["a"] = 1
    manager.save(session)
    clock.advance(61)
    assert clean(manager.store) == (1, None)


def test_a_store_that_cannot_list_is_left_to_the_system_behind_it() -> None:
    class Blind(VolatileSessionStore):
        can_list = False

        def scan(self) -> Any:
            raise AssertionError("it cannot")

    store: SessionStore = Blind()
    assert clean(store) == (0, None)
