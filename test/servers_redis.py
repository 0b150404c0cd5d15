"""Private Redis servers, started by the tests on free ports and stopped by them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from servers_sql import PASSWORD, QUOTED, Certificate, Server, program


class RedisServer(Server):
    """Redis that asks for a password, and keeps what it is told over restarts.

    :param settings: as in its configuration file, besides.
    """

    account = "redis"
    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL
    fast = {"appendonly": "yes", "appendfsync": "no", "save": ""}
    durable = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
    name = "redis-server"

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
        return [program(self.name), *[part for name, value in settings.items() for part in (f"--{name}", str(value))]]

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
        return redis.Redis(unix_socket_path=self.socket(), password=PASSWORD)

    connect = open


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for all tests of this run that leave it as it was."""
    server = RedisServer()
    yield server
    server.close()
