"""Requests of one session that overlap, in each mode, and the lock."""

from __future__ import annotations

from typing import Any

import pytest

from ...concurrency import Concurrency
from ...errors import LockLost, LockTimeout, ReadOnlySession, SessionConflict
from ...store.base import SessionStore
from ...traces import lock_key
from ..fakes import Clock, FakeExchange
from .claims import needs_merging
from .samples import contents, records
from .visitor import Visitor, is_locked, logged_in, manage


class ModeTests:
    """Requests of one session that overlap."""

    def overlap(self, store: SessionStore, concurrency: Concurrency | None,
                **options: Any) -> tuple[Visitor, FakeExchange]:
        """Return a visitor, and a request of its that is under way."""
        visitor = logged_in(manage(store, **options), n=0)
        return visitor, visitor.begin(concurrency)

    @needs_merging
    def test_merge(self, store: SessionStore) -> None:
        visitor, slow = self.overlap(store, "merge")
        with visitor.visit() as session:
            session["quick"] = session["visits"] = 1
        slow.session["slow"] = slow.session["visits"] = 1
        visitor.end(slow)
        assert visitor.look() == {"n": 0, "slow": 1, "quick": 1, "visits": 2}

    @needs_merging
    def test_strict(self, store: SessionStore) -> None:
        visitor, slow = self.overlap(store, "strict")
        with visitor.visit("strict") as session:
            session["n"] = 1
        slow.session["n"] = 2
        with pytest.raises(SessionConflict):
            visitor.end(slow)
        assert visitor.look() == {"n": 1}

    def test_read_only(self, store: SessionStore, clock: Clock) -> None:
        visitor, reading = self.overlap(store, "read-only")
        before = records(store, visitor.key)
        clock.advance(50)
        visitor.end(reading)
        with pytest.raises(ReadOnlySession), visitor.visit("read-only") as session:
            session["n"] = 2
        assert records(store, visitor.key) == before

    @needs_merging
    def test_lock_is_released(self, store: SessionStore) -> None:
        visitor, holding = self.overlap(store, "lock")
        key = visitor.key
        assert is_locked(store, key)
        holding.session["n"] = 1
        visitor.end(holding)
        assert not is_locked(store, key)
        with pytest.raises(ZeroDivisionError), visitor.visit("lock"):
            raise ZeroDivisionError
        assert not is_locked(store, key)
        visitor.manager.expire_session(last := visitor.begin("lock"))
        visitor.end(last)
        assert contents(store, key, lock_key(key)) == {}

    @needs_merging
    def test_lock_timeout(self, store: SessionStore) -> None:
        visitor, holding = self.overlap(store, "lock", lock_timeout=0)
        with pytest.raises(LockTimeout):
            visitor.begin("lock")
        assert visitor.look() == {"n": 0}  # who asks for no lock does not wait for one
        holding.session["n"] = 1
        visitor.end(holding)
        with visitor.visit("lock") as session:
            assert session["n"] == 1

    @needs_merging
    @pytest.mark.parametrize("first", ["new holder", "stale holder"])
    def test_lapsed_lock_is_taken_over(self, store: SessionStore, clock: Clock, first: str) -> None:
        """Whoever saves first, only the new holder's data stands."""
        visitor, stale = self.overlap(store, "lock", lock_timeout=0, lock_lease=60, idle_timeout=None)
        clock.advance(59)
        with pytest.raises(LockTimeout):
            visitor.begin("lock")
        clock.advance(1)
        holder = visitor.begin("lock")
        holder.session["n"] = "new holder"
        stale.session["n"] = "stale holder"
        if first == "new holder":
            visitor.end(holder)
        with pytest.raises(LockLost):
            visitor.end(stale)
        if first == "stale holder":
            with pytest.raises(LockTimeout):  # the stale holder's release is not the new holder's
                visitor.begin("lock")
            visitor.end(holder)
        assert visitor.look() == {"n": "new holder"}
        assert not is_locked(store, visitor.key)

    @needs_merging
    def test_lease_can_be_renewed(self, store: SessionStore, clock: Clock) -> None:
        lease = store.lock("00" * 32, timeout=0, lease=60)
        clock.advance(50)
        lease.renew()
        clock.advance(50)
        assert lease.is_held()
        lease.check_time()
        with pytest.raises(LockTimeout):
            store.lock("00" * 32, timeout=0)
        clock.advance(10)
        taken = store.lock("00" * 32, timeout=0)
        assert not lease.is_held()
        for use in (lease.renew, lease.check_time):
            with pytest.raises(LockLost):
                use()
        lease.release()
        assert taken.is_held()
        taken.release()
        taken.release()
        assert not taken.is_held()
        assert contents(store, lock_key("00" * 32)) == {}

    @needs_merging
    def test_lock_released_again_is_its_next_holders(self, store: SessionStore) -> None:
        released = store.lock("00" * 32, timeout=0)
        released.release()
        with pytest.raises(LockLost):
            released.renew()
        held = store.lock("00" * 32, timeout=0)
        released.release()
        with pytest.raises(LockLost):
            released.renew()
        assert not released.is_held()
        assert held.is_held()
        assert is_locked(store, "00" * 32)
        held.release()

    @needs_merging
    def test_locks_of_two_sessions_are_two_locks(self, store: SessionStore) -> None:
        with store.lock("00" * 32, timeout=0), store.lock("11" * 32, timeout=0):
            assert is_locked(store, "00" * 32)
            assert is_locked(store, "11" * 32)
