"""`StoreSuite`: what a store must do to be called one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ...store.base import SessionStore
from ..fakes import Clock
from .crashes import CrashTests
from .expiry import ExpiryTests, TouchTests
from .faults import FaultTests
from .histories import ModelTests
from .hostile import HostileTests
from .lifetimes import LifetimeTests
from .listing import ListingTests
from .logins import LoginTests
from .modes import ModeTests
from .old_api import ApiTests
from .primitives import ReadWriteTests, RemoveTests
from .purging import PurgeTests
from .races import RaceTests
from .recipe import Recipe
from .saving import MovingTests, SavingTests
from .security import SecurityTests


class ContractTests(ReadWriteTests, ExpiryTests, TouchTests, RemoveTests, ListingTests, PurgeTests):
    """Each primitive to the letter."""


class SessionTests(SavingTests, MovingTests):
    """Sessions on top of the primitives."""


class RequestTests(LifetimeTests, LoginTests, ModeTests):
    """`SessionManager` over the store, one request after another and overlapping."""


class StoreSuite(ContractTests, SessionTests, ApiTests, HostileTests, FaultTests, RequestTests, SecurityTests,
                 RaceTests, CrashTests, ModelTests):
    """The definition of "works" for a store; a store's test file is a class of three lines::

        class TestDirectory(StoreSuite):
            store_class = DirectorySessionStore

            def arguments(self, tmp_path):
                return (tmp_path / "sessions",), {"create": True}

    The store made with these arguments must be empty at the start of each test.  Four attributes say what can be asked:

    - `can_list`, of the store's class: False if it cannot tell what it holds.  The tests of listing are skipped then,
      and where listing is needed the store has to refuse it; all other tests make do with the keys they know.
    - `scale`: factor by which loops are longer (1.0); below 1 for a store that is slow.
    - `largest`: how many bytes of data one record can hold (10 million).
    - `processes`: False if the store cannot be made again in another process, although `is_multiprocess_safe` is True.
      Races and crashes then happen within one process.
    """

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments to make the store with, both picklable."""
        return (), {}

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock the store goes by."""
        return Clock()

    @pytest.fixture
    def recipe(self, tmp_path: Path) -> Recipe:
        """How to make the store again, here or in another process."""
        args, options = self.arguments(tmp_path)
        return Recipe(self.store_class, args, options)

    @pytest.fixture
    def store(self, recipe: Recipe, clock: Clock) -> Iterator[SessionStore]:
        """The store under test."""
        store = recipe.make(clock=clock)
        store.setup()
        yield store
        store.close()
