"""Managers as frameworks need them whose sessions are mappings."""

from __future__ import annotations

from dataclasses import replace

from session2 import SessionManager
from session2.store.volatile import VolatileSessionStore
from session2.variants import for_mappings


def test_a_variant_goes_by_the_clocks_that_its_manager_has_now() -> None:
    manager = SessionManager(VolatileSessionStore())
    assert for_mappings(manager, 100.0) is for_mappings(manager, 100.0)
    manager.clocks = replace(manager.clocks, lifetime=500.0)
    assert for_mappings(manager, 100.0).clocks == replace(manager.clocks, idle=100.0)
