"""The contract of the primitives, as far as time goes: when a record is there, and how it is kept in use."""

from __future__ import annotations

import pytest

from ...errors import Conflict
from ...store.base import SessionStore
from ..fakes import Clock
from .samples import KEY, contents, record_at, records


class ExpiryTests:
    """An expired record is an absent one."""

    def test_expired_record_is_absent(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(9)
        assert store.read(KEY) is not None
        assert contents(store, KEY) == {KEY: b"state"}
        clock.advance(1)
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}

    def test_expired_record_is_replaced_as_if_absent(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(11)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), version)
        assert store.read(KEY) is None
        store.write(KEY, record_at(clock.now, b"fresh"), None)
        assert contents(store, KEY) == {KEY: b"fresh"}

    def test_expired_record_is_not_touched_back_to_life(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(11)
        assert store.touch(KEY, clock.now, clock.now + 1000) is False
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}

    def test_removing_an_expired_record_is_no_error(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(11)
        store.remove(KEY, version)
        store.remove(KEY)
        assert store.read(KEY) is None


class TouchTests:
    """`touch` moves the idle clock and nothing else."""

    def test_touch_moves_the_clock_only(self, store: SessionStore, clock: Clock) -> None:
        written = record_at(clock.now, user="anna")
        version = store.write(KEY, written, None)
        store.touch(KEY, clock.now, clock.now + 2000.25)
        after = written._replace(accessed=clock.now, expires=clock.now + 2000.25, version=version)
        assert store.read(KEY) == after
        assert records(store, KEY) == {KEY: after}
        store.write(KEY, record_at(clock.now, b"by the same version"), version)

    def test_touch_tells_whether_a_record_stands_there(self, store: SessionStore, clock: Clock) -> None:
        """Also when it moves nothing, because a later touch is stored."""
        assert store.touch(KEY, clock.now, clock.now + 1000) is False
        store.write(KEY, record_at(clock.now), None)
        assert store.touch(KEY, clock.now, clock.now + 1000) is True
        assert store.touch(KEY, clock.now, clock.now + 1000) is True
        assert store.touch(KEY, clock.now - 5, clock.now + 1000) is True
        store.remove(KEY)
        assert store.touch(KEY, clock.now + 1, clock.now + 1000) is False

    def test_touch_decides_when_the_record_expires(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        store.touch(KEY, clock.now, clock.now + 20)
        clock.advance(15)
        assert store.purge() == 0
        assert store.read(KEY) is not None
        clock.advance(5)
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}
        assert store.purge() == (1 if store.can_list else 0)

    @pytest.mark.parametrize("back", [0.0, 1e-3, 100.0])
    def test_touch_never_goes_backwards(self, store: SessionStore, clock: Clock, back: float) -> None:
        version = store.write(KEY, record_at(clock.now, accessed=clock.now), None)
        store.touch(KEY, clock.now - back, clock.now + 5000)
        assert store.read(KEY) == record_at(clock.now, accessed=clock.now, version=version)
        store.touch(KEY, clock.now + 5, clock.now + 2000)
        store.touch(KEY, clock.now + 5 - back, clock.now + 3000)
        found = store.read(KEY)
        assert found is not None
        assert (found.accessed, found.expires) == (clock.now + 5, clock.now + 2000)

    def test_touch_may_take_the_expiry_away(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        store.touch(KEY, clock.now, None)
        clock.advance(1e9)
        assert store.purge() == 0
        found = store.read(KEY)
        assert found is not None
        assert found.expires is None
        store.touch(KEY, clock.now, clock.now + 10)
        clock.advance(11)
        assert store.read(KEY) is None

    def test_touch_never_creates(self, store: SessionStore, clock: Clock) -> None:
        store.touch(KEY, clock.now, clock.now + 1000)
        assert store.read(KEY) is None
        store.write(KEY, record_at(clock.now), None)
        store.remove(KEY)
        store.touch(KEY, clock.now, clock.now + 1000)
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}
        store.write(KEY, record_at(clock.now, b"still free"), None)

    def test_write_after_touch_sets_the_times_it_is_given(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        store.touch(KEY, clock.now, clock.now + 2000)
        written = record_at(clock.now, b"new", accessed=clock.now + 1, expires=clock.now + 500)
        version = store.write(KEY, written, version)
        assert store.read(KEY) == written._replace(version=version)
        assert records(store, KEY) == {KEY: written._replace(version=version)}
