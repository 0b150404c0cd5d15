"""Private memcacheds, started by the tests on free ports and stopped by them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirakuru import TCPExecutor
from mirakuru.base import SimpleExecutor
from mirakuru.unixsocket import UnixSocketExecutor
from servers_sql import free_port, program, wait_until_stopped


class MemcachedServer:
    """A memcached that keeps its place over restarts, and nothing else.

    :param path: of a Unix socket; without it there is a port.
    """

    def __init__(self, *options: str, path: Path | None = None) -> None:
        self.port = free_port()
        self.path = path
        self.place = str(path or f"127.0.0.1:{self.port}")
        self.url = f"memcached://{self.place}"
        self._options = options
        self._process: SimpleExecutor | None = None

    def start(self) -> MemcachedServer:
        become = ["-u", "root"] if os.geteuid() == 0 else []
        listen = ["-s", self.place] if self.path else ["-l", "127.0.0.1", "-p", str(self.port)]
        command = ["setpriv", "--pdeathsig=KILL", program("memcached"), *listen, *become, *self._options]
        quiet = {"timeout": 20, "sleep": 0.01, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if self.path:
            self._process = UnixSocketExecutor(command, socket_name=self.place, **quiet)
        else:
            self._process = TCPExecutor(command, host="127.0.0.1", port=self.port, **quiet)
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
        if number == signal.SIGSTOP:
            wait_until_stopped(self._process.process.pid)

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
