"""DurusSessionStore against a private Durus server, on a file, and on a connection of the application's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session2.store.durus import DurusSessionStore
from session2.testing import StoreSuite

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers_durus import DurusServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DurusServer]:
    with DurusServer(tmp_path / "durus") as server:
        yield server


class TestServer(StoreSuite):
    store_class = DurusSessionStore

    @pytest.fixture(autouse=True)
    def _server(self, server: DurusServer) -> None:
        self.server = server

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.server.address,), {}


class TestFile(StoreSuite):
    store_class = DurusSessionStore

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions.durus",), {}
