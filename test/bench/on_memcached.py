"""memcached's part of what is measured."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from pathlib import Path

from cases import Case, ours, raw
from peers import beakers, djangos
from pymemcache import Client

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
            beakers("ext:memcached", folder, url=server.place),
            djangos("cache", folder, BACKEND="django.core.cache.backends.memcached.PyMemcacheCache",
                    LOCATION=server.place)]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name."""
    return {"memcached": memcached}
