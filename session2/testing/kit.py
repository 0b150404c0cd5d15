"""What the tests of `StoreSuite` are made of: a clock to set, records to store, a recipe for the store under test."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from ..record import Record
from ..store.base import SessionStore


class Clock:
    """A clock that stands still until it is moved.  It starts at the real time, for systems that have one too."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Sized:
    """How much of it a suite does; overridden for a store that is slow or keeps little."""

    scale: ClassVar[float] = 1.0
    """Factor by which loops are longer; below 1 for a slow store."""

    largest: ClassVar[int] = 10_000_000
    """How many bytes of data the store can keep in one record."""

    def times(self, count: int) -> int:
        return max(4, round(count * self.scale))


class Claims(Sized):
    """Runs the races, and the crashes, of which the store claims that it stands them.

    A store that claims none must still do the same things one after another.
    """

    store_class: ClassVar[type[SessionStore]]

    processes: ClassVar[bool] = True
    """False for a store that cannot be made again in another process, although its class may be used in several."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        processes = self.processes and self.store_class.is_multiprocess_safe
        if "kind" in metafunc.fixturenames:
            kinds = ["threads"] * bool(self.store_class.is_thread_safe) + ["processes"] * bool(processes)
            metafunc.parametrize("kind", kinds or ["in turn"])
        if "death" in metafunc.fixturenames:
            metafunc.parametrize("death", ["killed" if processes else "deserted"])


@dataclass(frozen=True)
class Recipe:
    """How to make the store under test; can be sent to another process."""

    store_class: type[SessionStore]
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, **options: Any) -> SessionStore:
        return self.store_class(*self.args, **{**self.options, **options})


def key_of(number: int) -> str:
    """Return the n-th key of the form that stores are given."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def record_at(now: float, data: bytes = b"state", **fields: Any) -> Record:
    """Return a record that lives for another 1000 seconds, with times that need all digits of a float."""
    return Record(data, now - 50.123456, now - 20.000001, now - 10.987654, now + 1000.7654321)._replace(**fields)


def contents(store: SessionStore) -> dict[str, bytes]:
    """Return the data of all live records."""
    return {key: record.data for key, record in store.scan()}
