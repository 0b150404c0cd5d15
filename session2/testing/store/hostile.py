"""What others send or leave behind: ids that are not ours, records that cannot be read."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from ...manager import SessionManager
from ...record import Outcome
from ...serializers import JSONSerializer, PickleSerializer
from ...session import DictSession
from ...store.base import SessionStore
from ...tokens import new_id
from ...traces import lock_key
from ..fakes import Clock
from .claims import needs_listing
from .samples import contents, record_at, records
from .shop import Shop, again, alive, saved
from .visitor import locked

HOSTILE_IDS: dict[str, Any] = {
    "parent": "../../etc/passwd",
    "43 characters of path": "../" * 14 + "x",
    "64 characters of path": "../" * 21 + "x",
    "64 with NUL": "a" * 63 + "\0",
    "device": "/dev/null",
    "long": "x" * 5000,
    "NUL": "a\0b",
    "43 with NUL": "a" * 42 + "\0",
    "43 and newline": "a" * 43 + "\n",
    "not ASCII": "é",
    "43 not ASCII": "é" * 43,
    "digits of another alphabet": "\N{ARABIC-INDIC DIGIT ONE}" * 43,
    "lone surrogate": "\ud800" * 43,
    "empty": "",
    "none": None,
    "deletion marker": "*del*",
    "glob": "*",
    "dots": "..",
}

SMALL = {"data": {"n": 1, "text": "abc"}}


class Payload(bytes):
    """What is put into the envelope of the record that it damages; everything else is a record as it stands."""


FOREIGN = {
    "empty": b"",
    "garbage": b"\x80\x05garbage",
    "zeros": bytes(100),
    "header only": b"s2 pickle\n",
    "bare header": b"s2 ",
    "unknown format": b"s2 yaml\na: 1\n",
    "bare pickle": pickle.dumps(SMALL, 5),
    "JSON": JSONSerializer().seal(JSONSerializer().dumps(SMALL), ""),
    "of another key": PickleSerializer().seal(pickle.dumps(SMALL, 5), "0" * 64),
    "not a dict": Payload(pickle.dumps([1], 5)),
    "class that is no more": Payload(b"cno_such_module\nno_such_class\n."),
    "deep": Payload(b"(" * 100_000),
    "cut short": Payload(pickle.dumps(SMALL, 5)[:-1]),
}


def damage(store: SessionStore, session: DictSession, data: bytes) -> None:
    """Replace what is stored of the session."""
    assert session.key is not None
    found = store.read(session.key)
    assert found is not None
    if isinstance(data, Payload):
        data = store.serializer.seal(data, session.key)
    store.write(session.key, found._replace(data=data), found.version)


class HostileTests:
    """Nothing that comes from outside finds, creates or raises anything."""

    def assert_not_found(self, store: SessionStore, session_id: Any, key: str | None) -> None:
        """Check that the id leads to nothing; the mapping, which takes keys too, may find the session of this key."""
        manager = SessionManager(store, DictSession)
        assert store.load_session(session_id) is None
        assert store.load_session(session_id, "default") == "default"
        assert not store.has_session(session_id)
        assert manager.load(session_id) is None
        assert not manager.has_session(session_id)
        if session_id != key:
            assert session_id not in manager
            assert manager.get(session_id) is None
        store.delete_session(session_id)

    @pytest.mark.parametrize("hostile", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
    def test_hostile_id(self, store: SessionStore, hostile: Any) -> None:
        session = saved(store, n=1)
        before = records(store, str(session.key))
        self.assert_not_found(store, hostile, session.key)
        assert records(store, str(session.key)) == before
        assert again(store, session).data == {"n": 1}

    def test_ids_made_of_a_live_one(self, store: SessionStore) -> None:
        """Not the key under which it is filed, nor its lock, nor anything that looks like it."""
        session = saved(store, n=1)
        id, key = str(session.id), str(session.key)
        with locked(store, key):
            before = records(store, key, lock_key(key))
            for hostile in [key, lock_key(key), f"{id}.lock", lock_key(id), f"../{id}", f"{id}/", f"{id}\0", f" {id}",
                            f"{id}\n", id.swapcase(), id[:-1], id + "A", key[:43], f"./{key}"]:
                self.assert_not_found(store, hostile, key)
            assert records(store, key, lock_key(key)) == before
        assert again(store, session).data == {"n": 1}

    @pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
    def test_foreign_record_is_a_missing_session(self, store: SessionStore, caplog: pytest.LogCaptureFixture,
                                                 data: bytes) -> None:
        store.serializer = PickleSerializer()
        healthy, session = saved(store, n=0), saved(store, n=1)
        damage(store, session, data)
        assert self.log_lines(caplog, lambda: store.sessions.load(str(session.id), Shop)) == (None, 1)
        assert self.log_lines(caplog, lambda: store.has_session(session.id)) == (False, 1)
        found, lines = self.log_lines(caplog, lambda: [found.data for found in alive(store, healthy.id, session.id)])
        assert (found, lines) == ([{"n": 0}], 1)
        session["n"] = 2
        assert self.log_lines(caplog, lambda: store.sessions.save(session)) == (Outcome.GONE, 1)
        store.delete_session(session.id)
        assert list(contents(store, str(healthy.key), str(session.key))) == [healthy.key]

    @pytest.mark.parametrize("serializer", [PickleSerializer(), JSONSerializer()], ids=["pickle", "json"])
    def test_record_cut_anywhere_is_a_missing_session(self, store: SessionStore, caplog: pytest.LogCaptureFixture,
                                                      serializer: Any) -> None:
        store.serializer = serializer
        session = Shop(new_id())
        session.data.update(SMALL["data"])
        store.sessions.save(session)
        whole = contents(store, str(session.key))[str(session.key)]
        for length in range(len(whole)):
            damage(store, session, whole[:length])
            assert self.log_lines(caplog, lambda: store.sessions.load(str(session.id), Shop)) == (None, 1)
        damage(store, session, whole)
        assert again(store, session).data == SMALL["data"]

    @needs_listing
    def test_foreign_record_does_not_stop_cleaning_up(self, store: SessionStore, clock: Clock) -> None:
        store.write("00" * 32, record_at(clock.now, b"", accessed=clock.now - 100, expires=None), None)
        store.write("11" * 32, record_at(clock.now, b"garbage", expires=clock.now + 10), None)
        assert store.delete_old_sessions(1) == (1, 1)
        clock.advance(10)
        assert store.purge() == 1

    def log_lines(self, caplog: pytest.LogCaptureFixture, call: Any) -> tuple[Any, int]:
        """Return what the call returned and how many lines it logged."""
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="session2"):
            result = call()
        return result, len(caplog.records)
