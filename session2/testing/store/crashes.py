"""A process is killed in the middle of its work: what it acknowledged is there, and whole."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from ...record import Outcome
from ...session import DictSession
from ...store.base import SessionStore
from ...traces import lock_key
from ..fakes import Clock
from . import work
from .claims import Claims, needs_merging
from .crew import Job, Worker
from .recipe import Recipe
from .samples import contents, key_of
from .shop import again, alive, saved


class Victim(Protocol):
    """Somebody who works on a store until it is ended without a warning."""

    def hear(self) -> Any:
        """Return the next thing it acknowledged."""

    def kill(self) -> list[Any]:
        """End it; return what it had acknowledged meanwhile."""


class Deserter:
    """A victim within this process, for a store that only one process uses: it just goes no further."""

    def __init__(self, store: SessionStore, job: Job) -> None:
        function, *arguments = job
        self.steps: Iterator[Any] = function(store, *arguments)

    def hear(self) -> Any:
        return next(self.steps)

    def kill(self) -> list[Any]:
        return []


def victim(death: str, store: SessionStore, recipe: Recipe, job: Job) -> Victim:
    """Start a victim on a store with the real clock."""
    if death == "deserted":
        return Deserter(store, job)
    worker = Worker()
    worker.start(recipe, None, job)
    worker.go()
    return worker


class CrashTests(Claims):
    """Only what a crash can do; power failure is another matter."""

    def test_killed_in_the_middle_of_saves(self, store: SessionStore, recipe: Recipe, death: str,
                                           caplog: pytest.LogCaptureFixture) -> None:
        """Every acknowledged save is there, every record can be read, and the next process can go on."""
        session = saved(store, n=-1, body=work.checksummed(0))
        with caplog.at_level(logging.INFO, logger="session2"):
            for turn in range(self.times(10)):
                last = self.kill_a_writer(store, recipe, death, session, random.Random(turn).randrange(1, 40))
                found = again(store, session)
                assert found["n"] >= last
                assert work.is_whole(found["body"])
                found["next"] = turn
                assert store.sessions.save(found) is Outcome.SAVED
        assert caplog.messages == []

    def kill_a_writer(self, store: SessionStore, recipe: Recipe, death: str, session: DictSession, saves: int) -> int:
        """Kill a writer some time after its n-th save; return the last one it acknowledged."""
        writer = victim(death, store, recipe, (work.save_for_ever, session.id))
        said = [writer.hear() for _ in range(saves)]
        return int(max(said + writer.kill()))

    def test_killed_among_inserts_and_removals(self, store: SessionStore, recipe: Recipe, death: str) -> None:
        """What was inserted is there, what was removed is not, and what was in the making is whole or not there."""
        for turn in range(self.times(5)):
            worker = victim(death, store, recipe, (work.insert_and_remove_for_ever, turn))
            said = [worker.hear() for _ in range(random.Random(turn).randrange(1, 40))]
            inserted, removed = (said + worker.kill())[-1]
            keys = [key_of(number) for number in range(inserted + 3)]
            found = contents(store, *keys)
            assert all(work.is_whole(data) for data in found.values())
            numbers = {number for number in range(inserted + 3) if key_of(number) in found}
            assert numbers >= set(range(max(removed + 2, 0), inserted + 1))
            assert numbers.isdisjoint(range(removed + 1))
            for key in found:
                store.remove(key)
            assert contents(store, *keys) == {}

    @needs_merging
    def test_lock_of_the_dead_is_free_after_its_lease(self, recipe: Recipe, store: SessionStore, death: str) -> None:
        store.clock = time.time
        session = saved(store, n=1)
        holder = victim(death, store, recipe, (work.lock_and_stay, session.key, 0.2))
        assert holder.hear() == "locked"
        holder.kill()
        with store.lock(str(session.key), timeout=60) as lease:
            assert lease.is_held()
        assert list(contents(store, str(session.key), lock_key(str(session.key)))) == [session.key]

    @needs_merging
    def test_lock_of_the_dead_keeps_nobody_from_reading(self, recipe: Recipe, store: SessionStore, clock: Clock,
                                                        death: str) -> None:
        session = saved(store, visits=1)
        holder = victim(death, store, recipe, (work.lock_and_stay, session.key, 60))
        assert holder.hear() == "locked"
        holder.kill()
        found = again(store, session)
        found["visits"] += 1
        assert store.sessions.save(found) is Outcome.SAVED
        assert [found.data for found in alive(store, session.id)] == [{"visits": 2}]
