"""Private memcacheds, started by the tests on free ports and stopped by them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from mirakuru import TCPExecutor
from servers_sql import free_port, program


class MemcachedServer:
    """A memcached that keeps its port over restarts, and nothing else."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.place = f"127.0.0.1:{self.port}"
        self.url = f"memcached://{self.place}"
        self._options = options
        self._process: TCPExecutor | None = None

    def start(self) -> MemcachedServer:
        become = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["setpriv", "--pdeathsig=KILL", program("memcached"), "-l", "127.0.0.1", "-p", str(self.port),
                   *become, *self._options]
        self._process = TCPExecutor(command, host="127.0.0.1", port=self.port, timeout=20, sleep=0.01,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._process.start()
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop(signal.SIGKILL, expected_returncode=-signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def send(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.process.pid, number)

    def __enter__(self) -> MemcachedServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture(scope="session")
def memcached() -> Iterator[MemcachedServer]:
    """A memcached for all tests of this run that leave it as it was."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture(scope="session")
def memcacheds() -> Iterator[list[MemcachedServer]]:
    """Three of them, which take larger items."""
    servers = [MemcachedServer("-I", "16m", "-m", "256").start() for _ in range(3)]
    yield servers
    for server in servers:
        server.stop()
