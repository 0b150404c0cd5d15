"""CouchDBSessionStore where answers are lost, servers are away, and copies part."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from couch_strict import Database, StrictServer
from servers_couchdb import PouchServer, url_of

from session2 import ConfigurationError, DictSession, SessionManager, StoreUnavailable, from_url, merge, traces
from session2.errors import Conflict
from session2.session import ties
from session2.store.couchdb import CouchDBSessionStore, access
from session2.store.servers.once import REMEMBERED
from session2.testing.fakes import Clock
from session2.testing.store.samples import KEY, contents, key_of, record_at
from session2.testing.store.shop import again, saved

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere
from test_tls import certified


class Counter(DictSession):
    merge_rules = {"n": merge.add}


Make = Callable[..., CouchDBSessionStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(strict: StrictServer) -> str:
    return url_of(strict)


@pytest.fixture
def make(url: str, clock: Clock) -> Iterator[Make]:
    """A function that makes another store on the same databases."""
    stores = []

    def make(**options: Any) -> CouchDBSessionStore:
        stores.append(CouchDBSessionStore(url, clock=clock, **options))
        return stores[-1]

    make().setup()
    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make: Make) -> CouchDBSessionStore:
    return make()


@pytest.fixture
def other(make: Make) -> CouchDBSessionStore:
    return make()


@pytest.fixture(autouse=True)
def nothing_is_left_to_fail(strict: StrictServer) -> Iterator[None]:
    yield
    left = [*strict.faults]
    strict.faults.clear()
    assert left == []


def month_of(store: CouchDBSessionStore, strict: StrictServer) -> Database:
    """Return the database of what is stored now."""
    return strict.databases[store._databases.for_new(KEY, store.clock())]


class TestLostAnswers:
    """Each change is done once, whether it was the question that was lost or the answer."""

    def save(self, other: CouchDBSessionStore, data: bytes = b"theirs") -> None:
        """Save on top of what is there."""
        other.write(KEY, record_at(other.clock(), data), other.read(KEY).version)

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    def test_replacement(self, store: Any, strict: StrictServer, what: str) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("PUT", "/s:", what)
        version = store.write(KEY, record_at(store.clock(), b"new"), version)
        assert store.read(KEY) == record_at(store.clock(), b"new", version=version)
        version = store.write(KEY, record_at(store.clock(), b"newer"), version)
        assert contents(store) == {KEY: b"newer"}

    @pytest.mark.parametrize("saves", [1, 2, REMEMBERED - 1])
    def test_replacement_counts_although_others_saved_on_top(self, store: Any, other: Any, strict: StrictServer,
                                                             saves: int) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        for _ in range(20):
            version = store.write(KEY, record_at(store.clock()), version)
        strict.fail("PUT", "/s:", "lost", lambda: [self.save(other) for _ in range(saves)])
        mine = store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock()), mine)

    def test_what_is_not_remembered_any_more_is_not_guessed(self, store: Any, other: Any, strict: StrictServer) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("PUT", "/s:", "lost", lambda: [self.save(other) for _ in range(REMEMBERED + 1)])
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}

    def test_replacement_that_others_forestalled(self, store: Any, other: Any, strict: StrictServer) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("PUT", "/s:", "unheard", lambda: self.save(other))
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"mine"), version)
        assert contents(store) == {KEY: b"theirs"}

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    @pytest.mark.parametrize("insert", [False, True])
    def test_replacement_of_what_others_removed(self, store: Any, other: Any, strict: StrictServer, what: str,
                                                insert: bool) -> None:
        def meanwhile() -> None:
            other.remove(KEY)
            if insert:
                other.write(KEY, record_at(other.clock(), b"theirs"), None)

        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("PUT", "/s:", what, meanwhile)
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"zombie"), version)
        assert contents(store) == ({KEY: b"theirs"} if insert else {})

    def test_counter_counts_each_increment_once(self, store: Any, other: Any, strict: StrictServer) -> None:
        managers = [SessionManager(each, Counter) for each in (store, other)]
        session = managers[0].new_session()
        session["n"] = 0
        managers[0].save(session)

        def increment(manager: SessionManager[Counter]) -> None:
            loaded = manager.load(session.id)
            loaded["n"] += 1
            manager.save(loaded)

        for what in ("lost", "unheard"):
            strict.fail("PUT", "/s:", what, lambda: increment(managers[1]))
            increment(managers[0])
        assert managers[1].load(session.id)["n"] == 4

    def test_insert_is_found_again(self, store: Any, other: Any, strict: StrictServer) -> None:
        strict.fail("PUT", "/s:", "lost")
        version = store.write(KEY, record_at(store.clock(), b"first"), None)
        assert store.read(KEY) == record_at(store.clock(), b"first", version=version)
        store.write(KEY, record_at(store.clock(), b"second"), version)
        strict.fail("PUT", "/s:", "unheard", lambda: other.write(key_of(1), record_at(store.clock(), b"theirs"), None))
        with pytest.raises(Conflict):
            store.write(key_of(1), record_at(store.clock(), b"mine"), None)
        assert contents(store) == {KEY: b"second", key_of(1): b"theirs"}

    def test_insert_never_restores_what_others_removed(self, store: Any, other: Any, strict: StrictServer) -> None:
        strict.fail("PUT", "/s:", "lost", lambda: other.remove(KEY))
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            store.write(KEY, record_at(store.clock(), b"revoked"), None)
        assert contents(store) == {}

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    def test_insert_over_an_expired_record(self, store: Any, strict: StrictServer, clock: Clock, what: str) -> None:
        store.write(KEY, record_at(clock.now, b"old", expires=clock.now + 10), None)
        clock.advance(10)
        strict.fail("PUT", "/s:", "409")  # the first try is one without a revision
        strict.fail("PUT", "/s:", what)
        store.write(KEY, record_at(clock.now, b"mine"), None)
        assert contents(store) == {KEY: b"mine"}

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    def test_lock_is_taken_and_released(self, store: Any, strict: StrictServer, what: str) -> None:
        strict.fail("PUT", "/s:lock", what)
        with store.lock(KEY) as lease:
            assert lease.is_held()
            strict.fail("DELETE", "/s:lock", what)
        assert contents(store) == {}

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    def test_removal(self, store: Any, strict: StrictServer, what: str) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("DELETE", "/s:", what)
        store.remove(KEY, version)
        assert contents(store) == {}
        store.write(KEY, record_at(store.clock()), None)
        strict.fail("DELETE", "/s:", what)
        store.remove(KEY)
        assert contents(store) == {}

    def test_removal_spares_what_others_inserted_since(self, store: Any, other: Any, strict: StrictServer) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("DELETE", "/s:", "lost", lambda: other.write(KEY, record_at(store.clock(), b"theirs"), None))
        store.remove(KEY, version)
        assert contents(store) == {KEY: b"theirs"}

    def test_removal_of_what_others_changed_first(self, store: Any, other: Any, strict: StrictServer) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("DELETE", "/s:", "unheard", lambda: self.save(other))
        with pytest.raises(Conflict):
            store.remove(KEY, version)
        assert contents(store) == {KEY: b"theirs"}

    @pytest.mark.parametrize("what", ["lost", "unheard"])
    def test_touch_and_questions(self, store: Any, strict: StrictServer, clock: Clock, what: str) -> None:
        version = store.write(KEY, record_at(clock.now), None)
        strict.fail("PUT", "/s:", what)
        assert store.touch(KEY, clock.now, clock.now + 2000)
        strict.fail("GET", "/s:", what)
        assert store.read(KEY) == record_at(clock.now, accessed=clock.now, expires=clock.now + 2000, version=version)
        clock.advance(3000)
        strict.fail("POST", "/_bulk_docs", what)
        assert store.purge() == (1 if what == "unheard" else 0)  # what was done twice was not done by the second try
        assert contents(store) == {}

    def test_server_that_breaks_down_while_it_saves(self, store: Any, strict: StrictServer) -> None:
        """It may have saved or not: that is looked up."""
        version = store.write(KEY, record_at(store.clock()), None)
        strict.fail("PUT", "/s:", "500")
        version = store.write(KEY, record_at(store.clock(), b"new"), version)
        assert contents(store) == {KEY: b"new"}
        for _ in range(2):
            strict.fail("PUT", "/s:", "503")
        with pytest.raises(StoreUnavailable, match="503"):
            store.write(KEY, record_at(store.clock(), b"newer"), version)


class TestConnections:
    def test_connections_that_the_server_ended(self, store: Any, strict: StrictServer) -> None:
        session = saved(store, n=0)
        for number in range(5):
            loaded = again(store, session)
            strict.cut_all()
            loaded["n"] = number + 1
            store.sessions.save(loaded)
        assert again(store, session)["n"] == 5
        strict.cut_all()
        store.write(KEY, record_at(store.clock()), None)

    def test_server_that_closes_each_connection(self, make: Make, strict: StrictServer) -> None:
        store = make(pool_size=1)
        version = store.write(KEY, record_at(store.clock()), None)
        for number in range(3):
            strict.fail("PUT", "/s:", "closing")
            version = store.write(KEY, record_at(store.clock(), b"%d" % number), version)
            strict.fail("GET", "/s:", "closing")
            assert store.read(KEY).data == b"%d" % number

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("connected", [True, False])
    def test_server_that_hangs(self, make: Make, strict: StrictServer, connected: bool) -> None:
        store = make(connect_timeout=1, timeout=0.2)
        session = saved(store, n=0)
        if not connected:
            store.close()
        strict.running.clear()
        try:
            for call in (lambda: again(store, session), lambda: saved(store), lambda: store.lock(KEY, timeout=0.1)):
                with pytest.raises(StoreUnavailable, match="in time"):
                    call()
        finally:
            strict.running.set()
        assert again(store, session).data == {"n": 0}

    def test_server_that_is_killed_and_comes_back(self) -> None:
        server = PouchServer(on_disk=True)
        store, hasty = CouchDBSessionStore(server.url), CouchDBSessionStore(server.url, timeout=0.2)
        try:
            store.setup()
            session = saved(store, n=0)
            server.stop()
            for call in (lambda: again(store, session), lambda: saved(store), store.purge, lambda: contents(store),
                         store.setup, lambda: store.lock(KEY)):
                with pytest.raises(StoreUnavailable):
                    call()
            server.start()
            assert again(store, session).data == {"n": 0}
            server.send(signal.SIGSTOP)
            with pytest.raises(StoreUnavailable, match="in time"):
                again(hasty, session)
            server.send(signal.SIGCONT)
            assert again(store, session).data == {"n": 0}
        finally:
            for each in (store, hasty, server):
                each.close()

    def test_all_connections_busy(self, make: Make) -> None:
        store = make(pool_size=1, timeout=0.2)

        def read_too(_: Any) -> None:
            with pytest.raises(StoreUnavailable, match="pool_size"), ThreadPoolExecutor(1) as threads:
                threads.submit(store.read, KEY).result()

        store._server._pool.use(read_too)
        assert store.read(KEY) is None

    # What was interrupted before it had anything to close, and destructors.
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interruption_at_any_moment_mixes_no_answers_up(self, make: Make) -> None:
        """An exception between question and answer; nor does it cost a place."""
        store = make(pool_size=2, timeout=5)
        for number in range(2):
            store.write(key_of(number), record_at(store.clock(), b"%d" % number), None)
        interruptions = sum(1 for _ in interrupted_everywhere(lambda: self.read_both(store)))
        assert interruptions > 100
        gc.collect()
        met = threading.Barrier(2, timeout=10)
        both = [threading.Thread(target=store._server._pool.use, args=(lambda _: met.wait(),)) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert not met.broken

    def read_both(self, store: CouchDBSessionStore) -> None:
        for number in range(2):
            found = store.read(key_of(number))
            assert found is not None
            assert found.data == b"%d" % number

    def test_an_answer_to_another_question_is_an_error(self, store: Any, strict: StrictServer) -> None:
        for number in range(2):
            store.write(key_of(number), record_at(store.clock()), None)
        database = month_of(store, strict)
        get, database.get = database.get, lambda id, query: get(f"s:{key_of(1)}", query)
        with pytest.raises(StoreUnavailable, match="another question"):
            store.read(KEY)


class TestEncryption:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[StrictServer]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certified(tmp_path, "localhost"))
        server = StrictServer(context)
        yield server
        server.close()

    @pytest.fixture
    def encrypted(self, server: StrictServer, tmp_path: Path) -> tuple[str, Path]:
        url = server.url.replace("couchdb:", "couchdbs:").replace("127.0.0.1", "localhost")
        return url, tmp_path / "certificate.pem"

    def test_certificate_is_checked(self, encrypted: tuple[str, Path], tmp_path: Path) -> None:
        url, certificate = encrypted
        store = from_url(f"{url}?ssl_ca={certificate}")
        store.setup()
        assert again(store, saved(store, n=1)).data == {"n": 1}
        store.close()
        (tmp_path / "other").mkdir()
        for other in ("", f"?ssl_ca={certified(tmp_path / 'other', 'localhost')[0]}"):
            with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                from_url(url + other).setup()
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            from_url(f"{url.replace('localhost', '127.0.0.1')}?ssl_ca={certificate}").setup()

    def test_a_connection_that_the_server_ended_is_noticed_before_a_session_begins(
            self, server: StrictServer, encrypted: tuple[str, Path]) -> None:
        url, certificate = encrypted
        store = from_url(f"{url}?ssl_ca={certificate}&pool_size=1")
        store.setup()
        mine = store._server._pool.use(lambda wire: wire._http.sock._socket.getsockname())
        assert store.read(KEY) is None
        assert store._server._pool.use(lambda wire: wire._http.sock._socket.getsockname()) == mine
        server.cut_all()
        store.write(KEY, record_at(store.clock()), None)
        store.close()

    def test_authority_without_encryption_is_refused(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="couchdbs"):
            from_url(f"{url}?ssl_ca={certified(tmp_path, 'localhost')[0]}")
        with pytest.raises(ConfigurationError, match="ssl_ca"):
            from_url(f"{url.replace('couchdb:', 'couchdbs:')}?ssl_ca={tmp_path / 'nowhere'}")


@contextlib.contextmanager
def answering(answer: Callable[[str, str], tuple[int, bytes]], **options: Any) -> Iterator[CouchDBSessionStore]:
    """Yield a store on something that answers, given the method and the path, with this status and this body."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    def handle(handler: BaseHTTPRequestHandler) -> None:
        status, body = answer(handler.command, handler.path)
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(body)

    handlers = {f"do_{method}": handle for method in ("GET", "HEAD", "PUT", "POST", "DELETE")}
    kind = type("Answering", (BaseHTTPRequestHandler,), {"log_message": lambda *_: None, **handlers})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with contextlib.closing(CouchDBSessionStore(f"couchdb://127.0.0.1:{server.server_port}/s", **options)) as store:
            yield store
        server.shutdown()
        thread.join()


class TestRefusals:
    """What the server refuses is an error that says what to do, and not the password."""

    def test_wrong_password(self, make: Make, url: str) -> None:
        with (contextlib.closing(from_url(url.replace("admin:", "admin:not"))) as store,
              pytest.raises(StoreUnavailable, match=r"401.*password in the URL") as caught):
            store.read(KEY)
        assert "not" not in str(caught.value).replace("not do", "")

    def test_no_member(self, make: Make, strict: StrictServer, url: str) -> None:
        for login, status in ((("member", "secret"), 403), (None, 401)):
            with (contextlib.closing(from_url(strict.url_for(login, url.rpartition("/")[2]))) as store,
                  pytest.raises(StoreUnavailable, match=str(status))):
                store.read(KEY)

    @pytest.mark.parametrize(("status", "advice"), [
        ("413", "max_document_size"), ("301", "URL of the server itself"), ("429", "busy"), ("503", "log")])
    def test_status(self, store: Any, strict: StrictServer, status: str, advice: str) -> None:
        for method, call in (("GET", lambda: store.read(KEY)), ("PUT", lambda: store.touch(KEY, store.clock(), None)),
                             ("DELETE", lambda: store.remove(KEY))):
            with contextlib.suppress(Conflict):
                store.write(KEY, record_at(store.clock()), None)
            for _ in range(2 if status == "503" else 1):
                strict.fail(method, "/s:", status)
            with pytest.raises(StoreUnavailable, match=f"{status}.*{advice}") as caught:
                call()
            assert KEY not in str(caught.value)

    def test_session_that_is_too_large(self, store: Any) -> None:
        session = saved(store, n=1)
        session["large"] = "x" * 6_100_000
        with pytest.raises(StoreUnavailable, match=r"413.*max_document_size"):
            store.sessions.save(session)
        assert again(store, session).data == {"n": 1}

    def test_something_else_than_couchdb(self) -> None:
        from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

        quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        with ThreadingHTTPServer(("127.0.0.1", 0), quiet) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            with pytest.raises(StoreUnavailable, match="no CouchDB"):
                CouchDBSessionStore(f"couchdb://127.0.0.1:{server.server_port}/sessions").read(KEY)
            server.shutdown()
            thread.join()

    @pytest.mark.parametrize("status", [200, 404])
    @pytest.mark.parametrize("body", [b"[]", b'"x"', b"null", b"[" * 100_000,
                                      b'{"months": ["s-2026-11"], "rows": null}',
                                      b'{"months": ["s-2026-11"], "rows": [{"key": null, "error": "timeout"}]}',
                                      b'{"_id": "session2", "_rev": 5, "months": []}',
                                      b'{"_id": "session2", "_rev": "1", "_conflicts": 5, "months": []}',
                                      b'{"_id": "session2", "_rev": "1", "months": ["s-2026-11"], "rows": [5]}',
                                      b'{"_id": "session2", "_rev": "1", "months": ["s-2026-11"], "rows": '
                                      b'[{"id": "s:x", "value": 5, "doc": {"_id": "s:x"}}]}'])
    def test_answers_that_are_none(self, body: bytes, status: int) -> None:
        with answering(lambda method, path: (status, body)) as store:
            for call in (lambda: store.read(KEY), lambda: contents(store), store.purge,
                         lambda: [*store.records_of("anna")]):
                with pytest.raises(StoreUnavailable):
                    call()

    @pytest.mark.parametrize("answer", [b"{}", b'{"ok": true, "rev": 5}', b'{"rev": null}'])
    def test_a_save_without_a_revision_is_none(self, answer: bytes) -> None:
        def save(method: str, path: str) -> tuple[int, bytes]:
            if method == "PUT":
                return 201, answer
            catalogue = b'{"_id": "session2", "_rev": "1-a", "months": ["s-2026-11"]}'
            return (200, catalogue) if path.startswith("/s/session2") else (404, b"{}")

        clock = Clock()
        clock.now = 1_795_000_000.0  # November 2026
        with answering(save, clock=clock) as store, pytest.raises(StoreUnavailable, match="left out 'rev'"):
            store.write(KEY, record_at(clock.now), None)

    @pytest.mark.parametrize("fields", [
        {"data": "%"}, {"data": 1}, {"accessed": None}, {"created": True}, {"user": "xy"}, {"versions": []},
        {"versions": ["x"]}, {"versions": None}, {"expires": "never"}])
    def test_damaged_document_is_missing(self, store: Any, strict: StrictServer, fields: dict[str, Any]) -> None:
        store.write(KEY, record_at(store.clock()), None)
        store.write(key_of(1), record_at(store.clock(), b"other"), None)
        month_of(store, strict).documents[f"s:{KEY}"][2].update(fields)
        assert store.read(KEY) is None
        assert contents(store) == {key_of(1): b"other"}
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock()), None)
        assert not store.touch(KEY, store.clock() + 1, None)
        store.remove(KEY)
        store.write(KEY, record_at(store.clock()), None)


class TestViews:
    def test_all_is_found_while_a_view_is_built(self, store: Any, strict: StrictServer, clock: Clock,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
        """CouchDB answers a question to a view when it is up to date; of a large month that takes minutes."""
        for number in range(3):
            store.write(key_of(number), record_at(clock.now, user="anna", expires=clock.now + 10 * number), None)
        monkeypatch.setattr(access, "_VIEW_PATIENCE", 0.2)
        slow = threading.Event()
        strict.fail("GET", "_view/by_user", "slow", lambda: slow.wait(30))
        assert {key for key, _ in store.records_of("anna")} == {key_of(1), key_of(2)}
        slow.set()
        for _ in range(2):  # in both databases
            strict.fail("GET", "_view/by_expiry", "404")
            strict.fail("GET", "_view/by_use", "404")
        clock.advance(10)
        assert store.purge(unused_since=clock.now - 100) == 2
        assert list(contents(store)) == [key_of(2)]

    def test_setup_makes_views_that_are_missing(self, store: Any, strict: StrictServer) -> None:
        del month_of(store, strict).documents["_design/session2"]
        assert store._documents._viewed(store._databases.for_new(KEY, store.clock()), "by_user") is None
        store.setup()
        assert month_of(store, strict).documents["_design/session2"]


class TestParted:
    """What two servers stored while they did not see each other."""

    @pytest.fixture
    def store(self, pouch: PouchServer) -> Iterator[CouchDBSessionStore]:
        store = CouchDBSessionStore(url_of(pouch))
        store.setup()
        yield store
        store.close()

    def ask(self, store: CouchDBSessionStore, path: str, body: Any = None) -> Any:
        [month] = store._databases.known(store.clock())
        place, data = store._server._place, json.dumps(body).encode() if body else None
        url = f"http://{place.host}:{place.port}/{month}/{path}"
        request = Request(url, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def save(self, store: CouchDBSessionStore, session: DictSession, **items: Any) -> None:
        session.update(items)
        store.sessions.save(session)

    def parted(self, store: CouchDBSessionStore, mine: Callable[[DictSession], object],
               theirs: Callable[[DictSession], object], hash: str = "f" * 32) -> DictSession:
        """Return a session of which each side did something."""
        session = saved(store, here=1, gone=1, both=0)
        key = str(session.key)
        begun = self.ask(store, f"s:{key}?revs=true")
        theirs(again(store, session))
        other = self.ask(store, f"s:{key}")
        # This side goes back to where both began, for here it never happened.
        start, ids = begun["_revisions"]["start"], begun["_revisions"]["ids"]
        made = self.ask(store, "_bulk_docs", {"new_edits": False, "docs": [
            {**begun, "_rev": f"{start + 1}-{'0' * 32}", "_revisions": {"start": start + 1, "ids": ["0" * 32, *ids]}}]})
        assert made == []
        self.ask(store, "_bulk_docs", {"docs": [{"_id": other["_id"], "_rev": other["_rev"], "_deleted": True}]})
        mine(again(store, session))
        self.ask(store, "_bulk_docs", {"new_edits": False, "docs": [
            {**other, "_rev": f"{start + 1}-{hash}", "_revisions": {"start": start + 1, "ids": [hash, *ids]}}]})
        assert self.ask(store, f"s:{key}?conflicts=true")["_conflicts"]
        return session

    def is_whole(self, store: CouchDBSessionStore, session: DictSession) -> bool:
        return "_conflicts" not in self.ask(store, f"s:{session.key}?conflicts=true")

    def test_changes_of_both_sides_are_there(self, store: Any) -> None:
        def change(session: DictSession) -> None:
            del session["gone"]
            self.save(store, session, mine=1)

        session = self.parted(store, change, lambda other: self.save(store, other, theirs=1))
        assert again(store, session).data == {"here": 1, "both": 0, "mine": 1, "theirs": 1}
        assert self.is_whole(store, session)
        loaded = again(store, session)
        self.save(store, loaded, more=1)
        assert again(store, session)["more"] == 1
        assert [each.data["theirs"] for each in store.sessions.each(DictSession)] == [1]

    def test_who_began_before_loses_nothing(self, store: Any) -> None:
        session = self.parted(store, lambda mine: self.save(store, mine, mine=1),
                              lambda other: self.save(store, other, theirs=1))
        late = session
        late["late"] = 1
        store.sessions.save(late)
        assert again(store, session).data == {"here": 1, "gone": 1, "both": 0, "mine": 1, "theirs": 1, "late": 1}

    @pytest.mark.parametrize("ended", ["here", "there"])
    def test_no_logout_is_undone(self, store: Any, ended: str) -> None:
        acts = [lambda mine: store.sessions.end(mine), lambda other: self.save(store, other, theirs=1)]
        session = self.parted(store, *(acts if ended == "here" else reversed(acts)))
        assert store.load_session(session.id) is None
        assert list(store.sessions.each(DictSession)) == []
        assert self.is_whole(store, session)

    def test_sessions_of_two_users_are_not_mixed(self, store: Any) -> None:
        def log_in(session: DictSession, name: str) -> None:
            session.user = name
            self.save(store, session, **{name: 1})

        session = self.parted(store, lambda mine: log_in(mine, "anna"), lambda other: log_in(other, "bert"))
        loaded = again(store, session)
        assert {loaded.user} == loaded.data.keys() - {"here", "gone", "both"}

        store.remove(str(session.key))
        assert store.read(str(session.key)) is None

    @pytest.mark.parametrize("with_views", [True, False])
    @pytest.mark.parametrize("ended", ["here", "there"])
    def test_no_logout_is_undone_by_a_purge(self, store: Any, ended: str, with_views: bool,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
        """The end expires before the session would have, and nobody saw both in between."""
        def end(session: DictSession) -> None:
            origin = ties(session).origin
            store.write(origin.key, origin.record._replace(data=traces.ended("x"), expires=store.clock() - 1),
                        origin.record.version)

        acts = [end, lambda other: self.save(store, other, theirs=1)]
        session = self.parted(store, *(acts if ended == "here" else reversed(acts)))
        if not with_views:
            monkeypatch.setattr(store._documents, "_viewed", lambda *_, **__: None)
        for _ in range(2):
            store.purge()
        assert store.read(str(session.key)) is None
        assert not list(store.sessions.each(DictSession))

    def test_two_who_see_it_at_once(self, store: Any) -> None:
        session = self.parted(store, lambda mine: self.save(store, mine, mine=1),
                              lambda other: self.save(store, other, theirs=1))
        with ThreadPoolExecutor(4) as threads:
            found = [*threads.map(lambda _: again(store, session).data, range(8))]
        assert found == [{"here": 1, "gone": 1, "both": 0, "mine": 1, "theirs": 1}] * 8
        assert self.is_whole(store, session)

    def test_months_noted_on_both_sides(self, store: Any) -> None:
        base = store._databases.base
        ask = store._server.ask
        for hash, month in (("a" * 32, "2025-01"), ("b" * 32, "2025-02")):
            ask("POST", f"{base}/_bulk_docs", {"new_edits": False, "docs": [
                {"_id": "session2", "_rev": f"9-{hash}", "months": [f"{base}-{month}"]}]})
        assert {f"{base}-2025-01", f"{base}-2025-02"} <= {*store._databases.all(store.clock())}
