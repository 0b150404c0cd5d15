"""MemcachedSessionStore against private memcacheds."""

from __future__ import annotations

import secrets
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from servers_memcached import MemcachedServer
from typer.testing import CliRunner

from session2 import ConfigurationError, SessionManager, StoreUnavailable, from_url, merge
from session2.cli.commands import app
from session2.errors import Conflict
from session2.session import DictSession, ties
from session2.store.memcached import MemcachedSessionStore
from session2.store.memcached.servers import Servers
from session2.store.memcached.wire import EXISTS, STORED, Connection
from session2.store.servers import pool
from session2.store.servers.once import REMEMBERED
from session2.store.servers.results import Fault, StatementFailed
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.samples import key_of, record_at
from session2.testing.store.shop import again, saved
from session2.traces import lock_key

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere

KEY = key_of(0)
OTHER = key_of(1)


class TestMemcached(StoreSuite):
    store_class = MemcachedSessionStore
    largest = 900_000

    @pytest.fixture(autouse=True)
    def _server(self, memcached: MemcachedServer) -> None:
        self.server = memcached

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.server.place,), {"prefix": prefix_of(tmp_path)}


@pytest.mark.sampled
class TestThreeMemcacheds(StoreSuite):
    store_class = MemcachedSessionStore
    scale = 0.2

    @pytest.fixture(autouse=True)
    def _servers(self, memcacheds: list[MemcachedServer]) -> None:
        self.servers = ",".join(server.place for server in memcacheds)

    def arguments(self, tmp_path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.servers + "*2",), {"prefix": prefix_of(tmp_path)}


def prefix_of(folder: Path) -> str:
    """Return a prefix that no other test has; a folder may get the name of one that was removed."""
    note = folder / "prefix"
    if not note.exists():
        note.write_text(f"{secrets.token_hex(8)}:")
    return note.read_text()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(memcached: MemcachedServer, tmp_path: Path, clock: Clock) -> Iterator[Callable[[], MemcachedSessionStore]]:
    """A function that makes another store of the same sessions."""
    stores = []

    def another(**options: Any) -> MemcachedSessionStore:
        stores.append(MemcachedSessionStore(memcached.place, prefix=prefix_of(tmp_path), clock=clock, **options))
        return stores[-1]

    yield another
    for store in stores:
        store.close()


@pytest.fixture
def store(make: Any) -> MemcachedSessionStore:
    return make()


@pytest.fixture
def other(make: Any) -> MemcachedSessionStore:
    return make()


@pytest.fixture
def lone() -> Iterator[MemcachedServer]:
    """A memcached of the test's own."""
    with MemcachedServer() as server:
        yield server


@contextmanager
def store_on(*servers: MemcachedServer, **options: Any) -> Iterator[MemcachedSessionStore]:
    store = MemcachedSessionStore(",".join(server.place for server in servers), **options)
    yield store
    store.close()


def asked(server: MemcachedServer, question: bytes) -> bytes:
    """Return what a memcached answers, to the test itself."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(question + b"\r\nquit\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def connections(store: MemcachedSessionStore) -> list[Connection]:
    """Return those that nobody uses at the moment."""
    return [place.holds.connection for place in store._servers.all[0]._pool._places._hall().places if place.holds]


def stats_of(server: MemcachedServer) -> dict[str, str]:
    return dict(line.split(" ", 2)[1:] for line in asked(server, b"stats").decode().splitlines()[:-1])


def data(store: MemcachedSessionStore, key: str = KEY) -> bytes | None:
    found = store.read(key)
    return None if found is None else found.data


# -- round trips ------------------------------------------------------------------------------------------------------


def test_one_command_to_load_save_begin_and_end_and_two_to_touch(memcached: MemcachedServer, store: Any) -> None:
    session = saved(store, n=0)
    store.write(KEY, record_at(store.clock()), None)

    def commands() -> int:
        stats = stats_of(memcached)
        return sum(int(stats[name]) for name in ("cmd_get", "cmd_set", "delete_hits"))

    def cost(action: Callable[[], object]) -> int:
        before = commands()
        action()
        return commands() - before

    session = again(store, session)
    session["n"] += 1
    assert cost(lambda: store.sessions.save(session)) == 1
    assert cost(lambda: again(store, session)) == 1
    assert cost(lambda: saved(store, n=1)) == 1
    found = store.read(KEY)
    assert cost(lambda: store.remove(KEY, found.version)) == 1
    session = again(store, session)
    ties(session).accessed += 100
    assert cost(lambda: store.sessions.touch(session)) == 2


def test_touch_between_load_and_save_is_no_conflict(store: Any, other: Any, clock: Clock) -> None:
    store.write(KEY, record_at(clock.now), None)
    found = store.read(KEY)
    assert other.touch(KEY, clock.now + 5, clock.now + 2000)
    assert other.read(KEY).version == found.version
    store.write(KEY, record_at(clock.now, b"new"), found.version)
    found = store.read(KEY)
    assert found.data == b"new"
    other.touch(KEY, clock.now + 7, clock.now + 2000)
    store.remove(KEY, found.version)
    assert store.read(KEY) is None


# -- answers that get lost --------------------------------------------------------------------------------------------


class Counted(DictSession):
    merge_rules = {"n": merge.add}


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that has the answer to the next change lost, and somebody do something before it is looked into."""
    def lose(meanwhile: Callable[[], object] = lambda: None, carried_out: bool = True) -> None:
        put = Connection.put

        def put_and_break(self: Connection, *arguments: Any) -> bytes:
            monkeypatch.setattr(Connection, "put", put)
            if carried_out and self.put(*arguments) != STORED:
                lose(meanwhile)
                return EXISTS
            meanwhile()
            raise StatementFailed(Fault.BROKEN, "gone")

        monkeypatch.setattr(Connection, "put", put_and_break)

    return lose


def save(other: MemcachedSessionStore) -> None:
    """Save on top of what is there."""
    found = other.read(KEY)
    assert found is not None
    other.write(KEY, record_at(other.clock(), b"theirs"), found.version)


@pytest.mark.parametrize("saves", [0, 1, REMEMBERED - 1])
def test_a_save_whose_answer_got_lost_is_done_once(store: Any, other: Any, lose: Any, clock: Clock,
                                                   saves: int) -> None:
    version = store.write(KEY, record_at(clock.now), None)
    for _ in range(20):
        version = store.write(KEY, record_at(clock.now), version)
    lose(lambda: [save(other) for _ in range(saves)])
    mine = store.write(KEY, record_at(clock.now, b"mine"), version)
    assert data(store) == (b"theirs" if saves else b"mine")
    if saves:
        with pytest.raises(Conflict):
            store.write(KEY, record_at(clock.now), mine)
    else:
        assert store.read(KEY).version == mine


def test_what_is_not_remembered_any_more_is_not_guessed(store: Any, other: Any, lose: Any, clock: Clock) -> None:
    version = store.write(KEY, record_at(clock.now), None)
    lose(lambda: [save(other) for _ in range(REMEMBERED + 1)])
    with pytest.raises(StoreUnavailable, match="cannot be told"):
        store.write(KEY, record_at(clock.now, b"mine"), version)
    assert data(store) == b"theirs"


def test_a_save_that_did_not_arrive_is_repeated(store: Any, other: Any, lose: Any, clock: Clock) -> None:
    version = store.write(KEY, record_at(clock.now), None)
    lose(carried_out=False)
    version = store.write(KEY, record_at(clock.now, b"new"), version)
    assert data(store) == b"new"
    lose(lambda: save(other), carried_out=False)
    with pytest.raises(Conflict):
        store.write(KEY, record_at(clock.now, b"mine"), version)
    assert data(store) == b"theirs"


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_save_whose_answer_got_lost_restores_no_logout(store: Any, other: Any, lose: Any, clock: Clock,
                                                         carried_out: bool) -> None:
    version = store.write(KEY, record_at(clock.now), None)
    lose(lambda: other.remove(KEY), carried_out)
    with pytest.raises(Conflict):
        store.write(KEY, record_at(clock.now, b"zombie"), version)
    assert data(store) is None
    lose(lambda: other.remove(KEY))
    with pytest.raises(StoreUnavailable, match="cannot be told"):
        store.write(KEY, record_at(clock.now, b"zombie"), None)
    assert data(store) is None


def test_an_insert_whose_answer_got_lost(store: Any, other: Any, lose: Any, clock: Clock) -> None:
    lose(lambda: save(other))
    store.write(KEY, record_at(clock.now, b"mine"), None)
    assert data(store) == b"theirs"
    lose(lambda: other.write(OTHER, record_at(clock.now, b"theirs"), None), carried_out=False)
    with pytest.raises(Conflict):
        store.write(OTHER, record_at(clock.now, b"mine"), None)
    assert data(store, OTHER) == b"theirs"


def test_an_insert_over_what_expired(store: Any, lose: Any, clock: Clock) -> None:
    for lost in (lambda: None, lose, lambda: lose(carried_out=False)):
        store.write(KEY, record_at(clock.now, b"old", expires=clock.now + 10), None)
        clock.advance(10)
        lost()
        version = store.write(KEY, record_at(clock.now, b"mine"), None)
        assert data(store) == b"mine"
        store.remove(KEY, version)


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_removal_whose_answer_got_lost(store: Any, other: Any, lose: Any, clock: Clock, carried_out: bool) -> None:
    store.write(KEY, record_at(clock.now), None)
    lose(carried_out=carried_out)
    store.remove(KEY, store.read(KEY).version)
    assert data(store) is None
    store.write(KEY, record_at(clock.now), None)
    version = store.read(KEY).version
    lose(lambda: save(other) if other.read(KEY) else other.write(KEY, record_at(clock.now, b"theirs"), None),
         carried_out)
    if carried_out:
        store.remove(KEY, version)
    else:
        with pytest.raises(Conflict):
            store.remove(KEY, version)
    assert data(store) == b"theirs"


def test_a_touch_whose_answer_got_lost(store: Any, lose: Any, clock: Clock) -> None:
    store.write(KEY, record_at(clock.now), None)
    for carried_out in (True, False):
        lose(carried_out=carried_out)
        clock.advance(5)
        assert store.touch(KEY, clock.now, clock.now + 9)
        assert store.read(KEY).accessed == clock.now


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lock_is_taken_although_the_answer_got_lost(store: Any, lose: Any, carried_out: bool) -> None:
    lose(carried_out=carried_out)
    with store.lock(KEY) as lease:
        assert lease.is_held()
    assert data(store, lock_key(KEY)) is None


def test_a_counter_counts_each_increment_once(store: Any, other: Any, lose: Any) -> None:
    managers = [SessionManager(each, Counted) for each in (store, other)]
    session = managers[0].new_session()
    session["n"] = 0
    managers[0].save(session)

    def increment(manager: SessionManager[Counted]) -> None:
        loaded = manager.load(session.id)
        loaded["n"] += 1
        manager.save(loaded)

    lose(lambda: increment(managers[1]))
    increment(managers[0])
    assert managers[1].load(session.id)["n"] == 2


# -- servers that come and go -----------------------------------------------------------------------------------------


def test_a_restarted_memcached_has_forgotten_all_and_serves_at_once(lone: MemcachedServer) -> None:
    with store_on(lone) as store:
        for number in range(3):
            record = record_at(store.clock(), b"%d" % number)
            version = store.write(KEY, record, None)
            lone.restart()
            if number == 0:
                assert store.read(KEY) is None
            elif number == 1:
                with pytest.raises(Conflict):
                    store.write(KEY, record, version)


def test_a_cas_unique_of_the_run_before_means_nothing(lone: MemcachedServer) -> None:
    with store_on(lone) as store:
        store.write(KEY, record_at(store.clock()), None)
        stale = store.read(KEY).version
        lone.restart()
        store.write(KEY, record_at(store.clock(), b"new"), None)
        assert store.read(KEY).version.stamp[0] == stale.stamp[0]
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"stale"), stale)
        with pytest.raises(Conflict):
            store.remove(KEY, stale)
        assert data(store) == b"new"


def test_of_three_that_lose_one_the_others_serve_and_nobody_begins_anew() -> None:
    servers = [MemcachedServer().start() for _ in range(3)]
    keys = [key_of(number) for number in range(30)]
    try:
        with store_on(*servers) as store:
            homes = {key: store._servers.of(key).name for key in keys}
            versions = {key: store.write(key, record_at(store.clock()), None) for key in keys}
            servers[0].stop()
            lost = [key for key in keys if homes[key] == servers[0].place]
            assert 0 < len(lost) < 30
            for key in lost:
                for act in (lambda key=key: store.read(key), lambda key=key: store.remove(key),
                            lambda key=key: store.write(key, record_at(store.clock()), None), store.setup,
                            lambda key=key: store.write(key, record_at(store.clock()), versions[key]),
                            lambda key=key: store.touch(key, 1e10, None), lambda key=key: store.lock(key)):
                    with pytest.raises(StoreUnavailable, match=servers[0].place):
                        act()
            assert all(data(store, key) == b"state" for key in keys if key not in lost)
            servers[0].start()
            assert [key for key in keys if data(store, key) is None] == lost
    finally:
        for server in servers:
            server.stop()


def test_a_memcached_that_does_not_answer_is_waited_for_once(lone: MemcachedServer,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """On the connection there is, and on a new one, which the kernel accepts in its place."""
    with store_on(lone) as patient, store_on(lone, timeout=0.1) as store:
        version = patient.write(KEY, record_at(store.clock()), None)
        while not connections(store):
            with suppress(StoreUnavailable):  # on a busy machine
                store.read(KEY)
        lone.send(signal.SIGSTOP)
        waits = []
        broken = Connection._broken
        monkeypatch.setattr(Connection, "_broken", lambda self, error: waits.append(1) or broken(self, error))
        for number, act in enumerate((lambda: store.read(KEY), lambda: store.touch(KEY, 1e10, None),
                                      lambda: store.write(KEY, record_at(store.clock()), version),
                                      lambda: store.write(OTHER, record_at(store.clock()), None))):
            with pytest.raises(StoreUnavailable, match=r"does not answer within 0\.1 s"):
                act()
            assert len(waits) == number + 1
        lone.send(signal.SIGCONT)
        assert data(patient) == b"state"


def test_a_connection_that_was_cut_is_noticed_before_a_session_begins(lone: MemcachedServer) -> None:
    """Whether it has begun could not be told afterwards."""
    with store_on(lone) as store:
        for number in range(3):
            store.write(key_of(number), record_at(store.clock()), None)
            for connection in connections(store):
                connection._socket.shutdown(socket.SHUT_RDWR)
        assert data(store, key_of(2)) == b"state"


def test_no_more_connections_are_made_than_asked_for(make: Any) -> None:
    store, met = make(pool_size=1, timeout=0.2), threading.Barrier(2)

    def hold(_: Connection) -> None:
        met.wait(10)
        met.wait(10)

    holder = threading.Thread(target=store._servers.all[0].ask, args=[hold])
    holder.start()
    met.wait(10)
    with pytest.raises(StoreUnavailable, match=r"all 1 connections.* busy for 0\.2 s.*pool_size"):
        store.read(KEY)
    met.wait(10)
    holder.join()
    assert store.read(KEY) is None


def test_a_connection_in_use_stands_nowhere(store: Any) -> None:
    """So whatever interrupts its use, nobody gets it again."""
    store.read(KEY)
    [first] = connections(store)
    assert store._servers.all[0].ask(lambda mine: (mine is first, connections(store))) == (True, [])
    assert connections(store) == [first]


def test_a_connection_at_rest_for_long_is_not_trusted(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.read(KEY)
    [first] = connections(store)
    monkeypatch.setattr(pool, "_MAX_IDLE", 0.0)
    store.read(KEY)
    assert first not in connections(store)


# -- what memcached forgets, refuses and cannot do --------------------------------------------------------------------


def test_what_was_evicted_is_missing_and_no_late_request_brings_it_back(memcached: MemcachedServer, store: Any) -> None:
    manager = SessionManager(store, DictSession)
    session = manager.new_session()
    session["n"] = 1
    manager.save(session)
    late = manager.load(session.id)
    late["n"] = 2
    assert asked(memcached, f"delete {store._prefix}{session.key}".encode()).startswith(b"DELETED")
    manager.save(late)
    assert manager.load(session.id) is None


def fill(store: MemcachedSessionStore, size: int) -> None:
    """Store sessions until no more are taken."""
    for number in range(1, 200):
        store.write(key_of(number), record_at(store.clock(), b"x" * size), None)


@pytest.mark.parametrize(("options", "size", "words"), [
    ((), 2_000_000, "too large.*a session of 2000.*larger -I"), (("-M", "-m", "8"), 400_000, "out of memory.*-m")])
def test_a_session_that_does_not_fit_is_refused_and_the_old_one_stays(options: Any, size: int, words: str) -> None:
    """As memcached's own ``set``, also the one of the meta commands, does not leave it."""
    with MemcachedServer(*options) as server, store_on(server) as store:
        version = store.write(KEY, record_at(store.clock(), b"old"), None)
        with pytest.raises(StoreUnavailable, match=words):
            fill(store, size)
        for seen in (version, store.read(KEY).version):
            with pytest.raises(StoreUnavailable, match=words):
                store.write(KEY, record_at(store.clock(), b"x" * size), seen)
        assert (data(store), store.read(KEY).version) == (b"old", version)
        store.write(KEY, record_at(store.clock(), b"small"), version)
        assert data(store) == b"small"


def test_a_memcached_that_cannot_compare_is_refused() -> None:
    with MemcachedServer("-C") as server, store_on(server) as store:
        for act in (store.setup, lambda: store.read(KEY), lambda: store.write(KEY, record_at(0.0), None)):
            with pytest.raises(ConfigurationError, match="runs with -C"):
                act()


@pytest.mark.parametrize("value", [b"", b"s2", b"s2m1" + b"x" * 100, b"a:1:{i:0;s:3:x;}", b"x" * 2000])
def test_what_others_put_there_is_no_session(memcached: MemcachedServer, store: Any, value: bytes) -> None:
    asked(memcached, b"set %b 0 0 %d\r\n%b" % (store._name(KEY), len(value), value))
    assert store.read(KEY) is None
    assert not store.touch(KEY, 1e10, None)
    store.write(KEY, record_at(store.clock()), None)
    assert data(store) == b"state"


def test_an_item_under_another_name_is_nobodys(memcached: MemcachedServer, store: Any) -> None:
    store.write(KEY, record_at(store.clock()), None)
    value = asked(memcached, b"get " + store._name(KEY)).partition(b"\r\n")[2].removesuffix(b"\r\nEND\r\n")
    asked(memcached, b"set %b 0 0 %d\r\n%b" % (store._name(OTHER), len(value), value))
    assert store.read(OTHER) is None
    assert data(store) == b"state"


# -- time -------------------------------------------------------------------------------------------------------------


def ttl(server: MemcachedServer, store: MemcachedSessionStore, key: str = KEY) -> int:
    """Return for how many seconds memcached will keep an item; -1 is for ever."""
    return int(asked(server, b"mg %b t" % store._name(key)).split()[1][1:])


@pytest.mark.parametrize("start", [0.0, 1e9, 5e9])
@pytest.mark.parametrize("days", [0.001, 1, 29.95, 30, 31, 400])
def test_memcached_keeps_a_record_for_longer_than_it_lives(memcached: MemcachedServer, store: Any, clock: Clock,
                                                           start: float, days: float) -> None:
    """Whatever the clock of the store says it is."""
    clock.now = start
    seconds = days * 86400
    store.write(KEY, record_at(clock.now, expires=clock.now + seconds), None)
    assert seconds + 3500 < ttl(memcached, store) < seconds + 3700
    store.touch(KEY, clock.now + 1, clock.now + seconds + 5000)
    assert seconds + 8500 < ttl(memcached, store) < seconds + 8700


@pytest.mark.parametrize("expires", [None, 1e12])
def test_what_never_expires_is_kept(memcached: MemcachedServer, store: Any, clock: Clock, expires: Any) -> None:
    store.write(KEY, record_at(clock.now, expires=expires), None)
    assert ttl(memcached, store) == -1


def test_what_has_expired_is_still_told_from_what_never_was(store: Any, clock: Clock) -> None:
    store.write(KEY, record_at(clock.now, expires=clock.now + 10), None)
    clock.advance(10)
    assert store.read(KEY) is None
    assert store._look_up(KEY).data == b"state"
    assert store.purge() == 0


# -- whose server it is -----------------------------------------------------------------------------------------------


def test_each_server_has_its_share() -> None:
    servers = Servers("a,b*2,c*3", 1, 1.0)
    shares = Counter(servers.of(key_of(number)).name for number in range(6000))
    for name, weight in (("a:11211", 1), ("b:11211", 2), ("c:11211", 3)):
        assert abs(shares[name] - 1000 * weight) < 200


def test_another_server_takes_its_share_and_moves_nothing_else() -> None:
    before, after = Servers("a,b*2", 1, 1.0), Servers("c,b*2,A:11211", 1, 1.0)
    moves = Counter((before.of(key_of(number)).name, after.of(key_of(number)).name) for number in range(2000))
    assert all(old == new or new == "c:11211" for old, new in moves)
    assert 350 < sum(count for (_, new), count in moves.items() if new == "c:11211") < 650


def test_a_lock_is_where_its_session_is() -> None:
    servers = Servers("a,b,c", 1, 1.0)
    assert all(servers.of(key_of(number)) is servers.of(lock_key(key_of(number))) for number in range(50))


def test_the_shares_are_the_same_everywhere_and_for_ever() -> None:
    servers = Servers("a,b,c*2", 1, 1.0)
    assert "".join(servers.of(key_of(number)).name[0] for number in range(20)) == "ababbccbccbbacccaccc"


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "addresses"), [
    ("memcached://localhost", [("localhost", 11211)]), ("memcached://h1:1/", [("h1", 1)]),
    ("memcached://h1:1,h2*3,10.0.0.1:5*2", [("h1", 1), ("h2", 11211), ("10.0.0.1", 5)]),
    ("memcached:///run/a.sock,/run/b.sock*2", ["/run/a.sock", "/run/b.sock"]),
    ("memcached://[::1]:5*2,[::2],h", [("::1", 5), ("::2", 11211), ("h", 11211)])])
def test_places(place: str, addresses: list[Any]) -> None:
    store = from_url(place + "?prefix=a:&timeout=2")
    reached = [server._pool._kind.connect.args for server in store._servers.all]
    assert [address for _, address, _ in reached] == addresses
    assert (store._prefix, reached[0][2]) == ("a:", 2.0)


@pytest.mark.parametrize("place", ["memcached:h1", "memcached://", "memcached://h1,,h2", "memcached://h1:99999",
                                   "memcached://h*0", "memcached://h*x", "memcached://h,h:11211", "memcached://a b",
                                   "memcached://h1/x", "memcached://h?prefix=a b",
                                   "memcached://h?prefix=" + 101 * "x", "memcached://h1:1,x:s3cret",
                                   "memcached://x:s3cret@h"])
def test_places_that_are_none(place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_url(place)
    assert "s3cret" not in str(caught.value)


def test_a_unix_socket(tmp_path: Path) -> None:
    with MemcachedServer(path=tmp_path / "socket") as server:
        store = from_url(server.url)
        store.write(KEY, record_at(store.clock()), None)
        assert data(store) == b"state"
    with pytest.raises(StoreUnavailable, match=server.place):
        store.read(KEY)
    store.close()


def test_two_prefixes_are_two_stores(make: Any, memcached: MemcachedServer) -> None:
    with store_on(memcached, prefix="another:") as another:
        make().write(KEY, record_at(1e10), None)
        assert another.read(KEY) is None


# -- what is no memcached ---------------------------------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes, timeout: float = 10.0) -> Iterator[MemcachedSessionStore]:
    """Yield a store on something that takes one connection and answers like this, one question after the other."""
    def serve() -> None:
        connection = listener.accept()[0]
        with connection, suppress(OSError):  # who has heard enough closes it
            for answer in answers:
                connection.recv(65536)
                connection.sendall(answer)
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        store = MemcachedSessionStore(f"127.0.0.1:{listener.getsockname()[1]}", timeout=timeout, prefix="")
        yield store
        store.close()
        thread.join(10)


GREETING = (b"STAT pid 1\r\nSTAT uptime 1\r\nSTAT time 1000\r\nEND\r\n", b"STAT cas_enabled yes\r\nEND\r\n")


@pytest.mark.parametrize("answer", [
    b"HTTP/1.0 400 Bad Request\r\n\r\n", b"ERROR\r\n", b"END\r\n", b"-ERR s3cret\r\n", b"\0" * 70000 + b"\r\n",
    b"ERROR Too many open connections\r\n", b"STAT pid 1\r\nEND\r\n", b"STAT pid", b"",
    b"STAT pid\r\nEND\r\n", b"STAT pid 1\r\nSTAT uptime 1\r\nSTAT time x\r\nEND\r\n"])
def test_something_else_that_listens_is_unavailable(answer: bytes) -> None:
    with answering(answer, b"STAT x y\r\nEND\r\n", timeout=0.2) as store, pytest.raises(StoreUnavailable) as caught:
        store.read(KEY)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("answer", [
    b"VALUE %b 0 1 5\r\nx\r\nEND\r\n" % OTHER.encode(), b"STORED\r\n", b"EXISTS\r\n",
    b"VALUE %b 0 1 5\r\nxx\r\nEND\r\n" % KEY.encode(), b"VALUE %b 0 2 5\r\nxx\r\nVALUE\r\n" % KEY.encode(),
    b"VALUE %b 0 1\r\nx\r\nEND\r\n" % KEY.encode(), b"VALUE %b 0 -1 5\r\nx\r\nEND\r\n" % KEY.encode(),
    b"VALUE %b 0 %b 5\r\nx\r\nEND\r\n" % (KEY.encode(), b"9" * 5000),
    b"END\r\nEND\r\n", b"VALUE %b 0 1 5\r\nx\r\nEND\r\nEND\r\n" % KEY.encode()])
def test_an_answer_to_another_question_is_unavailable_and_ends_the_connection(answer: bytes) -> None:
    with answering(*GREETING, answer) as store:
        with pytest.raises(StoreUnavailable, match="answers another question"):
            store.read(KEY)
        assert connections(store) == []


@pytest.mark.parametrize("answer", [b"END\r\n", b"STORED\r\nSTORED\r\n", b"stored\r\n", b"VALUE x 0 0 0\r\n\r\n"])
def test_an_answer_that_is_none_to_a_change(answer: bytes) -> None:
    with answering(*GREETING, answer) as store, pytest.raises(StoreUnavailable, match="answers another question"):
        store.write(KEY, record_at(1e10), None)


@pytest.mark.parametrize("answers", [(b"x" * 2**21,), (*GREETING[:1], b"STAT x " + b"y\r\n" * 2**20),
                                     (*GREETING, b"x" * 2**21)])
def test_an_answer_that_does_not_end_is_given_up(answers: tuple[bytes, ...]) -> None:
    with answering(*answers) as store, pytest.raises(StoreUnavailable, match="no memcached"):
        store.read(KEY)


@pytest.mark.parametrize("host", ["nowhere.invalid", "no..where", "n" * 64])
def test_a_host_without_a_name_is_unavailable(host: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"no connection to memcached at {host}:11211"):
        MemcachedSessionStore(host).read(KEY)


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_positive(timeout: str) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout must be a .*number"):
        from_url(f"memcached://localhost?timeout={timeout}")


# -- interruptions and processes --------------------------------------------------------------------------------------


# What is interrupted while it is destroyed, or connects, says so.
@pytest.mark.filterwarnings("ignore:unclosed <socket", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_interrupted_leaves_an_answer_to_the_next_question(store: Any, clock: Clock) -> None:
    keys = [key_of(number) for number in range(4)]
    for key in keys:
        store.write(key, record_at(clock.now, key.encode()), None)
    turn = iter(range(10**9))

    def act() -> None:
        key = keys[next(turn) % 4]
        found = store.read(key)
        assert found.data == key.encode()
        with suppress(Conflict):  # what the one before sent may be carried out at any moment
            store.write(key, found, found.version)
        store.touch(key, found.accessed + 1, None)

    for _ in interrupted_everywhere(act):
        key = keys[next(turn) % 4]
        assert store.read(key).data == key.encode()
        assert len(connections(store)) <= 1


@pytest.mark.parametrize("command", ["setup", "purge"])
def test_the_command_line_tells_that_a_server_is_away(lone: MemcachedServer, command: str) -> None:
    assert CliRunner().invoke(app, [command, lone.url]).exit_code == 0
    lone.stop()
    done = CliRunner().invoke(app, [command, lone.url])
    assert done.exit_code == 3, done.output


# -- what needs a list ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("list",), 2, "cannot list"), (("stats",), 2, "cannot list"), (("revoke", "--user", "anna", "--yes"), 2, "cannot"),
    (("setup", "--drop", "--yes"), 2, "cannot list"), (("purge",), 0, "0 deleted"), (("setup",), 0, "Setting up"),
    (("show", KEY), 2, "cannot list")])
def test_the_command_line_refuses_what_needs_a_list(memcached: MemcachedServer, arguments: Any, code: int,
                                                    words: str) -> None:
    done = CliRunner().invoke(app, [arguments[0], memcached.url, *arguments[1:]])
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.split())
