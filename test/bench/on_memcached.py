"""memcached's part of what is measured."""

from __future__ import annotations

import atexit
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from cases import Case, manager_actions, ours, raw
from peers import beakers, djangos
from pymemcache import Client

from session2.record import Record, Version
from session2.store.volatile import VolatileSessionStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_memcached import MemcachedServer


def memcached(folder: Path) -> list[Case]:
    """A `gets` and a `cas` by pymemcache, with a connection for each worker."""
    server = MemcachedServer().start()
    atexit.register(server.stop)

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        # Without time limits a memcached that hangs would hold its users for ever; whoever serves sites sets them.
        client = Client(server.place, no_delay=True, connect_timeout=3, timeout=3)
        key, seen = f"raw{number}", {}
        client.set(key, b"")

        def load() -> bytes:
            data, seen["cas"] = client.gets(key)
            return bytes(data)

        def save(data: bytes) -> None:
            if not client.cas(key, data, seen.get("cas") or client.gets(key)[1], noreply=False):
                raise RuntimeError("somebody else wrote")

        return load, save

    return [raw("pymemcache, gets + cas", begin), *ours("memcached", server.url),
            Case("a dict, and bare round trips", lambda number: manager_actions(OnADict(server.port, number))),
            beakers("ext:memcached", folder, url=server.place),
            djangos("cache", folder, BACKEND="django.core.cache.backends.memcached.PyMemcacheCache",
                    LOCATION=server.place)]


class OnADict(VolatileSessionStore):
    """What any store would take with our sessions above it: it keeps them in a dict, and asks memcached in vain."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__()
        self._dict = VolatileSessionStore()  # whose writes look at what is there, which is not to be asked for here
        self._socket = socket.create_connection(("127.0.0.1", port), 3)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._load = b"gets bare%d\r\n" % number
        self._save = b"set bare%d 0 0 1300\r\n%b\r\n" % (number, b"x" * 1300)
        self._ask(self._save)

    def read(self, key: str) -> Record | None:
        self._ask(self._load)
        return self._dict.read(key)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        self._ask(self._save)
        return self._dict.write(key, record, expected)

    def _ask(self, question: bytes) -> None:
        self._socket.sendall(question)
        self._socket.recv(65536)


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name."""
    return {"memcached": memcached}
