"""Awkward states and damaged records, over any store: the old state or the new one, whole, and a clear error."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from ...errors import SerializationError
from ...events import Event
from ...found import Absence
from ...record import Outcome
from ...serializers import PickleSerializer
from ...session import DictSession
from ...store.base import SessionStore
from ..fakes import Clock
from .claims import Sized, needs_merging
from .hostile import damage
from .recipe import Recipe
from .shop import again, alive, saved


def endless() -> list[Any]:
    """Return a value that is nested too deeply for any serializer."""
    knot: list[Any] = []
    for _ in range(100_000):
        knot = [knot]
    return knot


class Moody:
    """Raises what it likes when it is pickled."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("not today")


BAD_VALUES = {"lock": threading.Lock, "too deep": endless, "lambda": lambda: (lambda: None), "raises": Moody}


class FaultTests(Sized):
    """Whatever goes wrong with one session, nothing else is lost."""

    @pytest.mark.parametrize("bad", BAD_VALUES)
    def test_value_that_cannot_be_kept(self, store: SessionStore, bad: str) -> None:
        session = saved(store, good=1)
        session["bad"] = BAD_VALUES[bad]()
        with pytest.raises(SerializationError, match="'bad'") as caught:
            store.sessions.save(session)
        assert caught.value.where == "'bad'"
        assert again(store, session).data == {"good": 1}
        session["bad"] = "better"
        assert store.sessions.save(session) is Outcome.SAVED
        assert again(store, session).data == {"good": 1, "bad": "better"}

    @needs_merging
    def test_ten_thousand_keys(self, store: SessionStore) -> None:
        session = saved(store, n=0)
        one, two = (again(store, session) for _ in range(2))
        one.update({f"one {number}": number for number in range(5000)})
        two.update({f"two {number}": number for number in range(5000)})
        assert store.sessions.save(one) is store.sessions.save(two) is Outcome.SAVED
        assert len(again(store, session)) == 10_001

    def test_large_state(self, store: SessionStore) -> None:
        session = saved(store, small="x")
        session["large"] = "x" * (self.largest - 1000)
        assert store.sessions.save(session) is Outcome.SAVED
        assert len(again(store, session)["large"]) == self.largest - 1000
        del session["large"]
        assert store.sessions.save(session) is Outcome.SAVED
        assert again(store, session).data == {"small": "x"}

    def test_flipped_bit_anywhere(self, recipe: Recipe, clock: Clock) -> None:
        heard: list[Event] = []
        store = recipe.make(clock=clock, observer=heard.append)
        store.setup()
        session, other = saved(store, n=1), saved(store, n=2)
        assert session.origin is not None
        data = session.origin.record.data
        for offset in range(len(data)):
            heard.clear()
            damage(store, session, data[:offset] + bytes([data[offset] ^ 1 << offset % 8]) + data[offset + 1:])
            assert store.sessions.load(str(session.id), DictSession) is None
            assert [event.name for event in heard] == ["corrupt"]
        damage(store, session, data)
        assert again(store, session).data == {"n": 1}
        assert again(store, other).data == {"n": 2}
        store.close()

    def test_class_that_is_no_more(self, store: SessionStore) -> None:
        session, other = saved(store, n=1), saved(store, n=2)
        payload = pickle.dumps({"data": {"x": Moody}}, 0).replace(b"Moody", b"Mooey")
        damage(store, session, PickleSerializer().seal(payload, ""))
        assert store.sessions.load(str(session.id), DictSession) is None
        assert [found.key for found in alive(store, session.id, other.id)] == [other.key]
        store.sessions.end(session)
        assert store.sessions.locate(str(session.id)).absence is Absence.ENDED
