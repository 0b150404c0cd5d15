"""DurusSessionStore against a private Durus server, on a file, and on a connection of the application's.

On Python 3.13.0, where Durus cannot write, test_durus_python.py takes the place of all this.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.file_storage import FileStorage
from durus.persistent_dict import PersistentDict
from durus.persistent_list import PersistentList
from durus.sqlite_storage import SqliteStorage

from session2 import ConfigurationError, LockTimeout, StoreUnavailable
from session2.errors import Conflict
from session2.record import Record, Version
from session2.store.durus import DurusSessionStore, file, layout
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.samples import contents, key_of, record_at
from session2.urls import from_url

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers_durus import DurusServer

pytestmark = pytest.mark.durus

KEY = key_of(0)
RECORD = record_at(0.0, expires=None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DurusServer]:
    with DurusServer(tmp_path / "durus") as server:
        yield server


@pytest.fixture
def store(server: DurusServer) -> Iterator[DurusSessionStore]:
    store = DurusSessionStore(server.address, create=True)
    yield store
    store.close()


def clear(server: DurusServer) -> None:
    """Leave nothing in the database that a connection finds."""
    storage = ClientStorage(address=server.place)
    connection = Connection(storage)
    connection.get_root().clear()
    connection.commit()
    storage.close()


def python(program: str, *arguments: object) -> str:
    """Run a program in a Python of its own, where a warning is an error; return all it printed."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, *map(str, arguments)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


class TestServer(StoreSuite):
    store_class = DurusSessionStore

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurusServer]:
        with DurusServer(tmp_path_factory.mktemp("durus")) as server:
            yield server

    @pytest.fixture(autouse=True)
    def _server(self, shared: DurusServer) -> None:
        self.server = shared
        clear(shared)

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.server.address,), {"create": True}


class TestFile(StoreSuite):
    store_class = DurusSessionStore

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (tmp_path / "sessions.durus",), {"create": True}


@pytest.mark.sampled
class TestConnection(StoreSuite):
    store_class = DurusSessionStore

    @pytest.fixture(autouse=True)
    def _storage(self, tmp_path: Path) -> Iterator[None]:
        self.storage = FileStorage(str(tmp_path / "application.durus"))
        yield
        self.storage.close()

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (Connection(self.storage),), {}


# -- a server that comes and goes -------------------------------------------------------------------------------------


def test_a_restarted_server_is_found_again(server: DurusServer, store: DurusSessionStore) -> None:
    version = store.write(KEY, RECORD, None)
    server.stop()
    server.start()
    found = store.read(KEY)
    assert found is not None
    assert found.version == version


def test_no_dead_connection_is_left_after_a_restart(server: DurusServer, store: DurusSessionStore) -> None:
    barrier = threading.Barrier(4)

    def read_together(_: Any) -> None:
        store._transact(lambda trees: barrier.wait(10))

    store.write(KEY, RECORD, None)
    in_threads(4, read_together)
    server.stop()
    server.start()
    for _ in range(8):
        assert store.read(KEY) is not None


def test_a_server_that_is_away_is_unavailable_until_it_is_back(server: DurusServer, store: DurusSessionStore) -> None:
    store.write(KEY, RECORD, None)
    server.stop()
    for act in (lambda: store.read(KEY), lambda: store.write(key_of(1), RECORD, None), lambda: list(store.scan()),
                lambda: store.touch(KEY, 1.0, None), lambda: store.remove(KEY), store.purge, store.setup, store.pack):
        with pytest.raises(StoreUnavailable):
            act()
    server.start()
    assert contents(store) == {KEY: RECORD.data}


def test_a_server_that_does_not_answer_is_unavailable(server: DurusServer) -> None:
    store = DurusSessionStore(server.address, create=True, timeout=0.2)
    store.write(KEY, RECORD, None)
    use, lent = store._source.use, []
    store._source.use = lambda *work: lent.append("once") or use(*work)  # type: ignore
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):  # on the connection there is
            store.read(KEY)
        assert lent == ["once"]  # to wait again would be to wait twice as long as promised
        with pytest.raises(StoreUnavailable):  # and on a new one, which the kernel accepts in its place
            store.read(KEY)
    finally:
        server.send(signal.SIGCONT)
    store = DurusSessionStore(server.address, create=True)
    assert store.read(KEY) is not None
    store.close()


def test_something_else_that_listens_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        thread = threading.Thread(target=lambda: [answer_http(other) for _ in range(2)])
        thread.start()
        with pytest.raises(StoreUnavailable):
            DurusSessionStore(f"127.0.0.1:{port}").read(KEY)
        thread.join(10)


def answer_http(listener: socket.socket) -> None:
    connected = listener.accept()[0]
    with connected:
        connected.recv(100)
        connected.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def test_no_acknowledged_save_is_lost_when_the_server_is_killed(server: DurusServer, store: DurusSessionStore) -> None:
    store.setup()
    acknowledged = [0] * 4
    progress = threading.Semaphore(0)
    finish = threading.Event()

    def keep_saving(worker: int) -> None:
        version = None
        while not finish.is_set():
            record = RECORD._replace(data=b"%d" % (acknowledged[worker] + 1))
            with contextlib.suppress(StoreUnavailable):
                version = write_or_find(store, key_of(worker), record, version)
                acknowledged[worker] += 1
                progress.release()

    def kill_again_and_again() -> None:
        for _ in range(4):
            for _ in range(50):
                assert progress.acquire(timeout=30)
            server.stop()
            server.start()
        for _ in range(50):
            assert progress.acquire(timeout=30)

    threads = [threading.Thread(target=keep_saving, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        kill_again_and_again()
    finally:
        finish.set()
        for thread in threads:
            thread.join()
    for worker, count in enumerate(acknowledged):
        assert int(contents(store)[key_of(worker)]) - count in (0, 1)


def write_or_find(store: DurusSessionStore, key: str, record: Record, version: Version | None) -> Version:
    """Save; a conflict can only mean that a save reported as failed arrived after all."""
    try:
        return store.write(key, record, version)
    except Conflict:
        found = store.read(key)
        assert found is not None
        assert found.data == record.data
        return found.version


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in threads and raise what any of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]



# -- answers that get lost --------------------------------------------------------------------------------------------


def lose_the_answer(store: DurusSessionStore, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let the connection break when the next commit has arrived and before its answer has."""
    source = store._source

    def commit_and_break(connection: Any) -> None:
        del source.commit  # the next one is the real one again
        source.commit(connection)
        meanwhile()
        raise ConnectionResetError

    source.commit = commit_and_break  # type: ignore[method-assign]


def test_a_save_whose_answer_got_lost_is_done_once(store: DurusSessionStore) -> None:
    lose_the_answer(store)
    first = store.write(KEY, RECORD, None)
    lose_the_answer(store)
    second = store.write(KEY, RECORD._replace(data=b"new"), first)
    assert store.read(KEY) == RECORD._replace(data=b"new", version=second)


def test_a_save_whose_answer_got_lost_is_recognised_under_later_ones(server: DurusServer,
                                                                     store: DurusSessionStore) -> None:
    """Told that there was a conflict, the session would merge what is already in: a counter would count twice."""
    other = DurusSessionStore(server.address, create=True)
    first = store.write(KEY, RECORD, None)

    def others_save() -> None:
        for number in range(3):
            found = other.read(KEY)
            assert found is not None
            other.write(KEY, RECORD._replace(data=b"other %d" % number), found.version)

    lose_the_answer(store, others_save)
    second = store.write(KEY, RECORD._replace(data=b"mine"), first)
    assert contents(store) == {KEY: b"other 2"}
    with pytest.raises(Conflict):
        store.write(KEY, RECORD, second)


def test_a_save_whose_answer_got_lost_does_not_undo_a_logout(server: DurusServer, store: DurusSessionStore) -> None:
    first = store.write(KEY, RECORD, None)
    lose_the_answer(store, lambda: DurusSessionStore(server.address, create=True).remove(KEY))
    with pytest.raises(Conflict):
        store.write(KEY, RECORD._replace(data=b"new"), first)
    assert contents(store) == {}


def test_a_removal_whose_answer_got_lost_is_no_error(store: DurusSessionStore) -> None:
    version = store.write(KEY, RECORD, None)
    lose_the_answer(store)
    store.remove(KEY, version)
    assert contents(store) == {}


# -- processes --------------------------------------------------------------------------------------------------------

FORK = """
import os, sys
from session2.errors import Conflict
from session2.store.durus import DurusSessionStore
from session2.testing.store.samples import key_of, record_at

store = DurusSessionStore(sys.argv[1], create=True)
store.write(key_of(0), record_at(0.0, b"0", expires=None), None)

def count(times):
    while times:
        record = store.read(key_of(0))
        try:
            store.write(key_of(0), record._replace(data=b"%d" % (int(record.data) + 1)), record.version)
            times -= 1
        except Conflict:
            pass

def socket_name():
    return store._source._own().idle[-1].connection.storage.s.getsockname()

parents, children = socket_name(), []
for _ in range(3):
    child = os.fork()
    if not child:
        count(50)
        assert socket_name() != parents
        sys.exit()
    children.append(child)
count(50)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
print(store.read(key_of(0)).data.decode())
store.close()
"""

FORK_OF_ONE_PROCESS = """
import os, sys
from durus.connection import Connection
from session2 import ConfigurationError
from session2.store.durus import DurusSessionStore
from session2.testing.store.samples import key_of, record_at

store = DurusSessionStore(Connection(sys.argv[1]) if sys.argv[2] == "given" else sys.argv[1], create=True)
version = store.write(key_of(0), record_at(0.0, expires=None), None)
child = os.fork()
if not child:
    try:
        store.read(key_of(0))
    except ConfigurationError as error:
        print(error)
    store.close()
    del store
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
store.write(key_of(0), record_at(0.0, b"parent", expires=None), version)
store.close()
"""

HOLD = """
import sys
from session2.store.durus import DurusSessionStore
store = DurusSessionStore(sys.argv[1], create=True)
lease = store.lock(sys.argv[2], lease=60)
print("held", flush=True)
sys.stdin.read()
"""

QUIET = """
import sys
if sys.argv[2] == "imported":
    import durus.logger
if sys.argv[2] == "configured":
    import logging
    logging.basicConfig(level=logging.INFO)
out, err = sys.stdout, sys.stderr
from session2.store.durus import DurusSessionStore
from session2.testing.store.samples import key_of, record_at
store = DurusSessionStore(sys.argv[1], create=True)
store.write(key_of(0), record_at(0.0), None)
store.close()
assert (sys.stdout, sys.stderr) == (out, err)
"""


def test_a_store_made_before_the_fork_serves_all_processes(server: DurusServer) -> None:
    assert python(FORK, server.address) == "200\n"


@pytest.mark.parametrize("how", ["file", "given"])
def test_a_forked_process_keeps_its_hands_off(how: str, tmp_path: Path) -> None:
    path = tmp_path / "sessions.durus"
    assert "forked this one" in python(FORK_OF_ONE_PROCESS, path, how)
    store = DurusSessionStore(path, create=True)
    assert contents(store) == {KEY: b"parent"}
    store.close()


def test_the_lock_of_a_killed_process_is_taken_over(server: DurusServer) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, server.address, KEY], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    clock = Clock()
    store = DurusSessionStore(server.address, create=True, clock=clock)
    with pytest.raises(LockTimeout):
        store.lock(KEY, timeout=0)
    clock.advance(61)
    with store.lock(KEY, timeout=0) as lease:
        assert lease.taken_over
    store.close()


@pytest.mark.parametrize("already", ["nothing", "imported", "configured"])
def test_the_driver_prints_nothing(already: str, server: DurusServer, tmp_path: Path) -> None:
    for where in (server.address, tmp_path / "sessions.durus"):
        assert python(QUIET, where, already) == ""


# -- a file -----------------------------------------------------------------------------------------------------------


USE_FILE = """
import sys
from session2 import StoreUnavailable
from session2.store.durus import DurusSessionStore
store = DurusSessionStore(sys.argv[1], create=True)
try:
    print(len(list(store.scan())))
except StoreUnavailable as error:
    print(error)
store.close()
"""


def test_a_file_serves_one_process(tmp_path: Path) -> None:
    path = tmp_path / "sessions.durus"
    store, second = DurusSessionStore(path, create=True), DurusSessionStore(f"{tmp_path}/./sessions.durus", create=True)
    store.write(KEY, RECORD, None)
    assert second.read(KEY) is not None
    assert "open elsewhere" in python(USE_FILE, path)
    store.close()
    assert python(USE_FILE, path) == "1\n"
    assert second.read(KEY) is not None
    second.close()


def test_the_flags_are_true() -> None:
    flags = {where: (store.is_thread_safe, store.is_multiprocess_safe)
             for where, store in ((where, DurusSessionStore(where)) for where in ("localhost:1", "unix:a", "file"))}
    assert flags == {"localhost:1": (True, True), "unix:a": (True, True), "file": (True, False)}


def test_a_file_is_private_and_stays_so_when_packed(tmp_path: Path) -> None:
    path = tmp_path / "sessions.durus"
    store = DurusSessionStore(path, create=True)
    version = None
    for _ in range(100):
        version = store.write(KEY, RECORD._replace(data=os.urandom(1000)), version)
    size = path.stat().st_size
    before = contents(store)
    store.pack()
    assert path.stat().st_size < size / 5
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()] == [(path.name, 0o600)]
    assert contents(store) == before
    store.write(KEY, RECORD, version)
    store.close()
    assert contents(store) == {KEY: RECORD.data}
    store.close()


@pytest.mark.parametrize("durable", [True, False])
def test_saves_are_forced_to_disk_if_wanted(durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DurusSessionStore(tmp_path / "sessions.durus", create=True, durable=durable)
    version = store.write(KEY, RECORD, None)
    forced: list[Any] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (forced.append(file), fsync(file)))
    store.write(KEY, RECORD, version)
    store.touch(KEY, RECORD.accessed + 1, None)
    store.remove(KEY)
    assert len(forced) == 3 * durable
    store.close()


@pytest.mark.parametrize("packed", [False, True])
def test_half_a_transaction_at_the_end_is_cut_off(packed: bool, tmp_path: Path,
                                                  caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sessions.durus"
    store = DurusSessionStore(path, create=True, durable=False)
    version = store.write(KEY, RECORD, None)
    if packed:
        store.pack()
    store.close()
    whole = path.read_bytes()
    store.write(KEY, RECORD._replace(data=b"the machine stops" * 20), version)
    store.close()
    more = path.read_bytes()
    assert more.startswith(whole)
    unfinished = whole + bytes(8) + more[len(whole) + 8:]
    for torn in [*(more[:end] for end in range(len(whole) + 1, len(more), 7)),
                 *(unfinished[:end] for end in range(len(whole) + 1, len(more) + 1, 7)), unfinished]:
        path.write_bytes(torn)
        assert store.read(KEY) == RECORD._replace(version=version)
        store.write(key_of(1), RECORD, None)
        store.close()
        assert len(contents(store)) == 2
        store.close()
        assert path.read_bytes().startswith(whole)
    assert "cut off" in caplog.text


def test_an_interrupted_pack_is_not_mistaken_for_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "sessions.durus"
    store = DurusSessionStore(path, create=True)
    store.write(KEY, RECORD, None)
    store.close()
    path.rename(f"{path}.prepack")
    with pytest.raises(ConfigurationError, match="rename"):
        store.read(KEY)
    assert not path.exists()


@pytest.mark.parametrize(("head", "reason"), [(b"SQLite format 3\0", "overwrite"), (b"DFS20", "Connection"),
                                              (b"hello", "not a Durus file")])
def test_other_files_are_refused_and_left_alone(head: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(head)
    with pytest.raises(ConfigurationError, match=reason):
        DurusSessionStore(path, create=True).setup()
    assert path.read_bytes() == head


def test_a_file_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="missing"):
        DurusSessionStore(tmp_path / "missing" / "sessions.durus", create=True).setup()


# -- a connection of the application's --------------------------------------------------------------------------------


def test_sqlite_storage_is_refused(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path / "durus.sqlite"))
    with pytest.raises(ConfigurationError, match="overwrite"):
        DurusSessionStore(Connection(storage))
    storage._conn.close()


def test_uncommitted_changes_of_the_application_stay_its_own(tmp_path: Path) -> None:
    connection = Connection(str(tmp_path / "application.durus"))
    store = DurusSessionStore(connection)
    connection.get_root()["order"] = "half done"
    for act in (lambda: store.read(KEY), lambda: store.write(KEY, RECORD, None), store.setup, store.pack):
        with pytest.raises(ConfigurationError, match="uncommitted"):
            act()
    assert connection.get_root()["order"] == "half done"
    connection.commit()
    store.write(KEY, RECORD, None)
    with pytest.raises(Conflict):
        store.write(KEY, RECORD, None)
    assert not connection.changed
    assert connection.get_root()["order"] == "half done"
    connection.storage.close()


def test_a_given_connection_to_a_server_does_not_hang_and_is_not_used_again(server: DurusServer) -> None:
    connection = Connection(ClientStorage(address=server.place))
    store = DurusSessionStore(connection, timeout=0.2)
    store.write(KEY, RECORD, None)
    server.send(signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        store.read(KEY)
    server.send(signal.SIGCONT)
    with pytest.raises(StoreUnavailable, match="broke"):  # the answer to the first question may still come
        store.read(KEY)
    connection.storage.s.close()


def test_a_given_connection_survives_a_collision(server: DurusServer) -> None:
    connection = Connection(ClientStorage(address=server.place))
    store, other = DurusSessionStore(connection), DurusSessionStore(server.address, create=True)
    version = store.write(KEY, RECORD, None)
    source = store._source
    real = source.commit

    def commit_too_late(connection: Any) -> None:
        source.commit = real  # type: ignore[method-assign]
        other.touch(KEY, RECORD.accessed + 1, None)
        real(connection)

    source.commit = commit_too_late  # type: ignore[method-assign]
    store.write(KEY, RECORD._replace(data=b"second attempt"), version)
    assert contents(other) == {KEY: b"second attempt"}
    other.close()
    connection.storage.close()


def test_nothing_is_made_before_there_is_something_to_store(tmp_path: Path) -> None:
    connection = Connection(str(tmp_path / "application.durus"))
    store = DurusSessionStore(connection)
    store.touch(KEY, 5.0, None)
    store.remove(KEY)
    assert (store.read(KEY), contents(store), list(store.records_of("anna")), store.purge()) == (None, {}, [], 0)
    assert "session2" not in connection.get_root()
    store.setup()
    assert "session2" in connection.get_root()
    connection.storage.close()


@pytest.mark.parametrize("kind", [str, PersistentDict])
def test_something_else_under_our_name_is_refused(kind: type[Any], tmp_path: Path) -> None:
    connection = Connection(str(tmp_path / "application.durus"))
    mine = connection.get_root()["session2"] = kind()
    connection.commit()
    for drop in (False, True):
        with pytest.raises(ConfigurationError, match="something else"):
            DurusSessionStore(connection).setup(drop=drop)
    assert connection.get_root()["session2"] == mine
    connection.storage.close()


def test_the_format_of_another_version_is_refused_until_it_is_dropped(tmp_path: Path) -> None:
    connection = Connection(str(tmp_path / "application.durus"))
    connection.get_root()["session2"] = PersistentDict(format=1, shards=())
    connection.commit()
    store = DurusSessionStore(connection)
    for act in (lambda: store.read(KEY), lambda: store.write(KEY, RECORD, None), lambda: list(store.scan()),
                store.setup):
        with pytest.raises(ConfigurationError, match=r"another version.*--drop"):
            act()
    store.setup(drop=True)
    store.write(KEY, RECORD, None)
    assert contents(store) == {KEY: RECORD.data}
    connection.storage.close()


@pytest.mark.parametrize("junk", [[], [b"x"], [b"x", 1.0, 1.0, 1.0, None, None, 1],
                                  ["text", 1.0, 1.0, 1.0, None, None, 1, ()]])
def test_a_damaged_record_is_missing_and_can_be_replaced(junk: list[Any], tmp_path: Path,
                                                         caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection(str(tmp_path / "application.durus"))
    store = DurusSessionStore(connection)
    store.write(key_of(1), RECORD, None)
    store._transact(lambda trees: layout.put(trees, KEY, junk))
    assert store.read(KEY) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    store.touch(KEY, 5.0, None)
    assert contents(store) == {key_of(1): RECORD.data}
    store.write(KEY, RECORD, None)
    assert store.read(KEY) is not None
    connection.storage.close()


def test_bytes_that_are_no_pickle_are_a_damaged_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sessions.durus"
    store = DurusSessionStore(path, create=True)
    store.write(KEY, RECORD._replace(data=os.urandom(2000)), None)
    store.close()
    stored = path.read_bytes()
    start = stored.rindex(b"PersistentList") + 100
    path.write_bytes(stored[:start] + b"\xff" * 1000 + stored[start + 1000:])
    assert store.read(KEY) is None
    assert "corrupt" in caplog.text
    store.write(KEY, RECORD, None)
    assert store.read(KEY) is not None
    store.close()


# -- the index by user ------------------------------------------------------------------------------------------------

NAMES = ["anna", "annaa", "", "\0", "\ud800", "\N{SNOWMAN}" * 3000]


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[DurusSessionStore]:
    store = DurusSessionStore(tmp_path / "sessions.durus", create=True, durable=False, clock=Clock())
    yield store
    store.close()


def of(user: str | None, expires: float | None = None) -> Record:
    return record_at(0.0, user=user, expires=expires)


def check_index(store: DurusSessionStore) -> None:
    """Compare the index, B-tree for B-tree, with the records; also with expired ones."""
    def compare(trees: layout.Trees) -> None:
        for records, users in zip(trees.records, trees.users, strict=True):
            found = [(key, layout.find(trees, key)[1]) for key in records]
            assert list(users) == sorted(layout._digest(record.user) + key for key, record in found
                                         if record is not None and record.user is not None)

    store._transact(compare)


def test_the_records_of_a_user_are_found_without_looking_at_others(on_file: DurusSessionStore,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        on_file.write(key_of(number), of("anna" if number % 100 == 7 else f"user {number}"), None)
    on_file.close()
    annas = sorted(key_of(number) for number in range(7, 500, 100))
    decode, use = layout._decode, on_file._source.use
    decoded, lent = [], []
    monkeypatch.setattr(layout, "_decode", lambda *found: (decoded.append(found[1]), decode(*found))[1])
    monkeypatch.setattr(on_file._source, "use", lambda *work: (lent.append("once"), use(*work))[1])
    assert sorted(key for key, _ in on_file.records_of("anna")) == sorted(decoded) == annas
    assert lent == ["once"]


@pytest.mark.parametrize(("count", "sizes"), [(250, [100, 100, 50]), (200, [100, 100, 0])])
def test_many_records_of_a_user_are_found_in_several_transactions(count: int, sizes: list[int],
                                                                  on_file: DurusSessionStore,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(count):
        on_file.write(key_of(number), of("anna"), None)
        on_file.write(key_of(1000 + number), of(f"user {number}"), None)
    part_of_user = layout.part_of_user
    seen: list[int] = []

    def part_seen(*arguments: Any, **named: Any) -> Any:
        found, place = part_of_user(*arguments, **named)
        seen.append(len(found))
        return found, place

    monkeypatch.setattr(layout, "part_of_user", part_seen)
    keys = [key for key, _ in on_file.records_of("anna")]
    assert sorted(keys) == sorted(key_of(number) for number in range(count))
    assert seen == sizes


def test_saving_does_not_even_read_the_index_unless_the_user_changes(on_file: DurusSessionStore) -> None:
    def index_is_read() -> bool:
        def look(connection: Any) -> bool:
            trees = layout.open_trees(connection, lambda *_: None, False, False)
            return not all(tree._p_is_ghost() for tree in trees.users)

        return on_file._source.use(look)

    version = on_file.write(KEY, of("anna"), None)
    assert index_is_read()
    on_file.close()
    on_file.write(KEY, of("anna")._replace(data=b"new"), version)
    on_file.write(key_of(1), of(None), None)
    on_file.touch(KEY, 1.0, None)
    on_file.remove(key_of(1))
    assert len(contents(on_file)) == 1
    assert not index_is_read()


@pytest.mark.parametrize("seed", range(4))
def test_the_index_is_true_whatever_happens(seed: int, on_file: DurusSessionStore) -> None:
    clock = on_file.clock
    assert isinstance(clock, Clock)
    chance = random.Random(seed)
    for _ in range(150):
        key, user, expires = key_of(chance.randrange(20)), chance.choice([None, *NAMES]), clock.now + 10
        act = chance.choice(["write", "write", "write", "touch", "remove", "pass", "purge"])
        if act == "write":
            found = on_file.read(key)
            on_file.write(key, of(user, expires), None if found is None else found.version)
        elif act == "touch":
            on_file.touch(key, clock.now, expires)
        elif act == "remove":
            on_file.remove(key)
        elif act == "pass":
            clock.advance(6)
        else:
            on_file.purge(batch=3)
        check_index(on_file)
    for user in NAMES:
        assert dict(on_file.records_of(user)) == {key: record for key, record in on_file.scan() if record.user == user}


def test_an_entry_left_of_a_damaged_record_finds_nothing(on_file: DurusSessionStore) -> None:
    def found(user: str) -> list[str]:
        return [key for key, _ in on_file.records_of(user)]

    on_file.write(KEY, of("anna"), None)
    on_file._transact(lambda trees: layout.put(trees, KEY, [b"x"]))
    assert found("anna") == []
    on_file.remove(KEY)
    assert found("anna") == []
    version = on_file.write(KEY, of("bert"), None)
    assert (found("anna"), found("bert")) == ([], [KEY])
    version = on_file.write(KEY, of("anna"), version)
    assert (found("anna"), found("bert")) == ([KEY], [])
    on_file.remove(KEY, version)
    check_index(on_file)


def test_concurrent_logins_and_logouts_are_all_in_the_index(server: DurusServer, store: DurusSessionStore,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_SHARDS", 1)  # that they all collide
    store.setup()

    def log_in_and_out(worker: int) -> None:
        for number in range(20):
            key = key_of(worker * 1000 + number)
            store.write(key, of(f"user {worker} {number % 2}", expires=0.0 if number % 5 == 1 else None), None)
            if number % 5 == 2:
                store.remove(key)
        store.purge()

    in_threads(4, log_in_and_out)
    check_index(store)
    for worker in range(4):
        for half in range(2):
            assert {key for key, _ in store.records_of(f"user {worker} {half}")} == {
                key_of(worker * 1000 + number) for number in range(half, 20, 2) if number % 5 not in (1, 2)}


def test_a_purge_is_in_the_way_of_logins_in_one_tree_at_a_time(on_file: DurusSessionStore) -> None:
    """A transaction that deleted in all B-trees of the index would never come to its end while others log in."""
    for number in range(300):
        on_file.write(key_of(number), of(f"user {number}", expires=0.0), None)
    nodes = on_file._transact(lambda trees: {tree.root._p_oid: number for each in trees[:3]
                                             for number, tree in enumerate(each)})
    commit = on_file._source.commit
    changed: list[set[int]] = []
    on_file._source.commit = lambda connection: (  # type: ignore[method-assign]
        changed.append({nodes[oid] for oid in connection.changed}), commit(connection))[1]
    assert on_file.purge() == 300
    assert [len(numbers) for numbers in changed] == [1] * 32
    check_index(on_file)


# -- what a connection keeps in memory ---------------------------------------------------------------------------------


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[DurusSessionStore]:
    """A store with many more sessions than a connection keeps in memory."""
    store = DurusSessionStore(tmp_path / "crowded.durus", True, cache_size=200, durable=False)
    store._transact(lambda trees: [layout.store(trees, key_of(number), None, None, RECORD._replace(version=1), ())
                                   for number in range(3000)], create=True)
    store.close()
    yield store
    store.close()


def test_what_is_in_use_is_loaded_once(crowded: DurusSessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although what leads to it names many more sessions than are to be kept."""
    def use() -> None:
        for number in range(0, 3000, 100):
            found = crowded.read(key_of(number))
            assert found is not None
            crowded.write(key_of(number), found, found.version)

    use()
    assert isinstance(crowded._source, file.FileSource)
    assert crowded._source._link is not None
    connection = crowded._source._link.connection
    load, loaded = connection.storage.load, []
    monkeypatch.setattr(connection.storage, "load", lambda oid: (loaded.append(oid), load(oid))[1])
    use()
    assert loaded == []


def test_no_more_is_kept_than_wanted(crowded: DurusSessionStore) -> None:
    """What was used last stays; of the rest not even the names do."""
    for number in range(3000):
        assert crowded.read(key_of(number)) is not None
    assert isinstance(crowded._source, file.FileSource)
    assert crowded._source._link is not None
    cache = crowded._source._link.connection.get_cache()
    used = list(cache.recent_objects.map.values())
    assert 200 <= len(used) <= 211
    assert {key_of(number) for number in range(2950, 3000)} <= {
        entry[0] for entry in used if isinstance(entry, PersistentList)}
    assert len(cache.objects.mapping) < 3000


# -- where the database is --------------------------------------------------------------------------------------------


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    with DurusServer(tmp_path / "durus", unix=True) as server:
        store, by_path = from_url(server.url), DurusSessionStore(str(server.place), create=True)
        store.write(KEY, RECORD, None)
        assert contents(by_path) == {KEY: RECORD.data}
        assert store.is_multiprocess_safe
        assert by_path.is_multiprocess_safe
        server.stop()
        with pytest.raises(StoreUnavailable):
            store.read(KEY)


def test_urls(server: DurusServer, tmp_path: Path) -> None:
    for url in (server.url, f"durus:{tmp_path}/sessions.durus?create=true&durable=false",
                f"durus:{tmp_path}/odd:123?create=true"):
        store = from_url(url)
        store.write(KEY, RECORD, None)
        assert store.is_multiprocess_safe is (url == server.url)
        store.close()
    assert {"sessions.durus", "odd:123"} < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("url", ["durus:", "durus://", "durus:///", "durus:///var/lib/x", "durus://host:port",
                                 "durus://host:1/path", "durus+unix:", "durus:x?cache_size=big", "durus:x?colour=red"])
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        from_url(url)


@pytest.mark.parametrize("where", [None, 5, b"path", object()])
def test_nonsense_is_refused(where: Any) -> None:
    with pytest.raises(ConfigurationError, match=type(where).__name__):
        DurusSessionStore(where)


@pytest.mark.parametrize("where", [("127.0.0.1", 1), "127.0.0.1:1", "[::1]:1", "unix:/nowhere/socket"])
def test_addresses_are_not_taken_for_files(where: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailable):
        DurusSessionStore(where).read(KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_server_packs_while_it_serves(server: DurusServer, store: DurusSessionStore) -> None:
    version = None
    for _ in range(100):
        version = store.write(KEY, RECORD._replace(data=os.urandom(1000)), version)
    before = contents(store)
    store.pack()
    for number in range(1, 50):
        store.write(key_of(number), RECORD, None)
    assert contents(store) == {**before, **{key_of(number): RECORD.data for number in range(1, 50)}}
    server.stop()
    server.start()
    assert len(contents(store)) == 50
