"""The SQLite store: the suite, and what only a database can suffer."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from c_fork import fork_in_c

from session2 import patience
from session2.errors import ConfigurationError, Conflict, StoreMissing, StoreUnavailable
from session2.record import Record
from session2.store.sqlite import SQLiteSessionStore, database, statements
from session2.store.sqlite import store as sqlite
from session2.testing import StoreSuite
from session2.urls import from_url

KEYS = [f"{number:064x}" for number in range(8)]


class TestSQLite(StoreSuite):
    store_class = SQLiteSessionStore

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions.db",), {}


def record(data: bytes = b"state", user: str | None = "anna", expires: float | None = 2000.0) -> Record:
    return Record(data, 800.0, 900.0, 900.0, expires, user)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteSessionStore]:
    store = SQLiteSessionStore(path, timeout=0.1, create=True, clock=lambda: 1000.0)
    yield store
    store.close()


def query(path: Path, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    path.touch(0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def open_files(path: Path) -> list[str]:
    """Return which files of the store this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.islink(link)]
    return sorted(target for target in targets if target.startswith(str(path)))


# -- the indexes -------------------------------------------------------------------------------------------------------


def due(path: Path) -> float | None:
    [(found,)] = query(path, "SELECT due FROM sessions")
    return found


def test_saves_and_touches_leave_the_index_alone_and_purge_moves_it(store: SQLiteSessionStore, path: Path) -> None:
    version = store.write(KEYS[0], record(expires=1100.0), None)
    version = store.write(KEYS[0], record(b"new", expires=1500.0), version)
    store.touch(KEYS[0], 950.0, 1600.0)
    assert due(path) == 1100.0
    assert store.purge(1550.0) == 0
    assert due(path) == 1600.0
    store.touch(KEYS[0], 960.0, None)
    assert store.purge(1e9) == 0
    assert due(path) is None


@pytest.mark.parametrize("sooner", ["write", "touch"])
def test_a_shorter_life_moves_the_index_at_once(store: SQLiteSessionStore, sooner: str) -> None:
    for before in (1500.0, None):
        version = store.write(KEYS[0], record(expires=before), None)
        if sooner == "write":
            store.write(KEYS[0], record(expires=1200.0), version)
        else:
            store.touch(KEYS[0], 950.0, 1200.0)
        assert store.purge(1300.0) == 1


def test_user_may_change(store: SQLiteSessionStore) -> None:
    version = store.write(KEYS[0], record(user=None), None)
    for user in ("anna", "bert", None):
        version = store.write(KEYS[0], record(user=user), version)
        found = store.read(KEYS[0])
        assert found is not None
        assert found.user == user
        for name in ("anna", "bert"):
            assert len(list(store.records_of(name))) == (name == user)


@pytest.mark.parametrize(("statement", "index"), [
    (statements.PAGE_OF_USER, "sessions_user"), (statements.PURGE, "sessions_due"),
    (statements.POSTPONE, "sessions_due")])
def test_indexes_are_used(store: SQLiteSessionStore, path: Path, statement: str, index: str) -> None:
    store.setup()
    values = {"user": "anna", "after": 0, "now": 1.0, "batch": 1}
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + statement.format(table="sessions"), values).fetchall()
    assert any(index in row[-1] for row in plan)


def test_long_pages_and_batches(store: SQLiteSessionStore) -> None:
    count = 3 * sqlite._PAGE_SIZE
    for number in range(count):
        store.write(f"{number:064x}", record(expires=1100.0 if number % 2 else 5000.0), None)
    assert len(dict(store.scan())) == len(dict(store.records_of("anna"))) == count
    assert store.purge(1100.0, batch=7) == count // 2
    assert len(dict(store.scan())) == count // 2


def test_purge_takes_few_statements(store: SQLiteSessionStore) -> None:
    """What is due is looked for again only where there may be more; it is moved only where something lives."""
    for number in range(450):
        store.write(f"{number:064x}", record(expires=1100.0), None)
    [connection] = store._database._idle
    seen: list[str] = []
    connection.set_trace_callback(lambda statement: seen.append(statement.split()[0]))
    assert store.purge(1100.0) == 450
    assert seen == ["DELETE", "DELETE", "DELETE", "UPDATE"]
    seen.clear()
    assert store.purge(1100.0) == 0
    assert seen == ["DELETE", "UPDATE"]


def test_purge_of_some_among_many_that_live(store: SQLiteSessionStore) -> None:
    """Those that are due and live fill whole batches, with those that have expired in between."""
    for number in range(60):
        version = store.write(f"{number:064x}", record(expires=1100.0), None)
        if number % 6:
            store.write(f"{number:064x}", record(expires=5000.0), version)
    assert store.purge(1100.0, batch=7) == 10
    assert len(dict(store.scan())) == 50


# -- the file and the table --------------------------------------------------------------------------------------------


def test_files_are_private(store: SQLiteSessionStore, path: Path) -> None:
    before = os.umask(0)
    try:
        store.write(KEYS[0], record(), None)
    finally:
        os.umask(before)
    assert {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {
        "sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


def test_two_tables_in_one_file(store: SQLiteSessionStore, path: Path) -> None:
    other = SQLiteSessionStore(path, table="Other_2", create=True, clock=lambda: 1000.0)
    store.write(KEYS[0], record(b"one"), None)
    other.write(KEYS[0], record(b"two"), None)
    other.setup(drop=True)
    assert list(other.scan()) == []
    assert [found.data for _, found in store.scan()] == [b"one"]
    other.close()


@pytest.mark.parametrize("definition", [
    "CREATE TABLE sessions (key TEXT PRIMARY KEY, data BLOB)", "CREATE VIEW Sessions AS SELECT 1",
    "CREATE TABLE sessions (key TEXT) -- session2 schema 2"])
def test_foreign_table_is_left_alone(store: SQLiteSessionStore, path: Path, definition: str) -> None:
    query(path, definition)
    before = path.read_bytes()
    for attempt in (store.setup, lambda: store.setup(drop=True), lambda: store.write(KEYS[0], record(), None)):
        with pytest.raises(ConfigurationError, match="table="):
            attempt()
    assert path.read_bytes() == before


def test_application_keeps_its_own_tables(store: SQLiteSessionStore, path: Path) -> None:
    query(path, "CREATE TABLE shop (n INTEGER)")
    query(path, "INSERT INTO shop VALUES (7)")
    store.write(KEYS[0], record(), None)
    store.setup(drop=True)
    assert query(path, "SELECT n FROM shop") == [(7,)]
    assert query(path, "PRAGMA user_version") == [(0,)]


def test_file_that_is_no_database(store: SQLiteSessionStore, path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b"dear diary\n" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database") as raised:
        store.write(KEYS[0], record(), None)
    assert isinstance(raised.value.__cause__, sqlite3.Error)
    store.close()
    assert path.read_bytes() == b"dear diary\n" * 1000
    assert [found.name for found in path.parent.iterdir()] == ["sessions.db"]


def test_damaged_database(store: SQLiteSessionStore, path: Path) -> None:
    for key in KEYS:
        store.write(key, record(bytes(5000)), None)
    store.close()
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(StoreUnavailable, match=r"sessions\.db"):
        list(store.scan())


def test_missing_folder(tmp_path: Path) -> None:
    for create in (True, False):
        store = SQLiteSessionStore(tmp_path / "nowhere" / "x.db", create=create)
        for attempt in (lambda: store.read(KEYS[0]), store.setup):  # noqa: B023
            makes = create or attempt == store.setup
            hint = "; make the folder first" if makes else f": .*mkdir {tmp_path}/nowhere"
            error = StoreUnavailable if makes else StoreMissing
            with pytest.raises(error, match=f"no folder {tmp_path}/nowhere{hint}"):
                attempt()
    assert list(tmp_path.iterdir()) == []


def test_arguments(path: Path) -> None:
    for table in ("", "a b", 'x"', "1st", "sqlite_stat1", "x" * 100, "tisch\N{SNOWMAN}"):
        with pytest.raises(ConfigurationError, match="table"):
            SQLiteSessionStore(path, table=table)
    for name in ("", ":memory:"):
        with pytest.raises(ConfigurationError, match="file"):
            SQLiteSessionStore(name)
    with pytest.raises(ConfigurationError, match="NORMAL"):
        SQLiteSessionStore(path, synchronous="maybe")
    assert not path.exists()


@pytest.mark.parametrize(("level", "number"), [("NORMAL", 1), ("full", 2)])
def test_from_url(path: Path, level: str, number: int) -> None:
    store = from_url(f"sqlite:{path}?table=t&synchronous={level}&timeout=2&create=true")
    assert isinstance(store, SQLiteSessionStore)
    store.write(KEYS[0], record(), None)
    [connection] = store._database._idle
    assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert query(path, "SELECT count(*) FROM t") == [(1,)]
    store.close()


# -- what is not there, and what others may have put there -------------------------------------------------------------


def test_only_setup_creates(path: Path) -> None:
    """A mistyped path is an error, not an empty store."""
    store = SQLiteSessionStore(path, clock=lambda: 1000.0)
    uses = [lambda: store.read(KEYS[0]), lambda: list(store.scan()), lambda: list(store.records_of("anna")),
            store.purge, lambda: store.write(KEYS[0], record(), None), lambda: store.touch(KEYS[0], 1.0, None),
            lambda: store.remove(KEYS[0])]
    for use in uses:
        with pytest.raises(StoreMissing, match=rf"no SQLite database {path}: .*create=True.*\?create=true.*session2 s"):
            use()
    assert list(path.parent.iterdir()) == []
    store.setup()
    assert store.read(KEYS[0]) is None
    other = SQLiteSessionStore(path, table="other", clock=lambda: 1000.0)
    with pytest.raises(StoreMissing, match="no table 'other' in"):
        other.read(KEYS[0])
    store.close()


def test_file_that_was_taken_away_is_missing(path: Path) -> None:
    store = SQLiteSessionStore(path, clock=lambda: 1000.0)
    store.setup()
    path.unlink()
    with pytest.raises(StoreMissing):
        store.read(KEYS[0])


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("target", ["elsewhere.db", "nowhere.db"])
def test_planted_link_is_refused(path: Path, create: bool, target: str) -> None:
    elsewhere = path.with_name("elsewhere.db")
    elsewhere.touch(0o600)
    path.symlink_to(path.with_name(target))
    store = SQLiteSessionStore(path, create=create)
    for use in (store.setup, lambda: store.read(KEYS[0])):
        with pytest.raises(ConfigurationError, match=f"{path} is a symbolic link"):
            use()
    assert elsewhere.read_bytes() == b""
    assert not path.with_name("nowhere.db").exists()


@pytest.mark.parametrize("mode", [0o666, 0o644, 0o640, 0o660, 0o602])
def test_rights_of_others_are_refused(store: SQLiteSessionStore, path: Path, mode: int) -> None:
    store.setup()
    path.chmod(mode)
    for use in (store.setup, lambda: store.read(KEYS[0])):
        reason = rf"{path} is open to others \(mode 0{mode:o}\): chmod 600 .*shared=True"
        with pytest.raises(ConfigurationError, match=reason):
            use()
    path.chmod(0o600)
    assert store.read(KEYS[0]) is None


@pytest.mark.parametrize(("of", "mode", "owner", "reason"), [
    ("file", 0o600, 65534, "sessions.db belongs to another user"), ("folder", 0o700, 65534, "belongs to another user"),
    ("folder", 0o777, 0, "can be written by others")])
def test_what_somebody_else_can_replace_is_refused(store: SQLiteSessionStore, path: Path, of: str, mode: int,
                                                   owner: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.setup()
    changed = path if of == "file" else path.parent
    changed.chmod(mode)
    os.chown(changed, owner, owner)
    assert store.read(KEYS[0]) is None if mode != 0o777 else True, "root may"
    store.close()
    monkeypatch.setattr(os, "geteuid", lambda: 65533)
    with pytest.raises(ConfigurationError, match=reason):
        store.read(KEYS[0])


def test_shared_on_purpose(tmp_path: Path, path: Path) -> None:
    tmp_path.chmod(0o2770)
    os.chown(tmp_path, 65534, 65533)
    store = from_url(f"sqlite:{path}?shared=true&create=true")
    store.write(KEYS[0], record(expires=None), None)
    os.chown(path, 65534, 65533)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    store.close()
    assert store.read(KEYS[0]) is not None
    store.close()
    path.chmod(0o664)
    with pytest.raises(ConfigurationError, match="open to others"):
        store.read(KEYS[0])


def test_folder_that_may_not_be_looked_into_is_no_missing_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "lstat", refused)
    with pytest.raises(StoreUnavailable, match="Permission denied") as raised:
        SQLiteSessionStore(path).read(KEYS[0])
    assert not isinstance(raised.value, StoreMissing)


def test_answer_that_belongs_to_another_question(store: SQLiteSessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS[:2]:
        store.write(key, record(key.encode()), None)
    real = store._database.select
    monkeypatch.setattr(store._database, "select", lambda statement, values: real(statement, (KEYS[1], *values[1:])))
    with pytest.raises(StoreUnavailable, match="another record"):
        store.read(KEYS[0])
    assert store.read(KEYS[1]) is not None


# -- threads and processes ---------------------------------------------------------------------------------------------


def test_locked_too_long(store: SQLiteSessionStore, path: Path) -> None:
    """Readers go on; a writer gets an error after the timeout, and the next one works."""
    version = store.write(KEYS[0], record(), None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.read(KEYS[0]) is not None
        with pytest.raises(StoreUnavailable, match="locked"):
            store.write(KEYS[0], record(b"new"), version)
        with ThreadPoolExecutor(1) as threads, pytest.raises(StoreUnavailable, match="busy"):
            store._database._in_turn(lambda: threads.submit(store.write, KEYS[0], record(b"new"), version).result())
    store.write(KEYS[0], record(b"new"), version)


def test_who_waits_for_another_process_asks_often(store: SQLiteSessionStore, path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two batches of a purge there is little time."""
    pauses: list[float] = []
    version = store.write(KEYS[0], record(), None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def sleep(pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == 20:
                other.execute("ROLLBACK")

        monkeypatch.setattr(patience.time, "sleep", sleep)
        store.write(KEYS[0], record(b"new"), version)
    assert len(pauses) == 20
    assert max(pauses) <= 0.004


def test_mode_is_switched_when_others_let_it(store: SQLiteSessionStore, path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    store.setup()
    store.close()
    query(path, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM sessions").fetchall()
        monkeypatch.setattr(database.time, "sleep", lambda _: other.execute("ROLLBACK"))
        monkeypatch.setattr(store._database, "_timeout", 60.0)
        store._database._write_ahead(closer := sqlite3.connect(path, timeout=0.01, isolation_level=None,
                                                               factory=database.Connection))
        closer.close()
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


def test_one_statement_for_each_step(store: SQLiteSessionStore) -> None:
    version = store.write(KEYS[0], record(), None)
    [connection] = store._database._idle
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    for step in (lambda: store.read(KEYS[0]), lambda: store.write(KEYS[0], record(b"new"), version),
                 lambda: store.touch(KEYS[0], 950.0, 2100.0), lambda: store.remove(KEYS[0])):
        seen.clear()
        step()
        assert len(seen) == 1


def test_threads_that_end_leave_nothing(store: SQLiteSessionStore, path: Path) -> None:
    store.read(KEYS[0])
    first = open_files(path)
    for _ in range(20):
        thread = threading.Thread(target=store.read, args=(KEYS[0],))
        thread.start()
        thread.join()
    assert open_files(path) == first


def test_close_closes_what_every_thread_opened(store: SQLiteSessionStore, path: Path) -> None:
    barrier = threading.Barrier(4)

    def read() -> None:
        connection = store._database._take_new(True)
        barrier.wait(30)
        store._database._idle.append(connection)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store._database._connections) == 4
    store.close()
    assert open_files(path) == []
    assert not any(map(database._is_open, store._database._connections))
    assert store.read(KEYS[0]) is None


def test_no_connection_is_open_while_the_process_forks(store: SQLiteSessionStore, path: Path) -> None:
    """SQLite in the child would take the locks of its parent for its own; the parent's end would then lose saves."""
    version = store.write(KEYS[0], record(), None)
    child = os.fork()
    if child == 0:
        inherited = open_files(path)
        store.write(KEYS[0], record(b"child"), version)
        os._exit(len(inherited))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(Conflict):
        store.write(KEYS[0], record(b"parent"), version)
    assert [found.data for _, found in store.scan()] == [b"child"]


def test_child_outlives_its_parent(store: SQLiteSessionStore, path: Path) -> None:
    """What it saves after the parent has closed, and others have come and gone, is kept."""
    version = store.write(KEYS[0], record(), None)
    ready, begin = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        version = store.write(KEYS[0], record(b"1"), version)
        os.write(ready[1], b"x")
        os.read(begin[0], 1)
        store.write(KEYS[0], record(b"2"), version)
        os._exit(0)
    os.read(ready[0], 1)
    store.close()
    assert query(path, "SELECT data FROM sessions") == [(b"1",)]
    os.write(begin[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (*ready, *begin):
        os.close(end)
    assert [found.data for _, found in store.scan()] == [b"2"]


def first_use(path: Path, number: int, barrier: Any) -> None:
    store = SQLiteSessionStore(path, create=True, clock=lambda: 1000.0)
    barrier.wait(60)
    store.write(KEYS[number], record(), None)
    store.close()


def test_many_processes_make_the_file_at_once(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(6)
    children = [context.Process(target=first_use, args=(path, number, barrier)) for number in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 6
    assert query(path, "SELECT count(*) FROM sessions") == [(6,)]


def test_a_folder_without_hard_links_is_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(StoreUnavailable, match="not permitted"):
        SQLiteSessionStore(tmp_path / "x.db", create=True).read(KEYS[0])
    assert not list(tmp_path.iterdir())


def test_where_the_files_beside_the_database_cannot_be_made_the_folder_is_named(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "sessions.db", create=True)
    store.setup()
    store.close()
    (tmp_path / "sessions.db-wal").mkdir()  # as if only the file could be written: nothing else holds for root too
    with pytest.raises(StoreUnavailable, match=r"unable to open.*; its folder has to be writable too"):
        store.read(KEYS[0])


# -- interruptions, and forks nobody tells of --------------------------------------------------------------------------


class Interruption(BaseException):
    pass


# From Python 3.13 on there is a warning of a connection that was forgotten.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupted_anywhere_it_goes_on(path: Path) -> None:
    """A signal, a time limit or a greenlet that is killed may strike at any instruction."""
    store = SQLiteSessionStore(path, timeout=20.0, create=True)
    store.write(KEYS[0], record(expires=None), None)

    def interrupt(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    struck = 0
    try:
        for turn in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00001 + turn % 100 * 0.000003)
                store.touch(KEYS[0], 1e9 + turn, None)
                store.read(KEYS[0])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                struck += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck > 50
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(store.touch, KEYS[0], 2e9, None).result()
    store.close()
    assert time.monotonic() - begun < 15, "nobody waits for a connection that an interruption made everybody forget"
    gc.collect()
    assert open_files(path) == []


def test_interpreter_ends_whatever_is_under_way(path: Path) -> None:
    """A thread that is in the middle of something keeps nobody waiting."""
    program = f"""
import threading
from session2.store.sqlite import SQLiteSessionStore
store = SQLiteSessionStore({str(path)!r}, timeout=60.0, create=True)
store.read("a" * 64)
inside = threading.Event()
def stay():
    inside.set()
    threading.Event().wait()
for mutex in (store._database._writing, store._database._opening):
    inside.clear()
    threading.Thread(target=mutex.run, args=(stay, 60.0, ""), daemon=True).start()
    inside.wait()
threading.Thread(target=store._database._use, args=(lambda _: stay(),), daemon=True).start()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_fork_that_runs_no_hooks(path: Path) -> None:
    """As uWSGI forks its workers: in C.  Locks that the parent holds would be taken for the child's own."""
    store = SQLiteSessionStore(path, clock=lambda: 1000.0)
    store.setup()
    assert in_forked_child(lambda: store.write(KEYS[0], record(b"child"), None)) == ""
    assert in_forked_child(lambda: store.read(KEYS[0])) == ""
    found = store.read(KEYS[0])
    assert found is not None
    assert found.data == b"child"
    assert in_forked_child(lambda: store.write(KEYS[1], record(), None)) == "", "what is open here is not used there"
    assert store.read(KEYS[1]) is not None
    store.close()
    assert in_forked_child(lambda: store.remove(KEYS[1])) == ""
    assert store.read(KEYS[1]) is None
    store.close()


def in_forked_child(action: Callable[[], object]) -> str:
    """Do something in a child that C code forked; return the error it met, if any."""
    end, begin = os.pipe()
    child = fork_in_c()
    if child == 0:
        try:
            action()
        except BaseException as error:
            os.write(begin, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(begin)
    with open(end, "rb") as told:
        return told.read().decode()
