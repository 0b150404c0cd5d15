"""Sessions on top of the primitives: saving, merging, moving, and the API of session2."""

from __future__ import annotations

import threading

import pytest

from ...errors import SerializationError, SessionConflict
from ...record import Outcome
from ...serializers import JSONSerializer
from ...session import ties
from ...sessions import ENDED_GRACE
from ...store.base import SessionStore
from ...tokens import new_id
from ..fakes import Clock
from .claims import needs_merging
from .samples import contents, records
from .shop import Shop, again, alive, saved


class SavingTests:
    """`load`, `save` and what happens when two saves meet."""

    def test_session_round_trip(self, store: SessionStore) -> None:
        session = Shop(new_id())
        session.set_user("anna")
        session.data["list"] = [1, {"two": (3.0, None)}]
        session.colour = "blue"  # type: ignore[attr-defined]
        ties(session).expires = session.access_time + 1000.5
        assert store.sessions.save(session) is Outcome.SAVED
        loaded = again(store, session)
        assert (loaded.user, loaded.data, loaded.colour) == (  # type: ignore[attr-defined]
            "anna", {"list": [1, {"two": (3.0, None)}]}, "blue")
        assert (loaded.creation_time, loaded.access_time, loaded.expires) == (
            session.creation_time, session.access_time, session.expires)
        assert (loaded.id, loaded.key) == (session.id, session.key)

    def test_loaded_copies_are_private(self, store: SessionStore) -> None:
        """Nothing unsaved leaks into what others load, not even into the depth of a value."""
        mutable: list[object] = [1, [2]]
        session = saved(store, value=mutable)
        loaded = again(store, session)
        mutable[1] = "after the save"
        loaded["value"].append("never saved")
        assert again(store, session)["value"] == [1, [2]]

    def test_unknown_id_is_never_adopted(self, store: SessionStore) -> None:
        unknown = new_id()
        assert store.sessions.load(unknown, Shop) is None
        assert contents(store, store.sessions.key(unknown)) == {}

    def test_unchanged_session_is_not_written(self, store: SessionStore) -> None:
        session = saved(store, n=1, text=["a", "a"])
        before = records(store, str(session.key))
        assert store.sessions.save(session) is Outcome.UNCHANGED
        loaded = again(store, session)
        assert store.sessions.save(loaded) is Outcome.UNCHANGED
        loaded["n"] = 2
        loaded["n"] = 1
        assert not store.sessions.is_changed(loaded)
        assert store.sessions.save(loaded) is Outcome.UNCHANGED
        assert records(store, str(session.key)) == before

    def test_insert_never_overwrites(self, store: SessionStore) -> None:
        session = saved(store, n=1)
        impostor = Shop(session.id)
        impostor["n"] = 2
        with pytest.raises(SessionConflict):
            store.sessions.save(impostor)
        assert again(store, session).data == {"n": 1}

    @needs_merging
    def test_different_keys_merge(self, store: SessionStore) -> None:
        session = saved(store, mine=0, theirs=0, gone=0, left=0)
        mine, theirs = again(store, session), again(store, session)
        theirs["theirs"] = 1
        del theirs["gone"]
        assert store.sessions.save(theirs) is Outcome.SAVED
        mine["mine"] = 1
        mine["new"] = 1
        del mine["left"]
        assert store.sessions.save(mine) is Outcome.SAVED
        assert again(store, session).data == {"mine": 1, "theirs": 1, "new": 1}
        assert mine.data == {"mine": 1, "theirs": 1, "new": 1}

    @needs_merging
    def test_attributes_merge(self, store: SessionStore) -> None:
        session = saved(store)
        mine, theirs = again(store, session), again(store, session)
        theirs.one = 1  # type: ignore[attr-defined]
        store.sessions.save(theirs)
        mine.two = 2  # type: ignore[attr-defined]
        store.sessions.save(mine)
        assert {name: vars(again(store, session))[name] for name in ("one", "two")} == {"one": 1, "two": 2}

    @needs_merging
    def test_dicts_merge_at_every_depth(self, store: SessionStore) -> None:
        session = saved(store, a={"b": {"c": {"x": 0, "y": 0, "z": 0}}})
        mine, theirs = again(store, session), again(store, session)
        theirs["a"]["b"]["c"]["x"] = 1
        del theirs["a"]["b"]["c"]["z"]
        store.sessions.save(theirs)
        mine["a"]["b"]["c"]["y"] = 1
        mine["a"]["b"]["d"] = {"new": 1}
        store.sessions.save(mine)
        assert again(store, session).data == {"a": {"b": {"c": {"x": 1, "y": 1}, "d": {"new": 1}}}}

    @needs_merging
    def test_later_write_of_one_value_wins(self, store: SessionStore) -> None:
        session = saved(store, n=0)
        mine, theirs = again(store, session), again(store, session)
        theirs["n"] = "earlier"
        store.sessions.save(theirs)
        mine["n"] = "later"
        store.sessions.save(mine)
        assert again(store, session)["n"] == "later"

    @needs_merging
    def test_merge_rules(self, store: SessionStore) -> None:
        session = saved(store, visits=10, basket=["a", "b"], nested={"n": 5})
        mine, theirs = again(store, session), again(store, session)
        theirs.data.update(visits=11, basket=["a", "b", "c"], source="theirs")
        theirs["nested"]["n"] += 1
        store.sessions.save(theirs)
        mine.data.update(visits=13, basket=["b", "d"], source="mine")
        mine["nested"]["n"] += 1
        store.sessions.save(mine)
        assert again(store, session).data == {
            "visits": 14, "basket": ["b", "c", "d"], "source": "theirs", "nested": {"n": 7}}

    @needs_merging
    def test_conflict_after_conflict(self, store: SessionStore) -> None:
        session = saved(store, visits=0)
        copies = [again(store, session) for _ in range(10)]
        for turn, loaded in enumerate(copies):
            loaded["visits"] += 1
            loaded[f"key {turn}"] = turn
            assert store.sessions.save(loaded) is Outcome.SAVED
            loaded["visits"] += 1
            assert store.sessions.save(loaded) is Outcome.SAVED
        assert again(store, session).data == {"visits": 20, **{f"key {turn}": turn for turn in range(10)}}

    @needs_merging
    def test_strict_save_raises(self, store: SessionStore) -> None:
        session = saved(store, n=0)
        mine, theirs = again(store, session), again(store, session)
        theirs["n"] = 1
        store.sessions.save(theirs, merge=False)
        mine["other"] = 1
        with pytest.raises(SessionConflict):
            store.sessions.save(mine, merge=False)
        assert again(store, session).data == {"n": 1}

    @needs_merging
    def test_touch_is_no_conflict(self, store: SessionStore, clock: Clock) -> None:
        session = saved(store, n=0)
        other = again(store, session)
        ties(other).accessed = clock.now + 100
        store.sessions.touch(other)
        session["n"] = 1
        assert store.sessions.save(session, merge=False) is Outcome.SAVED
        assert again(store, session)["n"] == 1

    def test_deleted_session_is_not_restored(self, store: SessionStore) -> None:
        session = saved(store, n=0)
        stale = again(store, session)
        store.sessions.end(session)
        stale["n"] = 1
        assert store.sessions.save(stale) is Outcome.GONE
        store.sessions.touch(stale)
        assert contents(store, str(session.key)) == {}

    def test_expired_session_is_not_restored(self, store: SessionStore, clock: Clock) -> None:
        session = saved(store, n=0)
        ties(session).expires = clock.now + 10
        session["n"] = 1
        store.sessions.save(session)
        stale = again(store, session)
        clock.advance(10)
        stale["n"] = 2
        ties(stale).accessed, ties(stale).expires = clock.now, clock.now + 1000
        assert store.sessions.save(stale) is Outcome.GONE
        store.sessions.touch(stale)
        assert contents(store, str(session.key)) == {}

    def test_unserialisable_value_loses_nothing(self, store: SessionStore) -> None:
        session = saved(store, good=1)
        before = records(store, str(session.key))
        session["good"], session["bad one"] = 2, threading.Lock()
        with pytest.raises(SerializationError, match="bad one"):
            store.sessions.save(session)
        assert records(store, str(session.key)) == before
        fresh = Shop(new_id())
        fresh.worse = lambda: None  # type: ignore[attr-defined]
        with pytest.raises(SerializationError, match="worse"):
            store.sessions.save(fresh)
        assert records(store, str(session.key), store.sessions.key(str(fresh.id))) == before

    def test_json(self, store: SessionStore) -> None:
        store.serializer = JSONSerializer()
        session = saved(store, text="\N{SNOWMAN}\0\"", list=[1, 2.5, None, True, {"a": {}}])
        assert again(store, session).data == session.data
        assert store.sessions.save(again(store, session)) is Outcome.UNCHANGED
        session["bad one"] = {1}
        with pytest.raises(SerializationError, match="bad one"):
            store.sessions.save(session)
        assert "bad one" not in again(store, session)


class MovingTests:
    """`move`: the same session under a new id."""

    def test_move_kills_the_old_id(self, store: SessionStore, clock: Clock) -> None:
        session = saved(store, n=1)
        old_id, late = session.id, again(store, session)
        assert old_id is not None
        assert store.sessions.rotate(session, new_id()) is Outcome.SAVED
        assert session.id != old_id
        assert store.sessions.load(old_id, Shop) is None
        assert not store.has_session(old_id)
        assert again(store, session).data == {"n": 1}
        late["n"] = 2
        assert store.sessions.save(late) is Outcome.REPLACED
        assert again(store, session).data == {"n": 1}
        clock.advance(ENDED_GRACE)
        late["n"] = 3
        assert store.sessions.save(late) is Outcome.GONE
        assert again(store, session).data == {"n": 1}

    @needs_merging
    def test_move_with_grace(self, store: SessionStore, clock: Clock) -> None:
        """Until the grace ends the old id reads and writes what is stored under the new one."""
        session = saved(store, mine=0, theirs=0)
        late, old_id = again(store, session), session.id
        assert old_id is not None
        session["mine"] = 1
        assert store.sessions.rotate(session, new_id(), grace=30) is Outcome.SAVED
        late["theirs"] = 1
        assert store.sessions.save(late) is Outcome.SAVED
        assert late.id == session.id
        for id in (old_id, str(session.id)):
            found = store.sessions.load(id, Shop)
            assert found is not None
            assert (found.id, found.data) == (session.id, {"mine": 1, "theirs": 1})
        assert len(alive(store, old_id, session.id)) == 1
        clock.advance(30)
        assert store.sessions.load(old_id, Shop) is None
        assert again(store, session).data == {"mine": 1, "theirs": 1}

    @needs_merging
    def test_move_takes_along_what_others_wrote(self, store: SessionStore) -> None:
        session = saved(store, visits=1)
        old_id, other = session.id, again(store, session)
        other["visits"] += 1
        store.sessions.save(other)
        session["visits"] += 1
        assert store.sessions.rotate(session, new_id()) is Outcome.SAVED
        assert again(store, session).data == {"visits": 3}
        assert len(alive(store, old_id, session.id)) == 1

    @needs_merging
    @pytest.mark.parametrize("grace", [0, 30])
    def test_two_moves_leave_one_session(self, store: SessionStore, grace: float) -> None:
        session = saved(store, n=1)
        mine, theirs = again(store, session), again(store, session)
        ids = [session.id, new_id(), new_id()]
        store.sessions.rotate(theirs, str(ids[1]), grace)
        outcome = store.sessions.rotate(mine, str(ids[2]), grace)
        assert outcome is (Outcome.UNCHANGED if grace else Outcome.REPLACED)
        assert [found.data for found in alive(store, *ids)] == [{"n": 1}]
        assert again(store, theirs).data == {"n": 1}

    def test_move_does_not_restore(self, store: SessionStore) -> None:
        session = saved(store, n=1)
        stale = again(store, session)
        store.sessions.end(session)
        unused = new_id()
        assert store.sessions.rotate(stale, unused, grace=30) is Outcome.GONE
        assert contents(store, str(session.key), store.sessions.key(unused)) == {}

    @needs_merging
    def test_deletion_by_an_old_id_in_its_grace(self, store: SessionStore) -> None:
        session = saved(store, n=1)
        old_id = session.id
        store.sessions.rotate(session, new_id(), grace=30)
        store.delete_session(old_id)
        assert alive(store, old_id, session.id) == []
        assert not store.has_session(session.id)
        assert not store.has_session(old_id)

    @needs_merging
    def test_superseded_writer_must_merge(self, store: SessionStore) -> None:
        session = saved(store, n=1)
        store.sessions.fence(session)
        fresh = again(store, session)
        session["n"] = 2
        with pytest.raises(SessionConflict):
            store.sessions.save(session, merge=False)
        fresh["n"] = 3
        assert store.sessions.save(fresh, merge=False) is Outcome.SAVED
