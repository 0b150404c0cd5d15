"""The three functions of CherryPy 0.10: the suite on a table of them, the example of its manual, and old data."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from session2.store.functions import FunctionSessionStore
from session2.testing import StoreSuite


class Table:
    """What an application of old keeps its sessions in: everything is pickled."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, float]] = {}

    def save(self, session_id: str, data: dict[str, Any], expires: float) -> None:
        self.rows[session_id] = pickle.dumps(data), expires

    def load(self, session_id: str) -> Any:
        if session_id not in self.rows:
            return None
        data, expires = self.rows[session_id]
        return pickle.loads(data), expires

    def delete(self, session_id: str) -> None:
        self.rows.pop(session_id, None)


class OnTable(FunctionSessionStore):
    def __init__(self, **options: Any) -> None:
        self.table = Table()
        super().__init__(self.table.save, self.table.load, **options)


class TestFunctions(StoreSuite):
    store_class = OnTable


class WithDelete(FunctionSessionStore):
    """One whose table keeps JSON, in which there is a time in whole seconds."""

    def __init__(self, **options: Any) -> None:
        self.table: dict[str, str] = {}
        super().__init__(self.save_json, self.load_json, None, self.table.__delitem__, **options)
