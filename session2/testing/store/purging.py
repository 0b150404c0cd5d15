"""What is over is deleted, and nothing else."""

from __future__ import annotations

import pytest

from ...errors import Conflict
from ...store.base import SessionStore
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
