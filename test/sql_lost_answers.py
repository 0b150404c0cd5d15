"""Changes whose answer is lost, whatever others do before the next try; for both stores in SQL databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from session2 import SessionManager, StoreUnavailable, merge
from session2.errors import Conflict
from session2.session import DictSession
from session2.store.servers.once import REMEMBERED
from session2.store.servers.results import Fault, StatementFailed
from session2.store.sql.store import _ONCE, SQLSessionStore
from session2.testing.fakes import Clock
from session2.testing.store.samples import contents, key_of, record_at

KEY = key_of(0)


class Counter(DictSession):
    merge_rules = {"n": merge.add}


class LostAnswers:
    """A test class adds the fixtures `make` and `clock`."""

    @pytest.fixture
    def store(self, make: Any, clock: Clock) -> SQLSessionStore:
        return make(clock=clock)

    @pytest.fixture
    def other(self, make: Any, clock: Clock) -> SQLSessionStore:
        return make(clock=clock)

    @pytest.fixture
    def lose(self, store: SQLSessionStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """A function that has the answer to the next change lost, and somebody do something before the next try."""
        def lose(meanwhile: Callable[[], object] = lambda: None, carried_out: bool = True) -> None:
            send = store._send

            def lose_first(connection: Any, text: str, arguments: Any) -> Any:
                if text not in [store._sql[name] for name in _ONCE if name in store._sql]:
                    return send(connection, text, arguments)
                monkeypatch.setattr(store, "_send", send)
                if carried_out and not send(connection, text, arguments).changed:
                    return lose_next(connection, text, arguments)  # the one after it is what changes something
                meanwhile()
                raise StatementFailed(Fault.BROKEN, "gone")

            def lose_next(*call: Any) -> Any:
                monkeypatch.setattr(store, "_send", lose_first)
                return send(*call)

            monkeypatch.setattr(store, "_send", lose_first)

        return lose

    def save(self, other: SQLSessionStore, data: bytes = b"theirs") -> None:
        """Save on top of what is there."""
        other.write(KEY, record_at(other.clock(), data), other.read(KEY).version)

    # -- replacing -------------------------------------------------------------------------------------------------

    def test_replacement_is_found_again(self, store: Any, lose: Any) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose()
        version = store.write(KEY, record_at(store.clock(), b"new"), version)
        assert store.read(KEY) == record_at(store.clock(), b"new", version=version)

    @pytest.mark.parametrize("saves", [1, 2, REMEMBERED - 1])
    def test_replacement_counts_although_others_saved_on_top(self, store: Any, other: Any, lose: Any,
                                                             saves: int) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        for _ in range(20):
            version = store.write(KEY, record_at(store.clock()), version)
        lose(lambda: [self.save(other) for _ in range(saves)])
        mine = store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock()), mine)

    def test_what_is_not_remembered_any_more_is_not_guessed(self, store: Any, other: Any, lose: Any) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(lambda: [self.save(other) for _ in range(REMEMBERED + 1)])
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}

    def test_replacement_that_was_not_carried_out(self, store: Any, other: Any, lose: Any) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(carried_out=False)
        version = store.write(KEY, record_at(store.clock(), b"new"), version)
        assert contents(store) == {KEY: b"new"}
        lose(lambda: self.save(other), carried_out=False)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}

    @pytest.mark.parametrize("carried_out", [True, False])
    def test_replacement_of_what_others_removed(self, store: Any, other: Any, lose: Any, carried_out: bool) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(lambda: other.remove(KEY), carried_out)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"zombie"), version)
        assert contents(store) == {}

    @pytest.mark.parametrize("carried_out", [True, False])
    def test_replacement_of_what_others_removed_and_inserted(self, store: Any, other: Any, lose: Any,
                                                             carried_out: bool) -> None:
        def insert_anew() -> None:
            other.remove(KEY)
            other.write(KEY, record_at(other.clock(), b"theirs"), None)

        version = store.write(KEY, record_at(store.clock()), None)
        lose(insert_anew, carried_out)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"zombie"), version)
        assert contents(store) == {KEY: b"theirs"}

    def test_counter_counts_each_increment_once(self, store: Any, other: Any, lose: Any) -> None:
        managers = [SessionManager(each, Counter) for each in (store, other)]
        session = managers[0].new_session()
        session["n"] = 0
        managers[0].save(session)

        def increment(manager: SessionManager[Counter]) -> None:
            loaded = manager.load(session.id)
            loaded["n"] += 1
            manager.save(loaded)

        increment(managers[0])
        lose(lambda: increment(managers[1]))
        increment(managers[0])
        assert managers[1].load(session.id)["n"] == 3

    # -- inserting -------------------------------------------------------------------------------------------------

    def test_insert_is_found_again(self, store: Any, other: Any, lose: Any) -> None:
        lose()
        version = store.write(KEY, record_at(store.clock(), b"first"), None)
        assert store.read(KEY) == record_at(store.clock(), b"first", version=version)
        lose(lambda: other.write(key_of(1), record_at(store.clock(), b"theirs"), other.read(key_of(1)).version))
        store.write(key_of(1), record_at(store.clock(), b"first"), None)
        assert contents(store) == {KEY: b"first", key_of(1): b"theirs"}

    def test_insert_never_restores_what_others_removed(self, store: Any, other: Any, lose: Any) -> None:
        lose(lambda: other.remove(KEY))
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            store.write(KEY, record_at(store.clock(), b"revoked"), None)
        assert contents(store) == {}

    def test_lock_is_taken_although_the_answer_was_lost(self, store: Any, other: Any, lose: Any) -> None:
        for carried_out in (True, False):
            lose(carried_out=carried_out)
            with store.lock(KEY) as lease:
                assert lease.is_held()
        assert contents(store) == {}

    def test_insert_where_others_were_faster(self, store: Any, other: Any, lose: Any) -> None:
        lose(lambda: other.write(KEY, record_at(other.clock(), b"theirs"), None), carried_out=False)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"mine"), None)
        assert contents(store) == {KEY: b"theirs"}

    def test_insert_over_an_expired_record(self, store: Any, other: Any, lose: Any, clock: Clock) -> None:
        for carried_out, meanwhile, left in (
                (True, lambda: None, b"mine"), (True, lambda: self.save(other), b"theirs"),
                (False, lambda: None, b"mine")):
            store.write(KEY, record_at(clock.now, b"old", expires=clock.now + 10), None)
            clock.advance(10)
            lose(meanwhile, carried_out)
            store.write(KEY, record_at(clock.now, b"mine"), None)
            assert contents(store) == {KEY: left}
            store.remove(KEY)

    # -- removing --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("carried_out", [True, False])
    def test_removal(self, store: Any, lose: Any, carried_out: bool) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(carried_out=carried_out)
        store.remove(KEY, version)
        assert contents(store) == {}

    def test_removal_spares_what_others_inserted_since(self, store: Any, other: Any, lose: Any) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(lambda: other.write(KEY, record_at(other.clock(), b"theirs"), None))
        store.remove(KEY, version)
        assert contents(store) == {KEY: b"theirs"}

    @pytest.mark.parametrize("saves", [1, REMEMBERED - 1])
    def test_removal_of_what_others_changed_first(self, store: Any, other: Any, lose: Any, saves: int) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(lambda: [self.save(other) for _ in range(saves)], carried_out=False)
        with pytest.raises(Conflict):
            store.remove(KEY, version)
        assert contents(store) == {KEY: b"theirs"}

    # -- connections -----------------------------------------------------------------------------------------------

    def test_answer_lost_twice(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        send = store._send

        def never_answer(connection: Any, text: str, arguments: Any) -> Any:
            result = send(connection, text, arguments)
            if text == store._sql["replace"]:
                raise StatementFailed(Fault.BROKEN, "gone")
            return result

        monkeypatch.setattr(store, "_send", never_answer)
        store.write(KEY, record_at(store.clock(), b"new"), version)
        assert contents(store) == {KEY: b"new"}

    def test_insert_on_a_connection_that_was_cut_before(self, server: Any, make: Any) -> None:
        """It cannot have been carried out, so it is repeated."""
        store = make(pool_size=2)
        store.read(KEY)
        for number in range(5):
            self.kill_connections(server)
            store.write(key_of(number), record_at(store.clock()), None)
        assert len(contents(store)) == 5
