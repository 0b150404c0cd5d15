"""A server that answers a byte at a time holds nobody for longer than one that says nothing."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from servers_couchdb import url_of

from session2 import StoreUnavailable, from_url
from session2.store.base import SessionStore
from session2.testing.store.samples import key_of, record_at
from session2.tokens import new_id

KEY = key_of(0)
PAUSE = 0.01
TIMEOUT = 1.0
DATA = b"x" * 5000
"""Whole it comes when the time is over, and before the test is."""


class Trickle:
    """Passes on what a server is asked, and what it answers in time, or, once it `is_slow`, a byte at a time."""

    def __init__(self, port: int) -> None:
        self._server = "127.0.0.1", port
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.is_slow = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                self._threads.append(threading.Thread(target=self._serve, args=[self._listener.accept()[0]]))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, contextlib.suppress(OSError):
            while not self._over.is_set():
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                    else:
                        self._answer(client, data)

    def _answer(self, client: socket.socket, data: bytes) -> None:
        sent = 0
        while self.is_slow and sent < len(data):
            client.sendall(data[sent:sent + 1])
            sent += 1
            self._over.wait(PAUSE)
        client.sendall(data[sent:])


@pytest.fixture(params=["memcached", "redis_server", "strict", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue(request.param)
    table = f"?table=t_{uuid.uuid4().hex}"
    unlike = {"strict": "", "postgres": table, "mariadb": table}.get(request.param, f"?prefix={new_id()}:")
    return (url_of(server) if request.param == "strict" else server.url) + unlike


@pytest.fixture
def trickle(url: str) -> Iterator[Trickle]:
    server = Trickle(urlsplit(url).port or 0)
    yield server
    server.close()


@pytest.fixture
def store(url: str, trickle: Trickle) -> Iterator[SessionStore]:
    """A store that is set up, and reaches its server by what trickles."""
    with contextlib.closing(from_url(url)) as direct:
        direct.setup()
    start, _, end = url.partition(f":{urlsplit(url).port}")
    store = from_url(f"{start}:{trickle.port}{end}", timeout=TIMEOUT)
    yield store
    store.close()


def test_an_answer_that_trickles_in_is_given_up_when_its_time_is_over(trickle: Trickle, store: SessionStore) -> None:
    store.write(KEY, record_at(store.clock(), DATA), None)
    assert store.read(KEY).data == DATA
    trickle.is_slow = True
    with pytest.raises(StoreUnavailable):
        store.read(KEY)
    trickle.is_slow = False
    assert store.read(KEY).data == DATA
