"""MariaDB Galera: three nodes, one killed, one cut off from the others, behind HAProxy."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
from balancer import Balancer
from scenario import Cluster, Scenario
from servers_sql import QUOTED, MariaServer, free_port

_PROVIDER = "/usr/lib/galera/libgalera_smm.so"


class Node(MariaServer):
    """A node of a Galera cluster.

    :param others: the nodes to join; without any it begins a cluster.
    """

    def __init__(self, others: list[Node]) -> None:
        self.group_port, self.transfer_port = free_port(), free_port()
        self.peers = ",".join(f"127.0.0.1:{node.group_port}" for node in others)
        super().__init__()

    def prepare(self) -> None:
        assert Path(_PROVIDER).exists(), "the package galera-4 is not installed"
        self.settings |= {
            "wsrep-on": "ON", "wsrep-provider": _PROVIDER, "wsrep-cluster-name": "session2",
            "wsrep-cluster-address": f"gcomm://{self.peers}", "wsrep-node-address": f"127.0.0.1:{self.group_port}",
            "wsrep-sst-method": "rsync", "wsrep-sst-receive-address": f"127.0.0.1:{self.transfer_port}",
            "wsrep-provider-options": f"base_port={self.group_port};gmcast.listen_addr=tcp://127.0.0.1:"
                                      f"{self.group_port};ist.recv_addr=127.0.0.1:{free_port()}",
            "wsrep-sync-wait": 1, "binlog-format": "ROW", "innodb-autoinc-lock-mode": 2}
        super().prepare()

    def welcome(self) -> None:
        if not self.peers:
            super().welcome()
        self._wait_until(self.is_ready, 60)

    def is_ready(self) -> bool:
        """Tell whether the node belongs to the part of the cluster that goes on."""
        with pymysql.connect(unix_socket=self.socket(), user="root", read_timeout=1) as connection, \
                connection.cursor() as cursor:
            cursor.execute("SET SESSION wsrep_sync_wait = 0")  # or the question would wait for the others
            cursor.execute("SHOW STATUS WHERE variable_name IN ('wsrep_ready', 'wsrep_cluster_status')")
            return {str(value) for _, value in cursor.fetchall()} == {"ON", "Primary"}

    def isolate(self, alone: bool) -> None:
        """Cut the node off from the others, or let it join them again."""
        with self.open() as connection, connection.cursor() as cursor:
            cursor.execute(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(alone)}'")


@contextlib.contextmanager
def _galera(folder: Path) -> Iterator[Cluster]:
    nodes: list[Node] = []
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            nodes.append(Node(nodes))
            stack.callback(nodes[-1].close)
        balancer = Balancer({node.port: node.is_ready for node in nodes})
        stack.callback(balancer.close)

        def kill_the_first() -> None:
            nodes[0].send(signal.SIGKILL)
            nodes[0].stop()

        def join_again() -> None:
            nodes[0].peers = ",".join(f"127.0.0.1:{node.group_port}" for node in nodes[1:])
            nodes[0].settings["wsrep-cluster-address"] = f"gcomm://{nodes[0].peers}"
            nodes[0].start()
            nodes[0]._wait_until(nodes[0].is_ready, 60)

        def cut_off_the_first() -> None:
            nodes[0].isolate(True)
            time.sleep(12)  # the others wait 5 s before they go on without it
            nodes[0].isolate(False)

        yield Cluster(f"mysql://session2:{QUOTED}@127.0.0.1:{balancer.port}/session2",
                      [kill_the_first, join_again, cut_off_the_first])


SCENARIOS = [Scenario("MariaDB Galera behind HAProxy: a node killed, back again, then cut off", _galera)]
