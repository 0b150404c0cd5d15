"""How the tests of an adapter get at a running application."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ...store.records import can_merge
from ...urls import class_of
from .browser import Answer, Browser
from .gate import Gate
from .pages import NOTHING
from .website import STORE_URL, Site

MANY = 40
"""How many requests are sent where they are to overlap."""


class ServedTests:
    """How the tests of an adapter get at a running application."""

    server: ClassVar[str]
    """``FILE:FUNCTION`` of the function that serves."""

    processes: ClassVar[int] = 2
    """How many servers share the store where requests are to overlap."""

    threads: ClassVar[int] = 1
    """How many requests one server answers at a time."""

    conflict_status: ClassVar[int] = 500
    """What the framework's application answers when the session of a request is in conflict (`SessionConflict`)."""

    unavailable_status: ClassVar[int] = 500
    """What it answers when the store fails at the end of a request."""

    refused_bytes: ClassVar[bytes] = b""
    """What the server itself answers with status 400 if it is in a header, so that no application ever sees it."""

    store_url: ClassVar[str] = STORE_URL
    """Where sessions are kept; ``{}`` stands for the folder; what fails when the store is to is in its ``store``."""

    @pytest.fixture
    def listing(self) -> None:
        """Asked for by `needs_listing`."""
        if not class_of(self.store_url).can_list:
            pytest.skip(f"{class_of(self.store_url).__name__} declares that it cannot list its sessions")

    @pytest.fixture
    def merging(self) -> None:
        """Asked for by `needs_merging`."""
        if not can_merge(class_of(self.store_url)):
            pytest.skip(f"{class_of(self.store_url).__name__} declares that requests which overlap do not meet in it")

    @property
    def workers(self) -> int:
        return min(self.processes * self.threads, MANY)

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        """Serve with the manager's defaults; shared by all tests that can do with them."""
        with cls.start(tmp_path_factory.mktemp("site"), cls.processes) as site:
            yield site

    @classmethod
    def start(cls, folder: Path, processes: int = 1, **options: Any) -> Site:
        return Site(cls.server, folder, processes, **{"store_url": cls.store_url, **options})

    @pytest.fixture
    def browser(self, site: Site) -> Browser:
        return site.browser()

    def assert_dead(self, browser: Browser) -> None:
        """Check that what the browser holds leads to no session."""
        other = browser.copy()
        assert other.get("/items").json() == {}
        assert other.get("/user").text == NOTHING

    @contextlib.contextmanager
    def slow(self, browser: Browser, path: str, status: int = 200) -> Iterator[tuple[Gate, Future[Answer]]]:
        """Send a request whose page waits at a gate (``{}`` in `path` is its port); done when the block is left."""
        with ThreadPoolExecutor(1) as pool, Gate() as gate:
            sent = pool.submit(browser.get, path.format(gate.port), status=status)
            gate.wait_for(1)
            yield gate, sent
            gate.open()
            sent.result()
