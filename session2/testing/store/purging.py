"""What is over is deleted, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ...errors import Conflict
from ...store.base import SessionStore
from ...store.turns import purge_in_turn
from ...traces import ended, lock_key, moved
from ..fakes import Clock
from .claims import needs_listing
from .samples import KEY, contents, key_of, record_at


class PurgeTests:
    """`purge`, whose work can be seen only where it counts what it finds."""

    @needs_listing
    def test_purge_deletes_the_expired_only(self, store: SessionStore, clock: Clock) -> None:
        for number in range(5):
            store.write(key_of(number), record_at(clock.now, expires=clock.now + 10), None)
        store.write(key_of(5), record_at(clock.now, b"later", expires=clock.now + 20), None)
        store.write(key_of(6), record_at(clock.now, b"for ever", expires=None), None)
        assert store.purge() == 0
        clock.advance(10)
        assert store.purge(batch=2) == 5
        assert store.purge(batch=2) == 0
        assert contents(store) == {key_of(5): b"later", key_of(6): b"for ever"}

    @needs_listing
    def test_purge_at_a_given_time(self, store: SessionStore, clock: Clock) -> None:
        store.write(key_of(0), record_at(clock.now, expires=clock.now + 10), None)
        store.write(key_of(1), record_at(clock.now, expires=clock.now + 20), None)
        assert store.purge(clock.now + 15, batch=1) == 1
        assert list(contents(store)) == [key_of(1)]
        assert store.read(key_of(0)) is None

    @needs_listing
    def test_purged_is_gone_for_good(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(11)
        store.purge()
        clock.advance(-11)  # an absent record stays absent, whatever the time
        assert store.read(KEY) is None
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), version)

    @needs_listing
    def test_purge_of_the_unused(self, store: SessionStore, clock: Clock) -> None:
        """Sessions that nobody used since; neither those used at that moment or later, nor what is long written."""
        for number in range(7):
            store.write(key_of(number), record_at(clock.now, accessed=clock.now - number, user="anna"), None)
        store.write(key_of(7), record_at(clock.now, b"for ever", accessed=clock.now - 9, expires=None), None)
        store.write(key_of(8), record_at(clock.now, b"expired", expires=clock.now - 1), None)
        assert store.purge(unused_since=clock.now - 4, batch=2) == 4
        assert store.purge(unused_since=clock.now - 4) == 0
        assert store.purge() == 0
        assert set(contents(store)) == {key_of(number) for number in range(5)}
        assert {key for key, _ in store.records_of("anna")} == {key_of(number) for number in range(5)}

    @needs_listing
    @pytest.mark.parametrize(("key", "data"), [
        (lock_key(KEY), b"state"), (KEY, moved("a" * 43, "b" * 43)), (KEY, ended("logged out")),
    ], ids=["lock", "moved", "ended"])
    def test_purge_of_the_unused_spares_locks_and_traces(self, store: SessionStore, clock: Clock, key: str,
                                                         data: bytes) -> None:
        store.write(key_of(1), record_at(clock.now), None)
        store.write(key, record_at(clock.now, data), None)
        assert store.purge(unused_since=clock.now) == 1
        assert [(found, record.data) for found, record in store.scan()] == [(key, data)]
        clock.advance(2000)
        assert store.purge(unused_since=0.0) == 1

    @needs_listing
    def test_purge_spares_what_is_used_again(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(key_of(0), record_at(clock.now), None)
        store.write(key_of(1), record_at(clock.now), None)
        store.write(key_of(2), record_at(clock.now), None)
        store.write(key_of(0), record_at(clock.now, b"written", accessed=clock.now), version)
        store.touch(key_of(1), clock.now, clock.now + 1000)
        assert store.purge(unused_since=clock.now) == 1
        assert contents(store) == {key_of(0): b"written", key_of(1): b"state"}

    def test_one_cleaner_at_a_time(self, store: SessionStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """And not again before the time agreed on, whoever of the many it is; what failed does not count."""
        purges: list[int | None] = []

        def purge(*_: Any) -> int:
            purges.append(purge_in_turn(store, 300))
            return 7

        monkeypatch.setattr(store, "purge", purge)
        assert purge_in_turn(store, 300) == 7
        clock.advance(269)
        assert purge_in_turn(store, 300) is None
        clock.advance(2)
        monkeypatch.setattr(store, "purge", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            purge_in_turn(store, 300)
        monkeypatch.undo()
        assert purge_in_turn(store, 300) == 0
        assert purges == [None]
        if store.can_list:
            assert list(store.iter_sessions()) == []
            assert store.delete_old_sessions(0) == (0, 0)
