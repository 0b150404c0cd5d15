"""What a store claims to stand, and how much of it the suite asks of it."""

from __future__ import annotations

from typing import ClassVar

import pytest

from ...store.base import SessionStore
from ...store.records import can_merge


class Sized:
    """How much of it a suite does; overridden for a store that is slow or keeps little."""

    scale: ClassVar[float] = 1.0
    """Factor by which loops are longer; below 1 for a slow store."""

    largest: ClassVar[int] = 10_000_000
    """How many bytes of data the store can keep in one record."""

    def times(self, count: int) -> int:
        return max(4, round(count * self.scale))


needs_listing = pytest.mark.usefixtures("listing")
"""Marks a test of what only a store can do that lists its sessions."""


needs_merging = pytest.mark.usefixtures("merging")
"""Marks a test of what only a store can do in which requests that overlap meet."""


class Claims(Sized):
    """Runs the races, and the crashes, of which the store claims that it stands them; asks no other to list or merge.

    A store that claims to stand none must still do the same things one after another.
    """

    store_class: ClassVar[type[SessionStore]]

    processes: ClassVar[bool] = True
    """False for a store that cannot be made again in another process, although its class may be used in several."""

    @pytest.fixture
    def listing(self) -> None:
        """Asked for by `needs_listing`."""
        if not self.store_class.can_list:
            pytest.skip(f"{self.store_class.__name__} declares that it cannot list its sessions")

    @pytest.fixture
    def merging(self) -> None:
        """Asked for by `needs_merging`."""
        if not can_merge(self.store_class):
            pytest.skip(f"{self.store_class.__name__} declares that requests which overlap do not meet in it")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        processes = self.processes and self.store_class.is_multiprocess_safe
        if "kind" in metafunc.fixturenames:
            kinds = ["threads"] * bool(self.store_class.is_thread_safe) + ["processes"] * bool(processes)
            metafunc.parametrize("kind", kinds or ["in turn"])
        if "death" in metafunc.fixturenames:
            metafunc.parametrize("death", ["killed" if processes else "deserted"])
