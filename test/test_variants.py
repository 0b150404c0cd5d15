"""Managers as frameworks need them whose sessions are mappings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from session2 import ConfigurationError, SessionManager
from session2.store.volatile import VolatileSessionStore
from session2.variants import for_mappings


def test_a_variant_goes_by_the_clocks_that_its_manager_has_now() -> None:
    manager = SessionManager(VolatileSessionStore())
    assert for_mappings(manager, 100.0) is for_mappings(manager, 100.0)
    manager.clocks = replace(manager.clocks, lifetime=500.0)
    assert for_mappings(manager, 100.0).clocks == replace(manager.clocks, idle=100.0)


def test_a_manager_keeps_its_own_idle_clock_where_nothing_else_is_said() -> None:
    manager = SessionManager(VolatileSessionStore(), idle_timeout=100.0)
    assert for_mappings(manager).clocks == manager.clocks


def test_what_is_no_manager_is_refused_in_words() -> None:
    store: Any = VolatileSessionStore()
    with pytest.raises(ConfigurationError, match=r"manager must be a SessionManager, .* not a VolatileSessionStore$"):
        for_mappings(store)
