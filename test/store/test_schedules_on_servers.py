"""Overlapping requests keep the rules of the design over the primitives of real servers too; a sample of the schedules.

Whole primitives take turns, as in `session2.testing.schedules`: that each is atomic is for the suites of the stores.
``make explore`` runs more of them.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pytest
from servers_couchdb import url_of

from session2 import from_url
from session2.record import Record, Version
from session2.store.base import SessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.schedules import Depth, course, explorer, rules
from session2.testing.schedules.programs import LOG_OUT, SET
from session2.testing.schedules.scenarios import pairs, singles
from session2.testing.schedules.story import told
from session2.testing.schedules.world import World, no_waiting
from session2.tokens import new_id

DEEP = "SESSION2_SCENARIOS" in os.environ
SCENARIOS = int(os.environ.get("SESSION2_SCENARIOS", "12"))
"""How many scenarios are tried on each server."""
SCHEDULES = 5
"""How many schedules of each."""


class Back:
    """The records of a world, kept by a store; it knows which keys there are, for memcached cannot list them."""

    def __init__(self, store: SessionStore, keys: set[str], world: World) -> None:
        self._store, self._keys = store, keys
        store.clock = lambda: world.now
        self.read, self.touch, self._look_up = store.read, store.touch, store._look_up
        self.purge, self.remove = store.purge, store.remove
        while keys:  # of the world before
            store.remove(keys.pop())

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        self._keys.add(key)
        return self._store.write(key, record, expected)

    def scan(self) -> Iterator[tuple[str, Record]]:
        found = [(key, self.read(key)) for key in sorted(self._keys)]
        return iter([(key, record) for key, record in found if record is not None])


class ServedWorld(World):
    """A world whose records are on a server."""

    def __init__(self, store: SessionStore, keys: set[str]) -> None:
        super().__init__()
        self.back: Any = Back(store, keys, self)


@pytest.fixture(params=["redis_server", "memcached", "strict", "postgres", "mariadb", *(["pouch"] if DEEP else [])])
def store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    server = request.getfixturevalue(request.param)
    if request.param in ("strict", "pouch"):
        url = url_of(server)
    else:
        url = server.url + (f"?table=t_{uuid.uuid4().hex}" if request.param in ("postgres", "mariadb")
                            else f"?prefix={new_id()}:")
    store = from_url(url)
    store.setup()
    yield store
    store.close()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads what hundreds of schedules log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def explored(scenario: course.Scenario, depth: Depth) -> tuple[int, list[str]]:
    """Run the first schedules of a scenario; return how many, and the stories of those in which a rule is broken."""
    count, stories = 0, []
    with ThreadPoolExecutor(len(scenario.programs)) as threads, no_waiting():
        for each in islice(explorer._courses(scenario, depth, threads), SCHEDULES):
            count += 1
            wrong = rules.complaints(each)
            stories += [told(each, wrong)] if wrong else []
    return count, stories


def some(scenarios: Iterable[course.Scenario]) -> list[course.Scenario]:
    """Return a third of those to try, from beginning to end."""
    known = list(scenarios)
    return known[::max(1, len(known) // (SCENARIOS // 3))]


def test_a_sample_of_schedules(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "World", partial(ServedWorld, store, set()))
    chosen = [*((scenario, Depth(1)) for scenario in some(pairs())),
              *((scenario, Depth(0, faults=True)) for scenario in some(reversed([*pairs()]))),
              *((scenario, Depth(None, faults=True)) for scenario in some(singles()))]
    results = [explored(*each) for each in chosen]
    stories = sorted((story for _, found in results for story in found), key=len)
    assert sum(count for count, _ in results) > SCENARIOS * SCHEDULES // 2
    if stories:
        pytest.fail(f"{len(stories)} schedules break a rule; the shortest:\n{stories[0]}", pytrace=False)


class Careless(VolatileSessionStore):
    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        found = self.read(key)
        return super().write(key, record, None if found is None else found.version)


def test_a_store_that_does_not_compare_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "World", partial(ServedWorld, Careless(), set()))
    _, stories = explored(course.Scenario((SET, LOG_OUT)), Depth(1))
    assert stories
