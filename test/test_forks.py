"""Forks, also those that no hook of Python hears of: uWSGI forks in C."""

import gc
import os
import signal
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from c_fork import fork_in_c
from servers_durus import DurusServer

from session2 import ConfigurationError, forks
from session2.forks import Birthplace, PerProcess
from session2.store.base import SessionStore
from session2.store.durus import DurusSessionStore
from session2.store.durus.sources import SingleSource
from session2.store.lock import Queues
from session2.store.servers.pool import Kind, Lender, Lent, Pool
from session2.store.sqlite import SQLiteSessionStore
from session2.testing.store.samples import key_of, record_at

KEY = key_of(1)
NOW = 1000.0

on_all_forks = pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["python", "c"])
Fork = Callable[[], int]


def started(fork: Fork, work: Callable[[], object]) -> int:
    """Begin the work in a forked process; return its number."""
    pid = fork()
    if pid:
        return pid
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # what hangs may never come to a handler of Python's
    signal.alarm(30)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def child(fork: Fork, work: Callable[[], object]) -> Iterator[None]:
    """Do the work in a forked process while the body runs in this one; it may not hang, and may not fail."""
    pid = started(fork, work)
    try:
        yield
    finally:
        code = ended(pid)
    assert code == 0


def in_child(fork: Fork, work: Callable[[], object]) -> None:
    """Do the work in a forked process; it may not fail, and may not hang.

    Threads of a child that was forked in C may wait for those it does not have (see `fork_in_c`): that once, or twice,
    one hangs is CPython's doing.
    """
    for _ in range(3):
        code = ended(started(fork, work))
        if code != -signal.SIGALRM:
            break
    assert code == 0


@contextmanager
def held(thing: Any) -> Iterator[None]:
    """Have another thread be inside `thing`, a context manager."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with thing:
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    yield
    leave.set()
    thread.join()


def open_files(path: Path) -> list[str]:
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sorted(target for target in (os.readlink(link) for link in links if os.path.islink(link))
                  if target.startswith(str(path)))


# -- the tools --------------------------------------------------------------------------------------------------------


class Value:
    """Something that can be referred to weakly."""

    deleted: list[int] = []

    def __del__(self) -> None:
        self.deleted.append(os.getpid())


@on_all_forks
def test_each_process_has_a_value_of_its_own(fork: Fork) -> None:
    own = PerProcess(Value)
    before = own()

    def work() -> None:
        assert own() is not before
        assert own() is own()

    in_child(fork, work)
    assert own() is before


@on_all_forks
def test_threads_that_notice_a_fork_at_once_get_the_same_value(fork: Fork) -> None:
    own = PerProcess(Value)

    def work() -> None:
        found, barrier = [], threading.Barrier(8)

        def look() -> None:
            barrier.wait(10)
            found.append(own())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert {id(value) for value in found} == {id(own())}

    in_child(fork, work)


@on_all_forks
def test_what_was_inherited_is_never_collected(fork: Fork) -> None:
    owns = [PerProcess(Value)]

    def work() -> None:
        owns[0]()
        owns.clear()
        gc.collect()
        assert Value.deleted.count(os.getpid()) == 1, "only the child's own"

    in_child(fork, work)


@on_all_forks
def test_what_must_be_let_go_of_is(fork: Fork) -> None:
    told: list[Value] = []
    own = PerProcess(Value, told.append)
    before = own()

    def work() -> None:
        own()
        own()
        assert told == [before]

    in_child(fork, work)
    assert told == []


@on_all_forks
def test_birthplace(fork: Fork) -> None:
    birthplace = Birthplace()
    assert birthplace.is_here()
    in_child(fork, lambda: exec("assert not birthplace.is_here()", {"birthplace": birthplace}))


# -- connections to databases -----------------------------------------------------------------------------------------


class Connection:
    """What a driver might give."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def use(self) -> None:
        assert self.pid == os.getpid(), "a connection of another process"

    close = use


KIND: Kind[Connection] = Kind(Connection, lambda connection: connection.use() is None, lambda connection: False,
                              Connection.close, Connection.close)


@on_all_forks
def test_a_pool_starts_anew(fork: Fork) -> None:
    pool = Pool(KIND, size=1, patience=5.0)

    def work() -> None:
        pool.use(Connection.use)
        pool.clear()

    work()
    in_child(fork, work)
    pool.use(lambda _: in_child(fork, work))  # all the places are taken
    work()


@on_all_forks
def test_what_an_application_lends_is_its_parents(fork: Fork) -> None:
    connection, pool = Connection(), Pool(KIND, size=1, patience=5.0)
    renewed: list[int] = []
    lender: Lender[Connection] = Lender(lambda: connection, Connection.use, Connection.use, lambda: renewed.append(1))
    lent = Lent(lender, pool)

    def work() -> None:
        lent.use(Connection.use)
        lent.renew()
        assert renewed == []

    lent.use(lambda _: in_child(fork, work))
    lent.renew()
    assert renewed == [1]


@on_all_forks
@pytest.mark.parametrize("page", ["wiped", None])
def test_the_process_id_is_asked_for_once_in_each_process(fork: Fork, page: str | None,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = os.getpid
    monkeypatch.setattr(os, "getpid", lambda: asked.append(1) or real())
    if page is None:
        monkeypatch.setattr(forks, "_mark", None)
    else:
        assert forks._mark is not None, "this kernel wipes no page: each use asks anew"

    def work() -> None:
        asked.clear()
        assert [forks.pid() for _ in range(9)] == [real()] * 9
        assert len(asked) <= 1 if page else len(asked) == 9  # Python's hooks may have asked already

    forks.pid()
    asked.clear()
    assert [forks.pid() for _ in range(9)] == [real()] * 9
    assert len(asked) == (0 if page else 9)
    in_child(fork, work)


def test_an_emulator_that_takes_any_advice_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def madvise(self, option: int) -> None:
            pass

    assert forks._page() is not None
    monkeypatch.setattr(forks.mmap, "mmap", Page)
    assert forks._page() is None


@on_all_forks
def test_lines_for_locks_are_not_inherited(fork: Fork) -> None:
    queues = Queues()

    def work() -> None:
        assert queues.line("key") is not line
        assert queues.line("key").first.acquire(timeout=0)
        queues.wake("key")

    line = queues.line("key")
    with held(queues._mutex._place().lock), held(line.first):
        in_child(fork, work)


# -- files ------------------------------------------------------------------------------------------------------------


def saved(store: SessionStore, data: bytes, version: Any = None) -> Any:
    return store.write(KEY, record_at(NOW, data), version)


def data_of(store: SessionStore) -> bytes:
    record = store.read(KEY)
    assert record is not None
    return record.data


@on_all_forks
def test_sqlite(fork: Fork, tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = SQLiteSessionStore(path, timeout=2.0, clock=lambda: NOW, create=True)
    version = saved(store, b"parent")

    def work() -> None:
        inherited = open_files(path)
        saved(store, b"child", version)
        assert len(open_files(path)) >= len(inherited) + 2, "it has its own, and closed nothing"

    in_child(fork, work)
    assert data_of(store) == b"child"
    store.close()


@on_all_forks
def test_sqlite_in_a_child_that_outlives_its_parent(fork: Fork, tmp_path: Path) -> None:
    """What it saves after the parent has closed, and others have come and gone, is kept."""
    path = tmp_path / "db"
    store = SQLiteSessionStore(path, timeout=2.0, clock=lambda: NOW, create=True)
    version = saved(store, b"parent")
    ready, begin = os.pipe(), os.pipe()

    def work() -> None:
        mine = saved(store, b"1", version)
        os.write(ready[1], b"x")
        os.read(begin[0], 1)
        saved(store, b"2", mine)

    with child(fork, work):
        os.read(ready[0], 1)
        store.close()
        other = sqlite3.connect(path)
        assert other.execute("SELECT data FROM sessions").fetchall() == [(b"1",)]
        other.close()
        os.write(begin[1], b"x")
    assert data_of(store) == b"2"
    store.close()
    for end in (*ready, *begin):
        os.close(end)


def test_sqlite_in_a_child_that_comes_too_late(tmp_path: Path) -> None:
    """The parent has closed the database, and thereby deleted the log that SQLite in the child believes in."""
    store = SQLiteSessionStore(tmp_path / "db", timeout=2.0, clock=lambda: NOW, create=True)
    version = saved(store, b"parent")
    ends = os.pipe()

    def work() -> None:
        os.read(ends[0], 1)
        with pytest.raises(ConfigurationError, match="Close the store before the fork"):
            saved(store, b"child", version)

    with child(fork_in_c, work):
        store.close()
        os.write(ends[1], b"x")
    assert data_of(store) == b"parent"
    store.close()
    for end in ends:
        os.close(end)


def test_sqlite_in_a_grandchild_and_another_store(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "db", timeout=2.0, clock=lambda: NOW, create=True)
    version = saved(store, b"parent")
    ready, begin = os.pipe(), os.pipe()

    def grandchild() -> None:
        again = SQLiteSessionStore(tmp_path / "db", timeout=2.0, clock=lambda: NOW, create=True)
        mine = saved(again, b"1", version)
        os.write(ready[1], b"x")
        os.read(begin[0], 1)
        saved(again, b"2", mine)

    with child(fork_in_c, lambda: in_child(fork_in_c, grandchild)):
        os.read(ready[0], 1)
        store.close()
        os.write(begin[1], b"x")
    assert data_of(store) == b"2"
    store.close()
    for end in (*ready, *begin):
        os.close(end)


@pytest.mark.durus
@on_all_forks
def test_a_durus_server(fork: Fork, tmp_path: Path) -> None:
    with DurusServer(tmp_path) as server:
        store = DurusSessionStore(server.place, True, clock=lambda: NOW)
        version = saved(store, b"parent")
        [link] = store._source._own().idle  # type: ignore[attr-defined]
        mine = link.connection.storage.s.getsockname(), link.connection.storage.s.getpeername()

        def work() -> None:
            saved(store, b"child", version)
            [other] = store._source._own().idle  # type: ignore[attr-defined]
            assert other is not link
            assert mine == (link.connection.storage.s.getsockname(), link.connection.storage.s.getpeername()), "closed"

        in_child(fork, work)
        assert data_of(store) == b"child"
        store.close()


class Turn:
    """The turn at a connection, as a context manager."""

    def __init__(self, source: SingleSource) -> None:
        self._source, self._entered, self._leave = source, threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=lambda: self._source.turn(self._stay))
        self._thread.start()
        assert self._entered.wait(60)

    def _stay(self) -> None:
        self._entered.set()
        self._leave.wait(60)

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()


@pytest.mark.durus
@on_all_forks
@pytest.mark.parametrize("is_open", [True, False])
def test_a_durus_file_belongs_to_one_process(fork: Fork, is_open: bool, tmp_path: Path) -> None:
    """The child is told so at once, however busy the parent was; before it is opened, it is anybody's."""
    store = DurusSessionStore(str(tmp_path / "durus"), True, timeout=60.0, clock=lambda: NOW)
    if is_open:
        saved(store, b"parent")

    def work() -> None:
        if is_open:
            with pytest.raises(ConfigurationError, match="open in the process that forked this one"):
                store.read(KEY)
        else:
            saved(store, b"child")

    with held(Turn(store._source)):  # type: ignore[arg-type]
        in_child(fork, work)
    assert data_of(store) == (b"parent" if is_open else b"child")
    store.close()
