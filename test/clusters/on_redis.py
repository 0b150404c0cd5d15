"""Redis behind sentinels, and Redis Cluster of three and three: masters are killed, slots move."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from scenario import Cluster, Scenario
from servers_redis import RedisCluster, RedisServer, SentinelServer, wait_until
from servers_sql import free_port

_LAGS = "what no replica had yet"


@contextlib.contextmanager
def _watched(folder: Path, query: str = "") -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        primary, *replicas = servers = [RedisServer() for _ in range(3)]
        for server in servers:
            stack.callback(server.close)
        for replica in replicas:
            replica.follow(primary)
        sentinel = SentinelServer(primary)
        stack.callback(sentinel.close)
        sentinel.wait_for_replica()
        yield Cluster(sentinel.url + query, [partial(_kill, primary)])


@contextlib.contextmanager
def _asked(folder: Path) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        primary, replica = servers = [RedisServer() for _ in range(2)]
        for server in servers:
            stack.callback(server.close)
        replica.follow(primary)
        sentinel = SentinelServer(primary)
        stack.callback(sentinel.close)
        sentinel.wait_for_replica()
        yield Cluster(sentinel.url, [partial(sentinel.fail_over, replica), partial(sentinel.fail_over, primary)])


def _kill(server: RedisServer) -> None:
    server.send(signal.SIGKILL)
    server.stop()


class Doubled(RedisCluster):
    """Three masters, each with a replica that takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas: list[RedisServer] = []
        for master in self.servers:
            self._add_replica(master)

    def _add_replica(self, master: RedisServer) -> None:
        bus = free_port()
        replica = RedisServer(cluster_enabled="yes", cluster_port=bus, cluster_node_timeout=2000)
        self.replicas.append(replica)
        with master.open() as at_master, replica.open() as client:
            id = at_master.execute_command("CLUSTER", "MYID")
            at_master.execute_command("CLUSTER", "MEET", "127.0.0.1", replica.port, bus)
            wait_until(lambda: id in client.execute_command("CLUSTER", "NODES"))
            client.execute_command("CLUSTER", "REPLICATE", id)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")

    def shut(self) -> None:
        """End all servers."""
        for replica in self.replicas:
            replica.close()
        self.close()

    def move_slots(self) -> None:
        """Move a tenth of the slots of the first master to the second."""
        source, target = self.servers[:2]
        for slot in range(500):
            self.begin_to_move(slot, target)
            self.move(slot, source, target)


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Cluster]:
    cluster = Doubled()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.shut)
        for server in cluster.servers:
            with server.open() as client:
                client.config_set("cluster-node-timeout", 2000)
        yield Cluster(cluster.url, [cluster.move_slots, partial(_kill, cluster.servers[2])])


SCENARIOS = [
    Scenario("Redis, two replicas: the primary killed, sentinel promotes one", _watched, _LAGS),
    Scenario("Redis, the same with wait_replicas=1", partial(_watched, query="?wait_replicas=1"), f"{_LAGS}, seldom"),
    Scenario("Redis, sentinel is asked to let the replica take over, and back", _asked, _LAGS),
    Scenario("Redis Cluster of 3 + 3: 500 slots moved, then a master killed", _cluster, _LAGS),
]
