"""What the files of a shelf may suffer from their surroundings: rights, links, lies, forks and interruptions."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_fork import fork_in_c

from session2.errors import ConfigurationError, StoreMissing, StoreUnavailable
from session2.record import Record
from session2.store import rights
from session2.store.shelve import ShelveSessionStore, dbmfile, journal
from session2.store.shelve import store as module
from session2.urls import from_url

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere, interrupted_twice
from limits import memory_limited

KEYS = [f"{number:064x}" for number in range(50)]
FLAVOURS = ["dumb", "sqlite3", *(name for name in ("gnu", "ndbm") if dbmfile._has_module(name))]
NOBODY = 65534


def record(data: bytes = b"state", accessed: float = 900.0, expires: float | None = 2000.0) -> Record:
    return Record(data, 800.0, 900.0, accessed, expires, "anna")


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


def filled(store: ShelveSessionStore) -> ShelveSessionStore:
    """Put a session under each key, and all of them into the dbm file."""
    for key in KEYS:
        store.write(key, record(key.encode()), None)
    store.compact()
    return store


def found(store: ShelveSessionStore) -> int:
    return sum(store.read(key) is not None for key in KEYS)


def parts(path: Path) -> list[Path]:
    """Return the files that are the dbm file."""
    return [part for part in path.parent.glob(path.name + "*") if part.suffix != ".journal"]


def in_a_child(act: Callable[[], object], fork: Callable[[], int] = os.fork) -> Callable[[], None]:
    """Do something in a forked process; return what waits for its end."""
    child = fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def wait() -> None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return wait


# -- files that may not be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_file_that_may_not_be_read_is_not_absent(make: Any, flavour: str) -> None:
    """Taken for "no file yet", every session was missing and the next save replaced the file."""
    with open_to_nobody() as folder:
        path = Path(folder, "sessions.shelf")
        filled(make(flavour=flavour))  # while the modules for it may be read

        def as_another_user() -> None:
            if os.geteuid() == 0:
                os.setresuid(NOBODY, NOBODY, NOBODY)
            store = filled(ShelveSessionStore(path, create=True, flavour=flavour, journal_size=0, clock=lambda: 1.0))
            for part in parts(path):
                part.chmod(0)
                for act in (lambda: found(store), lambda: store.write("a" * 64, record(), None), store.compact,
                            lambda: found(ShelveSessionStore(path, clock=lambda: 1.0))):
                    store.close()
                    with pytest.raises(StoreUnavailable, match="ermission"):
                        act()
                part.chmod(0o600)
                assert found(store) == len(KEYS)

        in_a_child(as_another_user)()


def open_to_nobody() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that the user nobody may use; the tests' own are closed to others."""
    folder = tempfile.TemporaryDirectory()
    if os.geteuid() == 0:
        os.chown(folder.name, NOBODY, NOBODY)
    return folder


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("part", range(2))
def test_half_a_file_is_not_no_file(make: Any, path: Path, flavour: str, part: int) -> None:
    store = filled(make(flavour=flavour))
    store.close()
    if len(parts(path)) <= part:
        return
    taken = sorted(parts(path))[part]
    if len(parts(path)) == 1:  # then it is none at all
        taken.write_bytes(b"?")
    else:
        taken.unlink()
    with pytest.raises(StoreUnavailable, match="not all of one"):
        store.write("a" * 64, record(), None)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_file_made_anew_keeps_its_owner_and_mode(make: Any, path: Path, flavour: str) -> None:
    """A cron job that root runs must not take the sessions away from the application."""
    store = filled(make(flavour=flavour))
    owner = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for at_rest in path.parent.iterdir():
        os.chown(at_rest, *owner)
        at_rest.chmod(0o640)
    store.write(KEYS[0], record(expires=950.0), store.read(KEYS[0]).version)
    assert store.purge(1001.0) == 1
    store.setup(drop=True)
    for at_rest in path.parent.iterdir():
        status = at_rest.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o640)


def test_what_is_new_belongs_to_the_owner_of_what_is_there(make: Any, path: Path) -> None:
    """A journal beside a file that had none, and the first file beside a journal."""
    owner = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    store = filled(make(flavour="sqlite3"))
    journal, file = Path(f"{path}.journal"), path
    for gone, kept in ((journal, file), (file, journal)):
        os.chown(kept, *owner)
        kept.chmod(0o640)
        gone.unlink()
        store.compact()
        assert (gone.stat().st_uid, stat.S_IMODE(gone.stat().st_mode)) == (owner[0], 0o640)


def test_a_file_whose_owner_cannot_be_kept_is_not_made_anew(make: Any, path: Path, monkeypatch: Any,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    store = filled(make(journal_size=0))
    before = {part: part.stat().st_ino for part in parts(path)}

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(rights, "take_after", refuse)
    store.write("a" * 64, record(), None)
    assert "cannot be made anew" in caplog.text
    assert {part: part.stat().st_ino for part in parts(path)} == before
    assert found(make()) == len(KEYS)


# -- files of others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".journal", ".dir", ".dat", ".db"])
def test_a_planted_link_is_not_followed(make: Any, path: Path, name: str) -> None:
    victim = path.parent / "victim"
    for content in (b"", b"s2shel", b"'precious'" * 10):
        victim.write_bytes(content)
        link = Path(f"{path}{name}")
        link.symlink_to(victim)
        for act in (make().setup, lambda: make().write(KEYS[0], record(), None)):
            with pytest.raises(ConfigurationError, match="symbolic link"):
                act()
        assert victim.read_bytes() == content
        link.unlink()


def test_a_link_planted_where_the_new_file_is_made(make: Any, path: Path) -> None:
    victim = path.parent / "victim"
    victim.mkdir()
    (victim / "precious").touch()
    for name in (".new", ".new.dat", ".new.dir"):
        Path(f"{path}{name}").symlink_to(victim)
    store = filled(make(flavour="dumb"))
    assert found(store) == len(KEYS)
    Path(f"{path}.build-{os.geteuid()}").symlink_to(victim)
    with pytest.raises(ConfigurationError, match="somebody else"):
        store.compact()
    assert found(store) == len(KEYS)
    assert os.listdir(victim) == ["precious"]


def test_another_name_for_the_journal_is_refused(make: Any, path: Path) -> None:
    victim = path.parent / "victim"
    victim.touch()
    os.link(victim, f"{path}.journal")
    with pytest.raises(StoreUnavailable, match="another name"):
        make().write(KEYS[0], record(), None)
    assert victim.read_bytes() == b""


def test_the_beginning_of_something_else_is_no_journal(make: Any, path: Path) -> None:
    Path(f"{path}.journal").write_bytes(b"dear diary")
    with pytest.raises(StoreUnavailable, match="not a journal"):
        make().setup()
    assert Path(f"{path}.journal").read_bytes() == b"dear diary"


@pytest.mark.parametrize("name", ["", ".journal"])
@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda path: path.chmod(0o666), "written by everybody"),
    (lambda path: os.chown(path, 12345, 12345), "another user"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "no ordinary file")], ids=["mode", "owner", "kind"])
def test_files_that_others_could_have_written_are_refused(make: Any, path: Path, monkeypatch: Any, name: str,
                                                          spoil: Any, reason: str) -> None:
    filled(make(flavour="sqlite3")).close()
    if reason == "another user":  # only root can make such a file, and root may use it
        if os.geteuid() == 0:
            spoil(Path(f"{path}{name}"))
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    else:
        spoil(Path(f"{path}{name}"))
    with pytest.raises(ConfigurationError, match=reason):
        make().read(KEYS[0])


def test_a_folder_where_anybody_may_replace_files_is_refused(make: Any, path: Path) -> None:
    store = filled(make())
    path.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="chmod o-w"):
        make().read(KEYS[0])
    path.parent.chmod(0o1777)
    assert found(make()) == len(KEYS)
    path.parent.chmod(0o700)
    store.close()


def test_the_journal_is_opened_once(make: Any, monkeypatch: Any) -> None:
    store = make()
    store.setup()
    monkeypatch.setattr(journal, "_opened", None)
    for other in range(3):
        store.write(KEYS[other], record(), None)
    store.compact()
    assert found(store) == 3
    store.close()
    with pytest.raises(TypeError):
        store.read(KEYS[0])


def test_a_journal_that_was_moved_away_is_not_written_to(make: Any, path: Path) -> None:
    """Not even while a process has it open: who restores a backup moves the old files away."""
    store = filled(make())
    moved = Path(f"{path}.journal").rename(path.parent / "moved")
    before = moved.read_bytes()
    store.write("a" * 64, record(), None)
    assert moved.read_bytes() == before
    assert make().read("a" * 64) is not None
    moved.replace(f"{path}.journal")
    assert store.read("a" * 64) is None


def test_rights_that_change_while_the_journal_is_open(make: Any, path: Path) -> None:
    store = filled(make())
    Path(f"{path}.journal").chmod(0o666)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="written by everybody"):
            store.read(KEYS[0])
    Path(f"{path}.journal").chmod(0o600)
    os.link(f"{path}.journal", path.parent / "another")
    with pytest.raises(StoreUnavailable, match="another name"):
        store.read(KEYS[0])
    (path.parent / "another").unlink()
    assert found(store) == len(KEYS)


# -- lengths that are lies --------------------------------------------------------------------------------------------


def test_a_small_file_does_not_take_much_memory(make: Any, path: Path) -> None:
    line = f"{KEYS[0]!r}, (0, 2000000000)\n"
    assert len(line) < 96
    Path(f"{path}.dir").write_text(line)
    Path(f"{path}.dat").write_bytes(b"x")
    with memory_limited(1 << 28):
        assert make().purge() == 0
        assert make().read(KEYS[0]) is None


def test_numbers_in_a_journal_are_checked_before_they_are_used(make: Any, path: Path) -> None:
    store = make()
    store.write(KEYS[0], record(), None)
    whole = Path(f"{path}.journal").read_bytes()
    store.close()
    with memory_limited(1 << 28):
        for at in range(20 + 9, 20 + 17):
            Path(f"{path}.journal").write_bytes(whole[:at] + b"\x7f" + whole[at + 1:])
            assert store.read(KEYS[0]) is None
            store.close()


def test_the_observer_is_told_of_damage(make: Any, path: Path) -> None:
    """Of an entry of the journal, and of a value in the dbm file."""
    store = make(flavour="dumb")
    store.write(KEYS[0], record(b"first value"), None)
    store.write(KEYS[1], record(), None)
    store.close()
    told: list[Any] = []
    journal, file = Path(f"{path}.journal"), Path(f"{path}.dat")
    journal.write_bytes(journal.read_bytes().replace(b"first value", b"f1rst value"))
    assert make(observer=told.append).read(KEYS[0]) is None
    store.compact()
    file.write_bytes(file.read_bytes().replace(b"state", b"st4te"))
    assert make(observer=told.append).read(KEYS[1]) is None
    assert [(event.name, event.key) for event in told] == [("corrupt", KEYS[0][:8]), ("corrupt", KEYS[1][:8])]


def test_numbers_in_a_record_are_checked_before_they_are_used() -> None:
    name = KEYS[0].encode()
    value = module._HEAD.pack(module._MAGIC, 0, 1, 1.0, 1.0, 1.0, 1.0, 2_000_000_000) + b"anna"
    assert module._decode(name, module._sealed(name, value)) is None


# -- what is not there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [
    lambda store: store.read(KEYS[0]), lambda store: store.write(KEYS[0], record(), None),
    lambda store: store.touch(KEYS[0], 1.0, None), lambda store: store.remove(KEYS[0]),
    lambda store: list(store.scan()), lambda store: list(store.records_of("anna")), lambda store: store.purge(),
    lambda store: store.compact()])
def test_a_mistyped_name_is_no_empty_shelf(path: Path, act: Callable[[ShelveSessionStore], object]) -> None:
    store = ShelveSessionStore(path)
    with pytest.raises(StoreMissing, match=r"no shelf at .*sessions\.shelf.*\?create=true"):
        act(store)
    assert list(path.parent.iterdir()) == []
    store.setup()
    act(store)
    store.close()


def test_a_missing_folder_is_named(path: Path) -> None:
    for store in (ShelveSessionStore(path.parent / "nowhere" / "x"), from_url(f"shelve:{path}/x")):
        with pytest.raises(StoreMissing, match="for there is no folder"):
            store.read(KEYS[0])
    with pytest.raises(StoreUnavailable, match=r"no folder .*nowhere; make"):
        ShelveSessionStore(path.parent / "nowhere" / "x").setup()


def test_create_in_a_url(path: Path) -> None:
    store = from_url(f"shelve:{path}?create=true")
    assert list(store.scan()) == []
    assert [at_rest.name for at_rest in path.parent.iterdir()] == ["sessions.shelf.journal"]
    store.close()


# -- what need not be read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_purge_with_nothing_due_reads_nothing(make: Any, path: Path, monkeypatch: Any, flavour: str) -> None:
    filled(make(flavour=flavour)).close()
    store = make()  # as another process does it
    store.write(KEYS[0], record(accessed=990.0), store.read(KEYS[0]).version)
    read: list[bytes] = []
    decode = module._decode
    monkeypatch.setattr(module, "_decode", lambda name, value: (read.append(name), decode(name, value))[1])
    assert store.purge() == 0
    assert store.purge(1999.0) == 0
    assert store.purge(unused_since=900.0) == 0
    assert read == [KEYS[0].encode()] * 3
    assert store.purge(unused_since=950.0) == len(KEYS) - 1
    assert store.purge(2000.0) == 1


def test_a_purge_knows_when_something_will_be_due_also_later(make: Any, monkeypatch: Any) -> None:
    """When the dbm file says that something is over and the journal that it is not, this is found out only once."""
    store = filled(make())
    for key in KEYS:
        store.touch(key, 1500.0, 3000.0)
    assert store.purge(2500.0) == 0
    monkeypatch.setattr(module, "_decode", None)
    assert store.purge(2500.0) == 0
    monkeypatch.undo()
    assert store.purge(3000.0) == len(KEYS)


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fork", [os.fork, fork_in_c])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fork_in_the_middle_of_a_turn(make: Any, flavour: str, fork: Callable[[], int]) -> None:
    """The child neither waits for a thread it does not have, nor shares a file with its parent, nor keeps its lock."""
    store = filled(make(flavour=flavour, timeout=5.0))
    entered, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: store._file.turn(lambda _: (entered.set(), leave.wait(10))))
    thread.start()
    assert entered.wait(10)
    ready, go = os.pipe()

    def work() -> None:
        os.read(ready, 1)
        assert found(store) == len(KEYS)
        store.write("a" * 64, record(), None)
        store.close()

    wait = in_a_child(work, fork)
    leave.set()
    thread.join()
    before = time.monotonic()
    assert found(store) == len(KEYS)  # while the child is there with what it inherited
    assert time.monotonic() - before < 4
    os.write(go, b"1")
    wait()
    assert store.read("a" * 64) is not None


@pytest.mark.parametrize("fork", [os.fork, fork_in_c])
def test_a_parent_that_dies_in_a_turn_leaves_no_lock(make: Any, path: Path, fork: Callable[[], int]) -> None:
    """The journal that was open at the fork is the same open file for both, and so is its lock."""
    report, told = os.pipe()

    def parent() -> None:
        store = make()
        assert found(store) == 0

        def worker() -> None:
            time.sleep(0.5)  # the parent is dead
            store.write(KEYS[0], record(), None)
            os.write(told, b"1")

        def die(_: object) -> None:
            os._exit(0)

        in_a_child(worker, fork)
        store._file.turn(die)

    in_a_child(parent)()
    assert os.read(report, 1) == b"1"
    os.close(report)
    os.close(told)
    assert make(timeout=1.0).read(KEYS[0]) is not None


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("journal_size", [1 << 18, 0])
def test_interrupted_anywhere(make: Any, path: Path, journal_size: int) -> None:
    """Nobody waits for what was interrupted, neither here nor elsewhere, and nothing is left open."""
    store, other = make(timeout=0.1, journal_size=journal_size), make(timeout=0.1)
    store.setup()
    other.write(KEYS[1], record(b"other"), None)
    versions = [store.write(KEYS[0], record(b"0"), None)]

    def act() -> None:
        store.write(KEYS[0], record(b"%d" % len(versions)), versions[-1])
        if journal_size:
            store.touch(KEYS[0], 950.0 + len(versions), 2000.0)

    limit = open_files()
    for _ in interrupted_everywhere(act):
        seen = other.read(KEYS[0])
        assert seen is not None
        assert store.read(KEYS[0]) == seen
        assert other.read(KEYS[1]).data == b"other"
        versions.append(seen.version)
    assert len(versions) > 100
    gc.collect()  # a connection of sqlite3 that is forgotten is in a circle
    assert open_files() <= limit + 3


def test_two_signals_at_once_end_the_turn(path: Path) -> None:
    one, two = (journal.Journal(str(path), False) for _ in range(2))
    interrupted_twice(lambda action: one.turn(action, True, 1.0, time.monotonic()))
    assert two.turn(lambda: True, True, 0.0, time.monotonic())
    one.close()
    two.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


STORM = """
import os, signal, sys, threading, time
from session2.store.shelve import ShelveSessionStore
from session2.record import Record

class Limit(BaseException):
    pass

def interrupt(*_):
    if armed:
        raise Limit

armed = False
store = ShelveSessionStore(sys.argv[1], create=True, timeout=2.0)
store.setup()
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
hits = 0
end = time.monotonic() + 60
while hits < 300 and time.monotonic() < end:
    try:
        armed = True
        store.touch("a" * 64, time.time(), None)
        record = store.read("a" * 64)
        store.write("a" * 64, Record(b"x" * 500, 1.0, 1.0, 1.0), record and record.version)
        armed = False
    except Limit:
        armed = False
        hits += 1
signal.setitimer(signal.ITIMER_REAL, 0)
record = store.read("a" * 64)
store.write("a" * 64, Record(b"last", 1.0, 1.0, 1.0), record and record.version)
assert ShelveSessionStore(sys.argv[1]).read("a" * 64).data == b"last"
print(hits)
"""


def test_a_storm_of_signals(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STORM, str(path)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "300\n"), done.stderr


EXIT = """
import sys, threading
from session2.store.shelve import ShelveSessionStore

store = ShelveSessionStore(sys.argv[1], create=True, timeout=60.0)
entered = threading.Event()
hangs = lambda shelf: (entered.set(), threading.Event().wait())
threading.Thread(target=lambda: store._file.turn(hangs), daemon=True).start()
entered.wait()
"""


def test_an_interpreter_can_end_while_a_thread_hangs(path: Path) -> None:
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-W", "error", "-c", EXIT, str(path)], capture_output=True, text=True,
                          timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - before < 30
