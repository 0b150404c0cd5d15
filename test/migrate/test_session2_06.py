"""Sessions of session2 0.6 and session3: what the real ones wrote is read."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from session2.migrate import Former, Skipped, open_source

DATA = Path(__file__).parent / "data"
ROWS = json.loads((DATA / "session2_06/rows.json").read_text("utf-8"))
IDS = ROWS["ids"]

STATES = {
    "anna": {"user": "anna", "basket": ["apples", "Käse"], "since": datetime(2026, 11, 28, 20, 15), "cheese": "Käse",
             "_remote_address": "192.0.2.7"},
    "bert": {"user": "bert", "data": {"count": 3, "ü": {1, 2}}, "_remote_address": "192.0.2.7"},
    "carla": {"user": 42, "money": Decimal("9.90"), "digest": b"\x80\xff", "big": 2 ** 70,
              "_remote_address": "192.0.2.7"},
    "nobody": {"data": {"colour": "red"}, "_remote_address": "192.0.2.7"},
}


@pytest.mark.parametrize("name", STATES)
def test_a_session_is_found_by_its_id_with_its_state_and_times(name: str) -> None:
    source = open_source(f"session2-0.6+directory:{DATA}/session2_06/directory")
    assert source.find(IDS[name]) == Former(IDS[name], STATES[name], 1795000000.0, 1795000060.0)


def test_a_class_that_is_not_known_is_named() -> None:
    source = open_source(f"session2-0.6+directory:{DATA}/session2_06/directory")
    found = source.find(IDS["dora"])
    assert isinstance(found, Skipped)
    assert "--allow shop.Cart" in found.why
