"""What holds for the PostgreSQL and the MySQL store alike, beyond what holds for every store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from c_fork import importing
from sql_lost_answers import LostAnswers

from session2 import ConfigurationError, DictSession, StoreUnavailable
from session2.errors import Conflict, StoreMissing
from session2.record import Record
from session2.session import ties
from session2.store.servers import pool
from session2.store.servers.results import Fault, StatementFailed
from session2.store.sql import store as sql
from session2.store.sql.store import SQLSessionStore
from session2.store.sql.tables import comment_of
from session2.testing.fakes import Clock
from session2.testing.store.samples import contents, key_of, record_at
from session2.testing.store.shop import Shop, again, saved
from session2.tokens import new_id
from session2.urls import from_url

KEY = key_of(0)

FORKING = """
import os, sys
from c_fork import fork_in_c
from session2.urls import from_url
from session2.testing.store.samples import key_of, record_at

url, table, whoami, lend, fork = sys.argv[1:]
kind = type(from_url(url))
lent = eval(lend)
if hasattr(lent, "putconn"):
    lent.wait()  # until it has all its connections, which take turns
store = kind(lent, table, pool_size=2)

def connection():
    return store._connections.use(lambda lent: store._send(lent, whoami, {})).rows

store.setup()
store.write(key_of(1), record_at(store.clock()), None)
mine = connection()
child = eval(fork)
if not child:
    assert connection() != mine
    store.write(key_of(2), record_at(store.clock()), None)
    sys.stdout.flush()
    os._exit(0) if lend != "url" else sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert store.read(key_of(2))
assert connection() == mine, "the child ended a connection of its parent"
store.close()
if lend != "url":
    lent.close()
"""


FORKS = {"os.fork()": "python", "fork_in_c()": "c"}
"""The second runs none of the hooks of Python's, like uWSGI."""

# The drivers' destructors stumble over what an interrupted constructor left half made, and say so on stderr.
OURS_ONLY = """
import sys

def stumbled(unraisable, say=sys.unraisablehook):
    if getattr(unraisable.object, "__module__", "").partition(".")[0] not in ("pymysql", "psycopg"):
        say(unraisable)

sys.unraisablehook = stumbled
"""

INTERRUPTED = OURS_ONLY + """
import random, signal, sys, threading, time
from session2.urls import from_url
from session2.testing.store.samples import key_of, record_at

url, table = sys.argv[1:]
store = from_url(f"{url}?table={table}&pool_size=2&timeout=5")
store.setup()
for number in range(20):
    store.write(key_of(number), record_at(store.clock(), str(number).encode()), None)

class Interruption(BaseException):
    pass

def interrupt(*_):
    raise Interruption

signal.signal(signal.SIGALRM, interrupt)

def ask():
    number = random.randrange(20)
    data = store.read(key_of(number)).data
    assert data == str(number).encode(), ("a stranger's session", number, data)

interrupted = 0
end = time.monotonic() + 2
while time.monotonic() < end or interrupted < 40:
    ask()  # while a connection is made
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00005, 0.003))
        waited = time.monotonic() + 1  # a destructor, or PyMySQL's bare "except:", may swallow the interruption
        while time.monotonic() < waited:
            ask()
    except Interruption:
        interrupted += 1

# All places are free.
met = threading.Barrier(2, timeout=10)
both = [threading.Thread(target=store._connections.use, args=(lambda _: met.wait(),)) for _ in range(2)]
for thread in both:
    thread.start()
for thread in both:
    thread.join()
assert not met.broken
"""

KILLED = """
from gevent import monkey
monkey.patch_all()
""" + OURS_ONLY + """
import random, sys, time, gevent
from session2.urls import from_url
from session2.testing.store.samples import key_of, record_at

url, table = sys.argv[1:]
store = from_url(f"{url}?table={table}&pool_size=3&timeout=5")
store.setup()
for number in range(20):
    store.write(key_of(number), record_at(store.clock(), str(number).encode()), None)
answers = []

def work():
    for _ in range(50):
        number = random.randrange(20)
        data = store.read(key_of(number)).data
        assert data == str(number).encode(), ("a stranger's session", number, data)
        answers.append(number)

rounds, end = 0, time.monotonic() + 30
while rounds < 30 or (len(answers) < 100 and time.monotonic() < end):
    rounds += 1
    lets = [gevent.spawn(work) for _ in range(6)]
    # On a busy machine a connection takes long.
    gevent.sleep(random.uniform(0, 0.02 + rounds / (500 if answers else 50)))
    gevent.killall(lets, block=True, timeout=10)
    for let in lets:
        assert isinstance(let.value, (gevent.GreenletExit, type(None))) and let.exception is None, let.exception
assert answers, "no greenlet lived long enough"
lets = [gevent.spawn(store._connections.use, lambda _: gevent.sleep(0.1)) for _ in range(3)]
gevent.joinall(lets, timeout=5, raise_error=True)
assert all(let.successful() for let in lets)
"""


class Visitor(threading.Thread):
    """Counts in a session of its own until it is over, whatever becomes of the server."""

    def __init__(self, store: SQLSessionStore, over: threading.Event) -> None:
        super().__init__()
        self.store, self.over, self.session = store, over, saved(store, n=0)
        self.acknowledged = self.failures = 0
        self._served = threading.Semaphore(0)

    def run(self) -> None:
        while not self.over.is_set():
            try:
                session = again(self.store, self.session)
                session["n"] += 1
                self.store.sessions.save(session)
            except StoreUnavailable:
                self.failures += 1
                self.over.wait(0.01)
            else:
                self.acknowledged = session["n"]
                self._served.release()

    def wait_for(self, saves: int) -> None:
        """Wait for so many more saves."""
        for _ in range(saves):
            assert self._served.acquire(timeout=30)


class SQLTests(LostAnswers):
    """A test class adds the fixtures `server`, `bare_table`, `scheme` (of its URLs) and `lent`.

    `bare_table` is a name under which there is nothing, `lent` a connection or a pool.
    """

    store_class: type[SQLSessionStore]
    whoami: str
    """The statement that asks for the number of the connection."""
    no_text: str
    """Bytes that are not UTF-8."""
    read_only: str
    """The statement after which a connection takes no writes."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def table(self, server: Any, bare_table: str) -> str:
        """The name of a table that was set up."""
        store = self.store_class(server.url, bare_table)
        store.setup()
        store.close()
        return bare_table

    @pytest.fixture
    def make(self, make_bare: Any, table: str) -> Callable[..., SQLSessionStore]:
        """A function that makes another store on the same table."""
        return make_bare

    @pytest.fixture
    def make_bare(self, server: Any, bare_table: str) -> Callable[..., SQLSessionStore]:
        """A function that makes another store on the same table, which is not there yet."""
        stores = []

        def make(**options: Any) -> SQLSessionStore:
            stores.append(self.store_class(server.url, bare_table, **options))
            return stores[-1]

        yield make
        for store in stores:
            store.close()

    def execute(self, server: Any, statement: str) -> list[Any]:
        """Execute a statement on a connection of the test's own and return what rows it returns."""
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    # -- round trips -----------------------------------------------------------------------------------------------

    def test_one_statement_to_load_save_and_touch(self, make: Any, statements: Callable[[], int]) -> None:
        store = make()
        session = saved(store, n=0)
        for action in (lambda: again(store, session), lambda: store.sessions.save(session),
                       lambda: store.sessions.touch(session),
                       lambda: saved(store, n=1)):
            session["n"] += 1
            ties(session).accessed += 100
            before = statements()
            action()
            assert statements() - before == 1

    # -- trouble ---------------------------------------------------------------------------------------------------

    def test_connection_killed_between_load_and_save(self, server: Any, lent: Any, table: str) -> None:
        store = self.store_class(lent, table)
        session = saved(store, n=0)
        loaded = again(store, session)
        self.kill_connections(server)
        loaded["n"] = 1
        store.sessions.save(loaded)
        assert again(store, session)["n"] == 1
        store.close()

    def test_all_pooled_connections_killed(self, server: Any, make: Any) -> None:
        store = make(pool_size=8)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: store.write(key_of(number), record_at(store.clock()), None), range(100)))
            self.kill_connections(server)
            assert all(threads.map(store.read, map(key_of, range(100))))

    def test_server_away_and_back(self, server: Any, make: Any) -> None:
        store = make()
        session = saved(store, n=0)
        server.stop()
        try:
            for call in (lambda: again(store, session), lambda: saved(store), store.purge, lambda: contents(store),
                         store.setup, lambda: store.lock(KEY)):
                with pytest.raises(StoreUnavailable):
                    call()
        finally:
            server.start()
        assert again(store, session).data == {"n": 0}

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("connected", [True, False])
    def test_server_that_hangs(self, server: Any, make: Any, connected: bool) -> None:
        store = make(connect_timeout=1, timeout=0.2)
        session = saved(store, n=0)
        if not connected:
            store.close()
        server.send(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                again(store, session)
        finally:
            server.send(signal.SIGCONT)
        assert again(store, session).data == {"n": 0}

    @pytest.mark.timeout(120)
    def test_restart_in_mid_load_loses_no_acknowledged_save(self, server: Any, make: Any) -> None:
        store, over = make(pool_size=4), threading.Event()
        visitors = [Visitor(store, over) for _ in range(8)]
        for visitor in visitors:
            visitor.start()
        for end in (server.stop, server.crash):
            for visitor in visitors:
                visitor.wait_for(20)
            end()
            server.start()
        for visitor in visitors:
            visitor.wait_for(20)
        over.set()
        for visitor in visitors:
            visitor.join()
            assert again(store, visitor.session)["n"] >= visitor.acknowledged
        assert any(visitor.failures for visitor in visitors), "the restarts came when nobody looked"

    def test_broken_connection_is_tried_again_once_only(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        store, tries = make(), []

        def fail(*_: Any) -> Any:
            tries.append(1)
            raise StatementFailed(Fault.BROKEN, "gone")

        monkeypatch.setattr(store, "_send", fail)
        with pytest.raises(StoreUnavailable, match="gone"):
            store.read(KEY)
        assert len(tries) == 2

    def test_deadlock_is_tried_again(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        store, tries = make(), []
        send = store._send

        def deadlock(*call: Any) -> Any:
            tries.append(1)
            if len(tries) < 4:
                raise StatementFailed(Fault.BUSY, "deadlock")
            return send(*call)

        monkeypatch.setattr(store, "_send", deadlock)
        assert store.read(KEY) is None
        assert len(tries) >= 4

    # -- connections -----------------------------------------------------------------------------------------------

    def test_64_threads_on_4_connections(self, server: Any, make: Any) -> None:
        store = make(pool_size=4)
        session = saved(store, visits=0)
        mine = [saved(store, n=0) for _ in range(64)]

        def work(number: int) -> None:
            for _ in range(10):
                loaded = again(store, mine[number])
                loaded["n"] += 1
                store.sessions.save(loaded)
            loaded = again(store, session)
            loaded["visits"] += 1
            store.sessions.save(loaded)

        with ThreadPoolExecutor(64) as threads:
            list(threads.map(work, range(64)))
        assert [again(store, session)["n"] for session in mine] == [10] * 64
        assert again(store, session)["visits"] == 64
        assert len([place for place in store._connections._places._hall().places if place.holds]) <= 4

    def test_all_connections_busy(self, make: Any) -> None:
        make().setup()
        store = make(pool_size=1, timeout=0.5)

        def read_too(_: Any) -> None:
            with pytest.raises(StoreUnavailable, match="pool_size"), ThreadPoolExecutor(1) as threads:
                threads.submit(store.read, KEY).result()

        store._connections.use(read_too)
        assert store.read(KEY) is None

    @pytest.mark.parametrize("fork", FORKS)
    def test_fork_after_the_store_was_made(self, server: Any, table: str, lend: str, fork: str) -> None:
        """The child exits as programs do, with all that this takes down, where nothing is but what the store made."""
        program = [sys.executable, "-W", "error", "-c", FORKING, server.url, table, self.whoami, lend, fork]
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, env=importing())
        assert (done.returncode, done.stderr) == (0, "")

    # -- interruptions ---------------------------------------------------------------------------------------------

    def test_a_signal_at_any_moment_mixes_no_answers_up(self, server: Any, table: str) -> None:
        """An exception between question and answer left the answer to whoever asked next; and places were lost."""
        program = [sys.executable, "-W", "ignore", "-c", INTERRUPTED, server.url, table]
        done = subprocess.run(program, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_killed_greenlet_mixes_no_answers_up(self, server: Any, table: str) -> None:
        program = [sys.executable, "-W", "ignore", "-c", KILLED, server.url, table]
        done = subprocess.run(program, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stderr) == (0, "")

    def test_an_interrupted_statement_ends_its_connection(self, make: Any) -> None:
        store = make(pool_size=1)

        def interrupted(connection: Any) -> None:
            store._send(connection, self.whoami, {})
            raise KeyboardInterrupt

        before = store._connections.use(lambda lent: store._send(lent, self.whoami, {})).rows
        with pytest.raises(KeyboardInterrupt):
            store._connections.use(interrupted)
        assert store._connections.use(lambda lent: store._send(lent, self.whoami, {})).rows != before

    def test_an_interrupted_statement_ends_what_was_lent(self, lent: Any, table: str) -> None:
        """Ten times, on at most four connections: none is lost."""
        store = self.store_class(lent, table)
        store.write(KEY, record_at(store.clock(), b"mine"), None)

        def interrupted(connection: Any) -> None:
            self.ask_only(connection)
            raise KeyboardInterrupt

        for _ in range(10):
            with pytest.raises(KeyboardInterrupt):
                store._connections.use(interrupted)
            assert store.read(KEY).data == b"mine"
        store.close()

    def test_an_answer_to_another_question_is_refused(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever mixes them up: it is an error, and the connection ends."""
        store = make(pool_size=1)
        for number in range(3):
            store.write(key_of(number), record_at(store.clock(), user="anna"), None)
        send, sent = store._send, []

        def shifted(connection: Any, text: str, arguments: Any) -> Any:
            sent.append(connection)
            if "key" in arguments:
                return send(connection, text, {**arguments, "key": key_of(2)})
            return send(connection, text, {**arguments, "after": "", "owner": b"anna"})

        monkeypatch.setattr(store, "_send", shifted)
        for call in (lambda: store.read(key_of(1)), lambda: list(store.records_of("bert")),
                     lambda: list(store._pages("page"))[3:]):
            with pytest.raises(StoreUnavailable, match="another question"):
                call()
        assert len(set(map(id, sent))) >= 3
        monkeypatch.undo()
        assert store.read(key_of(1)).user == "anna"

    # -- the role of a server --------------------------------------------------------------------------------------

    def test_connections_to_a_server_that_lost_its_role_are_given_up(self, make: Any) -> None:
        """As after a failover: the connections lead to the old primary, which is healthy and refuses every write."""
        store = make(pool_size=3)
        version = store.write(KEY, record_at(store.clock()), None)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: self.fence(store), range(3)))
        for number in range(10):
            version = store.write(KEY, record_at(store.clock(), str(number).encode()), version)

    def fence(self, store: SQLSessionStore) -> None:
        """Have the server take no writes on the connections that the store has now."""
        store._connections.use(lambda lent: lent.cursor().execute(self.read_only))

    def test_pool_that_is_lent_after_a_failover(self, fenced_pool: Any, table: str) -> None:
        store = self.store_class(fenced_pool, table)
        version = store.write(KEY, record_at(store.clock()), None)
        for number in range(10):
            version = store.write(KEY, record_at(store.clock(), str(number).encode()), version)
        store.close()

    def test_silent_connection_is_replaced(self, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        store = make()

        def connection() -> Any:
            return store._connections.use(lambda lent: store._send(lent, self.whoami, {})).rows

        assert connection() == connection()
        monkeypatch.setattr(pool, "_MAX_IDLE", -1)
        assert connection() != connection()

    def test_everything_lent_serves(self, lent: Any, table: str, clock: Clock) -> None:
        store = self.store_class(lent, table, clock=clock)
        session = saved(store, visits=0)

        def work(_: int) -> None:
            for _ in range(10):
                loaded = again(store, session)
                loaded["visits"] += 1
                store.sessions.save(loaded)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
        assert again(store, session)["visits"] == 40
        self.use_everything(store, clock)
        store.close()

    def use_everything(self, store: SQLSessionStore, clock: Clock) -> None:
        """Call each primitive, and see that what comes back is of the right type, digit by digit."""
        store.setup(drop=True)
        written = record_at(clock.now, user="anna", expires=clock.now + 10 + 1 / 3)
        version = store.write(KEY, written, None)
        written = written._replace(version=version)
        for key, record in ((KEY, store.read(KEY)), *store.scan(), *store.records_of("anna")):
            if key == KEY:
                assert record == written
                assert [type(value) for value in record] == [type(value) for value in written]
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), None)
        assert store.touch(KEY, clock.now, clock.now + 20)
        assert not store.touch(key_of(1), clock.now, clock.now + 20)
        clock.advance(20)
        assert store.purge() == 1
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), version)
        for number in range(3):
            store.write(key_of(number), record_at(clock.now, user="anna"), None)
        assert store.delete_old_sessions(60)[1] == 3
        assert len(list(store.sessions.revoke("anna"))) == 3
        assert list(store.records_of("anna")) == []
        for trace, _ in store.scan():
            store.remove(trace)
        store.write(KEY, record_at(clock.now), None)
        clock.advance(20)
        assert store.purge(unused_since=clock.now) == 1
        assert list(store.scan()) == []

    # -- the table -------------------------------------------------------------------------------------------------

    def test_only_setup_makes_the_table(self, server: Any, make_bare: Any, bare_table: str, clock: Clock) -> None:
        store = make_bare(clock=clock)
        for call in (lambda: store.read(KEY), lambda: store.write(KEY, record_at(0), None), lambda: contents(store),
                     lambda: store.write(KEY, record_at(0), 1), lambda: store.touch(KEY, 1, None), store.purge,
                     lambda: store.remove(KEY), lambda: store.remove(KEY, 1), lambda: store.lock(KEY),
                     lambda: list(store.records_of("anna")), lambda: store.delete_old_sessions(1)):
            with pytest.raises(StoreMissing, match=rf"{bare_table}.*store\.setup\(\).*session2 setup"):
                call()
        store.setup()
        assert contents(store) == {}

    def test_table_is_set_up_by_many_at_once(self, make_bare: Any) -> None:
        stores = [make_bare() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda store: store.setup(), stores))
            list(threads.map(lambda number: stores[number].write(key_of(number), record_at(1e10), None), range(8)))
        assert len(contents(stores[0])) == 8

    @pytest.mark.parametrize("name", ["", "a b", 'a"b', "a`b", "a;b", "1a", "a.b.c", "a-b", "\N{SNOWMAN}", "x" * 64])
    def test_hostile_table_name(self, server: Any, name: str) -> None:
        with pytest.raises(ConfigurationError, match="table"):
            self.store_class(server.url, name)

    def test_foreign_table_is_left_alone(self, server: Any, make_bare: Any, bare_table: str) -> None:
        store = make_bare()
        self.execute(server, f"CREATE TABLE {store._table} (id VARCHAR(255) NOT NULL PRIMARY KEY, "
                             "pickle TEXT NOT NULL, modify_time TIMESTAMP)")
        self.execute(server, f"INSERT INTO {store._table} (id, pickle) VALUES ('an id', 'a pickle')")
        for call in (store.setup, lambda: store.setup(drop=True), lambda: store.read(KEY), store.purge,
                     lambda: store.write(KEY, record_at(0), None)):
            with pytest.raises(ConfigurationError, match=bare_table):
                call()
        assert [row[:2] for row in self.execute(server, f"SELECT * FROM {store._table}")] == [("an id", "a pickle")]

    def test_table_of_a_newer_version_is_left_alone(self, server: Any, make: Any) -> None:
        store = make()
        store.setup()
        self.comment(server, store, "session2 sessions, schema 1000")
        for drop in (True, False):
            with pytest.raises(ConfigurationError, match="newer"):
                store.setup(drop)

    @pytest.mark.parametrize("schema", [1, 2])
    def test_older_table_is_upgraded_by_setup(self, server: Any, make_bare: Any, clock: Clock, schema: int) -> None:
        store = make_bare(clock=clock)
        self.make_schema(server, store, schema)
        columns = f"{self.quoted('key')}, data, version, created, modified, accessed, expires"
        for key, expires in ((KEY, clock.now + 9), (key_of(1), clock.now + 5)):
            self.execute(server, f"INSERT INTO {store._table} ({columns}) "
                                 f"VALUES ('{key}', '', 1, 1, 1, {clock.now}, {expires})")
        with pytest.raises(StoreMissing, match="earlier session2"):
            store.write(key_of(2), record_at(clock.now), None)
        store.setup()
        found = store.read(KEY)
        assert found == Record(b"", 1, 1, clock.now, clock.now + 9, None, 1)
        clock.advance(5)
        assert store.purge() == 1
        store.write(KEY, found, found.version)
        assert contents(store) == {KEY: b""}
        assert self.indexes(server, store) == self.indexes_of_a_new_table(server, make_bare)

    def test_processes_of_the_version_before_go_on(self, server: Any, make: Any, clock: Clock) -> None:
        """What they write names no version to remember."""
        store = make(clock=clock)
        columns = f"{self.quoted('key')}, data, version, created, modified, accessed, expires"
        self.execute(server, f"INSERT INTO {store._table} ({columns}) VALUES ('{KEY}', '', 7, 1, 1, 1, NULL)")
        mine = store.write(KEY, store.read(KEY), 7)
        self.execute(server, f"UPDATE {store._table} SET version = 8")
        with pytest.raises(Conflict):
            store.write(KEY, store.read(KEY), mine)
        store.remove(KEY, 8)
        assert contents(store) == {}

    def test_damaged_user_is_one_line_in_the_log(self, server: Any, make: Any, clock: Clock,
                                                 caplog: pytest.LogCaptureFixture) -> None:
        store = make(clock=clock)
        for number in range(2):
            store.write(key_of(number), record_at(clock.now, user="anna"), None)
        self.execute(server, f"UPDATE {store._table} SET {self.quoted('user')} = {self.no_text} "
                             f"WHERE {self.quoted('key')} = '{KEY}'")
        assert store.read(KEY) is None
        assert [record.getMessage()[:33] for record in caplog.records] == [f"session {KEY[:8]} corrupt: treated"]
        assert contents(store) == {key_of(1): b"state"}

    @pytest.mark.parametrize("schema", [1, 2, 3])
    def test_table_that_lost_its_comment_is_adopted(self, server: Any, make_bare: Any, clock: Clock,
                                                    schema: int) -> None:
        """As ``pg_dump --no-comments`` loses it."""
        store = make_bare(clock=clock)
        self.make_schema(server, store, schema)
        self.comment(server, store, "")
        store.setup()
        assert self.comment_of(server, store) == comment_of(3)
        store.write(KEY, record_at(clock.now), None)
        self.comment(server, store, "")
        store.setup()
        assert contents(store) == {KEY: b"state"}
        self.comment(server, store, "")
        store.setup(drop=True)
        assert contents(store) == {}

    def test_table_with_columns_besides_ours_says_how_to_adopt_it(self, server: Any, make: Any) -> None:
        store = make()
        store.write(KEY, record_at(store.clock()), None)
        self.comment(server, store, "")
        self.execute(server, f"ALTER TABLE {store._table} ADD COLUMN note integer")
        with pytest.raises(ConfigurationError, match="adopt it with: ") as caught:
            store.setup(drop=True)
        self.execute(server, str(caught.value).rpartition("adopt it with: ")[2])
        store.setup()
        assert contents(store) == {KEY: b"state"}

    def indexes_of_a_new_table(self, server: Any, make: Any) -> Any:
        store = make()
        store.setup(drop=True)
        return self.indexes(server, store)

    # -- clean-up --------------------------------------------------------------------------------------------------

    def test_several_hosts_purge_at_once(self, make: Any, clock: Clock) -> None:
        stores = [make(clock=clock, pool_size=2) for _ in range(4)]
        for number in range(600):
            stores[0].write(key_of(number), record_at(clock.now, expires=clock.now + number * 30), None)
        clock.advance(500 * 30)
        with ThreadPoolExecutor(4) as threads:
            counts = list(threads.map(lambda store: store.purge(batch=7), stores))
        assert sum(counts) == 501
        assert len(contents(stores[0])) == 99

    def test_purge_of_what_expired_long_ago(self, make: Any, clock: Clock) -> None:
        store = make(clock=clock)
        ages = [0, 0.5, 1, 2, 46, 47, 48, 49, 50, 100, 101, 400, clock.now / 3600, clock.now / 1800]
        for number, hours in enumerate(ages):
            expired = record_at(clock.now, expires=clock.now - hours * 3600)
            due = record_at(clock.now, expires=clock.now + 1 + hours * 3600)
            store.write(key_of(number), expired, None)
            store.write(key_of(100 + number), due, None)
        assert store.purge() == len(ages)
        assert len(contents(store)) == len(ages)

    def test_delete_old_sessions_by_strides(self, make: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        store = make(clock=clock)
        monkeypatch.setattr(sql, "_STRIDE", 3)
        self.store_by_age(store, clock)
        with store.lock(KEY):
            assert store.delete_old_sessions(9.5) == (10, 10)
        assert sorted(session["n"] for session in store.sessions.each(DictSession)) == list(range(10))

    def store_by_age(self, store: SQLSessionStore, clock: Clock) -> None:
        """Store 20 sessions last used 0 to 19 minutes ago, and a trace."""
        for minutes in range(20):
            session = Shop(new_id())
            session["n"] = minutes
            ties(session).accessed = clock.now - minutes * 60
            store.sessions.save(session)
        store.sessions.rotate(session, new_id(), grace=30)

    def test_purge_of_the_unused_goes_by_batches(self, make: Any, clock: Clock) -> None:
        store = make(clock=clock)
        self.store_by_age(store, clock)
        store.write(key_of(1), record_at(clock.now - 9000, expires=clock.now), None)
        with store.lock(KEY):
            assert store.purge(batch=3, unused_since=clock.now - 9.5 * 60) == 11
            assert store.read("lock-" + KEY)
        assert sorted(session["n"] for session in store.sessions.each(DictSession)) == list(range(10))

    def test_purge_of_the_unused_spares_what_is_touched_meanwhile(self, make: Any, clock: Clock,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
        store = make(clock=clock)
        for number in range(10):
            store.write(key_of(number), record_at(clock.now), None)
        send = store._send

        def touch_first(connection: Any, text: str, arguments: Any) -> Any:
            if text == store._sql["delete_unused"]:
                monkeypatch.undo()
                assert store.touch(key_of(5), clock.now + 60, None)
                store.write(key_of(6), record_at(clock.now + 60), store.read(key_of(6)).version)
            return send(connection, text, arguments)

        monkeypatch.setattr(store, "_send", touch_first)
        assert store.purge(unused_since=clock.now + 1) == 8
        assert set(contents(store)) == {key_of(5), key_of(6)}

    def test_touch_tells_whether_a_record_stands_there(self, make: Any, clock: Clock) -> None:
        store = make(clock=clock)
        assert not store.touch(KEY, clock.now, None)
        store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
        assert store.touch(KEY, clock.now + 5, clock.now + 10)
        assert store.touch(KEY, clock.now + 3, clock.now + 20), "an earlier touch moves nothing"
        clock.advance(10)
        assert not store.touch(KEY, clock.now, clock.now + 10)

    def test_iteration_over_several_pages(self, make: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        store = make(clock=clock)
        monkeypatch.setattr(sql, "_PAGE", 3)
        for number in range(20):
            expires = clock.now + (10 if number % 3 else 0)
            store.write(key_of(number), record_at(clock.now, user="ab"[number % 2], expires=expires), None)
        assert set(contents(store)) == {key_of(number) for number in range(20) if number % 3}
        assert {key for key, _ in store.records_of("a")} == {
            key_of(number) for number in range(0, 20, 2) if number % 3}

    # -- arguments -------------------------------------------------------------------------------------------------

    def test_url(self, server: Any, table: str, scheme: str) -> None:
        store = from_url(f"{scheme}:{server.url.partition(':')[2]}?table={table}&pool_size=3&timeout=5")
        assert type(store) is self.store_class
        store.write(KEY, record_at(1e10), None)
        assert [count for count, in self.execute(server, f"SELECT count(*) FROM {table}")] == [1]
        store.close()

    def test_url_without_a_place(self) -> None:
        with pytest.raises(ConfigurationError, match="host"):
            self.store_class._from_location("scheme:")

    def test_something_else_than_a_connection(self) -> None:
        with pytest.raises(ConfigurationError, match="not object"):
            self.store_class(object())

    def test_wrong_password_is_not_told(self, server: Any) -> None:
        store = self.store_class(server.url.replace("p%40ss", "secret"))
        with pytest.raises(StoreUnavailable) as caught:
            store.read(KEY)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("time", [0.1 + 0.2, 1e9 / 3, 2.0**53 + 2, 5e-324, 1.7976931348623157e308, -1e-9, 12345])
    def test_every_digit_of_a_time_is_kept(self, make: Any, time: float) -> None:
        store = make()
        written = Record(b"", time, time, time, None)
        version = store.write(KEY, written, None)
        version = store.write(KEY, written, version)
        assert store.read(KEY) == written._replace(version=version)
        assert dict(store.scan()) == {KEY: written._replace(version=version)}

    @pytest.mark.parametrize("data", [b"", b" ", b"- - -", b" \n \0", bytes(range(256))])
    @pytest.mark.parametrize("user", [None, "", " ", "-", "4 a b", "\n"])
    def test_data_and_users_full_of_blanks(self, make: Any, clock: Clock, data: bytes, user: str | None) -> None:
        store = make(clock=clock)
        for expires in (None, clock.now + 5):
            written = record_at(clock.now, data, user=user, expires=expires)
            version = store.write(KEY, written, None)
            assert store.read(KEY) == written._replace(version=version)
            store.remove(KEY)

    @pytest.mark.parametrize("version", [2**64, -2**70, "1", 1.5, b"1", (1,)])
    def test_version_of_another_store(self, make: Any, version: Any) -> None:
        store = make()
        store.write(KEY, record_at(store.clock()), None)
        for change in (lambda: store.write(KEY, record_at(store.clock(), b"new"), version),
                       lambda: store.remove(KEY, version)):
            with pytest.raises(Conflict):
                change()
        assert contents(store) == {KEY: b"state"}

    def test_user_whose_name_is_too_long(self, make: Any) -> None:
        with pytest.raises(ConfigurationError, match="user_key"):
            make().write(KEY, record_at(0, user="\N{SNOWMAN}" * 334), None)

    @pytest.mark.parametrize("user", ["a\0b", "\ud800", "\N{SNOWMAN}" * 333, "anna "], ids=ascii)
    def test_strange_users(self, make: Any, clock: Clock, user: str) -> None:
        store = make(clock=clock)
        store.write(KEY, record_at(clock.now, user=user), None)
        assert [(key, record.user) for key, record in store.records_of(user)] == [(KEY, user)]
