"""The directory store: the suite, and what only files can suffer."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session2 import tokens
from session2.errors import ConfigurationError, Conflict, StoreMissing, StoreUnavailable
from session2.events import Event
from session2.record import Record
from session2.session import DictSession
from session2.store.directory import DirectorySessionStore, purging, sessionfile, stamps
from session2.store.directory import store as directory
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.urls import from_url

KEY, OTHER = "ab" * 32, "cd" * 32
OLD, NEW = b"old " * 100, b"new " * 120
LARGE = b"large " * 5000
TWO_HOURS = 7200.0
NOTE = re.compile(r"indexed|made-users-..|due-(users-)?..")
ENTRY = re.compile(r"[^@]+@[0-9a-f]{64}")


class TestDirectory(StoreSuite):
    store_class = DirectorySessionStore

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions",), {"create": True}


@pytest.mark.sampled
class TestDirectoryWithFsync(StoreSuite):
    store_class = DirectorySessionStore
    scale = 0.1

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions",), {"create": True, "fsync": True}


@pytest.fixture
def store(tmp_path: Path) -> DirectorySessionStore:
    return DirectorySessionStore(tmp_path / "sessions", create=True, clock=lambda: 1000.0)


def record(data: bytes, accessed: float = 900.0, expires: float | None = 2000.0) -> Record:
    return Record(data, 800.0, 900.0, accessed, expires, "anna")


def file_of(store: DirectorySessionStore, key: str = KEY) -> Path:
    return Path(store.directory, key[-2:], key)


def files(store: DirectorySessionStore) -> list[str]:
    """Return the paths of all files but the entries of users, what tells that they are there, and stamps."""
    return sorted(str(path.relative_to(store.directory)) for path in Path(store.directory).rglob("*")
                  if not path.is_dir() and not NOTE.fullmatch(path.name) and not ENTRY.fullmatch(path.name))


def entries(store: DirectorySessionStore) -> list[Path]:
    return [path for path in Path(store.directory).rglob("*") if ENTRY.fullmatch(path.name)]


def data_of(store: DirectorySessionStore, key: str = KEY) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


def make_old(path: Path) -> None:
    past = path.lstat().st_mtime - TWO_HOURS
    os.utime(path, (past, past), follow_symlinks=False)


# -- the directory and the names in it ---------------------------------------------------------------------------------


class TestNames:
    def test_missing_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoreMissing, match="create=True"):
            DirectorySessionStore(tmp_path / "none")
        assert list(tmp_path.iterdir()) == []

    def test_file_is_no_directory(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"")
        for create in (False, True):
            with pytest.raises(ConfigurationError, match="is not a directory"):
                DirectorySessionStore(path, create)
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            DirectorySessionStore(path / "below", create=True)

    def test_made_with_its_parents(self, tmp_path: Path) -> None:
        DirectorySessionStore(str(tmp_path / "a" / "b"), True).write(KEY, record(OLD, expires=None), None)
        assert DirectorySessionStore(tmp_path / "a" / "b").read(KEY) is not None

    def test_only_the_owner_may_look(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            store = DirectorySessionStore(tmp_path / "sessions", create=True)
            version = store.write(KEY, record(OLD, expires=None), None)
            modes = [stat.S_IMODE(path.stat().st_mode) for path in
                     (Path(store.directory), file_of(store).parent, file_of(store))]
            store.write(KEY, record(LARGE, expires=None), version)
        finally:
            os.umask(before)
        assert modes == [0o700, 0o700, 0o600]
        assert stat.S_IMODE(file_of(store).stat().st_mode) == 0o600

    def test_url(self, tmp_path: Path) -> None:
        store = from_url(f"directory:{tmp_path}/sessions?create=true&fsync=1&hash_ids=false")
        assert isinstance(store, DirectorySessionStore)
        assert (store.directory, store.fsync, store.hash_ids) == (f"{tmp_path}/sessions", True, False)

    def test_relative_path_survives_a_change_of_directory(self, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        store = DirectorySessionStore("sessions", create=True)
        monkeypatch.chdir("/")
        store.write(KEY, record(OLD, expires=None), None)
        assert files(store) == [f"ab/{KEY}"]
        assert (tmp_path / "sessions" / "ab" / KEY).is_file()

    @pytest.mark.parametrize("key", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0", "a\n", "a b", "é" * 5, "x.tmp",
                                     "x" * 81, "\N{ARABIC-INDIC DIGIT THREE}" * 43, "a" * 5000], ids=ascii)
    def test_hostile_key_reaches_no_file(self, store: DirectorySessionStore, key: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directory, "os", None)
        monkeypatch.setattr(sessionfile, "os", None)
        calls: list[Callable[[], Any]] = [
            lambda: store.read(key), lambda: store.write(key, record(OLD), None),
            lambda: store.write(key, record(OLD), 5), lambda: store.touch(key, 1.0, None), lambda: store.remove(key)]
        for call in calls:
            with pytest.raises(ConfigurationError, match="key"):
                call()

    def test_foreign_files_are_left_alone(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD, expires=1500.0), None)
        folder = file_of(store).parent
        strangers = [Path(store.directory, "README"), folder / ".hidden", folder / "notes.txt", folder / "no-key",
                     folder / f"{KEY}.bak", folder / f"{KEY}.0123.tmp", folder / f"{KEY}@example.org",
                     Path(store.directory, "zz-long", KEY)]
        strangers[-1].parent.mkdir()
        for path in strangers:
            path.write_bytes(file_of(store).read_bytes())
            make_old(path)
        (folder / ("cd" * 31 + "ab")).write_bytes(b"our name, but nothing we wrote")
        make_old(folder / ("cd" * 31 + "ab"))
        assert [key for key, _ in store.scan()] == [KEY]
        assert store.purge(3000.0) == 1
        store.setup(drop=True)
        assert len(files(store)) == len(strangers) + 1

    def test_no_live_id_in_any_file(self, tmp_path: Path) -> None:
        store = DirectorySessionStore(tmp_path / "sessions", create=True)
        session = DictSession(tokens.new_id())
        session["text"] = "x"
        first = str(session.id)
        store.sessions.save(session)
        store.sessions.rotate(session, tokens.new_id(), grace=60.0)
        session["text"] = "y" * 9000
        store.sessions.save(session)
        store.sessions.touch(session)
        lease = store.lock(str(session.key))
        everything = b"".join(path.read_bytes() + bytes(path) for path in Path(store.directory).rglob("*")
                              if path.is_file())
        lease.release()
        assert str(session.key).encode() in everything
        for id in (first, str(session.id)):
            assert id.encode() not in everything


# -- damage ------------------------------------------------------------------------------------------------------------


@contextmanager
def one_line_for_none(caplog: pytest.LogCaptureFixture) -> Iterator[list[bytes | None]]:
    """Collect what is read, and see that each damaged record is one line of log."""
    caplog.clear()
    found: list[bytes | None] = []
    yield found
    told = "session abababab corrupt: treated as missing: its file is damaged, or another key's"
    assert caplog.messages == [told] * found.count(None)


class TestDamage:
    @pytest.fixture
    def whole(self, store: DirectorySessionStore) -> bytes:
        """The bytes of a file with an old record, a new one, and touches of both."""
        version = store.write(KEY, record(OLD), None)
        store.touch(KEY, 950.0, 2100.0)
        store.write(KEY, record(NEW), version)
        store.touch(KEY, 960.0, 2200.0)
        store.touch(KEY, 970.0, 2300.0)
        assert data_of(store) == NEW
        return file_of(store).read_bytes()

    def allowed(self, store: DirectorySessionStore) -> list[Record | None]:
        """What a damaged file may be read as: each record with or without its touch, or nothing."""
        old, new = record(OLD), record(NEW)
        return [None, old, old._replace(accessed=950.0, expires=2100.0), new,
                new._replace(accessed=960.0, expires=2200.0), new._replace(accessed=970.0, expires=2300.0)]

    def look(self, store: DirectorySessionStore, data: bytes | None = None) -> Record | None:
        if data is not None:
            file_of(store).write_bytes(data)
        found = store.read(KEY)
        return None if found is None else found._replace(version=None)

    @pytest.mark.parametrize("flip", [0xFF, 0x01, 0x80])
    def test_flipped_at_every_offset(self, store: DirectorySessionStore, whole: bytes, flip: int,
                                     caplog: pytest.LogCaptureFixture) -> None:
        allowed = self.allowed(store)
        seen = set()
        with one_line_for_none(caplog) as found:
            for at in range(len(whole)):
                with file_of(store).open("r+b", buffering=0) as file:
                    os.pwrite(file.fileno(), bytes([whole[at] ^ flip]), at)
                    result = self.look(store)
                    os.pwrite(file.fileno(), whole[at:at + 1], at)
                assert result in allowed, at
                seen.add(allowed.index(result))
                found.append(None if result is None else result.data)
        assert seen == {0, 1, 4, 5}  # the head damaged, the new slot damaged, its last touch damaged, anything else

    def test_cut_at_every_length(self, store: DirectorySessionStore, whole: bytes,
                                 caplog: pytest.LogCaptureFixture) -> None:
        allowed = self.allowed(store)
        with one_line_for_none(caplog) as found:
            for length in range(len(whole)):
                result = self.look(store, whole[:length])
                assert result in allowed, length
                found.append(None if result is None else result.data)
        assert set(found) == {None, OLD, NEW}

    def test_half_written_at_every_length(self, store: DirectorySessionStore, whole: bytes) -> None:
        """A save that is stopped after any byte leaves the record before it, and the next save is not in its way."""
        before = self.look(store, whole)
        found = store.read(KEY)
        assert found is not None
        store.write(KEY, record(LARGE[:500]), found.version)
        after = file_of(store).read_bytes()
        start = next(at for at in range(96, len(whole)) if whole[at] != after[at])
        for length in range(600):
            torn = whole[:start] + after[start:start + length] + whole[start + length:]
            result = self.look(store, torn)
            assert result == (before if torn != after else record(LARGE[:500])), length
            version = (store.read(KEY) or record(b"")).version
            store.write(KEY, record(b"next"), version)
            assert data_of(store) == b"next"

    @pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"garbage", b"s2 slot2", b"s2 pickle\n" + b"x" * 9000],
                             ids=["empty", "zeros", "garbage", "magic only", "another format"])
    def test_foreign_content_is_missing_and_replaced(self, store: DirectorySessionStore, data: bytes,
                                                     caplog: pytest.LogCaptureFixture) -> None:
        file_of(store).parent.mkdir()
        file_of(store).write_bytes(data)
        with one_line_for_none(caplog) as found:
            found.append(data_of(store))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), 5)
        store.touch(KEY, 1000.0, None)
        assert file_of(store).read_bytes() == data
        store.write(KEY, record(NEW), None)
        assert data_of(store) == NEW
        assert len(file_of(store).read_bytes()) == 4096

    @pytest.mark.parametrize("move", [shutil.copy, os.rename], ids=["copied", "renamed"])
    @pytest.mark.parametrize("data", [b"", OLD, LARGE], ids=["empty", "old", "large"])
    def test_file_of_another_key_is_no_record_of_this_one(
            self, store: DirectorySessionStore, caplog: pytest.LogCaptureFixture, data: bytes,
            move: Callable[[Path, Path], Any]) -> None:
        """Whatever brings a stranger's file there: a restored backup, a script, a file system that was repaired."""
        events: list[Event] = []
        store.observer = events.append
        version = store.write(OTHER, record(data), store.write(OTHER, record(data), None))
        file_of(store).parent.mkdir(exist_ok=True)
        move(file_of(store, OTHER), file_of(store))
        with one_line_for_none(caplog) as found:
            found.append(data_of(store))
        assert [(event.name, event.key) for event in events] == [("corrupt", KEY[:8])]
        assert KEY not in dict(store.scan())
        assert store.touch(KEY, 1000.0, None) is False
        for expected in (version, 5):
            with pytest.raises(Conflict):
                store.write(KEY, record(NEW), expected)
        store.write(KEY, record(NEW), None)
        assert data_of(store) == NEW

    @pytest.mark.parametrize("half", [2048, 1 << 20, 1 << 31, (1 << 32) - 1])
    def test_no_file_makes_anything_longer_than_itself(self, store: DirectorySessionStore, half: int) -> None:
        """96 bytes that told of two halves of a gigabyte each took two gigabytes to look at."""
        start = b"s2 slot2" + half.to_bytes(4, "little")
        file_of(store).parent.mkdir()
        file_of(store).write_bytes((start + zlib.crc32(start).to_bytes(4, "little")).ljust(96, b"\0"))
        make_old(file_of(store))
        tracemalloc.start()
        try:
            assert (store.read(KEY), list(store.scan()), store.touch(KEY, 1000.0, None)) == (None, [], False)
            store.write(KEY, record(NEW), None)
            assert data_of(store) == NEW
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
        assert file_of(store).stat().st_size <= 4096

    def test_large_file_that_is_no_session_is_not_read(self, store: DirectorySessionStore) -> None:
        file_of(store).parent.mkdir()
        with file_of(store).open("wb") as file:
            file.write(b"something else")
            file.truncate(1 << 28)
        make_old(file_of(store))
        tracemalloc.start()
        try:
            assert (store.read(KEY), list(store.scan()), store.purge()) == (None, [], 0)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()

    def test_both_slots_damaged_are_replaced(self, store: DirectorySessionStore, whole: bytes) -> None:
        newest = (store.read(KEY) or record(b"")).version
        ruined = bytearray(whole)
        ruined[96 + 60] ^= 1
        ruined[2048 + 60] ^= 1
        assert self.look(store, bytes(ruined)) is None
        version = store.write(KEY, record(NEW), None)
        assert isinstance(version, int)
        assert isinstance(newest, int)
        assert version > newest
        assert data_of(store) == NEW

    def test_damaged_record_can_be_removed(self, store: DirectorySessionStore) -> None:
        file_of(store).parent.mkdir()
        file_of(store).write_bytes(b"garbage")
        store.remove(KEY, 5)
        assert files(store) == []

    @pytest.mark.parametrize("make", [
        lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("/nowhere"),
        lambda path: os.mkfifo(path)], ids=["link", "dead link", "pipe"])
    def test_no_regular_file_is_missing_and_replaced(self, store: DirectorySessionStore, make: Callable[[Path], None],
                                                     caplog: pytest.LogCaptureFixture) -> None:
        path = file_of(store)
        path.parent.mkdir()
        make(path)
        mode = path.lstat().st_mode
        assert list(store.scan()) == []
        with one_line_for_none(caplog) as found:
            found.append(data_of(store))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), 5)
        store.touch(KEY, 1000.0, None)
        store.remove(KEY)
        assert store.purge() == 0
        assert path.lstat().st_mode == mode
        store.write(KEY, record(NEW), None)
        assert data_of(store) == NEW

    def test_folder_in_the_place_of_a_session(self, store: DirectorySessionStore,
                                              caplog: pytest.LogCaptureFixture) -> None:
        file_of(store).mkdir(parents=True)
        with one_line_for_none(caplog) as found:
            found.append(data_of(store))
        with pytest.raises(StoreUnavailable):
            store.write(KEY, record(NEW), None)

    def test_dead_link_in_the_place_of_a_folder(self, store: DirectorySessionStore) -> None:
        file_of(store).parent.symlink_to("/nowhere")
        assert store.read(KEY) is None
        with pytest.raises(StoreUnavailable):
            store.write(KEY, record(NEW), None)


# -- the sessions of a user --------------------------------------------------------------------------------------------


class TestUsers:
    def test_only_the_records_of_the_user_are_opened(self, store: DirectorySessionStore,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(60):
            store.write(f"{number:064x}", record(OLD)._replace(user=["anna", "bert", None][min(number % 30, 2)]), None)
        opened: list[str] = []
        real = directory.look
        monkeypatch.setattr(directory, "look", lambda path: opened.append(path) or real(path))
        assert {key for key, _ in store.records_of("anna")} == {f"{0:064x}", f"{30:064x}"}
        assert len(opened) == 2

    @pytest.mark.parametrize("user", ["Anna Example", "", "../../x", "\udc80\0\n" * 300], ids=ascii)
    def test_no_name_in_the_name_of_a_file(self, store: DirectorySessionStore, user: str) -> None:
        store.write(KEY, record(OLD)._replace(user=user), None)
        assert [key for key, _ in store.records_of(user)] == [KEY]
        [entry] = entries(store)
        assert re.fullmatch(f"users-(..)/{KEY}@[0-9a-f]{{62}}\\1", str(entry.relative_to(store.directory)))

    def test_nobody_has_no_entry(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD)._replace(user=None), None)
        assert entries(store) == []

    def test_entry_goes_with_the_session(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD), None)
        store.write("cd" * 32, record(OLD, expires=1500.0), None)
        assert len(entries(store)) == 2
        store.remove(KEY)
        assert store.purge(1600.0) == 1
        assert entries(store) == []

    def test_entry_of_who_was_logged_in_before_goes_at_once(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        store.write(KEY, record(LARGE)._replace(user="bert"), version)
        assert list(store.records_of("anna")) == []
        assert len(entries(store)) == 1
        assert store.purge() == 0
        assert len(entries(store)) == 1
        assert [key for key, _ in store.records_of("bert")] == [KEY]

    def test_setup_drops_the_entries_too(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        store.write(KEY, record(OLD)._replace(user="bert"), version)
        store.setup(drop=True)
        assert files(store) == []
        assert entries(store) == []
        store.write(KEY, record(OLD), None)
        assert [key for key, _ in store.records_of("anna")] == [KEY]

    def test_ids_as_names_of_files(self, tmp_path: Path) -> None:
        store = DirectorySessionStore(tmp_path / "sessions", create=True, hash_ids=False)
        ids = [tokens.new_id() for _ in range(20)]
        for id in ids:
            store.write(id, record(OLD, expires=None), None)
        assert {key for key, _ in store.records_of("anna")} == set(ids)
        assert list(store.sessions.revoke("anna", spared=ids[0])) != []
        assert store.purge() == 0
        assert [path.name.partition("@")[0] for path in entries(store)] == ids[:1]

    def test_foreign_name_in_the_folder_of_a_user(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD), None)
        [entry] = entries(store)
        copy, moved = entry.with_name("a copy of " + entry.name), Path(store.directory, "zz", entry.name)
        moved.parent.mkdir()
        copy.touch()
        moved.touch()
        store.remove(KEY)
        assert list(store.records_of("anna")) == []
        assert store.purge() == 0
        assert set(entries(store)) == {copy, moved}

    def test_store_without_entries(self, store: DirectorySessionStore) -> None:
        """One begun before there were any, or restored from a backup, misses no session."""
        store.write(KEY, record(OLD), None)
        store.write("cd" * 32, record(OLD)._replace(user=None), None)
        store.write("ef" * 32, record(OLD, expires=950.0), None)
        entry = entries(store)[0].with_name(KEY + entries(store)[0].name[64:])
        for path in [*entries(store), Path(store.directory, "indexed")]:
            path.unlink()
        assert [key for key, _ in store.records_of("anna")] == [KEY]
        assert entries(store) == [entry]
        store.write("ef" * 32, record(NEW), None)
        assert {key for key, _ in store.records_of("anna")} == {KEY, "ef" * 32}

    def test_directory_made_by_somebody_else(self, tmp_path: Path) -> None:
        store = DirectorySessionStore(tmp_path)
        store.write(KEY, record(OLD, expires=None), None)
        assert [key for key, _ in store.records_of("anna")] == [KEY]
        DirectorySessionStore(tmp_path, create=True).write("cd" * 32, record(OLD, expires=None), None)
        assert {key for key, _ in store.records_of("anna")} == {KEY, "cd" * 32}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(tmp_path: Path, clock: Clock) -> DirectorySessionStore:
    """A store by the real time, as the times of files are."""
    return DirectorySessionStore(tmp_path / "timed", create=True, clock=clock)


def lasting(clock: Clock, seconds: float | None, user: str | None = "anna") -> Record:
    return Record(OLD, clock.now, clock.now, clock.now, seconds and clock.now + seconds, user)


class TestWhatIsOld:
    """Entries are an index: they live as long as their sessions, and what is lost of them is noticed."""

    @pytest.mark.parametrize("seconds", [600, 14 * 86400, None])
    def test_no_entry_looks_old_while_its_session_lives(self, timed: DirectorySessionStore, clock: Clock,
                                                        seconds: float | None) -> None:
        timed.write(KEY, lasting(clock, seconds), None)
        [entry] = entries(timed)
        for _ in range(20):
            clock.advance(400)
            assert timed.touch(KEY, clock.now, seconds and clock.now + seconds)
            assert entry.stat().st_mtime >= (seconds or 1e8) + clock.now
            assert entry.stat().st_atime == entry.stat().st_mtime

    def test_saves_renew_the_entry_too(self, timed: DirectorySessionStore, clock: Clock) -> None:
        version = timed.write(KEY, lasting(clock, 600), None)
        [entry] = entries(timed)
        for _ in range(20):
            clock.advance(400)
            version = timed.write(KEY, lasting(clock, 600), version)
            assert entry.stat().st_mtime >= clock.now + 600
        timed.write(KEY, lasting(clock, 30 * 86400), version)
        assert entry.stat().st_mtime >= clock.now + 30 * 86400

    @pytest.mark.parametrize("use", ["touch", "save", "purge"])
    def test_lost_entry_comes_back_when_the_session_is_used(self, timed: DirectorySessionStore, clock: Clock,
                                                            use: str) -> None:
        version = timed.write(KEY, lasting(clock, 1000), None)
        [entry] = entries(timed)
        entry.unlink()
        clock.advance(60)
        if use == "touch":
            timed.touch(KEY, clock.now, clock.now + 1000)
        elif use == "save":
            timed.write(KEY, lasting(clock, 1000), version)
        else:
            os.utime(file_of(timed), (0.0, 0.0))
            assert timed.purge() == 0
        assert [key for key, _ in timed.records_of("anna")] == [KEY]

    def test_what_removes_old_files_removes_no_session_from_its_user(self, timed: DirectorySessionStore,
                                                                     clock: Clock) -> None:
        """As systemd-tmpfiles and tmpwatch do; all was made twenty days ago, and the session is still in use."""
        timed.write(KEY, lasting(clock, 14 * 86400), None)
        past = clock.now - 20 * 86400
        for path in [*entries(timed), Path(timed.directory, "indexed")]:
            os.utime(path, (past, past))
        for path in Path(timed.directory).rglob("*"):
            if path.is_file() and max(path.stat().st_mtime, path.stat().st_atime) < clock.now - 10 * 86400:
                path.unlink()
        assert entries(timed) == []
        assert list(timed.sessions.revoke("anna")) == [KEY]

    def test_nothing_is_older_than_what_tells_that_all_entries_are_there(self, timed: DirectorySessionStore,
                                                                         clock: Clock) -> None:
        timed.write(KEY, lasting(clock, 1000), None)
        os.unlink(Path(timed.directory, "indexed"))
        assert [key for key, _ in timed.records_of("anna")] == [KEY]
        assert Path(timed.directory, "indexed").stat().st_mtime == 0.0

    def test_folder_of_entries_that_is_gone_is_noticed(self, timed: DirectorySessionStore, clock: Clock) -> None:
        timed.write(KEY, lasting(clock, 1000), None)
        [entry] = entries(timed)
        shutil.rmtree(entry.parent)
        assert [key for key, _ in timed.records_of("anna")] == [KEY]
        shutil.rmtree(entry.parent)
        timed.write(OTHER, lasting(clock, 1000), None)
        assert {key for key, _ in timed.records_of("anna")} == {KEY, OTHER}

    def test_no_list_of_a_user_who_never_was_reads_everything(self, timed: DirectorySessionStore, clock: Clock,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
        timed.write(KEY, lasting(clock, 1000), None)
        monkeypatch.setattr(directory, "look", None)
        assert all(list(timed.records_of(f"nobody {number}")) == [] for number in range(50))


class TestDue:
    """A purge opens only what can be due."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        opened: list[str] = []
        real = sessionfile.open_file

        def open_file(path: str, flags: int) -> int:
            opened.append(os.path.basename(path).partition("@")[0])
            return real(path, flags)

        monkeypatch.setattr(sessionfile, "open_file", open_file)
        return opened

    def test_nothing_that_lives_is_opened(self, timed: DirectorySessionStore, clock: Clock, opened: list[str]) -> None:
        """Neither what was just made, nor what was saved, touched, read and outgrown since."""
        for number, user in enumerate(["anna", None] * 20):
            key = f"{number:064x}"
            version = timed.write(key, lasting(clock, 1000, user), None)
            version = timed.write(key, lasting(clock, 1000, user), version)
            timed.touch(key, clock.now + 1, clock.now + 2000)
            timed.write(key, lasting(clock, 3000, user)._replace(data=LARGE), version)
            assert data_of(timed, key) == LARGE
        opened.clear()
        assert timed.purge() == 0
        assert opened == []

    @pytest.mark.parametrize("user", [None, "anna"])
    def test_what_lives_on_is_opened_once(self, timed: DirectorySessionStore, clock: Clock, opened: list[str],
                                          user: str | None) -> None:
        timed.write(KEY, lasting(clock, 1000, user), None)
        timed.touch(KEY, clock.now + 1, clock.now + 5000)
        clock.advance(2000)
        opened.clear()
        assert timed.purge() == 0
        assert set(opened) == {KEY}
        opened.clear()
        assert timed.purge() == 0
        clock.advance(2000)
        assert timed.purge() == 0
        assert opened == []
        clock.advance(1000)
        assert timed.purge() == 1
        assert entries(timed) == []

    @pytest.mark.parametrize("by", ["save", "touch", "outgrowing save"])
    def test_sooner_end_counts_at_once(self, timed: DirectorySessionStore, clock: Clock, by: str) -> None:
        version = timed.write(KEY, lasting(clock, 5000), None)
        if by == "touch":
            timed.touch(KEY, clock.now + 1, clock.now + 10)
        else:
            data = OLD if by == "save" else LARGE
            timed.write(KEY, lasting(clock, 10)._replace(data=data), version)
        clock.advance(10)
        assert timed.purge() == 1

    def test_file_whose_times_tell_nothing_is_opened(self, timed: DirectorySessionStore, clock: Clock,
                                                     opened: list[str]) -> None:
        """A restored backup; or a system that notes each time a file is read."""
        timed.write(KEY, lasting(clock, 1000), None)
        os.utime(file_of(timed), ns=(int(clock.now + 2000) * 10**9 + 1, 0))
        opened.clear()
        assert timed.purge(clock.now + 1000) == 1

    def test_save_between_the_looks_of_a_purge(self, timed: DirectorySessionStore, clock: Clock,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
        version = timed.write(KEY, lasting(clock, 5000), None)
        os.utime(file_of(timed), (0.0, 0.0))
        real = purging.hold

        def hold(path: str, flags: int) -> Any:
            timed.write(KEY, lasting(clock, 10), version)
            return real(path, flags)

        monkeypatch.setattr(purging, "hold", hold)
        assert timed.purge() == 0
        clock.advance(10)
        monkeypatch.undo()
        assert timed.purge() == 1

    def test_what_has_expired_is_opened_once(self, timed: DirectorySessionStore, clock: Clock,
                                             opened: list[str]) -> None:
        for number in range(40):
            timed.write(f"{number:064x}", lasting(clock, 10, None), None)
        clock.advance(10)
        opened.clear()
        assert timed.purge() == 40
        assert len(opened) == 40


class TestStamps:
    """A purge passes over folders in which nothing can be due, and misses nothing all the same."""

    SIBLING = "cd" * 31 + "ab"

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
        """What is asked of the system, and of which file, by its path."""
        calls: list[tuple[str, str]] = []

        def watched(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(path: Any, *args: Any, **options: Any) -> Any:
                if not isinstance(path, int):
                    calls.append((name, os.fspath(path)))
                return real(path, *args, **options)
            return call

        for name in ("open", "stat", "lstat", "listdir", "unlink", "utime"):
            monkeypatch.setattr(os, name, watched(name))
        return calls

    def test_second_purge_looks_at_folders_only(self, timed: DirectorySessionStore, clock: Clock,
                                                calls: list[tuple[str, str]]) -> None:
        """By one call each; also where the first one deleted something."""
        for number in range(200):
            timed.write(f"{number:062x}{number % 5:02x}", lasting(clock, 1000 if number % 2 else 10), None)
        clock.advance(10)
        assert timed.purge() == 100
        calls.clear()
        assert timed.purge() == 0
        assert {call for call, _ in calls} == {"listdir", "stat"}
        assert len(calls) == 2 + len([path for path in Path(timed.directory).iterdir() if path.is_dir()])
        clock.advance(1000)
        assert timed.purge() == 100
        assert entries(timed) == []

    def test_folder_is_passed_over_for_an_hour_at_most(self, timed: DirectorySessionStore, clock: Clock) -> None:
        """Nobody tells of a file that was brought by hand."""
        timed.write(KEY, lasting(clock, 5 * 3600), None)
        timed.purge()
        os.utime(file_of(timed), (0.0, 0.0))
        clock.advance(5 * 3600)
        assert timed.purge() == 1
        assert 0 <= stamp_of(timed).stat().st_mtime - time.time() <= 3600

    @pytest.mark.parametrize("by", ["insert", "save", "touch", "outgrowing save"])
    @pytest.mark.parametrize("when", ["begin", "finish"])
    def test_sooner_end_counts_whenever_it_comes(self, timed: DirectorySessionStore, clock: Clock, by: str, when: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
        """Also while a purge looks around: after it made its stamp, and after it has seen all files."""
        version = timed.write(KEY, lasting(clock, 3000), None)
        sooner = lasting(clock, 10)
        changes = {"insert": lambda: timed.write(self.SIBLING, sooner, None),
                   "save": lambda: timed.write(KEY, sooner, version),
                   "touch": lambda: timed.touch(KEY, clock.now + 1, clock.now + 10),
                   "outgrowing save": lambda: timed.write(KEY, sooner._replace(data=LARGE), version)}
        real = getattr(stamps, when)

        def change(*arguments: Any) -> Any:
            monkeypatch.undo()
            if when == "finish":
                changes[by]()
            result = real(*arguments)
            if when == "begin":
                changes[by]()
            return result

        monkeypatch.setattr(stamps, when, change)
        assert timed.purge() == 0
        clock.advance(10)
        assert timed.purge() == 1

    def test_two_purges_at_once(self, timed: DirectorySessionStore, clock: Clock,
                                monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the later one has seen what was stored meanwhile, and only its stamp counts."""
        timed.write(KEY, lasting(clock, 3000), None)
        real = stamps.finish

        def finish(fd: int, due: int) -> None:
            monkeypatch.undo()
            timed.write(self.SIBLING, lasting(clock, 10), None)
            assert timed.purge() == 0
            real(fd, due)

        monkeypatch.setattr(stamps, "finish", finish)
        assert timed.purge() == 0
        assert stamp_of(timed).stat().st_mtime <= clock.now + 10
        clock.advance(10)
        assert timed.purge() == 1

    def test_stamp_of_a_purge_that_was_stopped_says_nothing(self, timed: DirectorySessionStore, clock: Clock,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
        timed.write(KEY, lasting(clock, 10), None)

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(stamps, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            timed.purge()
        monkeypatch.undo()
        timed.write(self.SIBLING, lasting(clock, 20), None)
        clock.advance(10)
        assert timed.purge() == 1

    @pytest.mark.parametrize("ahead", [2.0, 86400.0])
    def test_stamp_that_nobody_set_like_this_says_nothing(self, timed: DirectorySessionStore, clock: Clock,
                                                          ahead: float) -> None:
        """By a clock that was days ahead; and one that was copied, or whose time could not be set."""
        timed.write(KEY, lasting(clock, 1000), None)
        timed.purge()
        os.utime(file_of(timed), (0.0, 0.0))
        os.utime(stamp_of(timed), ns=(0, int(clock.now + 1000 + ahead) * 10**9 + (ahead < 3)))
        assert timed.purge(clock.now + 1000) == 1

    def test_only_what_ends_soon_is_noted(self, timed: DirectorySessionStore, clock: Clock,
                                          calls: list[tuple[str, str]]) -> None:
        """What makes a session that ends within the hour asks for the stamp; saves and touches ask for nothing."""
        def asked() -> list[str]:
            found = [call for call, path in calls if "due-" in path]
            calls.clear()
            return found

        timed.write(OTHER, lasting(clock, 5000, None), None)
        assert asked() == []
        version = timed.write(KEY, lasting(clock, 2000, None), None)
        assert asked() == ["stat"]
        timed.purge()
        asked()
        for seconds in (2000, 5000, 2500, 2000):
            version = timed.write(KEY, lasting(clock, seconds, None), version)
            clock.advance(1)
            timed.touch(KEY, clock.now, clock.now + seconds)
        assert asked() == ["stat"] * 2
        timed.write(KEY, lasting(clock, 1000, None), version)
        assert asked() == ["stat", "unlink"]

    def test_every_folder_has_a_stamp_of_its_own(self, timed: DirectorySessionStore, clock: Clock) -> None:
        for key in (KEY, OTHER):
            timed.write(key, lasting(clock, 3000), None)
        timed.purge()
        timed.write(self.SIBLING, lasting(clock, 10), None)
        assert not stamp_of(timed).exists()
        assert stamp_of(timed, OTHER).exists()

    def test_purge_of_the_unused_looks_everywhere(self, timed: DirectorySessionStore, clock: Clock) -> None:
        timed.write(KEY, lasting(clock, 3000), None)
        timed.purge()
        assert timed.purge(unused_since=clock.now + 1) == 1


def stamp_of(store: DirectorySessionStore, key: str = KEY) -> Path:
    return Path(store.directory, f"due-{key[-2:]}")


# -- who may -----------------------------------------------------------------------------------------------------------


class TestRights:
    @pytest.mark.parametrize(("mode", "owner", "reason"), [
        (0o777, 65534, "another user"), (0o700, 65534, "another user"), (0o777, None, "written by others"),
        (0o770, None, "written by others"), (0o1777, None, "written by others"), (0o702, None, "written by others")])
    @pytest.mark.parametrize("create", [True, False])
    @pytest.mark.parametrize("below", ["", "ab", "users-ab"])
    def test_what_others_can_write_is_refused(self, tmp_path: Path, mode: int, owner: int | None, reason: str,
                                              create: bool, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
        DirectorySessionStore(tmp_path, create=True)
        path = tmp_path / below
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        if owner is not None:
            os.chown(path, owner, owner)
            monkeypatch.setattr(os, "geteuid", lambda: 65533)
        with pytest.raises(ConfigurationError, match=f"{path} .*{reason}.*shared=true"):
            DirectorySessionStore(tmp_path, create=create)

    @pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
    def test_what_others_can_look_into_is_not(self, tmp_path: Path, mode: int) -> None:
        tmp_path.chmod(mode)
        DirectorySessionStore(tmp_path)

    def test_shared_on_purpose(self, tmp_path: Path) -> None:
        """Two users of one group; here one of them is root, who leaves nothing behind that the other cannot use."""
        tmp_path.chmod(0o2770)
        os.chown(tmp_path, 65534, 65533)
        store = from_url(f"directory:{tmp_path}?shared=true")
        version = store.write(KEY, record(OLD, expires=None), None)
        store.write(KEY, record(LARGE, expires=None), version)
        for path in tmp_path.rglob("*"):
            found, mode = path.stat(), 0o770 if path.is_dir() else 0o660
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, mode), path
        tmp_path.chmod(0o2772)
        with pytest.raises(ConfigurationError, match="written by others"):
            from_url(f"directory:{tmp_path}?shared=true")

    def test_what_is_made_to_be_shared_is(self, tmp_path: Path) -> None:
        from_url(f"directory:{tmp_path}/new?create=true&shared=true")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o770

    def test_what_root_makes_belongs_to_the_owner_of_the_directory(self, tmp_path: Path) -> None:
        """A purge of root's, from cron say, leaves nothing that the application cannot read."""
        tmp_path.chmod(0o700)
        os.chown(tmp_path, 65534, 65533)
        store = DirectorySessionStore(tmp_path)
        version = store.write(KEY, record(OLD, expires=None), None)
        store.write(KEY, record(LARGE, expires=None), version)
        assert [*store.records_of("anna")]
        for path in tmp_path.rglob("*"):
            assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533), path
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)

    def test_link_of_somebody_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        DirectorySessionStore(tmp_path / "real", create=True)
        link = tmp_path / "link"
        link.symlink_to("real")
        DirectorySessionStore(link)
        os.chown(link, 65534, 65534, follow_symlinks=False)
        monkeypatch.setattr(os, "geteuid", lambda: 65533)
        with pytest.raises(ConfigurationError, match="symbolic link of another user"):
            DirectorySessionStore(link)

    def test_file_that_takes_the_place_of_another_keeps_owner_and_mode(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        os.chown(file_of(store), 65534, 65533)
        file_of(store).chmod(0o640)
        store.write(KEY, record(LARGE), version)
        found = file_of(store).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65533, 0o640)


class TestSystem:
    def test_two_make_a_folder_at_once(self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        mkdir = os.mkdir

        def overtaken(path: str, mode: int) -> None:
            mkdir(path, mode)
            mkdir(path, mode)

        monkeypatch.setattr(os, "mkdir", overtaken)
        store.write(KEY, record(OLD), None)
        assert data_of(store) == OLD

    def test_a_purge_passes_over_what_somebody_holds_who_does_not_go_on(
            self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.write(KEY, record(OLD, expires=901.0), None)
        store.write(OTHER, record(OLD, expires=901.0), None)
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.0)
        with file_of(store).open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert store.purge() == 1
        assert store.purge() == 1, "the next one looks again"

    def test_no_file_stays_open(self, tmp_path: Path) -> None:
        store = DirectorySessionStore(tmp_path, create=True, fsync=True, clock=lambda: 1000.0)
        for number in range(8):
            store.write(KEY, record(OLD, expires=901.0), None)
            store.write(OTHER, record(OLD), None)
            store.remove(OTHER)
            store.purge()
            if number == 3:
                before = os.listdir("/proc/self/fd")
        assert os.listdir("/proc/self/fd") == before

    def test_names_that_come_and_go_are_synced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """That of a new folder, and those that a purge takes away."""
        store = DirectorySessionStore(tmp_path, create=True, fsync=True, clock=lambda: 1000.0)
        synced: list[str] = []
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
        store.write(KEY, record(OLD, expires=901.0)._replace(user=None), None)
        folder = str(file_of(store).parent)
        assert synced == [store.directory, folder]
        synced.clear()
        assert store.purge() == 1
        assert folder in synced


# -- slots -------------------------------------------------------------------------------------------------------------


class TestSlots:
    def test_save_and_touch_keep_the_file(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        before = file_of(store).stat()
        for number in range(20):
            version = store.write(KEY, record(b"%d" % number), version)
            store.touch(KEY, 901.0 + number, 2000.0)
        after = file_of(store).stat()
        assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
        assert data_of(store) == b"19"

    def test_outgrown_slot(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(b""), None)
        sizes = set()
        for size in range(0, 200_000, 3001):
            version = store.write(KEY, record(b"x" * size), version)
            found = store.read(KEY)
            assert found is not None
            assert (found.data, found.version) == (b"x" * size, version)
            sizes.add(file_of(store).stat().st_size)
        assert len(sizes) < 25  # room to grow: not every save makes a new file
        assert files(store) == [f"ab/{KEY}"]

    def test_file_shrinks_again(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(b"x" * 1_000_000), None)
        store.write(KEY, record(NEW), version)
        assert file_of(store).stat().st_size == 4096
        assert data_of(store) == NEW

    def test_clock_that_stands_still_gives_new_versions(self, store: DirectorySessionStore,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: 5)
        first = store.write(KEY, record(OLD), None)
        second = store.write(KEY, record(OLD), first)
        third = store.write(KEY, record(LARGE), second)
        assert len({first, second, third}) == 3
        assert data_of(store) == LARGE

    def test_clock_set_back_gives_new_versions(self, store: DirectorySessionStore,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
        first = store.write(KEY, record(OLD), None)
        monkeypatch.setattr(time, "time_ns", lambda: 5)
        store.write(KEY, record(NEW), first)
        assert data_of(store) == NEW
