"""What a store says of what it holds, and that one which cannot list refuses to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ...errors import ConfigurationError, Conflict
from ...store.base import SessionStore
from ..fakes import Clock
from .claims import needs_listing
from .primitives import USERS
from .samples import KEY, contents, key_of, record_at
from .shop import again, saved
from .visitor import manage

NOT_ANNA = ["Anna", "anna ", " anna", "ann", "annaa", "%", "ann_", "\N{LATIN SMALL LETTER A WITH ACUTE}nna", "*"]

NEEDS_LISTING: dict[str, Callable[[SessionStore], object]] = {
    "scan": lambda store: list(store.scan()),
    "records_of": lambda store: list(store.records_of("anna")),
    "setup": lambda store: store.setup(drop=True),
    "iter_sessions": lambda store: list(store.iter_sessions()),
    "delete_old_sessions": lambda store: store.delete_old_sessions(1),
    "sessions_of": lambda store: list(manage(store).sessions_of("anna")),
    "revoke_user": lambda store: manage(store).revoke_user("anna"),
    "keys": lambda store: manage(store).keys(),
}

MAY_WORK = ("revoke_user",)
"""What a store that cannot list may find another way to do."""


class ListingTests:
    """`scan`, `records_of`, ``setup(drop=True)`` and all that is made of them."""

    @pytest.mark.parametrize("name", NEEDS_LISTING)
    def test_listing_works_or_is_refused(self, store: SessionStore, name: str) -> None:
        """A store that cannot list says so wherever it would have to, and goes on."""
        session = saved(store, n=1)
        try:
            NEEDS_LISTING[name](store)
        except ConfigurationError as error:
            assert not store.can_list
            assert str(error).startswith(f"{type(store).__name__} cannot list its sessions: ")  # noqa: PT017
        else:
            assert store.can_list or name in MAY_WORK
            return
        assert again(store, session).data == {"n": 1}

    @needs_listing
    def test_scan_finds_each_record_once(self, store: SessionStore, clock: Clock) -> None:
        for number in range(250):
            store.write(key_of(number), record_at(clock.now, b"%d" % number), None)
        found = [(key, record.data) for key, record in store.scan()]
        assert sorted(found) == sorted((key_of(number), b"%d" % number) for number in range(250))

    @needs_listing
    def test_scan_tolerates_concurrent_change(self, store: SessionStore, clock: Clock) -> None:
        """Records that are there all the time are found, whatever comes and goes meanwhile."""
        for number in range(100):
            store.write(key_of(number), record_at(clock.now), None)
        found = set()
        for turn, (key, _) in enumerate(store.scan()):
            found.add(key)
            if turn < 50:
                store.remove(key_of(turn))
                store.write(key_of(1000 + turn), record_at(clock.now), None)
        assert found >= {key_of(number) for number in range(50, 100)}
        assert set(contents(store)) == {key_of(number) for number in [*range(50, 100), *range(1000, 1050)]}

    @needs_listing
    def test_abandoned_scan_blocks_nobody(self, store: SessionStore, clock: Clock) -> None:
        for number in range(3):
            store.write(key_of(number), record_at(clock.now), None)
        walk = store.scan()
        next(walk)
        store.write(key_of(3), record_at(clock.now), None)
        store.remove(key_of(0))
        del walk
        assert set(contents(store)) == {key_of(number) for number in (1, 2, 3)}

    @needs_listing
    def test_records_of_user(self, store: SessionStore, clock: Clock) -> None:
        for number, user in enumerate([*USERS, *NOT_ANNA, None, *USERS]):
            store.write(key_of(number), record_at(clock.now, user=user), None)
        offset = len(USERS) + len(NOT_ANNA) + 1
        for number, user in enumerate(USERS):
            found = dict(store.records_of(user))
            assert set(found) == {key_of(number), key_of(number + offset)}
            assert {record.user for record in found.values()} == {user}
        assert list(store.records_of("nobody")) == []

    @needs_listing
    def test_no_record_of_user_outlives_its_session(self, store: SessionStore, clock: Clock) -> None:
        records = [record_at(clock.now, user="anna", expires=clock.now + 10 + number) for number in range(5)]
        versions = [store.write(key_of(number), record, None) for number, record in enumerate(records)]
        store.remove(key_of(1))
        store.write(key_of(2), record_at(clock.now, user="bert"), versions[2])
        store.write(key_of(3), record_at(clock.now, user=None), versions[3])
        assert {key for key, _ in store.records_of("anna")} == {key_of(0), key_of(4)}
        assert {key for key, _ in store.records_of("bert")} == {key_of(2)}
        clock.advance(10)
        assert {key for key, _ in store.records_of("anna")} == {key_of(4)}
        store.write(key_of(0), record_at(clock.now, user="bert"), None)
        assert {key for key, _ in store.records_of("anna")} == {key_of(4)}
        clock.advance(5)
        store.purge()
        assert list(store.records_of("anna")) == []
        assert {key for key, _ in store.records_of("bert")} == {key_of(0), key_of(2)}

    @needs_listing
    def test_touch_keeps_a_record_of_user(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, user="anna", expires=clock.now + 10), None)
        store.touch(KEY, clock.now, clock.now + 1000)
        clock.advance(500)
        assert [key for key, _ in store.records_of("anna")] == [KEY]

    @needs_listing
    def test_setup_drops_everything_when_asked(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now, user="anna"), None)
        store.write(key_of(1), record_at(clock.now, expires=clock.now + 10), None)
        clock.advance(11)
        store.setup(drop=True)
        assert contents(store) == {}
        assert list(store.records_of("anna")) == []
        assert store.purge() == 0
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), version)
        store.write(KEY, record_at(clock.now, b"works"), None)
        assert contents(store) == {KEY: b"works"}
