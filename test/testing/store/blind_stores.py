"""The broken stores once more, as stores that cannot list; `test_suite.py` runs them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from session2.store.records import RecordStore
from session2.testing import StoreSuite

spec = importlib.util.spec_from_file_location("broken_stores", Path(__file__).with_name("broken_stores.py"))
broken_stores = importlib.util.module_from_spec(spec)
spec.loader.exec_module(broken_stores)


class Blind:
    can_list = False
    scan = RecordStore.scan
    records_of = RecordStore.records_of


for name, suite in vars(broken_stores).items():
    if name.startswith("Test") and issubclass(suite, StoreSuite):
        store_class = type(suite.store_class.__name__, (Blind, suite.store_class), {})
        globals()[name] = type(name, (suite,), {"store_class": store_class, "__module__": __name__})
