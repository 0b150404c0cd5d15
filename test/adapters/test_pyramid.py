"""The Pyramid adapter: the suite that every adapter passes, and what Pyramid asks of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cheroot import wsgi
from pyramid.config import Configurator
from pyramid.csrf import check_csrf_token, new_csrf_token
from pyramid.httpexceptions import HTTPBadRequest, HTTPFound, HTTPNotFound
from pyramid.interfaces import ISession
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp
from zope.interface.verify import verifyObject

from session2 import ConfigurationError, CookiePolicy, DictSession, Session, SessionManager, StoreUnavailable, from_url
from session2.errors import ReadOnlySession
from session2.store.volatile import VolatileSessionStore
from session2.testing import AdapterSuite
from session2.testing.adapter import pages
from session2.traces import is_session
from session2_pyramid import PyramidExchange, PyramidSession, SessionFactory

View = Callable[[Any], Any]


def application(manager: SessionManager[Any], view: View, **options: Any) -> Any:
    with Configurator() as config:
        config.set_session_factory(SessionFactory(manager, **options))
        config.include("session2_pyramid")
        config.add_route("all", "/*path")
        config.add_view(view, route_name="all")
    return config.make_wsgi_app()


def page(request: Any) -> Response:
    session = request.session
    session.session  # noqa: B018 (the suite looks for Vary on every page)
    call = pages.Call(request.GET, lambda: session, session.set_user, session.get_user,
                      lambda **options: session.manager.expire_session(session.session.exchange, **options))
    try:
        return Response(pages.answer(request.path_info, call))
    except pages.Redirect as answer:
        raise HTTPFound(answer.args[0]) from None
    except pages.NotFound:
        raise HTTPNotFound from None


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    app = application(manager, page)

    def with_scheme(environ: dict[str, Any], start_response: Any) -> Any:
        return app({**environ, "wsgi.url_scheme": "https" if https else "http"}, start_response)

    server = wsgi.Server(("127.0.0.1", 0), with_scheme, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


class TestPyramid(AdapterSuite):
    server = f"{__file__}:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503


@pytest.fixture
def manager() -> SessionManager[DictSession]:
    return SessionManager(VolatileSessionStore(), DictSession)


@pytest.fixture
def visit(manager: SessionManager[DictSession]) -> Iterator[Callable[..., Any]]:
    """Return a function that has a view answer a request of one browser."""
    view: View = lambda request: {}  # noqa: E731

    def answer(request: Any) -> Response:
        return Response(repr(view(request)))

    browser = TestApp(application(manager, answer))

    def go(new_view: View, **request: Any) -> Any:
        nonlocal view
        view = new_view
        return browser.get("/", **request)

    return go


def test_it_is_a_session_of_pyramids(visit: Any) -> None:
    assert visit(lambda request: verifyObject(ISession, request.session)).text == "True"


def test_what_does_not_look_at_its_session_costs_nothing(visit: Any) -> None:
    answer = visit(lambda request: None)
    assert "Vary" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_new_and_created(visit: Any, manager: SessionManager[DictSession]) -> None:
    assert visit(lambda request: request.session.new).text == "True"
    assert "Set-Cookie" not in visit(lambda request: request.session.new).headers
    visit(lambda request: request.session.update(a=1))
    assert visit(lambda request: request.session.new).text == "False"
    (_, record), = manager.store.scan()
    assert visit(lambda request: request.session.created).text == str(int(record.created))


def test_flash_messages_wait_in_their_queues(visit: Any) -> None:
    def say(request: Any) -> None:
        for text in ("one", "two", "one"):
            request.session.flash(text)
            request.session.flash(text, queue="other", allow_duplicate=False)

    visit(say)
    assert visit(lambda request: request.session.peek_flash("other")).text == "['one', 'two']"
    assert visit(lambda request: request.session.pop_flash()).text == "['one', 'two', 'one']"
    assert visit(lambda request: request.session.pop_flash()).text == "[]"
    assert visit(lambda request: request.session.pop_flash("other")).text == "['one', 'two']"


@pytest.mark.parametrize(("method", "value"), [("POST", "x"), ("PUT", None), ("GET", None)])
def test_the_fields_of_a_form_are_those_of_a_post(method: str, value: str | None) -> None:
    request = Request.blank("/", method=method, POST={"token": "x"})
    assert PyramidExchange(request, None).post_value("token") == value


def test_csrf_token_stays_until_a_new_one_is_asked_for(visit: Any) -> None:
    first = visit(lambda request: request.session.get_csrf_token()).text
    assert visit(lambda request: request.session.get_csrf_token()).text == first
    second = visit(new_csrf_token).text
    assert second != first
    assert visit(lambda request: request.session.get_csrf_token()).text == second
    token = second.strip("'")
    assert visit(check_csrf_token, headers={"X-CSRF-Token": token}).text == "True"
    visit(check_csrf_token, headers={"X-CSRF-Token": first.strip("'")}, status=400)


def test_csrf_token_that_pyramids_own_factory_wrote(visit: Any) -> None:
    visit(lambda request: request.session.update({"_csrft_": "known"}))
    assert visit(lambda request: request.session.get_csrf_token()).text == "'known'"
    assert visit(lambda request: request.session.new_csrf_token()).text != "'known'"
    assert visit(lambda request: request.session.get("_csrft_")).text == "None"


def test_invalidate_ends_the_session(visit: Any, manager: SessionManager[DictSession]) -> None:
    visit(lambda request: request.session.update(a=1))

    def leave(request: Any) -> Any:
        request.session.invalidate()
        return dict(request.session)

    answer = visit(leave)
    assert answer.text == "{}"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert [key for key, record in manager.store.scan() if is_session(key, record)] == []


def test_changes_within_values_are_stored(visit: Any) -> None:
    visit(lambda request: request.session.update(basket=[]))
    visit(lambda request: (request.session["basket"].append("apple"), request.session.changed()))
    assert visit(lambda request: request.session["basket"]).text == "['apple']"


def test_a_view_that_answers_with_an_error_on_purpose_stores(visit: Any) -> None:
    def refuse(request: Any) -> None:
        request.session["tries"] = 1
        raise HTTPBadRequest

    visit(refuse, status=400)
    assert visit(lambda request: request.session["tries"]).text == "1"


def test_crash_that_an_exception_view_answers_stores_nothing(manager: SessionManager[DictSession]) -> None:
    def crash(request: Any) -> None:
        request.session["a"] = 1
        raise ZeroDivisionError

    with Configurator() as config:
        config.set_session_factory(SessionFactory(manager))
        config.add_route("all", "/*path")
        config.add_view(crash, route_name="all")
        config.add_exception_view(lambda error, request: Response("sorry", status=500))
    answer = TestApp(config.make_wsgi_app()).get("/", status=500)
    assert answer.text == "sorry"
    assert answer.headers["Vary"] == "Cookie"
    assert "Set-Cookie" not in answer.headers
    assert list(manager.store.scan()) == []


def test_what_a_response_callback_changes_is_stored(visit: Any) -> None:
    def view(request: Any) -> None:
        request.session["a"] = 1
        request.add_response_callback(lambda request, response: request.session.update(b=2))

    visit(view)
    assert visit(lambda request: dict(request.session)).text == "{'a': 1, 'b': 2}"


def test_vary_and_cache_control_of_the_view_stay(visit: Any) -> None:
    def view(request: Any) -> None:
        request.session["a"] = 1
        request.response.vary = ["Accept"]

    assert set(visit(view).headers["Vary"].split(", ")) >= {"Cookie"}
    assert visit(lambda request: request.session.update(b=2)).headers["Vary"] == "Cookie"


def test_headers_of_the_view_that_are_there_twice_stay(manager: SessionManager[DictSession]) -> None:
    def view(request: Any) -> Response:
        request.session["a"] = 1
        return Response(headerlist=[("Vary", "Accept"), ("Vary", "Origin")])

    assert TestApp(application(manager, view)).get("/").headers["Vary"] == "Accept, Origin, Cookie"


def test_cookie_policy_of_the_factory() -> None:
    manager = SessionManager(VolatileSessionStore(), DictSession)
    app = application(manager, lambda request: Response(str(request.session.update(a=1))),
                      cookie=CookiePolicy("shop", max_age=60))
    assert TestApp(app).get("/").headers["Set-Cookie"].startswith("shop=")
    assert isinstance(SessionFactory(manager)(Request.blank("/")), PyramidSession)


def test_a_manager_of_plain_sessions_serves_mappings() -> None:
    class Own(Session):
        pass

    manager = SessionManager(VolatileSessionStore())
    app = application(manager, lambda request: Response(request.session.get("a", "none")))
    assert TestApp(app).get("/").text == "none"
    with pytest.raises(ConfigurationError, match="derive Own from DictSession"):
        SessionFactory(SessionManager(VolatileSessionStore(), Own))


def test_a_busy_session_is_a_503_with_retry_after(tmp_path: Any) -> None:
    manager = SessionManager(from_url(f"directory:{tmp_path}/store?create=true"), DictSession, concurrency="lock",
                             lock_timeout=0.01)
    browser = TestApp(application(manager, lambda request: Response(str(request.session.update(a=1)))))
    browser.get("/")
    with manager.lock(browser.cookies["session2"]):
        answer = browser.get("/", status=503)
    assert (answer.headers["Retry-After"], answer.headers["Vary"]) == ("1", "Cookie")
    assert "taking too long" in answer.text


def test_a_stream_that_is_the_first_to_look_leaves_no_lock() -> None:
    manager = SessionManager(VolatileSessionStore(), concurrency="lock", lock_timeout=0)

    def body(session: Any) -> Iterator[bytes]:
        found = session["a"]
        with manager.lock(session.session):  # nobody else has it
            yield str(found).encode()

    def view(request: Any) -> Response:
        if request.path_info == "/stream":
            return Response(app_iter=body(request.session))
        return Response(str(request.session.update(a=1)))

    browser = TestApp(application(manager, view))
    browser.get("/")
    assert browser.get("/stream").text == "1"
    browser.get("/")


def test_the_mode_may_depend_on_the_request(manager: SessionManager[DictSession]) -> None:
    def mode(exchange: Any) -> Any:
        return "read-only" if exchange.request.method == "GET" else "merge"

    reading = SessionManager(manager.store, DictSession, concurrency=mode)
    browser = TestApp(application(reading, lambda request: Response(str(request.session.update(a=1)))))
    browser.post("/")
    with pytest.raises(ReadOnlySession):
        browser.get("/", headers={"Cookie": ""})


@pytest.mark.parametrize("path", ["/first-look", "/seen"])
def test_a_stream_knows_its_session_when_the_request_is_gone(manager: SessionManager[DictSession], path: str) -> None:
    def view(request: Any) -> Response:
        session = request.session
        if request.path_info == "/begin":
            return Response(session.get_csrf_token())
        if request.path_info == "/seen":
            session.get_csrf_token()
        return Response(app_iter=(f"{session.get_csrf_token()} {session.session.valid_csrf_token()}".encode()
                                  for _ in range(1)))

    browser = TestApp(application(manager, view))
    token = browser.get("/begin").text
    assert browser.post(path, {"csrf_token": token}).text == f"{token} False"


def test_a_store_that_fails_at_the_end_is_a_503(visit: Any, manager: SessionManager[DictSession],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    def view(request: Any) -> None:
        request.session["a"] = 1
        monkeypatch.setattr(manager.store, "write", fail)

    answer = visit(view, status=503, headers={"Accept": "text/plain"})
    assert "not available" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_response_that_is_used_again_tells_nobody_of_another_visitor(manager: SessionManager[DictSession],
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    shared = Response("shared")
    shared.set_cookie("theme", "dark")

    def view(request: Any) -> Response:
        if request.path_info == "/begin":
            request.add_response_callback(lambda request, response: response.set_cookie("of-whom", "anna"))
            request.session["a"] = 1
        return shared

    app = application(manager, view)
    with monkeypatch.context() as broken:
        broken.setattr(manager.store, "write", fail)
        TestApp(app).get("/begin", status=503)
    sent = [TestApp(app).get(path).headers.getall("Set-Cookie") for path in ("/begin", "/begin", "/")]
    assert [[cookie.partition("=")[0] for cookie in cookies] for cookies in sent] == \
        [["theme", "of-whom", "session2"], ["theme", "of-whom", "session2"], ["theme"]]
    assert sent[0][2] != sent[1][2]


def test_a_body_that_is_not_sent_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Body:
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"body"])

        def close(self) -> None:
            Body.closed = True

    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    def view(request: Any) -> Response:
        request.session["a"] = 1
        return Response(app_iter=Body())

    manager = SessionManager(VolatileSessionStore(), DictSession)
    monkeypatch.setattr(manager.store, "write", fail)
    TestApp(application(manager, view)).get("/", status=503)
    assert Body.closed
