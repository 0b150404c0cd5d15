"""The load: clients that keep their connections alive and send the next request when the last one is answered.

One thread and plain sockets, so that the clients cost a small part of what the server does.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import selectors
import socket
import time
from pathlib import Path
from typing import NamedTuple

PATIENCE = 60.0
"""Seconds without any answer after which the server counts as hung."""


TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds; of less processor time Linux does not tell."""


class Turn(NamedTuple):
    """What one turn of a server gave.

    `rate` is requests per second, `p50` and `p99` are latencies in seconds, `cpu` is the processor time that the server
    took for a request, and `failed` is the number of answers other than 200.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    failed: int


class Server(NamedTuple):
    """Where a server listens, and its process."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Return the seconds of processor time that it took so far, as Linux tells."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK  # its own and the system's for it


class Client:
    """One connection; asks for one page with its cookies in turn."""

    def __init__(self, port: int, page: str, cookies: list[str]) -> None:
        self._port = port
        self._requests = itertools.cycle([_request(page, cookie) for cookie in cookies])
        self.latencies: list[float] = []
        self.failed = 0
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        self._answer = b""
        self._sent = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> bool:
        """Take in what has come, and tell whether the answer is complete."""
        part = self.socket.recv(65536)
        assert part, "the server closed the connection in the middle of an answer"
        self._answer += part
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return False
        self.latencies.append(time.perf_counter() - self._sent)
        self.failed += not head.startswith(b"HTTP/1.1 200 ")
        return True

    @property
    def must_reconnect(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return b"\r\nconnection: close" in self._answer.lower()


def _request(page: str, cookie: str) -> bytes:
    return f"GET /{page} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


def take_turn(server: Server, page: str, cookies: list[list[str]], seconds: float) -> Turn:
    """Load the server for so long, with a client for each list of cookies, and let it answer all it was asked."""
    clients = [Client(server.port, page, own) for own in cookies]
    start, worked = time.perf_counter(), server.cpu()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        while selector.get_map():
            _serve_ready(selector, start + seconds)
    spent, worked = time.perf_counter() - start, max(server.cpu() - worked, TICK)
    latencies = sorted(itertools.chain.from_iterable(client.latencies for client in clients))
    count = len(latencies)
    return Turn(count / spent, latencies[count // 2], latencies[count * 99 // 100], worked / count,
                sum(client.failed for client in clients))


def _serve_ready(selector: selectors.BaseSelector, end: float) -> None:
    ready = selector.select(PATIENCE)
    assert ready, "the server does not answer"
    for key, _ in ready:
        client: Client = key.data
        if not client.receive():
            continue
        over = time.perf_counter() >= end
        if over or client.must_reconnect:
            selector.unregister(client.socket)
            client.socket.close()
        if client.must_reconnect and not over:
            client.connect()
            selector.register(client.socket, selectors.EVENT_READ, client)
        if not over:
            client.send()


def begin(port: int) -> str:
    """Begin a session and return its cookie; or some cookie if there are no sessions, so that all get like requests."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/begin")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, f"the server answers {answer.status}"
        cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
    return "; ".join(cookies) or f"session_id={'0' * 40}"
