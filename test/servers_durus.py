"""A private Durus server, started by the tests and stopped by them."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from mirakuru import TCPExecutor
from mirakuru.unixsocket import UnixSocketExecutor
from servers_sql import wait_until_stopped

CANNOT_WRITE = sys.version_info[:3] == (3, 13, 0)
"""Whether this is the Python on which Durus 4.3 cannot write."""


def marked(parameters: Iterable[Any]) -> list[Any]:
    """Mark those that name Durus as tests of it."""
    return [pytest.param(each, marks=pytest.mark.durus if "durus" in str(each) else ()) for each in parameters]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DurusServer:
    """A Durus `StorageServer` process; keeps its file and its address over restarts."""

    def __init__(self, folder: Path, unix: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "server.durus"
        self.place: str | tuple[str, int] = str(folder / "socket") if unix else ("127.0.0.1", free_port())
        self.address = f"unix:{self.place}" if isinstance(self.place, str) else f"127.0.0.1:{self.place[1]}"
        scheme = "durus+" if isinstance(self.place, str) else "durus://"
        self.url = f"{scheme}{self.address}?create=true"
        self._process: TCPExecutor | None = None

    def start(self) -> DurusServer:
        command = [sys.executable, "-m", "durus", "-s", "--repair", "--file", str(self.file), "--logginglevel", "40"]
        if isinstance(self.place, str):
            self._process = UnixSocketExecutor([*command, "--address", self.place], socket_name=self.place,
                                               timeout=20, sleep=0.02)
        else:
            host, port = self.place
            self._process = TCPExecutor([*command, "--host", host, "--port", str(port)], host=host, port=port,
                                        timeout=20, sleep=0.02)
        self._process.start()
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(signal.SIGKILL)
            self._process = None

    def send(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.process.pid, number)
        if number == signal.SIGSTOP:
            wait_until_stopped(self._process.process.pid)

    def __enter__(self) -> DurusServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
