"""Redis with a replica that sentinels put in its place, and as a cluster of three."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from scenario import Cluster, Scenario
from servers_redis import RedisCluster, RedisServer, SentinelServer


@contextlib.contextmanager
def _watched() -> Iterator[tuple[RedisServer, RedisServer, SentinelServer]]:
    """Start a primary, its replica, and a sentinel that knows of both."""
    with contextlib.ExitStack() as stack:
        primary, replica = RedisServer(), RedisServer()
        stack.callback(primary.close)
        stack.callback(replica.close)
        replica.follow(primary)
        sentinel = SentinelServer(primary)
        stack.callback(sentinel.close)
        sentinel.wait_for_replica()
        yield primary, replica, sentinel


@contextlib.contextmanager
def _killed(folder: Path) -> Iterator[Cluster]:
    with _watched() as (primary, _, sentinel):
        yield Cluster(sentinel.url, [primary.crash])


@contextlib.contextmanager
def _asked(query: str) -> Iterator[Cluster]:
    with _watched() as (primary, replica, sentinel):
        yield Cluster(sentinel.url + query, [lambda: sentinel.fail_over(replica), lambda: sentinel.fail_over(primary)])


@contextlib.contextmanager
def _sharded(folder: Path) -> Iterator[Cluster]:
    cluster = RedisCluster()
    try:
        yield Cluster(cluster.url, [lambda server=server: _restart(server) for server in cluster.servers])
    finally:
        cluster.close()


def _restart(server: RedisServer) -> None:
    server.crash()
    server.start()


_ASYNCHRONOUS = "what had not reached the replica"

SCENARIOS = [
    Scenario("redis, sentinel: primary killed, replica promoted", _killed, _ASYNCHRONOUS),
    Scenario("redis, sentinel: asked to let the replica take over, and back", lambda folder: _asked(""), _ASYNCHRONOUS),
    Scenario("redis, sentinel, wait_replicas=1: the same", lambda folder: _asked("?wait_replicas=1&timeout=1"),
             "for a second the old primary is asked, which knows of no end"),
    Scenario("redis cluster of three: each killed and started again", _sharded),
]
