"""MemcachedSessionStore against private memcacheds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers_memcached import MemcachedServer

from session2.store.memcached import MemcachedSessionStore
from session2.testing import StoreSuite


class TestMemcached(StoreSuite):
    store_class = MemcachedSessionStore
    largest = 900_000

    @pytest.fixture(autouse=True)
    def _server(self, memcached: MemcachedServer) -> None:
        self.server = memcached

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.server.place,), {"prefix": prefix_of(tmp_path)}


class TestThreeMemcacheds(StoreSuite):
    store_class = MemcachedSessionStore

    @pytest.fixture(autouse=True)
    def _servers(self, memcacheds: list[MemcachedServer]) -> None:
        self.servers = ",".join(server.place for server in memcacheds)

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.servers + "*2",), {"prefix": prefix_of(tmp_path)}


def prefix_of(folder: Path) -> str:
    """Return a prefix that no other test has."""
    return f"{folder}:"
