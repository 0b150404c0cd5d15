"""What a cache in front of PostgreSQL saves; the first line is the store alone.

Run by itself, it also tells how many requests that change a session, and that only read it, ask the store behind.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from pathlib import Path

from cases import Case, manager_actions, ours, store_actions

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_memcached import MemcachedServer
from servers_sql import PostgresServer

from session2.store.cached import CachedSessionStore

COUNT = 200


def cached(folder: Path) -> list[Case]:
    """The store of PostgreSQL alone, and with caches in front."""
    server = PostgresServer(durable=True)
    atexit.register(server.close)
    cases = ours("postgres", server.url)
    memcached = MemcachedServer().start()
    atexit.register(memcached.stop)
    caches = {"volatile": "volatile:", "memcached": memcached.url, "sqlite": f"sqlite:{folder}/cache.db?create=true"}
    for name, cache in caches.items():
        for count in (10, 1):
            cases += [_case(f"{name} over postgres, {count}", cache, server.url, count)]
    return cases


def _case(name: str, cache: str, store: str, count: int) -> Case:
    tier = CachedSessionStore(cache, store, max_stale_count=count)
    return Case(name, lambda number: store_actions(tier), one_process=cache == "volatile:")


def share(count: int) -> tuple[float, float]:
    """Return the share of requests that ask the store behind: of those that change a session, and that read it."""
    tier = CachedSessionStore("volatile:", "volatile:", max_stale_count=count)
    actions = manager_actions(tier)
    shares = []
    for action in (actions.change, actions.read):
        tier.reached.clear()
        for _ in range(COUNT):
            action()
        shares.append(sum(tier.reached.values()) / COUNT)
    return shares[0], shares[1]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name."""
    return {"cached": cached}


if __name__ == "__main__":
    for count in (1, 2, 5, 10, 20):
        change, read = share(count)
        print(f"max_stale_count={count:<3} {change:6.1%} of the changes, {read:6.1%} of the loads")
