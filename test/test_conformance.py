"""The table of cases per store, from the test run to the page."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from conformance import count

ROOT = Path(__file__).parents[1]

NODES = ["test/store/test_x.py::TestX::test_random_histories", "test/store/test_x.py::TestX::test_hostile_id[a]",
         "test/store/test_x.py::TestX::test_hostile_id[b]", "test/store/test_x.py::TestX::test_of_its_own",
         "test/store/test_y.py::TestY::test_random_histories", "test/test_other.py::test_random_histories"]


@pytest.fixture
def conf() -> Any:
    spec = importlib.util.spec_from_file_location("conf", ROOT / "docs/conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cases_are_counted_by_store_and_part() -> None:
    assert count(NODES) == {"X": {"Model": 1, "Hostile": 2}, "Y": {"Model": 1}}


def test_the_table_has_a_row_for_each_store(conf: Any) -> None:
    assert conf.table(count(NODES)).splitlines() == [
        "| Store | Hostile | Model | all |", "| --- | --- | --- | --- |", "| X | 2 | 1 | 3 |", "| Y | 0 | 1 | 1 |"]
