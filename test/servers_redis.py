"""Private Redis servers, started by the tests on free ports and stopped by them: one, with a replica, or a cluster."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from servers_sql import PASSWORD, QUOTED, Certificate, Server, free_port, program


class RedisServer(Server):
    """Redis that asks for a password, and keeps what it is told over restarts.

    :param settings: as in its configuration file, besides.
    """

    account = "redis"
    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL
    fast = {"appendonly": "yes", "appendfsync": "no", "save": "", "repl-diskless-sync-delay": 0}
    durable = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}

    def __init__(self, durable: bool = False, certificate: Certificate | None = None, **settings: object) -> None:
        self._more = {name.replace("_", "-"): value for name, value in settings.items()}
        super().__init__(durable, certificate)

    def encrypting(self, certificate: Any, key: Any) -> dict[str, object]:
        return {"port": 0, "tls-port": self.port, "tls-cert-file": certificate, "tls-key-file": key,
                "tls-auth-clients": "no"}

    def prepare(self) -> None:
        """Nothing has to be made."""

    def command(self) -> list[str]:
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "unixsocket": self.socket(),
                    "unixsocketperm": 777, "requirepass": PASSWORD, "masterauth": PASSWORD, **self.settings,
                    **self._more}
        return [program("redis-server"),
                *[part for name, value in settings.items() for part in (f"--{name}", str(value))]]

    def socket(self) -> str:
        return str(self.folder / "socket")

    @property
    def url(self) -> str:
        return f"redis://:{QUOTED}@127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        try:
            return bool(self.open().ping())
        except redis.RedisError:
            return False

    def open(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket(), password=PASSWORD, retry=None)

    connect = open

    def follow(self, other: RedisServer) -> None:
        """Become a replica of another server, or at last be one."""
        with self.open() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        with other.open() as client:
            wait_until(lambda: client.execute_command("WAIT", 1, 100))


class SentinelServer(RedisServer):
    """A sentinel that watches a server and its replicas under the name ``shop``."""

    def __init__(self, primary: RedisServer) -> None:
        self._primary = primary
        super().__init__()

    def prepare(self) -> None:
        path = self.folder / "config"
        path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nunixsocket {self.socket()}\n"
                        f"unixsocketperm 777\nsentinel monitor shop 127.0.0.1 {self._primary.port} 1\n"
                        f"sentinel auth-pass shop {PASSWORD}\nsentinel down-after-milliseconds shop 500\n"
                        "sentinel failover-timeout shop 3000\n")
        path.chmod(0o666)
        self.folder.chmod(0o777)

    def command(self) -> list[str]:
        return [program("redis-sentinel"), str(self.folder / "config")]

    def open(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket())

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{QUOTED}@127.0.0.1:1,127.0.0.1:{self.port}/shop/0"

    def wait_for_replica(self) -> None:
        """Wait until the sentinel knows of one."""
        with self.open() as client:
            wait_until(lambda: [replica for replica in client.sentinel_slaves("shop")
                                if replica["flags"] == "slave" and replica["master-link-status"] == "ok"])

    def _begins_to_fail_over(self) -> bool:
        self.wait_for_replica()
        with self.open() as client, contextlib.suppress(redis.ResponseError):  # on a busy machine none may be good yet
            return bool(client.execute_command("SENTINEL", "FAILOVER", "shop"))
        return False

    def fail_over(self, replica: RedisServer) -> None:
        """Have a replica take over, and wait until the sentinel says so."""
        wait_until(self._begins_to_fail_over)
        with self.open() as client:
            wait_until(lambda: client.sentinel_get_master_addr_by_name("shop")[1] == replica.port)
            wait_until(lambda: client.sentinel_masters()["shop"]["port"] == replica.port)  # which is told later


class RedisCluster:
    """Three servers that share the slots."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self._buses = [free_port() for _ in range(3)]
            self.servers = []
            for bus in self._buses:
                self.servers.append(RedisServer(cluster_enabled="yes", cluster_port=bus))
                stack.callback(self.servers[-1].close)
            self._join()
            self.close = stack.pop_all().close

    def _join(self) -> None:
        for number, server in enumerate(self.servers):
            with server.open() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *self._slots(number))
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port, self._buses[0])
        for server in self.servers:
            with server.open() as client:
                wait_until(lambda client=client: client.cluster("info")["cluster_state"] == "ok")
                wait_until(lambda client=client: len(client.execute_command("CLUSTER", "SLOTS")) == 3)

    def _slots(self, number: int) -> tuple[int, int]:
        return 16384 * number // 3, 16384 * (number + 1) // 3 - 1

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        return f"redis+cluster://:{QUOTED}@{places}"

    def owner(self, slot: int) -> RedisServer:
        """Return the server that had a slot at first."""
        return self.servers[next(number for number in range(3) if slot <= self._slots(number)[1])]

    def begin_to_move(self, slot: int, target: RedisServer) -> None:
        """Have both servers know that a slot moves from the one to the other: what is not here is there."""
        source = self.owner(slot)
        with source.open() as one, target.open() as other:
            other.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", one.execute_command("CLUSTER", "MYID"))
            one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", other.execute_command("CLUSTER", "MYID"))

    def move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move a slot with its keys."""
        with source.open() as one, target.open() as other:
            keys = one.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
            if keys:
                one.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys)
            for client in (other, one):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", other.execute_command("CLUSTER", "MYID"))


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for all tests of this run that leave it as it was."""
    server = RedisServer()
    yield server
    server.close()
