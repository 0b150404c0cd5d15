"""What a Durus database may suffer from its surroundings: interruptions, rights, links, lies and mistyped names."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from durus.connection import Connection

from session2.errors import ConfigurationError, StoreMissing, StoreUnavailable
from session2.record import Record
from session2.store.durus import DurusSessionStore, layout
from session2.testing.store.samples import contents, key_of, record_at
from session2.urls import from_url

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere
from limits import memory_limited
from servers_durus import DurusServer

pytestmark = pytest.mark.durus

KEY = key_of(0)
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.durus"


@pytest.fixture
def make(path: Path) -> Iterator[Callable[..., DurusSessionStore]]:
    made = []

    def make(where: Any = path, **options: Any) -> DurusSessionStore:
        made.append(DurusSessionStore(where, create=True, clock=lambda: 1000.0, **{"durable": False, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DurusServer]:
    with DurusServer(tmp_path / "durus") as server:
        yield server


def record(data: bytes = b"state", expires: float | None = 2000.0) -> Record:
    return Record(data, 800.0, 900.0, 900.0, expires, "anna")


def filled(store: DurusSessionStore, count: int = 100) -> DurusSessionStore:
    for number in range(count):
        store.write(key_of(number), record(b"%d" % number), None)
    return store


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["file", "server"])
def test_interrupted_anywhere(make: Any, request: Any, kind: str) -> None:
    """What comes next is the answer to what was asked; nobody waits for what was interrupted."""
    where = (request.getfixturevalue("server").address,) if kind == "server" else ()
    store = filled(make(*where, timeout=0.5), 3)
    store._timeout = 0.5
    versions = [store.read(KEY).version]

    def act() -> None:
        store.write(KEY, record(b"%d" % len(versions)), versions[-1])
        store.read(key_of(1))

    for _ in interrupted_everywhere(act):
        assert [store.read(key_of(number)).data for number in (1, 2)] == [b"1", b"2"]
        versions.append(store.read(KEY).version)
    assert len(versions) > 300


def test_a_given_connection_that_was_interrupted_is_used_no_more_unless_it_is_known_to_be_good(path: Path) -> None:
    connection = Connection(str(path))
    store = filled(DurusSessionStore(connection, timeout=0.5), 2)

    def interrupt(connection: Any) -> None:
        connection.get_root()["half"] = "done"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._source.use(interrupt)
    with pytest.raises(StoreUnavailable, match="broke"):
        store.read(KEY)
    connection.storage.close()


STORM = """
import logging, signal, sys, time
from session2.errors import Conflict
from session2.record import Record
from session2.store.durus import DurusSessionStore

logging.disable(logging.WARNING)  # that half of a transaction, which was interrupted, is cut off

class Limit(BaseException):
    pass

def interrupt(*_):
    if armed:
        raise Limit

armed = False
store = DurusSessionStore(sys.argv[1], create=True, timeout=5.0, durable=False)
store.setup()
for key in "bc":
    store.write(key * 64, Record(key.encode(), 1.0, 1.0, 1.0), None)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0011, 0.0011)
hits, end = 0, time.monotonic() + 60
while hits < 300 and time.monotonic() < end:
    try:
        armed = True
        record = store.read("a" * 64)
        store.write("a" * 64, Record(b"x" * 500, 1.0, 1.0, 1.0), record and record.version)
        for key in "bc":
            assert store.read(key * 64).data == key.encode()
        armed = False
    except Limit:
        armed = False
        hits += 1
signal.setitimer(signal.ITIMER_REAL, 0)
record = store.read("a" * 64)
store.write("a" * 64, Record(b"last", 1.0, 1.0, 1.0), record and record.version)
store.close()
assert DurusSessionStore(sys.argv[1]).read("a" * 64).data == b"last"
print(hits)
"""


def test_a_storm_of_signals(path: Path) -> None:
    assert python(STORM, path) == "300\n"


EXIT = """
import sys
from session2.record import Record
from session2.store.durus import DurusSessionStore

store = DurusSessionStore(sys.argv[1], create=True)
store.write("a" * 64, Record(b"x", 1.0, 1.0, 1.0), None)
kept = [store, store._source]
kept.append(kept)
sys.modules["kept"] = kept
"""


@pytest.mark.parametrize("kind", ["file", "server"])
def test_the_interpreter_ends_in_silence(request: Any, path: Path, kind: str) -> None:
    assert python(EXIT, request.getfixturevalue("server").address if kind == "server" else path) == ""


def python(program: str, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-W", "ignore::ResourceWarning", "-c", program,
                           *map(str, arguments)], text=True, capture_output=True, timeout=100)
    # What an interruption left half-written is cut off, and that is said.
    said = [line for line in done.stderr.splitlines() if "ended in a broken transaction; cut off" not in line]
    assert (done.returncode, said) == (0, [])
    return done.stdout


# -- answers ----------------------------------------------------------------------------------------------------------


def test_the_record_of_another_key_is_never_handed_out(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(make(), 3)

    def mix_up(trees: layout.Trees) -> None:
        layout.put(trees, KEY, list(layout.find(trees, key_of(1))[0]))

    store._transact(mix_up)
    for act in (lambda: store.read(KEY), lambda: store.touch(KEY, 950.0, None),
                lambda: store.write(KEY, record(), store.read(key_of(1)).version)):
        with pytest.raises(StoreUnavailable, match="another question"):
            act()
    with caplog.at_level(logging.WARNING, "session2"):
        assert contents(store) == {key_of(1): b"1", key_of(2): b"2"}
    assert "another key" in caplog.text


@pytest.mark.parametrize("failure", [MemoryError, OSError, RuntimeError])
def test_what_fails_while_a_record_is_decoded_is_no_damage(make: Any, monkeypatch: Any, failure: Any) -> None:
    """Out of memory, or a time limit that ran out just then: the session is whole, and asked for again it is there."""
    store = filled(make(), 2)
    store.close()
    store.read(key_of(1))  # the trees are in memory now
    setstate = Record.__new__

    def fail(*_: Any) -> None:
        monkeypatch.undo()
        raise failure("out of something")

    monkeypatch.setattr("durus.persistent_list.PersistentList.__setstate__", fail, raising=False)
    if failure is OSError:  # the system's: done again on a new connection
        assert store.read(KEY).data == b"0"
    else:
        with pytest.raises(failure):
            store.read(KEY)
    assert store.read(KEY).data == b"0"
    assert setstate is Record.__new__


# -- what need not be read --------------------------------------------------------------------------------------------


def test_a_purge_with_nothing_due_decodes_nothing(make: Any, monkeypatch: Any) -> None:
    store = filled(make())
    store.write(key_of(1000), record(expires=None), None)
    decode, decoded = layout._decode, []
    monkeypatch.setattr(layout, "_decode", lambda *found: (decoded.append(found[1]), decode(*found))[1])
    assert store.purge() == 0
    assert store.purge(1999.0) == 0
    assert decoded == []
    assert store.purge(2000.0, batch=7) == 100
    assert contents(store) == {key_of(1000): b"state"}


def test_a_session_in_use_is_filed_anew_only_when_its_time_comes(make: Any) -> None:
    store = filled(make(), 20)
    before = filed(store)
    for number in range(20):
        assert store.touch(key_of(number), 950.0, 3000.0 + number)
    assert filed(store) == before
    assert store.purge(2500.0, batch=3) == 0
    assert filed(store) == {key_of(number): 3000 + number for number in range(20)}
    store.touch(KEY, 960.0, 1500.25)
    store.touch(key_of(1), 960.0, None)
    assert filed(store)[KEY] == 1500
    assert store.purge(1500.1) == 0
    assert store.purge(1500.25) == 1
    assert store.purge(3500.0) == 18
    assert filed(store) == {}
    assert list(contents(store)) == [key_of(1)]


def filed(store: DurusSessionStore) -> dict[str, int]:
    def look(trees: layout.Trees) -> dict[str, int]:
        return {entry[12:]: int(entry[:12]) for tree in trees.due for entry in tree}

    return store._transact(look)


@pytest.mark.parametrize("expires", [-5.0, 0.25, 1e15, float("inf"), 2000.9])
def test_any_time_can_be_filed(make: Any, expires: float) -> None:
    store = make()
    store.write(KEY, record(expires=expires), None)
    over = 1 if expires < 3000 else 0
    assert store.purge(2000.5) == (1 if expires < 2000 else 0)
    assert store.purge(3000.0) + (expires < 2000) == over
    assert store._transact(lambda trees: sum(len(list(tree)) for tree in trees.due)) == 1 - over


# -- files of others --------------------------------------------------------------------------------------------------


def test_a_planted_link_is_not_followed(make: Any, path: Path) -> None:
    for content in (b"", b"precious"):
        victim = path.parent / "victim"
        victim.write_bytes(content)
        path.symlink_to(victim)
        for act in (make().setup, lambda: make().read(KEY)):
            with pytest.raises(ConfigurationError, match="symbolic link"):
                act()
        assert victim.read_bytes() == content
        path.unlink()


def test_a_link_planted_where_a_packed_file_is_made(make: Any, path: Path) -> None:
    victim = path.parent / "victim"
    victim.write_bytes(b"precious")
    store = filled(make(), 3)
    for name in (".pack", ".prepack"):
        Path(f"{path}{name}").symlink_to(victim)
    store.pack()
    assert victim.read_bytes() == b"precious"
    assert len(contents(store)) == 3


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda path: path.chmod(0o666), "written by everybody"),
    (lambda path: os.chown(path, 12345, 12345), "another user"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "no ordinary file"),
    (lambda path: path.parent.chmod(0o777), "can replace the file")], ids=["mode", "owner", "kind", "folder"])
def test_files_that_others_could_have_written_are_refused(make: Any, path: Path, monkeypatch: Any, spoil: Any,
                                                          reason: str) -> None:
    filled(make(), 1).close()
    if reason == "another user":  # only root can make such a file, and root may use it
        if os.geteuid() == 0:
            spoil(path)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    else:
        spoil(path)
    with pytest.raises(ConfigurationError, match=reason):
        make().read(KEY)
    path.parent.chmod(0o700)


def test_a_packed_file_keeps_its_owner_and_mode(make: Any, path: Path) -> None:
    store = filled(make(), 3)
    owner = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    path.chmod(0o640)
    store.pack()
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o640)


def test_a_file_replaced_while_it_is_opened_is_not_written_to(make: Any, path: Path, monkeypatch: Any) -> None:
    """By whoever packs it: what is written to the old one is lost."""
    filled(make(), 3).close()
    durus = sys.modules["durus.file"].File  # type: ignore[attr-defined]
    obtain = durus.obtain_lock

    def replace_first(file: Any) -> None:
        monkeypatch.undo()
        Path(f"{path}.pack").write_bytes(path.read_bytes())
        os.replace(f"{path}.pack", path)
        obtain(file)

    monkeypatch.setattr(durus, "obtain_lock", replace_first)
    store = make()
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.write(key_of(3), record(), None)
    store.write(key_of(3), record(), None)
    assert len(contents(store)) == 4


# -- lengths that are lies --------------------------------------------------------------------------------------------


def test_a_small_file_does_not_take_much_memory(make: Any, path: Path) -> None:
    """Durus makes as many bytes as the index says that each number in it has."""
    path.write_bytes(b"SHELF-1\n" + numbers(0, 16, 2_000_000_000, 0) + bytes(56))
    assert path.stat().st_size == 96
    with memory_limited(1 << 28), pytest.raises(Exception, match="damaged"):
        make().purge()


def test_no_length_in_a_file_takes_much_memory(make: Any, path: Path) -> None:
    filled(make(), 3).close()
    whole = path.read_bytes()
    with memory_limited(1 << 28):
        for at in [*range(8, 400, 8), *range(400, len(whole) - 8, 200)]:
            path.write_bytes(whole[:at] + numbers(2_000_000_000) + whole[at + 8:])
            store = make(timeout=0.05)
            try:
                contents(store)
                store.purge()
            except MemoryError:
                raise
            except Exception:
                continue
            finally:
                store.close()


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "big") for value in values)


# -- what is not there ------------------------------------------------------------------------------------------------


ACTS = [lambda store: store.read(KEY), lambda store: store.write(KEY, record(), None),
        lambda store: store.touch(KEY, 1.0, None), lambda store: store.remove(KEY), lambda store: list(store.scan()),
        lambda store: list(store.records_of("anna")), lambda store: store.purge()]


@pytest.mark.parametrize("act", ACTS)
def test_a_mistyped_name_is_no_empty_database(path: Path, act: Callable[[DurusSessionStore], object]) -> None:
    store = DurusSessionStore(path)
    with pytest.raises(StoreMissing, match=r"no Durus database at .*sessions\.durus.*\?create=true"):
        act(store)
    assert list(path.parent.iterdir()) == []
    store.setup()
    act(store)
    store.close()


def test_the_database_of_somebody_else_is_no_empty_store(server: DurusServer) -> None:
    store = DurusSessionStore(server.address)
    for act in ACTS:
        with pytest.raises(StoreMissing, match="nothing of session2"):
            act(store)
    store.setup()
    for act in ACTS:
        act(store)
    store.close()


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"no folder .*nowhere"):
        DurusSessionStore(path.parent / "nowhere" / "x").read(KEY)
    with pytest.raises(StoreUnavailable, match=r"no folder .*nowhere; make"):
        DurusSessionStore(path.parent / "nowhere" / "x").setup()


def test_create_in_a_url(path: Path) -> None:
    store = from_url(f"durus:{path}?create=true")
    assert list(store.scan()) == []
    store.write(KEY, record_at(0.0, expires=None), None)
    store.close()
    store = from_url(f"durus:{path}")
    assert len(list(store.scan())) == 1
    store.close()
