"""What the WSGI middleware does between an application and a server."""

from __future__ import annotations

import gc
import io
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from wsgi_client import PLAIN, Client, Start, environ

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Session,
    SessionManager,
    StoreUnavailable,
    from_url,
)
from session2.store.volatile import VolatileSessionStore
from session2.traces import is_lock
from session2_wsgi import SessionMiddleware


@pytest.fixture
def manager() -> SessionManager[DictSession]:
    return SessionManager(VolatileSessionStore(), DictSession)


@pytest.fixture
def serve(manager: SessionManager[DictSession]) -> Callable[..., Client]:
    return lambda app, **options: Client(SessionMiddleware(app, manager, **options))


def simple(page: Callable[[Any], object]) -> Callable[..., Any]:
    """Return an application of which a page works on the session."""
    def app(environ: dict[str, Any], start: Start) -> list[bytes]:
        text = str(page(environ["session2.session"])).encode()
        start("200 OK", PLAIN)
        return [text]

    return app


def count(session: Any) -> int:
    session["n"] = session.get("n", 0) + 1
    return session["n"]


def stored(manager: SessionManager[DictSession]) -> list[dict[str, Any]]:
    return [dict(session) for session in manager.values()]


class Broken(VolatileSessionStore):
    """A store that fails when it is told to."""

    fails = False

    def read(self, key: str) -> Any:
        self._check()
        return super().read(key)

    def write(self, *arguments: Any) -> Any:
        self._check()
        return super().write(*arguments)

    def _check(self) -> None:
        if self.fails:
            raise StoreUnavailable("no such disk")


# -- three lines, and what they cost -------------------------------------------------------------------------------


def test_a_session_is_remembered(serve):
    client = serve(simple(count))
    assert [client.get().text for _ in range(3)] == ["1", "2", "3"]


def test_who_does_not_look_costs_nothing(serve, manager):
    made = []

    def app(environ, start):
        start("200 OK", made)
        return made

    client = serve(app)
    client.cookie = "session2=" + "x" * 43
    manager.store.read = None
    body = client.app({"HTTP_COOKIE": client.cookie}, client.start)
    assert body is made
    assert client.headers is made


def test_the_session_is_true_even_when_it_is_empty(serve):
    assert serve(simple(bool)).get().text == "True"


def test_a_manager_of_plain_sessions_serves_mappings():
    assert Client(SessionMiddleware(simple(count), SessionManager(from_url("volatile:")))).get().text == "1"


def test_a_session_class_without_items_is_refused():
    class Own(Session):
        pass

    with pytest.raises(ConfigurationError, match="derive Own from DictSession"):
        SessionMiddleware(simple(count), SessionManager(from_url("volatile:"), Own))


def test_two_middlewares_have_a_session_each(manager):
    def app(environ, start):
        count(environ["session2.session"])
        environ["other"]["n"] = 7
        start("200 OK", PLAIN)
        return []

    other = SessionManager(VolatileSessionStore(), cookie=CookiePolicy("other"))
    answer = Client(SessionMiddleware(SessionMiddleware(app, other, key="other"), manager)).get()
    assert len(answer.all("Set-Cookie")) == 2
    assert stored(manager) == [{"n": 1}]
    assert stored(SessionManager(other.store, DictSession)) == [{"n": 7}]


@pytest.mark.parametrize("beaker", [False, True])
def test_the_middleware_within_itself_is_one(manager, beaker):
    inner = SessionMiddleware(simple(lambda session: [count(session), beaker and session.save()]), manager,
                              beaker=beaker)

    def around(environ, start):
        environ["session2.session"]["around"] = True
        return inner(environ, start)

    client = Client(SessionMiddleware(around, manager, beaker=beaker))
    assert len(client.get().all("Set-Cookie")) == 1
    client.get()
    assert stored(manager) == [{"around": True, "n": 2}]


@pytest.mark.parametrize("streams", [False, True])
def test_an_environment_that_is_used_again_has_a_session_of_its_own(manager, streams):
    app = simple(count)
    middleware = SessionMiddleware((lambda environ, start: iter(app(environ, start))) if streams else app, manager)
    client = Client(middleware)
    client.get()
    used = environ("/", client.cookie)
    for _ in range(2):
        client.sent = []
        list(middleware(used, client.start))
    assert stored(manager) == [{"n": 3}]


@pytest.mark.parametrize("app", [simple(count), lambda environ, start: iter(simple(count)(environ, start))],
                         ids=["list", "iterator"])
def test_both_sides_keep_to_the_protocol(manager, app):
    client = Client(validator(SessionMiddleware(validator(app), manager)))
    assert [client.get().text for _ in range(2)] == ["1", "2"]


def test_the_environment_is_taken_as_it_came(serve):
    """Who dispatches to an application moves a part of the path into SCRIPT_NAME, some in place."""
    def app(environ, start):
        environ["SCRIPT_NAME"] = "/mounted"
        return simple(count)(environ, start)

    assert "Path=/;" in serve(app).get().all("Set-Cookie")[0]
    assert "Path=/shop;" in serve(app).get(SCRIPT_NAME="/shop").all("Set-Cookie")[0]


def test_a_request_leaves_nothing_behind(serve):
    kept = []

    def page(session):
        kept.append(weakref.ref(session))
        return count(session)

    serve(simple(page)).get()
    gc.collect()
    assert kept[0]() is None


# -- the headers ---------------------------------------------------------------------------------------------------


def test_the_headers_of_the_application_stay(serve):
    def app(environ, start):
        count(environ["session2.session"])
        start("200 OK", [*PLAIN, ("Vary", "Accept"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return []

    answer = serve(app).get()
    assert answer.all("Content-Type") == ["text/plain"]
    assert answer.tokens("Vary") == ["accept", "cookie"]
    assert [cookie.partition("=")[0] for cookie in answer.all("Set-Cookie")] == ["a", "b", "session2"]
    assert answer.all("Cache-Control") == ["no-store"]


def test_the_headers_wait_for_the_first_bytes(serve, manager):
    """An application may call start_response first and look at its session afterwards."""
    def app(environ, start):
        start("200 OK", PLAIN)
        yield b""
        count(environ["session2.session"])
        yield b"one"
        yield b"two"

    client = serve(app)
    steps = client.steps()
    assert [next(steps), stored(manager)] == ["200 OK", [{"n": 1}]]
    assert [*steps] == ["one", "two"]
    assert any(name == "Set-Cookie" for name, _ in client.headers)


def test_an_answer_without_a_body_stores_the_session(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        start("204 No Content", [])
        return iter(())

    answer = serve(app).get()
    assert (answer.status, len(answer.all("Set-Cookie")), stored(manager)) == (204, 1, [{"n": 1}])


def test_write_stores_the_session_first(serve, manager):
    seen = []

    def app(environ, start):
        write = start("200 OK", PLAIN)
        count(environ["session2.session"])
        seen.append(stored(manager))
        write(b"one")
        seen.append(stored(manager))
        environ["session2.session"]["late"] = 1
        write(b"two")
        return [b"three"]

    client = serve(app)
    answer = client.get()
    assert (answer.text, seen) == ("onetwothree", [[], [{"n": 1}]])
    assert client.sent == ["200 OK", "one", "two", "three"]
    assert stored(manager) == [{"n": 1, "late": 1}]


def test_start_response_may_be_called_again_for_an_error_only(serve):
    def twice(environ, start):
        start("200 OK", PLAIN)
        start("404 Not Found", PLAIN)

    with pytest.raises(AssertionError, match="without exc_info"):
        serve(twice).get()


def test_an_error_replaces_the_headers_while_they_are_held_back(serve, manager):
    def app(environ, start):
        start("200 OK", [("X-First", "1")])
        count(environ["session2.session"])
        try:
            raise LookupError("no such page")
        except LookupError:
            start("404 Not Found", PLAIN, sys.exc_info())
        return [b"sorry"]

    client = serve(app)
    answer = client.get()
    assert (answer.status, answer.all("X-First"), stored(manager)) == (404, [], [{"n": 1}])
    assert client.error[0] is LookupError, "whoever is outside may want to see it"


def test_an_error_behind_the_headers_is_the_servers(serve, manager):
    def app(environ, start):
        start("200 OK", PLAIN)
        yield b"one"
        environ["session2.session"]["a"] = 1
        try:
            raise LookupError("too late")
        except LookupError:
            start("500 Internal Server Error", PLAIN, sys.exc_info())

    client = serve(app)
    with pytest.raises(LookupError, match="too late"):
        client.get()
    assert client.sent == ["200 OK", "one"]
    assert stored(manager) == []


def test_an_error_that_the_application_answers_itself_is_a_crash(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        start("500 Internal Server Error", PLAIN)
        return [b"sorry"]

    client = serve(app)
    answer = client.get()
    assert (answer.status, answer.all("Set-Cookie"), answer.tokens("Vary")) == (500, [], ["cookie"])
    assert stored(manager) == []
    client.app.app = simple(count)
    client.get()
    client.app.app = app
    client.get()
    assert stored(manager) == [{"n": 1}]


def test_what_was_saved_before_a_crash_reaches_the_browser(serve):
    """Its old id may be dead by then."""
    def app(environ, start):
        session = environ["session2.session"]
        session.user = "ada"
        session.save()
        session["n"] = 1
        start("500 Internal Server Error", PLAIN)
        return []

    client = serve(app)
    client.get()
    client.app = SessionMiddleware(simple(lambda session: (session.user, dict(session))), client.app.manager)
    assert client.get().text == "('ada', {})"


# -- bodies --------------------------------------------------------------------------------------------------------


def test_the_servers_own_file_wrapper_reaches_it_untouched(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        start("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"), 4)

    made = []

    def wrapper(*arguments):
        made.append(FileWrapper(*arguments))
        return made[-1]

    client = serve(app)
    for wrap in (FileWrapper, wrapper):
        client.sent = []
        body = client.app({"wsgi.file_wrapper": wrap}, client.start)
        assert type(body) is FileWrapper
        assert client.sent == ["200 OK"]
    assert body is made[0]
    assert stored(manager) == [{"n": 1}, {"n": 1}]


def test_a_file_is_closed_when_the_store_fails(caplog):
    store = Broken()
    closed = []

    class File(io.BytesIO):
        def close(self):
            closed.append(self)

    def app(environ, start):
        count(environ["session2.session"])
        start("200 OK", PLAIN)
        store.fails = True
        return environ["wsgi.file_wrapper"](File(b"file"))

    client = Client(SessionMiddleware(app, SessionManager(store, DictSession)))
    assert client.get(**{"wsgi.file_wrapper": FileWrapper}).status == 503
    assert closed


def test_the_body_of_the_application_is_closed(serve):
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"one"])

        def close(self) -> None:
            closed.append(True)

    def app(environ, start):
        start("200 OK", PLAIN)
        return Body()

    client = serve(app)
    assert client.get().text == "one"
    assert closed == [True]


def test_a_stream_that_is_dropped_is_closed_and_keeps_what_was_stored(serve, manager):
    closed = []

    def app(environ, start):
        start("200 OK", PLAIN)
        count(environ["session2.session"])
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    steps = serve(app).steps()
    assert [next(steps), next(steps)] == ["200 OK", "one"]
    steps.close()
    assert (closed, stored(manager)) == ([True], [{"n": 1}])


def test_what_a_stream_changes_is_stored_at_its_end(serve, manager):
    def app(environ, start):
        session = environ["session2.session"]
        count(session)
        start("200 OK", PLAIN)
        yield b"one"
        session["late"] = 1
        yield b"two"

    serve(app).get()
    assert stored(manager) == [{"n": 1, "late": 1}]


def test_a_stream_is_settled_when_it_is_out_whenever_it_is_closed(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        start("200 OK", PLAIN)
        yield b"one"
        environ["session2.session"]["late"] = 1

    client = serve(app)
    body = client.app({}, client.start)
    assert list(body) == [b"one"]
    assert stored(manager) == [{"n": 1, "late": 1}]
    body.close()


def test_an_error_of_the_session_in_a_stream_is_the_servers():
    store = Broken()

    def app(environ, start):
        start("200 OK", PLAIN)
        yield b"one"
        store.fails = True
        count(environ["session2.session"])

    client = Client(SessionMiddleware(app, SessionManager(store, DictSession)))
    client.cookie = "session2=" + "x" * 43
    with pytest.raises(StoreUnavailable):
        client.get()
    assert client.sent == ["200 OK", "one"]


def test_a_login_in_a_stream_comes_too_late_and_is_told(serve, manager, caplog):
    def app(environ, start):
        start("200 OK", PLAIN)
        yield b"one"
        environ["session2.session"].user = "ada"

    assert serve(app).get().status == 200
    assert stored(manager) == []
    assert "no cookie could be sent" in caplog.text


def test_nor_is_a_login_that_a_stream_saves_itself(serve, manager, caplog):
    def app(environ, start):
        start("200 OK", [])
        yield b"a"
        environ["session2.session"].user = "anna"
        environ["session2.session"].save()
        yield b"b"

    assert serve(app).get().text == "ab"
    assert "no cookie could be sent any more" in caplog.text
    assert stored(manager) == []


def test_a_stream_that_breaks_stores_nothing_more(serve, manager):
    def app(environ, start):
        session = environ["session2.session"]
        count(session)
        start("200 OK", PLAIN)
        yield b"one"
        session["late"] = 1
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        serve(app).get()
    assert stored(manager) == [{"n": 1}]


def test_what_cannot_be_stored_at_the_end_of_a_stream_is_told(caplog):
    store = Broken()

    def app(environ, start):
        count(environ["session2.session"])
        start("200 OK", PLAIN)
        yield b"one"
        environ["session2.session"]["late"] = store.fails = True

    manager = SessionManager(store, DictSession)
    assert Client(SessionMiddleware(app, manager)).get().text == "one"
    assert "could not be stored" in caplog.text
    store.fails = False
    assert stored(manager) == [{"n": 1}]


@pytest.mark.parametrize("early", [False, True])
def test_a_stream_holds_its_lock_to_the_end_unless_it_is_released(early):
    def app(environ, start):
        session = environ["session2.session"]
        count(session)
        start("200 OK", PLAIN)
        yield b"one"
        if early:
            session.release_lock()
        yield b"two"

    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency="lock", lock_timeout=0)
    client = Client(SessionMiddleware(app, manager))
    client.get()
    steps = client.steps()
    assert [next(steps), next(steps), next(steps)] == ["200 OK", "one", "two"]
    other = Client(SessionMiddleware(simple(count), manager))
    other.cookie = client.cookie
    assert other.get().status == (200 if early else 503)
    steps.close()
    assert other.get().status == 200


def test_who_is_the_first_to_look_when_the_answer_is_out_leaves_no_lock():
    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency="lock", lock_timeout=0)
    client, held = Client(SessionMiddleware(simple(count), manager)), []
    client.get()
    client.app.app = simple(held.append)
    client.get()
    assert held[0]["n"] == 1
    client.app.app = simple(count)
    assert client.get().text == "2"


def test_a_socket_that_is_taken_over_is_left_alone(serve, manager):
    """Servers hand their socket to applications that speak WebSocket: these never call start_response."""
    def app(environ, start):
        count(environ["session2.session"])
        environ["gunicorn.socket"].append("frame")

    client = serve(simple(count))
    client.get()
    client.app.app, socket = app, []
    assert client.app({"HTTP_UPGRADE": "websocket", "gunicorn.socket": socket, "HTTP_COOKIE": client.cookie},
                      client.start) is None
    assert (socket, stored(manager)) == (["frame"], [{"n": 2}])


def test_switching_protocols_is_an_answer_like_others(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        start("101 Switching Protocols", [("Upgrade", "websocket")])
        yield b"frame"

    client = serve(app)
    answer = client.get(HTTP_UPGRADE="websocket")
    assert (answer.status, answer.text, answer.all("Upgrade")) == (101, "frame", ["websocket"])
    assert (len(answer.all("Set-Cookie")), stored(manager)) == (1, [{"n": 1}])


def test_an_application_that_answers_nothing_stores_nothing(serve, manager):
    def app(environ, start):
        count(environ["session2.session"])
        return []

    client = serve(app)
    assert client.app({}, client.start) == []
    assert (client.sent, stored(manager)) == ([], [])


def test_nor_does_it_leave_a_lock(serve, manager):
    manager.store._locks, manager.concurrency = None, "lock"
    client = serve(simple(count))
    client.get()
    client.app.app = lambda environ, start: [] if environ["session2.session"]["n"] else None
    assert client.app(environ(cookie=client.cookie), client.start) == []
    assert [key for key, _ in manager.store.scan() if is_lock(key)] == []


# -- errors --------------------------------------------------------------------------------------------------------


def broken_pages(store: Broken) -> dict[str, Callable[..., Any]]:
    def as_list(environ, start):
        store.fails = True
        return simple(count)(environ, start)

    def as_generator(environ, start):
        yield from as_list(environ, start)

    def late(environ, start):
        start("200 OK", PLAIN)
        count(environ["session2.session"])
        store.fails = True
        yield b"one"

    def write(environ, start):
        put = start("200 OK", PLAIN)
        count(environ["session2.session"])
        store.fails = True
        put(b"one")
        return []

    return {"list": as_list, "generator": as_generator, "at the end": late, "write": write}


@pytest.mark.parametrize("kind", broken_pages(Broken()))
def test_a_store_that_fails_is_a_503(kind, caplog):
    store = Broken()
    client = Client(SessionMiddleware(broken_pages(store)[kind], SessionManager(store, DictSession)))
    client.cookie = "session2=" + "x" * 43
    answer = client.get()
    assert (answer.status, answer.text) == (503, "Sessions are not available at the moment.")
    assert (answer.all("Set-Cookie"), answer.all("Vary")) == ([], ["Cookie"])
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]
    assert answer.all("Content-Length") == [str(len(answer.text))]
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert "no such disk" in caplog.text
    assert "x" * 43 not in caplog.text


def test_a_refusal_says_nothing_to_who_asks_for_the_head(caplog):
    store = Broken()
    store.fails = True
    client = Client(SessionMiddleware(simple(count), SessionManager(store, DictSession)))
    answer = client.get(REQUEST_METHOD="HEAD")
    assert (answer.status, answer.text) == (503, "")


def test_who_waits_in_vain_for_a_lock_is_told_to_try_again():
    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency="lock", lock_timeout=0)
    client = Client(SessionMiddleware(simple(count), manager))
    client.get()
    with manager.lock(client.cookie.partition("=")[2]):
        answer = client.get()
    assert (answer.status, answer.all("Retry-After")) == (503, ["1"])
    assert client.get().text == "2"


@pytest.mark.parametrize("tells", [True, False], ids=["with exc_info", "without"])
def test_a_framework_that_answers_500_itself_answers_503(tells):
    """Most catch what their pages raise; what they say of it stays, but for the status."""
    def app(environ, start):
        try:
            count(environ["session2.session"])
        except Exception:
            start("500 Internal Server Error", PLAIN, *([sys.exc_info()] if tells else []))
            return [b"sorry"]

    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency="lock", lock_timeout=0)
    client = Client(SessionMiddleware(simple(count), manager))
    client.get()
    client.app.app = app
    with manager.lock(client.cookie.partition("=")[2]):
        answer = client.get()
    assert (answer.status, answer.all("Retry-After"), answer.text) == (503, ["1"], "sorry")


def test_a_value_that_cannot_be_stored_is_a_crash(serve, manager):
    from session2.errors import SerializationError

    with pytest.raises(SerializationError, match="'f'"):
        serve(simple(lambda session: session.update(f=lambda: None))).get()
    assert stored(manager) == []


def test_an_interrupted_page_frees_its_lock():
    def interrupted(session):
        count(session)
        raise KeyboardInterrupt

    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency="lock", lock_timeout=0)
    manager.store._locks = None
    client = Client(SessionMiddleware(simple(count), manager))
    client.get()
    for app in (simple(interrupted), lambda environ, start: (yield from simple(interrupted)(environ, start))):
        client.app.app = app
        with pytest.raises(KeyboardInterrupt):
            client.get()
        assert not [key for key, _ in manager.store.scan() if is_lock(key)]
    client.app.app = simple(count)
    assert client.get().text == "2"


# -- the session ---------------------------------------------------------------------------------------------------


def test_the_id_changes_when_it_is_regenerated(serve):
    client = serve(simple(count))
    client.get()
    before, client.app.app = client.cookie, simple(lambda session: session.regenerate())
    client.get()
    assert client.cookie != before
    client.app.app = simple(dict)
    assert client.get().text == "{'n': 1}"
    client.cookie = before
    assert client.get().text == "{}"


def test_the_id_can_be_asked_for_early(serve):
    client = serve(simple(lambda session: (count(session), session.id)[1]))
    first = client.get().text
    assert first == client.cookie.partition("=")[2]
    assert client.get().text == first, "to ask for it does not change it"


def test_a_logout_in_a_stream_ends_the_session(serve, manager):
    def app(environ, start):
        start("200 OK", PLAIN)
        yield b"one"
        environ["session2.session"].delete()

    client = serve(simple(count))
    client.get()
    client.app.app = app
    client.get()
    assert stored(manager) == []


@pytest.mark.parametrize("beaker", [False, True])
def test_a_thread_that_goes_on_behind_the_answer_stores_its_session(manager, beaker):
    kept = []
    client = Client(SessionMiddleware(simple(lambda session: (count(session), session.save(), kept.append(session))),
                                      manager, beaker=beaker))
    client.get()
    client.get()
    _, session = kept
    session["n"] = 7
    session.persist() if beaker else session.save()
    assert stored(manager) == [{"n": 7}]
    session.set_user("ada")
    with pytest.raises(ConfigurationError, match="this request is over"):
        session.persist() if beaker else session.save()
    session.delete()
    assert stored(manager) == []


def test_sessions_of_two_hosts_share_a_folder(tmp_path: Path):
    url = f"directory:{tmp_path}/sessions?create=true"
    one, two = (Client(SessionMiddleware(simple(count), SessionManager(from_url(url), DictSession))) for _ in range(2))
    one.get()
    two.cookie = one.cookie
    assert two.get().text == "2"


def test_sessions_may_be_in_the_cookies_themselves():
    """Beside the cookie of the id there is another one then."""
    from session2 import get_secret
    from session2.store.cookie import CookieSessionStore

    client, jar = Client(SessionMiddleware(simple(count), SessionManager(CookieSessionStore(get_secret())))), {}
    for expected in ("1", "2", "3"):
        client.cookie = "; ".join(jar.values()) or None
        answer = client.get()
        jar.update({header.partition("=")[0]: header.partition(";")[0] for header in answer.all("Set-Cookie")})
        assert answer.text == expected
    assert sorted(jar) == ["session2", "session2-data"]
