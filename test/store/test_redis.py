"""RedisSessionStore against a private Redis."""

from __future__ import annotations

import contextlib
import re
import signal
import socketserver
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from servers_redis import RedisCluster, RedisServer, SentinelServer
from servers_sql import PASSWORD

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere
from sql_lost_answers import LostAnswers
from test_tls import certified

import session2.store.redis
from session2 import ConfigurationError, DictSession, SessionManager, StoreUnavailable, from_url
from session2.errors import Conflict
from session2.found import Absence
from session2.session import ties
from session2.store.redis import RedisSessionStore, commands, servers
from session2.store.redis.driver import Destination
from session2.store.redis.layout import HEAD
from session2.store.redis.wire import Link, Refusal
from session2.store.servers.once import ServerSilent
from session2.store.servers.results import Fault, StatementFailed
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.claims import Claims
from session2.testing.store.recipe import Recipe
from session2.testing.store.samples import contents, key_of, record_at
from session2.testing.store.shop import again, saved
from session2.testing.store.suite import ContractTests

KEY = key_of(0)


class TestRedis(StoreSuite):
    store_class = RedisSessionStore
    scale = 0.2

    @pytest.fixture
    def recipe(self, redis_server: RedisServer) -> Recipe:
        return Recipe(RedisSessionStore, (redis_server.url,), {"prefix": f"{uuid.uuid4().hex}:"})


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}:"


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the test's own."""
    with server.open() as client:
        yield client


@pytest.fixture
def make(server: RedisServer, prefix: str) -> Iterator[Callable[..., RedisSessionStore]]:
    """A function that makes another store of the same sessions."""
    stores = []

    def make(where: Any = None, **options: Any) -> RedisSessionStore:
        stores.append(RedisSessionStore(where or server.url, **{"prefix": prefix, **options}))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make: Any, clock: Clock) -> RedisSessionStore:
    return make(clock=clock)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """What was sent, each time with the verbs of all commands."""
    sent: list[list[bytes]] = []
    ask = Link.ask

    def noted(link: Link, commands: Any) -> Any:
        sent.append([words[0] for words in commands])
        return ask(link, commands)

    monkeypatch.setattr(Link, "ask", noted)
    return sent


def name(store: RedisSessionStore, key: str = KEY) -> str:
    return store._name(key).decode()


# -- answers that are lost ---------------------------------------------------------------------------------------------


def changes(sent: Any) -> bool:
    """Tell whether what is sent must be applied once."""
    once = (commands.WRITE, commands.REMOVE)
    return any(words[1] in (part for script in once for part in script) for words in sent)


class TestLostAnswers(LostAnswers):
    """As of the SQL stores."""

    @pytest.fixture
    def lose(self, store: RedisSessionStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        pool = store._servers._server._pool

        def lose(meanwhile: Callable[[], object] = lambda: None, carried_out: bool = True) -> None:
            use = pool.use

            def lose_first(exchange: Any) -> Any:
                if not changes(exchange.keywords["commands"]):
                    return use(exchange)
                if carried_out:
                    answers = use(exchange)
                    if any(isinstance(answer, Refusal) for answer in answers):  # the script is not known yet
                        return answers
                monkeypatch.setattr(pool, "use", use)
                meanwhile()
                raise StatementFailed(Fault.BROKEN, "gone")

            monkeypatch.setattr(pool, "use", lose_first)

        return lose

    def kill_connections(self, server: RedisServer) -> None:
        kill_connections(server)

    def test_answer_lost_twice(self, store: RedisSessionStore, lose: Any) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        lose(lose)
        store.write(KEY, record_at(store.clock(), b"new"), version)
        assert contents(store) == {KEY: b"new"}

    def test_what_was_sent_first_and_arrives_last_changes_nothing(self, store: Any, other: Any) -> None:
        """A server that hung does at last what it was asked for on a connection that was given up."""
        version = store.write(KEY, record_at(store.clock()), None)
        sent: list[Any] = []
        ask = store._servers.ask

        def kept(some: Any, once: bool = False) -> Any:
            sent.append(some)
            return ask(some, once)

        store._servers.ask = kept
        store.write(KEY, record_at(store.clock(), b"mine"), version)
        self.save(other)
        ask(sent[0])
        assert contents(store) == {KEY: b"theirs"}


def kill_connections(server: RedisServer) -> None:
    with server.open() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [None, "anna"])
def test_one_round_trip_to_load_save_touch_and_remove(store: RedisSessionStore, trips: list[Any],
                                                      user: str | None) -> None:
    session, record = saved(store, n=0), record_at(store.clock(), user=user)
    for number in range(3):  # so that the server knows the scripts
        version = store.write(key_of(number), record, None)
    store.touch(KEY, store.clock(), None)
    store.remove(key_of(1), store.read(key_of(1)).version)
    for action in (lambda: again(store, session), lambda: store.sessions.touch(session),
                   lambda: store.touch(KEY, store.clock() + 1, None), lambda: store.write(key_of(3), record, None),
                   lambda: store.write(key_of(2), record, version), lambda: store.remove(KEY),
                   lambda: store.remove(key_of(4), version)):
        ties(session).accessed += 100
        trips.clear()
        action()
        assert len(trips) == 1


def test_the_entry_in_the_index_goes_before_the_record(store: RedisSessionStore, trips: list[Any]) -> None:
    store.write(KEY, record_at(store.clock(), user="anna"), None)
    assert trips[-1][0] == b"ZADD"
    assert trips[-1][1] in (b"EVAL", b"EVALSHA")


def test_scripts_that_the_server_forgot(store: RedisSessionStore, client: redis.Redis) -> None:
    for number in range(3):
        version = store.write(key_of(number), record_at(store.clock(), user="anna"), None)
        client.script_flush()
        assert store.touch(key_of(number), store.clock(), None)
        client.script_flush()
        version = store.write(key_of(number), record_at(store.clock(), b"new"), version)
        client.script_flush()
        store.remove(key_of(number), version)
    assert contents(store) == {}


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [0.0, -5e9, 1e9, 4e12, 1e15])
def test_the_server_keeps_what_lives_by_the_clock_of_the_store_and_an_hour_more(make: Any, client: redis.Redis,
                                                                                now: float) -> None:
    store = make(clock=lambda: now)
    version = store.write(KEY, record_at(now, expires=now + 500), None)
    assert 4090 <= client.ttl(name(store)) <= 4100
    store.write(KEY, record_at(now, expires=now - 500), version)
    assert 3590 <= client.ttl(name(store)) <= 3600
    store.write(key_of(1), record_at(now, expires=now + 500), None)
    assert store.touch(key_of(1), now, now + 1000)
    assert 4590 <= client.ttl(name(store, key_of(1))) <= 4600
    assert store.touch(key_of(1), now + 100, None)
    assert client.ttl(name(store, key_of(1))) == -1


@pytest.mark.parametrize("expires", [None, 1e300, 1.7e308])
def test_the_server_keeps_for_ever_what_lives_longer_than_it_can_count(store: RedisSessionStore, client: redis.Redis,
                                                                      expires: float | None) -> None:
    store.write(KEY, record_at(store.clock(), expires=expires), None)
    assert client.ttl(name(store)) == -1
    assert store.read(KEY).expires == expires


def test_what_expired_is_told_from_what_never_was(make: Any, clock: Clock) -> None:
    manager = SessionManager(make(clock=clock), DictSession, idle_timeout=600)
    session = manager.new_session()
    session["n"] = 1
    manager.save(session)
    clock.advance(700)
    assert manager.find(session.id).absence is Absence.EXPIRED


def test_what_the_server_evicts_is_missing_and_no_error(make: Any, client: redis.Redis) -> None:
    manager = SessionManager(make(), DictSession)
    session = manager.new_session()
    session.set_user("anna")
    manager.save(session)
    loaded = manager.load(session.id)
    loaded["n"] = 1
    client.delete(name(manager.store, session.key))
    assert manager.load(session.id) is None
    assert list(manager.sessions_of("anna")) == []
    assert manager.revoke_user("anna") == 0
    manager.save(loaded)
    assert manager.load(session.id) is None


# -- the index ---------------------------------------------------------------------------------------------------------


def entries(store: RedisSessionStore, client: redis.Redis, user: str) -> set[bytes]:
    return set(client.zrange(store._index(user), 0, -1))


@pytest.mark.parametrize("sweep", [RedisSessionStore.purge, lambda store: list(store.records_of("anna"))],
                         ids=["purge", "records_of"])
def test_entries_without_a_record_are_swept_an_hour_later(store: RedisSessionStore, client: redis.Redis, clock: Clock,
                                                          sweep: Any) -> None:
    for number in range(3):
        store.write(key_of(number), record_at(clock.now, user="anna", expires=clock.now + 9999), None)
    store.remove(key_of(1))
    sweep(store)
    assert len(entries(store, client, "anna")) == 3
    clock.advance(3601)
    store.write(key_of(4), record_at(clock.now, user="anna"), None)
    client.delete(name(store, key_of(4)))
    sweep(store)
    assert entries(store, client, "anna") == {key_of(number).encode() for number in (0, 2, 4)}


def test_a_sweep_spares_what_is_entered_anew_meanwhile(store: RedisSessionStore, client: redis.Redis,
                                                       clock: Clock) -> None:
    store.write(KEY, record_at(clock.now, user="anna"), None)
    store.remove(KEY)
    clock.advance(9999)
    values = store._values

    def enter(keys: Any) -> Any:
        found = values(keys)
        store.write(KEY, record_at(clock.now, user="anna"), None)
        return found

    store._values = enter
    assert list(store.records_of("anna")) == []
    del store._values
    assert [key for key, _ in store.records_of("anna")] == [KEY]


def test_a_save_restores_an_entry_that_was_lost(store: RedisSessionStore, client: redis.Redis) -> None:
    record = record_at(store.clock(), user="anna")
    version = store.write(KEY, record, None)
    client.delete(store._index("anna"))
    store.write(KEY, record, version)
    assert [key for key, _ in store.records_of("anna")] == [KEY]


def test_an_index_is_named_by_a_hash_of_the_user(store: RedisSessionStore, client: redis.Redis) -> None:
    store.write(KEY, record_at(store.clock(), user="anna"), None)
    assert not [key for key in client.scan_iter() if b"anna" in key]


@pytest.mark.parametrize("user", ["a\0b", "\ud800", "\N{SNOWMAN}" * 3000, "anna "], ids=lambda user: ascii(user)[:20])
def test_strange_users(store: RedisSessionStore, user: str) -> None:
    store.write(KEY, record_at(store.clock(), user=user), None)
    assert [(key, record.user) for key, record in store.records_of(user)] == [(KEY, user)]


# -- what else is in the database --------------------------------------------------------------------------------------


def test_other_keys_are_left_alone(make: Any, client: redis.Redis, prefix: str) -> None:
    """Those of other prefixes, also of longer ones and with signs that patterns know, and those of somebody else."""
    names = ["a*b[c]?\\^-", "a1b1c", "b-", "x:"]
    stores = [make(prefix=f"{prefix}{part}:") for part in [*names, "x:y"]]
    for store in stores:
        store.write(KEY, record_at(store.clock(), store._prefix, user="anna"), None)
    for store in stores:
        assert contents(store) == {KEY: store._prefix}
    foreign = {f"{prefix}x:{'0' * 64}": b"theirs", f"{prefix}x:other": b"theirs"}
    for key, value in foreign.items():
        client.set(key, value)
    client.hset(f"{prefix}x:{'1' * 64}", "field", "value")
    client.set(f"{prefix}x:user:{'1' * 64}", "theirs")
    store = stores[3]
    store.setup(drop=True)
    assert contents(store) == {}
    assert {key: client.get(key) for key in foreign} == foreign
    assert client.hlen(f"{prefix}x:{'1' * 64}") == 1
    assert contents(stores[0]) == {KEY: stores[0]._prefix}
    assert contents(stores[4]) == {KEY: stores[4]._prefix}
    client.delete(*client.keys(f"{prefix}*"))


def test_a_purge_spares_the_indices_of_a_longer_prefix(make: Any, clock: Clock, prefix: str) -> None:
    """Also of one that looks like what its own indices begin with."""
    stores = [make(prefix=prefix + more, clock=clock) for more in ("", "user:", "user:user:")]
    for store in stores:
        store.write(KEY, record_at(clock(), user="anna", expires=None), None)
    stores[0].remove(KEY)
    clock.advance(3601)
    stores[0].purge()
    assert [[key for key, _ in store.records_of("anna")] for store in stores] == [[], [KEY], [KEY]]


def test_a_key_of_another_kind_is_an_error_that_says_so(store: RedisSessionStore, client: redis.Redis) -> None:
    client.hset(name(store), "field", "value")
    for call in (lambda: store.read(KEY), lambda: store.write(KEY, record_at(0), None),
                 lambda: store.touch(KEY, 1, None), lambda: store.remove(KEY, 1)):
        with pytest.raises(StoreUnavailable, match=r"WRONGTYPE.*prefix"):
            call()
    client.delete(name(store))


@pytest.mark.parametrize(("damage", "why"), [
    (lambda value: b"theirs", "too short"), (lambda value: b"x" * 500, "not written by session2"),
    (lambda value: value[:-1] + b"x", "checksum"), (lambda value: value[:20] + b"x" + value[21:], "checksum"),
    (lambda value: value[:HEAD - 1], "")])
def test_a_damaged_value_is_missing_and_one_line_in_the_log(store: RedisSessionStore, client: redis.Redis, damage: Any,
                                                            why: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        store.write(key_of(number), record_at(store.clock(), user="anna"), None)
    client.set(name(store), damage(client.get(name(store))))
    assert store.read(KEY) is None
    assert [record.getMessage()[:33] for record in caplog.records] == [f"session {KEY[:8]} corrupt: treated"]
    assert why in caplog.text
    assert set(contents(store)) == {key_of(1)}
    assert [key for key, _ in store.records_of("anna")] == [key_of(1)]


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Yield the port of something that answers this whatever it is asked."""
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while asked := self.request.recv(65536):
                self.request.sendall(b"+OK\r\n" if b"SETINFO" in asked else answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=[0.01])
        thread.start()
        yield listener.server_address[1]
        listener.shutdown()
        thread.join()


def test_a_change_that_a_node_of_a_cluster_was_silent_about_is_sent_to_no_other() -> None:
    """It may have been carried out, and would be a second time; a question is asked where the slot is now."""
    asked: list[tuple[str, bool]] = []

    class Node:
        def __init__(self, address: Any) -> None:
            self.host = address[0]

        def ask(self, commands: Any, once: bool = False) -> list[Any]:
            asked.append((self.host, once))
            if self.host == "silent":
                raise ServerSilent("no answer")
            return [b"answer"]

        def send(self, commands: Any) -> list[Any]:
            return [[[0, 16383, [b"other", 1]]]]

    def cluster() -> servers.Cluster:
        found = servers.Cluster(Destination(None, [("other", 1)]), Node)
        found._slots = [("silent", 1)] * 16384
        return found

    question = commands.plain(b"GET", b"key")
    assert cluster().ask([question]) == [b"answer"]
    assert asked == [("silent", False), ("other", False)]
    with pytest.raises(ServerSilent):
        cluster().ask([question], once=True)
    assert asked[2:] == [("silent", True)]


@pytest.mark.parametrize("text", ["MOVED", "MOVED 1 x", "MOVED 1 host:", "ASK 1 host:x"])
def test_a_cluster_that_leads_nowhere_is_unavailable(text: str) -> None:
    with pytest.raises(StoreUnavailable, match="names no server"):
        servers._address_of(Refusal(text), ("here", 1))


@pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
@pytest.mark.parametrize("answer", [
    b"*2\r\n:1\r\n$1\r\nx\r\n", b"*1\r\n:5\r\n", b"*3\r\n:1\r\n:1\r\n:1\r\n", b"*1\r\n" * 3000, b":x\r\n", b"\r\n",
    b"-\r\n", b"*2\r\n$1\r\n0\r\n*1\r\n*0\r\n", b"$-5\r\n", b"$99999999999999999\r\n", b"HTTP/1.0 400 Bad\r\n",
    b"x" * 70000])
def test_an_answer_that_is_none_is_unavailable(answer: bytes, kind: str) -> None:
    with answering(answer) as port:
        store = from_url(f"{kind}://127.0.0.1:{port}?timeout=0.2")
        for call in (lambda: store.read(KEY), lambda: store.write(KEY, record_at(0), None), lambda: [*store.scan()],
                     lambda: [*store.records_of("anna")], lambda: store.touch(KEY, 1, 2), lambda: store.remove(KEY),
                     store.purge):
            with pytest.raises(StoreUnavailable):
                call()
        store.close()


def test_the_record_of_another_key_is_an_error(store: RedisSessionStore, client: redis.Redis,
                                               trips: list[Any]) -> None:
    """An answer to another question looks so."""
    store.write(key_of(1), record_at(store.clock()), None)
    client.rename(name(store, key_of(1)), name(store))
    with pytest.raises(StoreUnavailable, match="another question"):
        store.read(KEY)
    assert contents(store) == {}
    store.remove(KEY)
    assert store.read(KEY) is None


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_server_away_and_back(server: RedisServer, make: Any) -> None:
    store = make()
    session = saved(store, n=0)
    server.stop()
    try:
        for call in (lambda: again(store, session), lambda: saved(store), store.purge, lambda: contents(store),
                     store.setup, lambda: store.lock(KEY), lambda: list(store.records_of("anna")),
                     lambda: store.remove(KEY), lambda: store.touch(KEY, 1, None)):
            with pytest.raises(StoreUnavailable):
                call()
    finally:
        server.start()
    assert again(store, session).data == {"n": 0}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("connected", [True, False])
def test_server_that_hangs(server: RedisServer, make: Any, connected: bool) -> None:
    store = make(connect_timeout=1, timeout=0.2)
    session = saved(store, n=0)
    if not connected:
        store.close()
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            again(store, session)
        with pytest.raises(StoreUnavailable):
            store.write(KEY, record_at(0), None)
    finally:
        server.send(signal.SIGCONT)
    assert again(store, session).data == {"n": 0}


def test_all_connections_killed(server: RedisServer, make: Any) -> None:
    store = make(pool_size=4)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.write(key_of(number), record_at(store.clock()), None), range(100)))
        kill_connections(server)
        assert all(threads.map(store.read, map(key_of, range(100))))
        kill_connections(server)
        list(threads.map(lambda number: store.write(key_of(number), record_at(store.clock()), None), range(100, 200)))
    assert len(contents(store)) == 200


def test_all_connections_busy(make: Any) -> None:
    store = make(pool_size=1, timeout=0.5)

    def read_too(_: Any) -> None:
        with pytest.raises(StoreUnavailable, match="pool_size"), ThreadPoolExecutor(1) as threads:
            threads.submit(store.read, KEY).result()

    store._servers._server._pool.use(read_too)
    assert store.read(KEY) is None


def test_server_that_is_full(make: Any, client: redis.Redis) -> None:
    store = make()
    version = store.write(KEY, record_at(store.clock(), user="anna"), None)
    client.config_set("maxmemory", 1)
    try:
        for call in (lambda: store.write(KEY, record_at(store.clock(), b"new"), version),
                     lambda: store.write(key_of(1), record_at(store.clock(), user="anna"), None)):
            with pytest.raises(StoreUnavailable, match=r"OOM.*maxmemory"):
                call()
        assert contents(store) == {KEY: b"state"}
    finally:
        client.config_set("maxmemory", 0)
    store.write(KEY, record_at(store.clock(), b"new"), version)
    assert contents(store) == {KEY: b"new"}


@pytest.mark.parametrize("password", ["", ":secret@"])
def test_wrong_password_is_not_told(server: RedisServer, password: str) -> None:
    store = from_url(f"redis://{password}127.0.0.1:{server.port}")
    with pytest.raises(StoreUnavailable, match=r"(?i)auth|password") as caught:
        store.read(KEY)
    assert "secret" not in str(caught.value)


def test_scripts_that_are_not_allowed(make: Any, client: redis.Redis) -> None:
    """The server repeats the arguments of a command that it does not know; we do not."""
    store = make()
    client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
    try:
        with pytest.raises(StoreUnavailable, match=r"NOPERM|permission") as caught:
            store.write(KEY, record_at(store.clock(), b"private"), None)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert "private" not in str(caught.value)
    [refusal] = store._servers._server._pool.use(lambda link: link.ask([(b"EVALSHAA", b"private")]))
    assert "unknown command" in refusal.text
    assert "private" not in refusal.text


def test_the_rights_that_the_page_names_are_enough(server: RedisServer, make: Any, clock: Clock, client: redis.Redis,
                                                   prefix: str) -> None:
    page = (Path(__file__).parents[2] / "docs/stores/redis.md").read_text()
    named = re.search(r"limited\nrights needs.*?`(.*?)`.*?`(.*?)`", page, re.DOTALL)
    rights = [f"+{command.lower()}" for command in " ".join(named.groups()).split() if "|" not in command]
    client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pass", f"~{prefix}*", *rights)
    store = make(f"redis://limited:pass@127.0.0.1:{server.port}/1", clock=clock)
    store.setup(drop=True)
    version = store.write(KEY, record_at(clock.now, user="anna", expires=clock.now + 9), None)
    assert store.touch(KEY, clock.now, clock.now + 10)
    assert store.touch(KEY, clock.now + 1, None)
    version = store.write(KEY, record_at(clock.now, user="anna"), version)
    store.remove(KEY, version)
    clock.advance(9999)
    assert list(store.records_of("anna")) == []
    store.write(KEY, record_at(clock.now, user="anna"), None)
    clock.advance(9999)
    assert store.purge() == 1
    store.remove(KEY)
    client.execute_command("ACL", "DELUSER", "limited")


def test_restart_in_mid_load_loses_no_acknowledged_save(server: RedisServer, make: Any) -> None:
    store, over = make(pool_size=4), threading.Event()
    sessions = [saved(store, n=0) for _ in range(4)]
    acknowledged, failures = [0] * 4, []

    def visit(number: int) -> None:
        while not over.is_set():
            try:
                session = again(store, sessions[number])
                session["n"] += 1
                store.sessions.save(session)
                acknowledged[number] = session["n"]
            except StoreUnavailable:
                failures.append(number)
                over.wait(0.01)

    with ThreadPoolExecutor(4) as threads:
        visitors = [threads.submit(visit, number) for number in range(4)]
        for end in (server.stop, server.crash):
            reached = sum(acknowledged)
            while sum(acknowledged) < reached + 40:
                over.wait(0.01)
            end()
            server.start()
        over.wait(0.2)
        over.set()
        for visitor in visitors:
            visitor.result()
    for session, count in zip(sessions, acknowledged, strict=True):
        assert again(store, session)["n"] >= count
    assert failures


# -- interruptions and forks -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # redis-py's, half made
def test_an_interruption_leaves_no_answer_to_who_asks_next(make: Any, clock: Clock) -> None:
    """At every call and return on the way of a question, also while the connection is made."""
    store = make(pool_size=1, clock=clock)
    for number in range(1, 3):
        store.write(key_of(number), record_at(clock.now, b"%d" % number), None)
    versions = [store.write(KEY, record_at(clock.now, b"0"), None)]

    def act() -> None:
        versions[0] = store.write(KEY, record_at(clock.now, b"0", user="anna"), versions[0])
        store.read(key_of(1))
        if len(seen) % 7 == 0:
            store.close()

    seen = []
    for number in interrupted_everywhere(act):
        seen.append(number)
        assert [store.read(key_of(number)).data for number in (2, 1)] == [b"2", b"1"]
        versions[0] = store.read(KEY).version
    assert len(seen) > 100


# -- clients of the application ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}, {"health_check_interval": 1},
                                     {"socket_timeout": None}, {"client_name": "shop"}, {"max_connections": 1}],
                         ids=str)
def test_a_client_tells_the_place(server: RedisServer, make: Any, options: dict[str, Any]) -> None:
    with redis.Redis(host="127.0.0.1", port=server.port, password=PASSWORD, **options) as lent:
        lent.ping()
        store = make(lent)
        version = store.write(KEY, record_at(store.clock(), user="anna"), None)
        assert store.read(KEY).version == version
        assert [key for key, _ in store.records_of("anna")] == [key for key, _ in store.scan()] == [KEY]
        assert store._servers._server._pool.use(lambda link: link._timeout) == 5.0
        assert lent.get("nothing") is None
        store.close()


def test_something_else_than_a_client(server: RedisServer) -> None:
    import redis.asyncio

    for thing in (object(), redis.asyncio.Redis()):
        with pytest.raises(ConfigurationError, match="needs a URL"):
            RedisSessionStore(thing)


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "session2.store.redis.driver")
    monkeypatch.delattr(session2.store.redis, "driver")
    with pytest.raises(ConfigurationError, match=r"session2\[redis\]"):
        RedisSessionStore("redis://localhost")


# -- URLs --------------------------------------------------------------------------------------------------------------


def test_urls_of_a_server(server: RedisServer, prefix: str) -> None:
    quoted = "p%40ss%3Aw%2Frd"
    for number, url in enumerate((
            f"redis://:{quoted}@127.0.0.1:{server.port}/3?", f"redis://default:{quoted}@localhost:{server.port}?db=3&",
            f"redis+unix://:{quoted}@{server.socket()}?db=3&")):
        store = from_url(f"{url}prefix={prefix}&pool_size=2&timeout=3")
        store.write(key_of(number), record_at(store.clock()), None)
        store.close()
    with redis.Redis(unix_socket_path=server.socket(), password=PASSWORD, db=3) as client:
        assert {key.decode() for key in client.scan_iter(f"{prefix}*")} == {prefix + key_of(n) for n in range(3)}


@pytest.mark.parametrize(("url", "words"), [
    ("redis:", "names no host"), ("redis://", "names no host"), ("redis://h/x", "database"),
    ("redis://h/1/2", "database"),
    ("redis://h:port", "names no host"), ("redis://a,b/0", "one host"), ("redis+unix://", "names no socket"),
    ("redis+sentinel://h:1", "lacks the name"), ("redis+sentinel://h:1/", "lacks the name"),
    ("redis+cluster://h:1/2", "no database of a cluster"), ("redis://h?ssl_ca=x", "rediss"),
    ("redis://h?colour=red", "no argument 'colour'"), ("redis://h?prefix=x", "must end in"),
    ("redis://h?prefix=", "must end in"), ("redis://h?db=x", "is one number"), ("redis://h/0?db=1", "is one number"),
    ("redis+unix://run/redis.sock", "names no socket"), ("redis://h?timeout=nan", "timeout must be a number"),
    ("redis://h?connect_timeout=-1", "timeout must be a positive"), ("redis://h?pool_size=0", "pool_size must be 1"),
    ("redis://h?wait_replicas=-1", "0 or more")])
def test_urls_that_cannot_be_read(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        from_url(url)


@pytest.mark.parametrize(("rest", "database"), [("/2", 2), ("?db=2", 2), ("", 0), ("/", 0)])
def test_a_database_of_a_sentinel(rest: str, database: int) -> None:
    place = from_url(f"redis+sentinel://h:1/shop{rest}")._servers._server._pool._kind.connect.__self__
    assert place.options["db"] == database
    assert place.pool.service_name == "shop"


@pytest.mark.parametrize("url", ["redis://h/0?prefix=shop:", "redis://h/0?tiemout=2", "redis+unix:/s?db=1&user=x",
                                 "redis+sentinel://h:1/shop/0?prefix=shop:", "redis://h/#2"])
def test_what_a_url_says_besides_is_not_swallowed(url: str) -> None:
    with pytest.raises(ConfigurationError, match="arguments, or the URL"):
        RedisSessionStore(url)


@pytest.mark.parametrize("url", ["redis://:s3cret\u2100@h/0", "redis://:s3c[ret@h/0", "redis+sentinel://u:1/s3cret@h:1/n/0",
                                 "redis://u:s3@cret@h/0", "redis+unix://u:1/s3cret@/run/socket"])
def test_a_password_that_takes_the_url_apart_is_not_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="%40") as caught:
        RedisSessionStore(url)
    assert "s3c" not in str(caught.value)
    assert "cret" not in str(caught.value)


# -- encryption --------------------------------------------------------------------------------------------------------


def test_encryption(tmp_path: Path) -> None:
    files = certified(tmp_path, "localhost")
    (tmp_path / "other").mkdir()
    server = RedisServer(certificate=files)
    try:
        url = server.url.replace("redis:", "rediss:").replace("127.0.0.1", "localhost")
        store = from_url(f"{url}?ssl_ca={files[0]}")
        store.write(KEY, record_at(store.clock()), None)
        assert store._servers._server._pool.use(lambda link: link._socket.version()).startswith("TLS")
        for wrong in (url, f"{url}?ssl_ca={certified(tmp_path / 'other', 'localhost')[0]}",
                      f"{url.replace('localhost', '127.0.0.1')}?ssl_ca={files[0]}"):
            with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                from_url(wrong).read(KEY)
        with pytest.raises(StoreUnavailable):
            from_url(server.url).read(KEY)
        store.close()
    finally:
        server.close()


def test_ssl_ca_needs_a_url(server: RedisServer) -> None:
    with server.open() as lent, pytest.raises(ConfigurationError, match="ssl_ca"):
        RedisSessionStore(lent, ssl_ca="authority.pem")


# -- several servers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster()
    yield cluster
    cluster.close()


class TestCluster(ContractTests, Claims):
    """Each primitive to the letter."""

    store_class = RedisSessionStore

    @pytest.fixture
    def recipe(self, cluster: RedisCluster, prefix: str) -> Recipe:
        return Recipe(RedisSessionStore, (cluster.url,), {"prefix": prefix})

    @pytest.fixture
    def store(self, recipe: Recipe, clock: Clock) -> Iterator[Any]:
        store = recipe.make(clock=clock)
        yield store
        store.close()

    def test_keys_are_on_all_servers(self, cluster: RedisCluster, store: Any, prefix: str) -> None:
        for number in range(60):
            store.write(key_of(number), record_at(store.clock(), user="anna"), None)
        for server in cluster.servers:
            with server.open() as client:
                assert client.keys(f"{prefix}*")
        assert len(list(store.records_of("anna"))) == len(contents(store)) == 60

    def test_slots_that_move(self, cluster: RedisCluster, store: Any, clock: Clock) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        slot = store._servers._slot_of(store._name(KEY))
        source = cluster.owner(slot)
        target = next(server for server in cluster.servers if server is not source)
        cluster.begin_to_move(slot, target)
        version = store.write(KEY, record_at(clock.now, b"before"), version)
        store.remove(KEY)  # what is not here is asked for there
        version = store.write(KEY, record_at(clock.now, b"there", user="anna"), None)
        assert store.read(KEY).data == b"there"
        assert [key for key, _ in store.records_of("anna")] == [KEY]
        cluster.move(slot, source, target)
        assert contents(store) == {KEY: b"there"}
        version = store.write(KEY, record_at(clock.now, b"moved"), version)
        assert store.read(KEY).data == b"moved"

    def test_a_client_of_the_application(self, cluster: RedisCluster, make: Any) -> None:
        with redis.RedisCluster(host="127.0.0.1", port=cluster.servers[0].port, password=PASSWORD) as lent:
            store = make(lent)
            for number in range(9):
                store.write(key_of(number), record_at(store.clock(), user="anna"), None)
            assert len(contents(store)) == 9
            store.close()

    def test_one_server_is_no_cluster(self, server: RedisServer) -> None:
        with pytest.raises(StoreUnavailable, match="no cluster"):
            from_url(server.url.replace("redis:", "redis+cluster:").removesuffix("/0")).read(KEY)


class Replicated:
    """A server, its replica, and a sentinel that watches them."""

    def __init__(self) -> None:
        self.primary, self.replica = RedisServer(), RedisServer()
        self.replica.follow(self.primary)
        self.sentinel = SentinelServer(self.primary)

    def close(self) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.close()


@pytest.fixture(scope="module")
def replicated() -> Iterator[Replicated]:
    servers = Replicated()
    yield servers
    servers.close()


def test_replicas_that_are_waited_for(replicated: Replicated, make: Any) -> None:
    url = replicated.primary.url
    store = make(url, wait_replicas=1)
    version = store.write(KEY, record_at(store.clock(), user="anna"), None)
    with replicated.replica.open() as client:
        assert client.exists(name(store))
    strict = make(url, wait_replicas=2, timeout=0.6)
    with pytest.raises(StoreUnavailable, match="1 of 2 replicas"):
        strict.write(KEY, record_at(store.clock(), b"new"), version)
    with pytest.raises(Conflict):
        strict.write(KEY, record_at(store.clock(), b"new"), version)
    assert contents(store) == {KEY: b"new"}
    with pytest.raises(StoreUnavailable, match="1 of 2 replicas"):
        strict.remove(KEY)
    strict.remove(KEY)


def test_replicas_are_not_taken_to_have_a_change_whose_answer_is_lost(replicated: Replicated, make: Any,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    plain, store = make(replicated.primary.url), make(replicated.primary.url, wait_replicas=1)
    version = plain.write(KEY, record_at(plain.clock(), user="anna"), None)
    pool = store._servers._server._pool
    use = pool.use

    def lost(exchange: Any) -> Any:
        answers = use(exchange)
        monkeypatch.setattr(pool, "use", use)
        raise StatementFailed(Fault.BROKEN, f"{len(answers)} answers are gone")

    for change in (lambda: store.write(key_of(1), record_at(store.clock()), None),
                   lambda: store.write(KEY, record_at(store.clock(), b"new"), version),
                   lambda: store.remove(KEY, plain.read(KEY).version), lambda: store.remove(key_of(1))):
        store.write(key_of(2), record_at(store.clock()), None)  # so that the scripts are known
        store.remove(key_of(2), store.read(key_of(2)).version)
        monkeypatch.setattr(pool, "use", lost)
        with pytest.raises(StoreUnavailable):
            change()
    assert contents(plain) == {}


def test_a_replica_is_refused_as_such(replicated: Replicated, make: Any) -> None:
    store = make(replicated.replica.url)
    assert store.read(KEY) is None
    with pytest.raises(StoreUnavailable, match=r"READONLY.*redis\+sentinel"):
        store.write(KEY, record_at(store.clock()), None)


def test_connections_to_what_has_become_a_replica_are_given_up(make: Any, client: redis.Redis,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind an address that leads to whoever is the primary: the old connections stay where they are."""
    store = make(pool_size=2)
    version = store.write(KEY, record_at(store.clock(), user="anna"), None)
    pool = store._servers._server._pool
    clear = pool.clear

    def find_the_primary() -> None:
        client.execute_command("REPLICAOF", "NO", "ONE")
        clear()

    monkeypatch.setattr(pool, "clear", find_the_primary)
    for call in (lambda: store.write(KEY, record_at(store.clock(), b"new", user="anna"), version),
                 lambda: store.touch(KEY, store.clock(), None), lambda: store.remove(KEY)):
        before = pool.use(lambda link: link.ask([(b"CLIENT", b"ID")]))
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        call()
        assert pool.use(lambda link: link.ask([(b"CLIENT", b"ID")])) != before
    assert contents(store) == {}


def test_a_failover_is_followed(replicated: Replicated, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections lead to the old server, which is healthy and may still take what it will soon forget."""
    from redis.sentinel import Sentinel

    monkeypatch.setattr(servers, "_FOLLOWED", 0.0)
    port = replicated.sentinel.port
    lent = Sentinel([("127.0.0.1", port)]).master_for("shop", password=PASSWORD)
    stores = [make(replicated.sentinel.url, pool_size=3), make(lent)]
    versions = [store.write(key_of(number), record_at(store.clock()), None) for number, store in enumerate(stores)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(stores[0].read, [KEY] * 9))
    with replicated.primary.open() as client:
        assert client.wait(1, 5000) == 1
    replicated.sentinel.fail_over(replicated.replica)
    for number, store in enumerate(stores):
        for turn in range(5):
            versions[number] = store.write(key_of(number), record_at(store.clock(), b"%d" % turn), versions[number])
    with replicated.replica.open() as client:
        assert client.exists(name(stores[0]), name(stores[0], key_of(1))) == 2
    lent.close()


def test_an_old_primary_that_does_not_know_yet_is_asked_no_more(replicated: Replicated, make: Any,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentinels are asked from time to time: it answers as before, and with what was true before."""
    monkeypatch.setattr(servers, "_FOLLOWED", 0.0)
    store = make(replicated.sentinel.url, pool_size=1)
    server = store._servers._server

    def connection() -> Any:
        store.read(KEY)
        return server._pool.use(lambda link: link.ask([(b"CLIENT", b"ID")]))

    first = connection()
    assert connection() == first
    monkeypatch.setattr(server._place, "primary", lambda: ("127.0.0.1", 1))
    second = connection()
    assert second != first
    monkeypatch.setattr(server._place, "primary", lambda: None)
    assert connection() == second


def test_sentinels_that_know_of_nothing(make: Any, replicated: Replicated) -> None:
    with pytest.raises(StoreUnavailable, match="No master found"):
        make(replicated.sentinel.url.replace("/shop", "/stop")).read(KEY)
