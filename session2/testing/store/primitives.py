"""The contract of the primitives, to the letter."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ...errors import ConfigurationError, Conflict
from ...record import Record
from ...store.base import SessionStore
from ...traces import lock_key
from ..fakes import Clock
from .claims import Sized
from .samples import KEY, contents, key_of, record_at, records

KEYS = {
    "hash": KEY,
    "id": "Az09_-" + "x" * 37,
    "dash": "-" * 43,
    "lock": lock_key(KEY),
    "lock of id": lock_key("Az09_-" + "x" * 37),
    "longest": "x" * 80,
    "device": "CON",
}
DATA = {
    "empty": b"",
    "zero": b"\0",
    "line ends": b"\n\r\x1a\r\n",
    "padded": b"  text  \0\0",
    "all bytes": bytes(range(256)) * 5,
    "half MB": random.Random(1).randbytes(500_000),
}
USERS = ["anna", "", "\N{SNOWMAN} \N{GRINNING FACE} e\N{COMBINING ACUTE ACCENT}", "u" * 300, "O'Hara\"\\%_:;--\n\t",
         "None", "../anna"]
HOSTILE_KEYS = ["../" * depth + "escaped" for depth in range(1, 4)] + [
    "", ".", "..", "/", "a\0b", "x" * 5000, "\N{SNOWMAN}", "*", "%", "a b\r\nc", lock_key("../../../escaped"),
    KEY + "\n", "x" * 81]


class ReadWriteTests(Sized):
    """`read` and `write`."""

    def test_missing_record_is_none(self, store: SessionStore) -> None:
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}

    @pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
    def test_key_forms(self, store: SessionStore, clock: Clock, key: str) -> None:
        version = store.write(key, record_at(clock.now), None)
        assert contents(store, key) == {key: b"state"}
        store.write(key, record_at(clock.now, b"new"), version)
        assert contents(store, key) == {key: b"new"}
        store.remove(key)
        assert store.read(key) is None
        assert contents(store, key) == {}

    def test_keys_do_not_meet(self, store: SessionStore, clock: Clock) -> None:
        """Neither a session and its lock, nor two ids that differ by case."""
        keys = [KEY, lock_key(KEY), "a" * 43, "A" * 43, "a" * 42 + "A", lock_key("a" * 43), lock_key("A" * 43)]
        for key in keys:
            store.write(key, record_at(clock.now, key.encode()), None)
        assert contents(store, *keys) == {key: key.encode() for key in keys}
        for key in keys:
            found = store.read(key)
            assert found is not None
            assert found.data == key.encode()

    @pytest.mark.parametrize("data", DATA.values(), ids=DATA)
    def test_data_round_trip(self, store: SessionStore, clock: Clock, data: bytes) -> None:
        version = store.write(KEY, record_at(clock.now, data), None)
        found = store.read(KEY)
        assert found is not None
        assert type(found.data) is bytes
        assert found.data == data
        store.write(KEY, record_at(clock.now, b"short"), version)
        assert contents(store, KEY) == {KEY: b"short"}

    def test_large_data(self, store: SessionStore, clock: Clock) -> None:
        data = random.Random(2).randbytes(self.largest)
        version = store.write(KEY, record_at(clock.now, b"small"), None)
        version = store.write(KEY, record_at(clock.now, data), version)
        found = store.read(KEY)
        assert found is not None
        assert found.data == data
        store.write(KEY, record_at(clock.now, b"small again"), version)
        assert contents(store, KEY) == {KEY: b"small again"}

    def test_times_keep_every_digit(self, store: SessionStore, clock: Clock) -> None:
        written = Record(b"x", 0.1 + 0.2, clock.now - 1 / 3, clock.now + 1e-6, clock.now + 1e5 / 7)
        version = store.write(KEY, written, None)
        assert store.read(KEY) == written._replace(version=version)
        assert records(store, KEY) == {KEY: written._replace(version=version)}

    def test_record_may_live_for_ever(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, expires=None), None)
        clock.advance(1e10)
        found = store.read(KEY)
        assert found is not None
        assert found.expires is None
        assert contents(store, KEY) == {KEY: b"state"}
        assert store.purge() == 0
        assert store.read(KEY) is not None

    @pytest.mark.parametrize("user", [None, *USERS], ids=range(len(USERS) + 1))
    def test_user_round_trip(self, store: SessionStore, clock: Clock, user: str | None) -> None:
        store.write(KEY, record_at(clock.now, user=user), None)
        found = store.read(KEY)
        assert found is not None
        assert found.user == user
        assert [record.user for record in records(store, KEY).values()] == [user]

    def test_insert_only_where_nothing_is(self, store: SessionStore, clock: Clock) -> None:
        store.write(KEY, record_at(clock.now, b"first"), None)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now, b"second"), None)
        assert contents(store, KEY) == {KEY: b"first"}

    def test_replace_only_the_expected_version(self, store: SessionStore, clock: Clock) -> None:
        first = store.write(KEY, record_at(clock.now, b"first"), None)
        second = store.write(KEY, record_at(clock.now, b"second"), first)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now, b"third"), first)
        assert contents(store, KEY) == {KEY: b"second"}
        store.write(KEY, record_at(clock.now, b"third"), second)
        assert contents(store, KEY) == {KEY: b"third"}

    def test_write_never_restores_what_was_removed(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        store.remove(KEY)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now, b"zombie"), version)
        assert store.read(KEY) is None
        assert contents(store, KEY) == {}

    def test_version_read_is_version_written(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        found = store.read(KEY)
        assert found is not None
        assert found.version == version
        version = store.write(KEY, record_at(clock.now, version="ignored"), found.version)
        [found] = records(store, KEY).values()
        assert found.version == version
        store.write(KEY, record_at(clock.now), found.version)

    def test_versions_never_come_back(self, store: SessionStore, clock: Clock) -> None:
        """Not for equal data, nor after removal, expiry, purge or dropping everything."""
        versions = []
        ends: list[Callable[[], None]] = [lambda: store.remove(KEY), lambda: clock.advance(2000)]
        if store.can_list:
            ends.append(lambda: store.setup(drop=True))
        for end in ends:
            for _ in range(5):
                versions.append(store.write(KEY, record_at(clock.now), None))
                versions.append(store.write(KEY, record_at(clock.now), versions[-1]))
                end()
        clock.advance(2000)
        store.purge()
        versions.append(store.write(KEY, record_at(clock.now), None))
        assert None not in versions
        assert len(set(versions)) == len(versions)

    def test_stale_writer_does_not_hit_a_successor(self, store: SessionStore, clock: Clock) -> None:
        """Not even one that looks the same."""
        stale = store.write(KEY, record_at(clock.now), None)
        store.remove(KEY)
        store.write(KEY, record_at(clock.now), None)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now, b"stale"), stale)
        with pytest.raises(Conflict):
            store.remove(KEY, stale)
        assert contents(store, KEY) == {KEY: b"state"}

    @pytest.mark.parametrize("key", HOSTILE_KEYS, ids=range(len(HOSTILE_KEYS)))
    def test_hostile_key_is_refused(self, store: SessionStore, clock: Clock, tmp_path: Path, key: str) -> None:
        """By every primitive, with the error of `checked_key`."""
        store.write(KEY, record_at(clock.now, b"innocent"), None)
        outside = {path for folder in tmp_path.parents for path in folder.glob("*escaped*")}
        calls: list[Callable[[], object]] = [
            lambda: store.read(key), lambda: store.write(key, record_at(clock.now, b"hostile"), None),
            lambda: store.touch(key, clock.now + 1, None), lambda: store.remove(key), lambda: store.remove(key, "v")]
        for call in calls:
            with pytest.raises(ConfigurationError, match=r"^a key consists of "):
                call()
        assert {path for folder in tmp_path.parents for path in folder.glob("*escaped*")} == outside
        assert contents(store, KEY) == {KEY: b"innocent"}


class RemoveTests:
    """`remove`, `setup` and `close`."""

    def test_remove_is_idempotent(self, store: SessionStore, clock: Clock) -> None:
        store.remove(KEY)
        store.write(KEY, record_at(clock.now), None)
        store.write(key_of(1), record_at(clock.now, b"other"), None)
        store.remove(KEY)
        store.remove(KEY)
        assert contents(store, KEY, key_of(1)) == {key_of(1): b"other"}

    def test_remove_only_the_expected_version(self, store: SessionStore, clock: Clock) -> None:
        first = store.write(KEY, record_at(clock.now), None)
        second = store.write(KEY, record_at(clock.now, b"second"), first)
        with pytest.raises(Conflict):
            store.remove(KEY, first)
        assert contents(store, KEY) == {KEY: b"second"}
        store.remove(KEY, second)
        assert store.read(KEY) is None
        store.remove(KEY, second)

    def test_remove_after_touch(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        store.touch(KEY, clock.now, clock.now + 2000)
        store.remove(KEY, version)
        assert store.read(KEY) is None

    def test_setup_never_drops_unasked(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now, user="anna"), None)
        store.setup()
        store.setup()
        assert store.read(KEY) == record_at(clock.now, user="anna", version=version)

    def test_closed_store_can_be_used_again(self, store: SessionStore, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        store.close()
        assert store.read(KEY) == record_at(clock.now, version=version)
        store.close()
        store.close()
        store.write(KEY, record_at(clock.now, b"new"), version)
        assert contents(store, KEY) == {KEY: b"new"}
