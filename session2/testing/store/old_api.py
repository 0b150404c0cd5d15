"""The methods that every store of session2 has had since 2005."""

from __future__ import annotations

import copy
from pathlib import Path

from ... import tokens
from ...record import Outcome
from ...session import DictSession, ties
from ...store.base import SessionStore
from ...store.records import can_merge
from ...tokens import new_id
from ...traces import lock_key
from ..fakes import Clock
from .claims import needs_listing
from .recipe import Recipe
from .samples import contents, records
from .shop import Shop, again, alive, saved
from .visitor import locked


class ApiTests:
    """The methods every session2 store had."""

    def test_load_save_delete(self, store: SessionStore) -> None:
        session = DictSession()
        session["n"] = 1
        store.save_session(session)
        assert tokens.is_id(session.id)
        assert store.has_session(session.id)
        assert store.load_session(session.id)["n"] == 1
        session["n"] = 2
        store.save_session(session)
        assert store.load_session(session.id)["n"] == 2
        store.delete_session(session)
        assert not store.has_session(session.id)
        assert store.load_session(session.id) is None
        assert store.load_session(session.id, default="none") == "none"
        store.delete_session(session)

    def test_delete_by_id(self, store: SessionStore) -> None:
        session, other = saved(store, n=1), saved(store, n=2)
        store.delete_session(session.id)
        store.delete_session(session.id)
        store.sessions.end(new_id())
        assert not store.has_session(session.id)
        assert [found.data for found in alive(store, session.id, other.id)] == [other.data]

    def test_delete_never_stored(self, store: SessionStore) -> None:
        store.delete_session(DictSession())
        store.delete_session(DictSession(id := new_id()))
        assert contents(store, store.sessions.key(id)) == {}

    @needs_listing
    def test_iter_sessions_shows_sessions_only(self, store: SessionStore) -> None:
        """Neither locks nor the traces of old ids."""
        sessions = [saved(store, n=number) for number in range(3)]
        store.sessions.rotate(sessions[0], new_id())
        store.sessions.rotate(sessions[1], new_id(), grace=30)
        with store.lock(str(sessions[2].key)):
            found = dict(store.iter_sessions())
        assert {key: found[key].data for key in found} == {  # type: ignore[attr-defined]
            session.key: {"n": number} for number, session in enumerate(sessions)}
        assert all(session.id is None for session in found.values())

    @needs_listing
    def test_session_met_by_iteration_can_be_saved(self, store: SessionStore) -> None:
        session = saved(store, visits=1)
        [(_, found)] = store.iter_sessions()
        found.data["seen"] = True  # type: ignore[attr-defined]
        session["visits"] = 2
        store.sessions.save(session)
        assert store.sessions.save(found) is Outcome.SAVED
        assert again(store, session).data == {"visits": 2, "seen": True}
        [(_, found)] = store.iter_sessions()
        store.delete_session(found)
        assert not store.has_session(session.id)

    @needs_listing
    def test_delete_old_sessions(self, store: SessionStore, clock: Clock) -> None:
        start = clock.now
        for minutes in range(10):
            session = Shop(new_id())
            ties(session).created = ties(session).accessed = start - minutes * 60
            ties(session).expires = None if minutes % 2 else start + 30
            session["n"] = minutes
            store.sessions.save(session)
        with store.lock("00" * 32):
            assert store.delete_old_sessions(6.5) == (3, 7)
        assert store.delete_old_sessions(6.5) == (0, 7)
        clock.advance(30)
        assert store.delete_old_sessions(6.5) == (4, 3)
        assert sorted(found["n"] for found in store.sessions.each(Shop)) == [1, 3, 5]

    @needs_listing
    def test_sessions_of_user(self, store: SessionStore) -> None:
        for number, user in enumerate(["anna", "bert", None, "anna"]):
            session = Shop(new_id())
            session.user = user
            session["n"] = number
            store.sessions.save(session)
        assert sorted(found["n"] for found in store.sessions.each(Shop, "anna")) == [0, 3]

    def test_no_id_is_kept(self, store: SessionStore, tmp_path: Path) -> None:
        """A copy of the store holds no usable cookie."""
        sessions = [saved(store, n=number) for number in range(4)]
        ids = [str(session.id) for session in sessions]
        store.sessions.rotate(sessions[0], new_id(), grace=30 if can_merge(type(store)) else 0)
        store.sessions.rotate(sessions[1], new_id())
        sessions[2]["n"] = 10
        store.sessions.save(sessions[2])
        ids += [str(session.id) for session in sessions]
        with locked(store, str(sessions[3].key)):
            keys = [store.sessions.key(id) for id in ids]
            kept = copy.deepcopy(records(store, *keys, lock_key(str(sessions[3].key))))
            at_rest = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        names = [str(path) for path in tmp_path.rglob("*")]
        for id in ids:
            assert not any(id in f"{key} {record.user}" or id.encode() in record.data for key, record in kept.items())
            assert not any(id.encode() in data for data in at_rest)
            assert not any(id in name for name in names)

    def test_unhashed_ids(self, recipe: Recipe, clock: Clock) -> None:
        store = recipe.make(clock=clock, hash_ids=False)
        store.setup()
        session = saved(store, n=1)
        assert list(contents(store, str(session.id))) == [session.id]
        assert again(store, session).data == {"n": 1}
        assert [found.id for found in alive(store, session.id)] == [session.id]
        store.sessions.rotate(session, new_id())
        assert again(store, session).data == {"n": 1}
        store.close()
