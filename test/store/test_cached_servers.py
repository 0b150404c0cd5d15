"""Cache servers in front of a store; memcached is killed with -9, and begins empty, while threads use it."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from servers_memcached import MemcachedServer
from servers_redis import RedisServer

from session2.errors import SessionError
from session2.store.base import SessionStore
from session2.store.cached import CachedSessionStore
from session2.testing import StoreSuite
from session2.testing.store.shop import Shop, saved
from session2.tokens import new_id


@pytest.mark.sampled
class TestMemcachedOverSQLite(StoreSuite):
    """What memcached alone cannot do: the tier lists."""

    store_class = CachedSessionStore
    processes = False  # those race in another suite, over a cache in a file
    scale = 0.1
    largest = 500_000

    @pytest.fixture(autouse=True)
    def _server(self, memcached: MemcachedServer) -> None:
        self.url = memcached.url

    def arguments(self, tmp_path: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache = f"{self.url}?prefix={new_id()}:"
        return (cache, f"sqlite:{tmp_path}/sessions.sqlite?create=true"), {"max_stale_count": 1}

    # By a clock that is ahead, or is set back: what memcached cannot purge is believed for `max_stale_seconds`.
    test_purge_at_a_given_time = None
    test_purged_is_gone_for_good = None


@pytest.mark.sampled
class TestRedisOverSQLite(StoreSuite):
    store_class = CachedSessionStore
    processes = False  # those race in another suite, over a cache in a file
    scale = 0.1

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.url = redis_server.url

    def arguments(self, tmp_path: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache = f"{self.url}?prefix={new_id()}:"
        return (cache, f"sqlite:{tmp_path}/sessions.sqlite?create=true"), {"max_stale_seconds": 1e-6}


class Visitors:
    """Threads that save, end sessions, and note what they were told."""

    def __init__(self, tiers: list[CachedSessionStore]) -> None:
        self.tiers = tiers
        self.sessions = [saved(tiers[0], visits=0) for _ in range(3)]
        self.told = [0, 0, 0]
        self.unknown = [0, 0, 0]
        self.over = threading.Event()
        self._mutex = threading.Lock()

    def visit(self, tier: CachedSessionStore) -> int:
        """Go on until it is over; return how many sessions were ended."""
        chance, ended = random.Random(id(tier)), 0
        while not self.over.is_set():
            self._add(tier, chance.randrange(3))
            ended += self._end(tier, chance.choice(self.tiers))
        return ended

    def _add(self, tier: SessionStore, number: int) -> None:
        result = self.unknown
        try:
            found = tier.sessions.load(str(self.sessions[number].id), Shop)
            if found is not None:
                found["visits"] += 1
                tier.sessions.save(found)
                result = self.told
        except SessionError:
            pass
        with self._mutex:
            result[number] += 1

    def _end(self, tier: SessionStore, other: SessionStore) -> int:
        try:
            session = saved(tier, n=1)
            session["n"] = 2
            tier.sessions.save(session)
            tier.sessions.end(session)
            found = other.sessions.load(str(session.id), Shop)
        except SessionError:
            return 0
        assert found is None, "what was ended is there again"
        return 1


@pytest.mark.parametrize("count", [1, 10])
def test_a_cache_that_is_killed_loses_no_more_than_was_agreed_on(tmp_path: Any, count: int) -> None:
    with MemcachedServer() as server:
        tiers = [CachedSessionStore(f"{server.url}?timeout=0.5", f"sqlite:{tmp_path}/s.sqlite?create=true",
                                    max_stale_count=count) for _ in range(3)]
        visitors = Visitors(tiers)
        kills = 4
        with ThreadPoolExecutor(3) as pool:
            threads = [pool.submit(visitors.visit, tier) for tier in tiers]
            for _ in range(kills):
                before = sum(visitors.told)
                until = time.monotonic() + 60
                while sum(visitors.told) < before + 60 and time.monotonic() < until:
                    time.sleep(0.005)
                server.restart()
            visitors.over.set()
            ended = sum(thread.result() for thread in threads)
        assert ended > 10
        for session, told, unknown in zip(visitors.sessions, visitors.told, visitors.unknown, strict=True):
            found = tiers[0].sessions.load(str(session.id), Shop)
            assert found is not None
            assert told - kills * (count - 1) <= found["visits"] <= told + unknown
        for tier in tiers:
            tier.close()
