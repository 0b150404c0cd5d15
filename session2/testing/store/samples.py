"""Records to store, the keys they are given, and what is there afterwards."""

from __future__ import annotations

import hashlib
from typing import Any

from ...record import Record
from ...store.base import SessionStore
from ...traces import is_trace


def key_of(number: int) -> str:
    """Return the n-th key of the form that stores are given."""
    return hashlib.sha256(b"%d" % number).hexdigest()


KEY = key_of(0)
"""For a test that needs one."""


def record_at(now: float, data: bytes = b"state", **fields: Any) -> Record:
    """Return a record that lives for another 1000 seconds, with times that need all digits of a float."""
    return Record(data, now - 50.123456, now - 20.000001, now - 10.987654, now + 1000.7654321)._replace(**fields)


def records(store: SessionStore, *keys: str) -> dict[str, Record]:
    """Return all live records but traces; of a store that cannot list, those under the keys in question."""
    if store.can_list:
        listed = list(store.scan())
        assert len(listed) == len({key for key, _ in listed}), "a record is listed twice"
    else:
        listed = [(key, record) for key in keys if (record := store.read(key)) is not None]
    return {key: record for key, record in listed if not is_trace(record)}


def contents(store: SessionStore, *keys: str) -> dict[str, bytes]:
    """Return the data of all live records but traces; of a store that cannot list, under the keys in question."""
    return {key: record.data for key, record in records(store, *keys).items()}
