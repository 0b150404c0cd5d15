"""The shelve store: the suite for each flavour, and what only its files can suffer."""

from __future__ import annotations

import dbm
import fcntl
import logging
import os
import pickle
import resource
import shelve
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from session2.errors import ConfigurationError, Conflict, StoreUnavailable
from session2.record import Record
from session2.store.shelve import ShelveSessionStore, dbmfile
from session2.store.shelve.file import Shelf
from session2.store.shelve.journal import Journal
from session2.testing import StoreSuite
from session2.urls import from_url

KEYS = [f"{number:064x}" for number in range(8)]
OLD, NEW = b"old " * 300, b"new " * 350
FLAVOURS = ["dumb", "sqlite3", *(name for name in ("gnu", "ndbm") if dbmfile._has_module(name))]


class ShelveCase(StoreSuite):
    store_class = ShelveSessionStore
    options: ClassVar[dict[str, Any]] = {}

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions.shelf",), {"create": True, **self.options}


class TestShelve(ShelveCase):
    """As it is made when nothing is said."""


@pytest.mark.sampled
class TestDumbFileAtEverySave(ShelveCase):
    """A file in two parts, swapped all the time."""

    options = {"flavour": "dumb", "journal_size": 0}
    scale = 0.2


if "gnu" in FLAVOURS:
    class TestGnuFileAtEverySave(ShelveCase):
        options = {"flavour": "gnu", "journal_size": 0}
        scale = 0.2


if "ndbm" in FLAVOURS:
    class TestNdbmFileAtEverySave(ShelveCase):
        options = {"flavour": "ndbm", "journal_size": 0}
        scale = 0.2


del ShelveCase  # the base is no test of its own


def record(data: bytes = OLD, user: str | None = "anna", expires: float | None = 2000.0) -> Record:
    return Record(data, 800.0, 900.0, 900.0, expires, user)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.shelf"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[..., ShelveSessionStore]]:
    """Make stores on the same file, with a clock that stands at 1000."""
    made = []

    def make(**options: Any) -> ShelveSessionStore:
        made.append(ShelveSessionStore(path, clock=lambda: 1000.0, **{"create": True, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()


def data(store: ShelveSessionStore, key: str) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


def journal(path: Path) -> Path:
    return Path(f"{path}.journal")


def open_files(path: Path) -> list[str]:
    """Return which files of the store this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.islink(link)]
    return [target for target in targets if target.startswith(str(path))]


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_file_is_an_ordinary_one_of_its_flavour(make: Any, path: Path, flavour: str) -> None:
    store = make(flavour=flavour)
    for key in KEYS:
        store.write(key, record(key.encode()), None)
    store.compact()
    store.close()
    assert dbmfile.flavour_of(str(path)) == flavour
    if dbmfile._has_module(flavour):
        assert dbm.whichdb(str(path)) == "dbm." + flavour
        with dbm.open(str(path), "r") as file:
            assert sorted(file.keys()) == [key.encode() for key in KEYS]
            assert all(key.encode() in file[key.encode()] for key in KEYS)
    assert sum(len(at_rest.read_bytes()) for at_rest in path.parent.glob("*.journal")) < 100


@pytest.mark.parametrize("flavour", [name for name in FLAVOURS if dbmfile._has_module(name)])
def test_shelf_of_session2_0_6(make: Any, path: Path, caplog: pytest.LogCaptureFixture, flavour: str) -> None:
    """Its pickles are missing sessions and one line each; they stay where they are."""
    with dbm_of(flavour).open(str(path), "n") as file, shelve.Shelf(file) as shelf:  # type: ignore[arg-type]
        shelf["a" * 64] = {"user": "anna"}
    store = make()
    with caplog.at_level(logging.WARNING, "session2"):
        assert store.read("a" * 64) is None
    assert len(caplog.messages) == 1
    store.write(KEYS[0], record(), None)
    store.purge()
    store.compact()
    assert [key for key, _ in store.scan()] == [KEYS[0]]
    store.close()
    assert dbm.whichdb(str(path)) == "dbm." + flavour
    with dbm.open(str(path), "r") as file:
        assert pickle.loads(file[b"a" * 64]) == {"user": "anna"}


def dbm_of(flavour: str) -> Any:
    __import__("dbm." + flavour)
    return sys.modules["dbm." + flavour]


def test_deleted_data_is_gone_from_the_files(make: Any, path: Path) -> None:
    store = make()
    store.write(KEYS[0], record(b"secret", expires=1500.0), None)
    store.compact()
    assert store.purge(1600.0) == 1
    assert not any(b"secret" in at_rest.read_bytes() for at_rest in path.parent.iterdir())


def test_files_are_private(make: Any, path: Path) -> None:
    before = os.umask(0)
    try:
        for flavour in FLAVOURS:
            store = make(flavour=flavour)
            store.setup(drop=True)
            store.write(KEYS[0], record(), None)
            store.compact()
            assert {stat.S_IMODE(at_rest.stat().st_mode) for at_rest in path.parent.iterdir()} == {0o600}
            store.close()
            for at_rest in path.parent.iterdir():
                at_rest.unlink()
    finally:
        os.umask(before)


def test_journal_stays_small(make: Any, path: Path) -> None:
    store = make(journal_size=10_000)
    version = store.write(KEYS[0], record(), None)
    for _ in range(200):
        version = store.write(KEYS[0], record(), version)
        assert journal(path).stat().st_size < 15_000


def test_touch_is_a_small_entry(make: Any, path: Path) -> None:
    store = make()
    store.write(KEYS[0], record(bytes(100_000)), None)
    store.compact()
    before = journal(path).stat().st_size
    store.touch(KEYS[0], 950.0, None)
    assert journal(path).stat().st_size < before + 150
    assert make().read(KEYS[0]) == store.read(KEYS[0])


def test_large_values_do_not_stop_a_save(make: Any, monkeypatch: pytest.MonkeyPatch,
                                         caplog: pytest.LogCaptureFixture) -> None:
    """When the flavour cannot take a value the journal keeps it."""
    def refuse(*_: Any) -> None:
        raise OSError("value too large for the page")

    store = make(journal_size=2000)
    monkeypatch.setattr(dbmfile, "build", refuse)
    version = store.write(KEYS[0], record(NEW * 2), None)
    version = store.write(KEYS[0], record(OLD), version)
    assert len(caplog.messages) == 1
    monkeypatch.undo()
    assert data(make(), KEYS[0]) == OLD
    store.write(KEYS[0], record(NEW), version)
    assert data(make(), KEYS[0]) == NEW


# -- damage ------------------------------------------------------------------------------------------------------------


def test_journal_cut_anywhere(make: Any, path: Path) -> None:
    store = make()
    version = store.write(KEYS[0], record(b"first"), None)
    store.write(KEYS[1], record(b"other"), None)
    before = journal(path).stat().st_size
    store.write(KEYS[0], record(b"second" * 20), version)
    whole = journal(path).read_bytes()
    store.close()
    sizes = set()
    for length in range(before, len(whole)):
        journal(path).write_bytes(whole[:length])
        assert (data(store, KEYS[0]), data(store, KEYS[1])) == (b"first", b"other")
        store.write(KEYS[2], record(b"later"), None)
        assert data(make(), KEYS[2]) == b"later"
        assert data(make(), KEYS[0]) == b"first"
        sizes.add(journal(path).stat().st_size)
        store.close()
    assert len(sizes) == 1


def test_bit_flipped_anywhere_in_the_journal(make: Any, path: Path) -> None:
    """Costs the entry it is in, or says that the whole is damaged."""
    store = make()
    for key in KEYS[:3]:
        store.write(key, record(b"data of " + key.encode()), None)
    whole = journal(path).read_bytes()
    store.close()
    for offset in range(len(whole)):
        journal(path).write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1:])
        if offset < 20:
            with pytest.raises(StoreUnavailable, match="damaged"):
                store.read(KEYS[0])
            continue
        found = [data(store, key) for key in KEYS[:3]]
        assert found.count(None) == 1
        assert all(value in (None, b"data of " + key.encode()) for key, value in zip(KEYS, found, strict=False))
        store.close()


def test_damaged_entry_does_not_bring_back_what_was_before(make: Any, path: Path) -> None:
    store = make()
    version = store.write(KEYS[0], record(b"logged in"), None)
    store.compact()
    store.write(KEYS[0], record(b"logged out"), version)
    store.write(KEYS[1], record(b"later"), None)
    whole = journal(path).read_bytes()
    store.close()
    journal(path).write_bytes(whole.replace(b"logged out", b"logged 0ut"))
    assert (data(store, KEYS[0]), data(store, KEYS[1])) == (None, b"later")


def test_entry_inside_a_value_is_not_taken_for_one(make: Any, path: Path) -> None:
    store = make()
    store.write(KEYS[0], record(b"planted"), None)
    store.close()
    entry = journal(path).read_bytes()[20:]
    store.setup(drop=True)
    store.write(KEYS[1], record(b"marker" + entry), None)
    store.write(KEYS[2], record(b"later"), None)
    store.close()
    whole = journal(path).read_bytes()
    journal(path).write_bytes(whole.replace(b"marker", b"damage"))
    assert [key for key, _ in store.scan()] == [KEYS[2]]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_flipped_and_cut_dbm_file(make: Any, path: Path, caplog: pytest.LogCaptureFixture, flavour: str) -> None:
    """A damaged value is a missing session; a file damaged as a whole is an error; never a hang or wrong data."""
    store = make(flavour=flavour)
    for key in KEYS:
        store.write(key, record(b"data of " + key.encode() * 8), None)
    store.compact()
    store.close()
    [main] = [at_rest for at_rest in path.parent.iterdir() if at_rest.suffix in (".shelf", ".dat", ".db")]
    whole = main.read_bytes()
    target = whole.index(b"data of " + KEYS[3].encode())
    main.write_bytes(whole[:target] + b"DATA" + whole[target + 4:])
    assert [data(store, key) is None for key in KEYS] == [key == KEYS[3] for key in KEYS]
    assert len(caplog.messages) == 1
    for length in range(0, len(whole), max(1, len(whole) // 50)):
        store.close()
        main.write_bytes(whole[:length])
        for key in KEYS:
            with suppress(StoreUnavailable):
                assert data(store, key) in (None, b"data of " + key.encode() * 8)


def test_value_in_a_wrong_place_is_damaged(make: Any, path: Path) -> None:
    """Nobody is given the session of somebody else."""
    store = make(flavour="sqlite3")
    for key in KEYS[:3]:
        store.write(key, record(key.encode()), None)
    store.compact()
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE Dict SET value = (SELECT value FROM Dict WHERE key = ?) WHERE key = ?",
                     (KEYS[1].encode(), KEYS[0].encode()))
    assert [data(store, key) for key in KEYS[:3]] == [None, KEYS[1].encode(), KEYS[2].encode()]


def test_what_sqlite_left_beside_an_old_file(make: Any, path: Path) -> None:
    """Changes not yet in the file are taken over, and are not applied to the new file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        file.execute("INSERT INTO Dict VALUES (CAST('other' AS BLOB), CAST('thing' AS BLOB))")
        assert path.with_name("sessions.shelf-wal").stat().st_size
        store = make()
        store.write(KEYS[0], record(), None)
        store.compact()
        assert data(make(), KEYS[0]) == OLD
        with closing(sqlite3.connect(path)) as new:
            assert new.execute("SELECT value FROM Dict WHERE key = CAST('other' AS BLOB)").fetchone() == (b"thing",)
            assert new.execute("SELECT count(*) FROM Dict").fetchone() == (2,)


@pytest.mark.parametrize("name", ["sessions.shelf", "sessions.shelf.dir", "sessions.shelf.journal"])
def test_foreign_file_is_left_alone(make: Any, path: Path, name: str) -> None:
    foreign = path.parent / name
    path.with_name("sessions.shelf.dat").touch()
    foreign.write_bytes(b"'dear diary" * 100)
    store = make(flavour="dumb")
    with pytest.raises(StoreUnavailable, match=r"sessions\.shelf"):
        store.write(KEYS[0], record(), None)
    assert foreign.read_bytes() == b"'dear diary" * 100


def test_empty_file_is_an_empty_shelf(make: Any, path: Path) -> None:
    path.touch()
    store = make()
    assert store.read(KEYS[0]) is None
    store.write(KEYS[0], record(), None)
    store.compact()
    assert data(make(), KEYS[0]) == OLD


def test_journal_removed_while_open(make: Any, path: Path) -> None:
    """What was in it is lost; nobody goes on writing where nobody looks."""
    one, two = make(), make()
    one.write(KEYS[0], record(), None)
    one.compact()
    assert data(two, KEYS[0]) == OLD
    journal(path).unlink()
    one.write(KEYS[1], record(NEW), None)
    for store in (two, make()):
        assert (data(store, KEYS[0]), data(store, KEYS[1])) == (OLD, NEW)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room(make: Any, path: Path) -> None:
    store = make()
    version = store.write(KEYS[0], record(), None)
    with files_limited_to(journal(path).stat().st_size + 500):
        with pytest.raises(StoreUnavailable, match=r"sessions\.shelf"):
            store.write(KEYS[0], record(NEW), version)
        assert data(store, KEYS[0]) == OLD
        store.touch(KEYS[0], 950.0, None)  # there is room for that
    assert data(make(), KEYS[0]) == OLD
    store.write(KEYS[0], record(NEW), version)
    assert data(make(), KEYS[0]) == NEW


def test_fsync(make: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each save is confirmed by the disk before it returns; a new dbm file before the journal forgets."""
    confirmed: list[str] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda file: confirmed.append(os.readlink(f"/proc/self/fd/{file}")))
    make().write(KEYS[0], record(), None)
    assert confirmed == []
    store = make(fsync=True, flavour="dumb")
    confirmed.clear()
    store.write(KEYS[1], record(), None)
    assert confirmed == [f"{path}.journal"]
    confirmed.clear()
    store.compact()
    made = f"{path}.build-{os.geteuid()}/sessions.shelf"
    assert confirmed == [f"{made}.dat", f"{made}.dir", str(path.parent), f"{path}.journal", str(path.parent),
                         f"{path}.journal"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        ShelveSessionStore(tmp_path / "nowhere" / "shelf").read(KEYS[0])


# -- processes ---------------------------------------------------------------------------------------------------------


def test_child_shares_no_file_with_its_parent(make: Any, path: Path) -> None:
    """A lock taken through an inherited file would be the parent's own, and outlive it."""
    store = make()
    version = store.write(KEYS[0], record(), None)
    child = os.fork()
    if child == 0:
        inherited = open_files(journal(path))
        os._exit(len(inherited) or int(data(store, KEYS[0]) != OLD))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.write(KEYS[0], record(NEW), version)


def test_who_has_the_journal_keeps_nobody_from_reading_what_is_in_memory(make: Any, path: Path) -> None:
    store = make(timeout=0.0)
    store.write(KEYS[0], record(NEW), None)
    with open(journal(path), "rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        assert data(store, KEYS[0]) == NEW
        with pytest.raises(StoreUnavailable):
            store.read(KEYS[1])


def test_what_is_in_memory_is_not_believed_when_others_wrote(make: Any, path: Path) -> None:
    """Not even when they made the file anew, and the journal is as long as it was."""
    store, other = make(), make()
    version = store.write(KEYS[0], record(b"x" * 500), None)
    size = journal(path).stat().st_size
    version = other.write(KEYS[0], record(b"y" * 500), version)
    assert data(store, KEYS[0]) == b"y" * 500
    other.compact()
    version = other.write(KEYS[0], record(b""), version)
    missing = size - journal(path).stat().st_size
    other.compact()
    version = store.write(KEYS[0], record(b"x" * missing), version)
    assert journal(path).stat().st_size == size
    other.compact()
    other.write(KEYS[0], record(b"z" * missing), version)
    assert journal(path).stat().st_size == size
    assert data(store, KEYS[0]) == b"z" * missing


def test_stopped_holder_stops_nobody_for_long(make: Any, path: Path) -> None:
    store, other = make(), make(timeout=0.05)
    store.write(KEYS[0], record(), None)

    def in_vain() -> None:
        with pytest.raises(StoreUnavailable, match=r"more than 0\.05 s"):
            other.read(KEYS[0])

    holder = Journal(str(path), False)
    holder.turn(in_vain, False, 1.0, time.monotonic())
    holder.close()
    assert data(other, KEYS[0]) == OLD


def test_close_closes(make: Any, path: Path) -> None:
    store = make()
    store.write(KEYS[0], record(), None)
    store.compact()
    assert data(store, KEYS[0]) == OLD
    assert open_files(path)
    store.close()
    assert not open_files(path)


def test_interrupted_in_memory(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C between the journal and the memory: the journal is right."""
    store = make()
    version = store.write(KEYS[0], record(), None)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Shelf, "_apply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write(KEYS[0], record(NEW), version)
    monkeypatch.undo()
    assert data(store, KEYS[0]) == NEW
    with pytest.raises(Conflict):
        store.write(KEYS[0], record(), version)


def test_arguments(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="flavour"):
        ShelveSessionStore(path, flavour="vanilla")
    with pytest.raises(ConfigurationError, match="name"):
        ShelveSessionStore("")
    store = from_url(f"shelve:{path}?create=true&flavour=dumb&fsync=true&journal_size=0&timeout=1.5")
    assert isinstance(store, ShelveSessionStore)
    store.write(KEYS[0], Record(b"x", 1.0, 1.0, 1.0), None)
    assert dbm.whichdb(str(path)) == "dbm.dumb"
    store.close()
