"""The directory store among processes that die, fail, fork and wait; with strace, so that it is no luck."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from session2.errors import Conflict, StoreUnavailable
from session2.record import Record
from session2.store import directory
from session2.store.directory import DirectorySessionStore, sessionfile

KEY = "ab" * 32
OLD, NEW = b"old " * 100, b"new " * 120
LARGE = b"large " * 5000

CALLS = "openat,mkdir,flock,pread64,fstat,newfstatat,utimensat,ftruncate,pwrite64,fdatasync,fsync,rename,unlink,close"

# A process that forks one child for each thing to do.  The child waits until strace is attached to it.
CHILD = """
import ctypes, os, sys
from session2.errors import StoreUnavailable
from session2.store.directory import DirectorySessionStore
from session2.record import Record

PR_SET_PTRACER = 0x59616D61
store = DirectorySessionStore(sys.argv[1], fsync=bool(int(sys.argv[3])), clock=lambda: 1000.0)
key = sys.argv[2]

def prepare(what):
    found = store.read(key)
    if not what.startswith("again"):
        store.close()  # or the file would be open already
    what = what.removeprefix("again ")
    if what == "load":
        return lambda: store.read(key)
    if what == "insert":
        return lambda: store.write(key, Record(b"new " * 120, 800.0, 900.0, 900.0, 2000.0, "anna"), None)
    if what == "save":
        return lambda: store.write(key, found._replace(data=b"new " * 120), found.version)
    if what == "login":
        return lambda: store.write(key, found._replace(data=b"new " * 120, user="bert"), found.version)
    if what == "purge":
        return store.purge
    if what == "outgrow":
        return lambda: store.write(key, found._replace(data=b"large " * 5000), found.version)
    if what == "login and outgrow":
        return lambda: store.write(key, found._replace(data=b"large " * 5000, user="bert"), found.version)
    if what == "touch":
        return lambda: store.touch(key, 950.0, 3000.0)
    if what == "insert anonymous":
        return lambda: store.write(key, Record(b"new " * 120, 800.0, 900.0, 900.0, 2000.0), None)
    return lambda: store.remove(key, found.version)

for line in sys.stdin:
    gate, opened = os.pipe()
    pid = os.fork()
    if not pid:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        do = prepare(line.strip())
        os.write(1, b"%d\\n" % os.getpid())
        os.read(gate, 1)
        try:
            do()
            os.write(1, b"done\\n")
        except StoreUnavailable:
            os.write(1, b"refused\\n")
        os._exit(0)
    if sys.stdin.readline() != "go\\n":
        break
    os.write(opened, b"x")
    os.waitpid(pid, 0)
    os.write(1, b"over\\n")
"""


def record(data: bytes) -> Record:
    return Record(data, 800.0, 900.0, 900.0, 2000.0, "anna")


def file_of(store: DirectorySessionStore, key: str = KEY) -> Path:
    return Path(store.directory, key[-2:], key)


def data_of(store: DirectorySessionStore, key: str = KEY) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


def entry_of(store: DirectorySessionStore, user: str, key: str = KEY) -> Path:
    return Path(store._folder.entry(str(file_of(store, key)), user))


def files(store: DirectorySessionStore) -> list[str]:
    """Return the names of all files but the one that tells of entries."""
    return sorted(path.name for path in Path(store.directory).glob("*/*"))


def assert_indexed(store: DirectorySessionStore) -> None:
    """Every record of a user is found as his."""
    found = dict(store.scan())
    for user in ("anna", "bert"):
        assert dict(store.records_of(user)) == {key: record for key, record in found.items() if record.user == user}
    assert Path(store.directory, "indexed").exists()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectorySessionStore]:
    store = DirectorySessionStore(tmp_path / "sessions", create=True, clock=lambda: 1000.0)
    yield store
    assert_indexed(store)


class Victim:
    """Does one thing to the store in another process, with something done to its system calls."""

    def __init__(self, store: DirectorySessionStore, fsync: bool = False) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, store.directory, KEY, str(int(fsync))], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def do(self, what: str, log: Path, *options: str) -> str:
        """Return "done", "refused", or "over" if the process died before it could say so."""
        self.say(what)
        pid = self.hear()
        with attached(pid, log, *options):
            self.say("go")
            result = self.hear()
            if result != "over":
                assert self.hear() == "over"
        return result

    def calls(self, what: str, log: Path) -> list[str]:
        """Return the system calls it takes, in order."""
        assert self.do(what, log) == "done"
        return re.findall(r"^(?:\d+ +)?(\w+)\(", log.read_text(), re.MULTILINE)

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.kill()
        self.process.wait()


class attached:
    """strace at work on a process, until the process ends."""

    def __init__(self, pid: str, log: Path, *options: str) -> None:
        command = ["strace", "-f", "-p", pid, "-o", str(log), "-e", f"trace={CALLS}", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "attached" in line, line

    def __exit__(self, *_: Any) -> None:
        errors: IO[str] | None = self.process.stderr
        assert errors is not None
        errors.read()
        errors.close()
        self.process.wait(60)


@pytest.fixture
def victim(store: DirectorySessionStore) -> Iterator[Victim]:
    victim = Victim(store)
    yield victim
    victim.stop()


@pytest.fixture
def durable_victim(store: DirectorySessionStore) -> Iterator[Victim]:
    victim = Victim(store, fsync=True)
    yield victim
    victim.stop()


SAVE = ["openat", "flock", "pread64", "pwrite64", "flock"]
REMOVE = ["openat", "flock", "pread64", "ftruncate", "unlink", "flock", "close"]

# What is there before and after each thing that can be done: data, time of access, user.
Seen = tuple[bytes, float, str | None] | None
BEFORE = (OLD, 900.0, "anna")
STEPS: dict[str, tuple[Seen, Seen]] = {
    "insert": (None, (NEW, 900.0, "anna")), "save": (BEFORE, (NEW, 900.0, "anna")),
    "outgrow": (BEFORE, (LARGE, 900.0, "anna")), "login": (BEFORE, (NEW, 900.0, "bert")),
    "login and outgrow": (BEFORE, (LARGE, 900.0, "bert")), "touch": (BEFORE, (OLD, 950.0, "anna")),
    "remove": (BEFORE, None)}


def seen(store: DirectorySessionStore) -> Seen:
    """Return what STEPS tells of the record."""
    found = store.read(KEY)
    return None if found is None else (found.data, found.accessed, found.user)


def prepare(store: DirectorySessionStore, what: str) -> None:
    """Put the store into the state before the step, as if nothing had ever been in it."""
    for path in Path(store.directory).glob("*/*"):
        path.unlink()
    for folder in Path(store.directory).iterdir():
        if folder.is_dir():
            folder.rmdir()
        elif folder.name != "indexed":
            folder.unlink()
    before = STEPS[what][0]
    if before is not None:
        store.write(KEY, record(before[0]), store.write(KEY, record(b"older"), None))


class TestSystemCalls:
    def test_load_makes_two_and_writes_nothing(self, store: DirectorySessionStore, victim: Victim,
                                                 tmp_path: Path) -> None:
        prepare(store, "save")
        before = file_of(store).stat()
        assert victim.calls("load", tmp_path / "log") == ["openat", "pread64"]
        after = file_of(store).stat()
        assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)

    def test_what_was_read_just_now_is_open(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path) -> None:
        prepare(store, "save")
        lock, read, *found, write, unlock = victim.calls("again save", tmp_path / "log")
        assert [lock, read, write, unlock] == SAVE[1:]
        assert len(found) == 2, "which file it is, asked for once, and which one has its name"
        assert all("stat" in call for call in found)
        *identified, read = victim.calls("again load", tmp_path / "log")
        assert len(identified) == 2, "the second is needed but once"
        assert all("stat" in call for call in identified)
        assert read == "pread64"

    def test_save_and_touch_make_five(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path) -> None:
        """Of who is logged in a touch makes one more, which sees to the entry."""
        prepare(store, "save")
        assert victim.calls("save", tmp_path / "log") == SAVE
        prepare(store, "touch")
        assert victim.calls("touch", tmp_path / "log") == [*SAVE[:4], "utimensat", *SAVE[4:]]
        found = store.read(KEY)
        assert found is not None
        store.write(KEY, found._replace(user=None, accessed=900.0), found.version)
        assert victim.calls("touch", tmp_path / "log") == SAVE

    def test_only_who_is_logged_in_pays_for_it(self, store: DirectorySessionStore, victim: Victim,
                                               tmp_path: Path) -> None:
        prepare(store, "insert")
        file_of(store).parent.mkdir()
        entry_of(store, "anna").parent.mkdir()
        taken = [[call for call in victim.calls(what, tmp_path / "log") if "stat" not in call]  # varies in name
                 for what in ("insert anonymous", "remove", "insert", "remove")]
        insert = [*SAVE[:4], "utimensat", *SAVE[4:], "close"]
        assert taken == [insert, REMOVE, [*insert[:3], "openat", "utimensat", "close", *insert[3:]],
                         [*REMOVE[:4], "unlink", *REMOVE[4:]]]

    def test_no_sync_unless_asked_for(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path) -> None:
        for what in STEPS:
            prepare(store, what)
            assert not {"fsync", "fdatasync"} & set(victim.calls(what, tmp_path / "log"))

    @pytest.mark.parametrize(("what", "synced"), [
        ("insert", ["fsync", "pwrite64", "fdatasync", "fsync"]), ("save", ["pwrite64", "fdatasync"]),
        ("login", ["fsync", "pwrite64", "fdatasync", "unlink"]),
        ("outgrow", ["pwrite64", "fdatasync", "pwrite64", "rename", "fsync"]),
        ("remove", ["ftruncate", "fdatasync", "unlink", "unlink", "fsync"])])
    def test_synced_in_the_right_order(self, store: DirectorySessionStore, durable_victim: Victim, tmp_path: Path,
                                       what: str, synced: list[str]) -> None:
        prepare(store, what)
        if what in ("insert", "login"):
            for path in (file_of(store), entry_of(store, "anna"), entry_of(store, "bert")):
                path.parent.mkdir(exist_ok=True)
        calls = durable_victim.calls(what, tmp_path / "log")
        changes = ("pwrite64", "ftruncate", "fdatasync", "fsync", "rename", "unlink")
        assert [call for call in calls if call in changes] == synced


class TestKilled:
    @pytest.mark.parametrize("what", STEPS)
    def test_at_every_system_call(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path,
                                  what: str) -> None:
        log = tmp_path / "log"
        prepare(store, what)
        counts = Counter(victim.calls(what, log))
        assert counts["flock"] >= 2
        before, after = STEPS[what]
        found = set()
        for call, count in counts.items():
            for number in range(1, count + 1):
                prepare(store, what)
                result = victim.do(what, log, "-e", f"inject={call}:signal=KILL:when={number}")
                assert result == "over", (call, number)
                found.add(seen(store))
                assert found <= {before, after}, (call, number)
                assert_indexed(store)
                self.assert_usable(store)
        assert found == {before, after}

    def test_purge_at_every_system_call(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path) -> None:
        """Entries without a record go, the record that is there keeps its own."""
        log = tmp_path / "log"
        strays = [entry_of(store, "bert"), entry_of(store, "bert", "cd" * 32), entry_of(store, "anna", "cd" * 32)]

        def begin() -> None:
            prepare(store, "save")
            for path in strays:
                path.parent.mkdir(exist_ok=True)
                path.touch()

        begin()
        counts = Counter(victim.calls("purge", log))
        assert files(store) == [KEY, entry_of(store, "anna").name]
        for call, number in [(call, number) for call, count in counts.items() for number in range(1, count + 1)]:
            begin()
            assert victim.do("purge", log, "-e", f"inject={call}:signal=KILL:when={number}") == "over", (call, number)
            assert_indexed(store)
            assert seen(store) == BEFORE
            store.purge()
            assert [name for name in files(store) if "@" in name] == [entry_of(store, "anna").name], (call, number)

    def assert_usable(self, store: DirectorySessionStore) -> None:
        """The dead hold no lock, and what they left is no hindrance and is swept up."""
        found = store.read(KEY)
        version = store.write(KEY, record(b"next"), None if found is None else found.version)
        assert data_of(store) == b"next"
        assert_indexed(store)
        store.remove(KEY, version)
        for path in Path(store.directory).rglob("*.tmp"):
            assert store.purge() == 0
            assert path.exists()
            os.utime(path, (0.0, 0.0))
        assert store.purge() == 0
        assert files(store) == []


class TestFailing:
    @pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EMFILE", "EACCES", "EROFS"])
    @pytest.mark.parametrize("what", STEPS)
    def test_at_every_system_call(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path, what: str,
                                  error: str) -> None:
        """The failure is reported, and the record is the old one, or the new one."""
        log = tmp_path / "log"
        prepare(store, what)
        counts = Counter(victim.calls(what, log))
        before, after = STEPS[what]
        for call, count in counts.items():
            for number in range(1, count + 1):
                prepare(store, what)
                result = victim.do(what, log, "-e", f"inject={call}:error={error}:when={number}")
                assert result == "refused", (call, number)
                assert seen(store) in (before, after), (call, number)
                assert not [name for name in files(store) if name.endswith(".tmp")], (call, number)
                assert_indexed(store)
                if what == "insert" and seen(store) is None:
                    assert not entry_of(store, "anna").exists(), (call, number)

    def test_read_is_refused(self, store: DirectorySessionStore, victim: Victim, tmp_path: Path) -> None:
        prepare(store, "save")
        for call in ("openat", "pread64"):
            for error in ("EIO", "EMFILE", "EACCES"):
                once = ":when=1" if error != "EACCES" else ""  # what may not be written is read nevertheless
                assert victim.do("load", tmp_path / "log", "-e", f"inject={call}:error={error}{once}") == "refused"

    def test_file_size_limit_stops_in_the_middle_of_a_slot(self, store: DirectorySessionStore) -> None:
        """As a full disk does: a part of the slot is written, then no more."""
        version = store.write(KEY, record(OLD), None)
        with limited(resource.RLIMIT_FSIZE, 2048 + 100), pytest.raises(StoreUnavailable) as caught:
            store.write(KEY, record(NEW), version)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EFBIG
        assert data_of(store) == OLD
        store.write(KEY, record(NEW), version)
        assert data_of(store) == NEW

    def test_file_size_limit_stops_an_insert(self, store: DirectorySessionStore) -> None:
        with limited(resource.RLIMIT_FSIZE, 100), pytest.raises(StoreUnavailable):
            store.write(KEY, record(NEW), None)
        assert files(store) == []

    def test_file_size_limit_stops_a_larger_file(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        with limited(resource.RLIMIT_FSIZE, 8192), pytest.raises(StoreUnavailable):
            store.write(KEY, record(LARGE), version)
        assert data_of(store) == OLD
        assert files(store) == [KEY, entry_of(store, "anna").name]

    def test_no_file_descriptor_left(self, store: DirectorySessionStore) -> None:
        version = store.write(KEY, record(OLD), None)
        calls: list[Callable[[], Any]] = [
            lambda: store.read(KEY), lambda: store.write(KEY, record(NEW), version), lambda: store.remove(KEY),
            lambda: store.touch(KEY, 990.0, None), lambda: store.write("cd" * 32, record(NEW), None),
            lambda: list(store.scan()), lambda: list(store.records_of("anna")), store.purge]
        for call in calls:
            with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(StoreUnavailable) as caught:
                call()
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EMFILE
        assert data_of(store) == OLD
        assert files(store) == [KEY, entry_of(store, "anna").name]

    def test_no_file_descriptor_left_for_the_entry(self, store: DirectorySessionStore) -> None:
        version = store.write("cd" * 32, record(OLD), None)
        before = files(store)
        gc.collect()  # the stores of other tests close their files
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        for call in (lambda: store.write(KEY, record(NEW), None),
                     lambda: store.write("cd" * 32, record(NEW)._replace(user="bert"), version)):
            with limited(resource.RLIMIT_NOFILE, lowest + 1), pytest.raises(StoreUnavailable) as caught:
                call()
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EMFILE
        assert files(store) == before
        assert data_of(store, "cd" * 32) == OLD

    @pytest.mark.parametrize("instead", ["nothing", "a file"])
    def test_directory_taken_away(self, store: DirectorySessionStore, tmp_path: Path, instead: str) -> None:
        """A disk that is not mounted is no reason to log everybody out."""
        version = store.write(KEY, record(OLD), None)
        Path(store.directory).rename(tmp_path / "elsewhere")
        if instead == "a file":
            Path(store.directory).write_bytes(b"")
        calls: list[Callable[[], Any]] = [
            lambda: store.read(KEY), lambda: store.write(KEY, record(NEW), version), lambda: store.remove(KEY),
            lambda: store.touch(KEY, 990.0, None), lambda: store.write(KEY, record(NEW), None),
            lambda: list(store.scan()), lambda: list(store.records_of("anna")), store.purge]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="directory"):
                call()
        if instead == "a file":
            Path(store.directory).unlink()
        (tmp_path / "elsewhere").rename(store.directory)
        assert data_of(store) == OLD

    def test_directory_nobody_can_write(self) -> None:
        store = DirectorySessionStore("/proc/self", clock=lambda: 1000.0)
        with pytest.raises(StoreUnavailable):
            store.write(KEY, record(NEW), None)


class limited:
    """A resource limit of this process, for a while."""

    def __init__(self, kind: int, limit: int) -> None:
        self.kind, self.limit = kind, limit

    def __enter__(self) -> None:
        self.before = resource.getrlimit(self.kind)
        resource.setrlimit(self.kind, (self.limit, self.before[1]))

    def __exit__(self, *_: Any) -> None:
        resource.setrlimit(self.kind, self.before)


@pytest.fixture
def before_lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """A function that has something done after the file was opened and before it is locked."""
    real = sessionfile._lock

    def arrange(act: Callable[[], Any]) -> None:
        def lock(fd: int, kind: int) -> None:
            monkeypatch.setattr(sessionfile, "_lock", real)
            act()
            real(fd, kind)

        monkeypatch.setattr(sessionfile, "_lock", lock)

    return arrange


class TestInBetween:
    """What another process does between two steps of ours."""

    def test_removed_before_our_write(self, store: DirectorySessionStore, before_lock: Any) -> None:
        version = store.write(KEY, record(OLD), None)
        before_lock(lambda: store.remove(KEY))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), version)
        assert files(store) == []

    def test_removed_before_our_insert(self, store: DirectorySessionStore, before_lock: Any) -> None:
        store.write(KEY, record(OLD)._replace(expires=999.0), None)
        before_lock(store.purge)
        store.write(KEY, record(NEW), None)
        assert data_of(store) == NEW

    def test_replaced_by_a_larger_file_before_our_write(self, store: DirectorySessionStore, before_lock: Any) -> None:
        version = store.write(KEY, record(OLD), None)
        before_lock(lambda: store.write(KEY, record(LARGE), version))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), version)
        assert data_of(store) == LARGE

    def test_replaced_by_a_larger_file_before_our_touch(self, store: DirectorySessionStore, before_lock: Any) -> None:
        version = store.write(KEY, record(OLD), None)
        before_lock(lambda: store.write(KEY, record(LARGE), version))
        store.touch(KEY, 990.0, 3000.0)
        found = store.read(KEY)
        assert found is not None
        assert (found.data, found.accessed) == (LARGE, 990.0)

    def test_replaced_by_a_larger_file_before_our_removal(self, store: DirectorySessionStore, before_lock: Any) -> None:
        version = store.write(KEY, record(OLD), None)
        before_lock(lambda: store.write(KEY, record(LARGE), version))
        with pytest.raises(Conflict):
            store.remove(KEY, version)
        before_lock(lambda: store.write(KEY, record(LARGE * 9), (store.read(KEY) or record(b"")).version))
        store.remove(KEY)
        assert files(store) == []

    @pytest.mark.parametrize(("call", "after"), [("rename", LARGE), ("unlink", None)])
    def test_killed_when_the_name_was_taken(self, store: DirectorySessionStore, before_lock: Any, call: str,
                                            after: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who waited for the lock of the dead must not save into a file that has no name any more."""
        version = store.write(KEY, record(OLD), None)
        real = getattr(os, call)

        def last(*paths: str) -> None:
            real(*paths)
            raise KeyboardInterrupt

        def die() -> None:
            monkeypatch.setattr(os, call, last)
            with pytest.raises(KeyboardInterrupt):
                store.remove(KEY) if after is None else store.write(KEY, record(after), version)

        before_lock(die)
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), version)
        assert data_of(store) == after

    def test_inserted_before_our_insert(self, store: DirectorySessionStore, before_lock: Any) -> None:
        before_lock(lambda: store.write(KEY, record(OLD), None))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), None)
        assert data_of(store) == OLD

    def test_used_again_before_it_is_purged(self, store: DirectorySessionStore, before_lock: Any) -> None:
        store.write(KEY, record(OLD)._replace(expires=999.0), None)
        before_lock(lambda: store.write(KEY, record(NEW), None))
        assert store.purge() == 0
        assert data_of(store) == NEW

    def test_session_where_something_else_was(self, store: DirectorySessionStore, before_lock: Any) -> None:
        """Of two who replace a symbolic link, the slower does not remove the session of the faster."""
        file_of(store).parent.mkdir()
        file_of(store).symlink_to("/nowhere")
        before_lock(lambda: store.write(KEY, record(OLD), None))
        with pytest.raises(Conflict):
            store.write(KEY, record(NEW), None)
        assert data_of(store) == OLD

    def test_folder_is_locked_before_anything_is_taken_away(self, store: DirectorySessionStore,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
        file_of(store).parent.mkdir()
        file_of(store).symlink_to("/nowhere")
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.01)
        folder = os.open(file_of(store).parent, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="lock"):
            store.write(KEY, record(NEW), None)
        assert file_of(store).is_symlink()
        os.close(folder)
        store.write(KEY, record(NEW), None)

    def test_two_saves_during_our_read(self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """We met the first slot before both of them and the second slot in the middle of the later one."""
        version = store.write(KEY, record(OLD), store.write(KEY, record(b"long superseded"), None))
        early = file_of(store).read_bytes()
        version = store.write(KEY, record(b"acknowledged"), version)
        store.write(KEY, record(NEW), version)
        late = file_of(store).read_bytes()
        real = sessionfile._fetch
        mixed = early[:2048 + 40] + late[2048 + 40:]

        def fetch(fd: int) -> bytes:
            monkeypatch.setattr(sessionfile, "_fetch", real)
            return mixed

        monkeypatch.setattr(sessionfile, "_fetch", fetch)
        assert data_of(store) == NEW

    def test_replaced_by_a_larger_file_during_our_read(self, store: DirectorySessionStore, before_lock: Any) -> None:
        """We met the middle of a save, wait for its end, and find that another one was quicker."""
        version = store.write(KEY, record(OLD), store.write(KEY, record(b"older"), None))
        with file_of(store).open("r+b") as file:
            file.seek(100)
            file.write(b"torn")  # of its version, which might be the newest
        before_lock(lambda: store.write(KEY, record(LARGE), version))
        assert data_of(store) == LARGE

    def test_lock_of_a_stopped_process(self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        version = store.write(KEY, record(OLD), None)
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.01)
        with file_of(store).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert data_of(store) == OLD
            with pytest.raises(StoreUnavailable, match="lock"):
                store.write(KEY, record(NEW), version)
        store.write(KEY, record(NEW), version)

    def test_lock_is_waited_for(self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        version = store.write(KEY, record(OLD), None)
        with file_of(store).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(file, fcntl.LOCK_UN))
            store.write(KEY, record(NEW), version)
        assert data_of(store) == NEW

    def test_fork_in_the_middle_of_a_save(self, store: DirectorySessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The child has a copy of the descriptor; the lock must not live as long as it does."""
        version = store.write(KEY, record(OLD), None)
        real = directory.folder.write_all
        children = []
        gate, opened = os.pipe()

        def write(fd: int, data: bytes, at: int) -> None:
            child = os.fork()
            if not child:
                os.close(opened)
                os.read(gate, 1)
                os._exit(0)
            children.append(child)
            real(fd, data, at)

        monkeypatch.setattr(directory.folder, "write_all", write)
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.01)
        try:
            version = store.write(KEY, record(NEW), version)
            monkeypatch.setattr(directory.folder, "write_all", real)
            store.write(KEY, record(b"next"), version)
        finally:
            os.close(opened)
            os.close(gate)
            for child in children:
                os.waitpid(child, 0)
        assert len(children) == 1
        assert data_of(store) == b"next"


class TestEntries:
    """What another process does to the entries between two steps of ours; the fixture looks at the end."""

    def test_purge_does_not_take_the_entry_of_a_record_being_made(self, store: DirectorySessionStore,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
        real = directory.folder.write_all
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.01)

        def write(fd: int, data: bytes, at: int) -> None:
            assert entry_of(store, "anna").exists()
            with pytest.raises(StoreUnavailable, match="lock"):
                store.purge()
            real(fd, data, at)

        monkeypatch.setattr(directory.folder, "write_all", write)
        store.write(KEY, record(NEW), None)

    def test_record_made_before_purge_has_the_lock(self, store: DirectorySessionStore, before_lock: Any) -> None:
        """There was no file when it looked for one."""
        self.leave_entry(store)
        before_lock(lambda: store.write(KEY, record(NEW), None))
        store.purge()
        assert data_of(store) == NEW

    def test_purged_before_our_insert(self, store: DirectorySessionStore, before_lock: Any) -> None:
        """The file that we opened is not there any more, nor is the entry that was."""
        self.leave_entry(store)
        before_lock(store.purge)
        store.write(KEY, record(NEW), None)

    @pytest.mark.parametrize("act", ["remove", "purge"])
    def test_no_insert_before_the_entry_of_the_last_is_gone(self, store: DirectorySessionStore, act: str,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
        store.write(KEY, record(OLD), None)
        if act == "purge":
            file_of(store).unlink()
        real, tried = os.unlink, []
        monkeypatch.setattr(sessionfile, "_PATIENCE", 0.01)

        def unlink(path: str) -> None:
            if "due-" not in path:
                with pytest.raises(StoreUnavailable, match="lock"):
                    store.write(KEY, record(NEW), None)
                tried.append(path)
            real(path)

        monkeypatch.setattr(os, "unlink", unlink)
        store.remove(KEY) if act == "remove" else store.purge()
        assert tried == [str(entry_of(store, "anna")), str(file_of(store))]
        monkeypatch.undo()
        store.write(KEY, record(NEW), None)

    def test_another_purge_was_quicker(self, store: DirectorySessionStore, before_lock: Any) -> None:
        self.leave_entry(store)
        before_lock(entry_of(store, "anna").unlink)
        assert store.purge() == 0
        assert files(store) == []

    def test_removed_during_our_read(self, store: DirectorySessionStore, before_lock: Any,
                                     caplog: pytest.LogCaptureFixture) -> None:
        store.write(KEY, record(OLD), None)
        os.truncate(file_of(store), 0)
        before_lock(file_of(store).unlink)
        assert data_of(store) is None
        assert caplog.messages == []

    def leave_entry(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD), None)
        file_of(store).unlink()


class TestLeftBehind:
    def test_purge_sweeps_up_what_is_old(self, store: DirectorySessionStore) -> None:
        store.write(KEY, record(OLD), None)
        folder = file_of(store).parent
        names = [f"{KEY}.0123456789abcdef.tmp", "cd" * 31 + "ab", "ef" * 31 + "ab"]
        contents = [b"part of a larger file", b"", file_of(store).read_bytes()[:150]]
        for name, data in zip(names, contents, strict=True):
            (folder / name).write_bytes(data)
        assert store.purge() == 0
        assert len(files(store)) == 5
        for name in names:
            os.utime(folder / name, (2e9 if name.endswith(".tmp") else 0.0, 0.0))  # as if made for a record that lasts
        assert store.purge() == 0
        assert files(store) == [KEY, entry_of(store, "anna").name]
        assert data_of(store) == OLD
