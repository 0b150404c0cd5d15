"""The Quixote adapter: the suite, and every path on which Quixote calls a session manager, or does not."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import quixote
import quixote.session
from quixote import get_request, get_response, get_session, get_session_manager, get_user, redirect
from quixote.errors import AccessError, TraversalError
from quixote.form import Form
from quixote.http_response import HTTPResponse, Stream
from quixote.publish import Publisher
from quixote.server import simple_server

from session2 import ConfigurationError, CookiePolicy, DictSession, Session, SessionManager
from session2.store.directory import DirectorySessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing import AdapterSuite
from session2.testing.adapter import pages
from session2.testing.adapter.browser import SetCookie
from session2.testing.store.visitor import is_locked
from session2.traces import is_session
from session2_quixote import current_exchange

# -- the suite -----------------------------------------------------------------------------------------------------


class Pages:
    """A root directory that leads every path to the pages of the suite."""

    def __init__(self, manager: SessionManager[Any]) -> None:
        self.manager = manager

    def _q_traverse(self, path: list[str]) -> str:
        call = pages.Call(get_request().form, get_session, lambda user: get_session().set_user(user), get_user,
                          self.manager.expire_session)
        try:
            return pages.answer("/" + "/".join(path), call)
        except pages.Redirect as answer:
            return str(redirect(answer.args[0]))
        except pages.NotFound:
            raise TraversalError from None


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    if https:
        simple_server.HTTPRequestHandler.required_cgi_environment = {"HTTPS": "on"}
    Publisher(Pages(manager), session_manager=manager)
    server = simple_server.SockInheritHTTPServer(("127.0.0.1", 0), simple_server.HTTPRequestHandler)
    ready(server.server_port)
    server.serve_forever()


class TestQuixote(AdapterSuite):
    server = f"{__file__}:serve"


# -- a publisher in this process -----------------------------------------------------------------------------------


class Application:
    """A publisher whose page is whatever function it is asked to run, and a browser in front of it."""

    def __init__(self, manager: SessionManager[Any], **config: Any) -> None:
        self.manager = manager
        self.page: Callable[[], Any] = str
        self.publisher = Publisher(self, session_manager=manager, **config)
        self.cookies: dict[str, str] = {}

    def _q_traverse(self, path: list[str]) -> Any:
        return self.page()

    def run(self, page: Callable[[], Any], form: dict[str, Any] | None = None, **environ: Any) -> HTTPResponse:
        """Process one request; its response shows what the browser got."""
        self.page = page
        body = b"" if form is None else urlencode(form, doseq=True).encode()
        if form is not None:
            environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-www-form-urlencoded",
                       "CONTENT_LENGTH": str(len(body)), **environ}
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = self.publisher.process(io.BytesIO(body), {
            "SERVER_NAME": "shop.example", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "SCRIPT_NAME": "",
            "PATH_INFO": "/", "REMOTE_ADDR": "192.0.2.7", "REQUEST_METHOD": "GET", "HTTP_COOKIE": cookie, **environ})
        for sent in cookies(response):
            self.cookies[sent.name] = sent.value
            if sent.is_deletion:
                del self.cookies[sent.name]
        return response

    def items(self) -> dict[str, Any]:
        """Return what the next request finds in its session."""
        found: dict[str, Any] = {}
        self.run(lambda: found.update(get_session()) or "found")
        return found


def cookies(response: HTTPResponse) -> list[SetCookie]:
    return [SetCookie.parse(value) for name, value in response.generate_headers() if name == "Set-Cookie"]


def text(response: HTTPResponse) -> str:
    return b"".join(response.generate_body_chunks()).decode()


def put(value: Any, then: type[BaseException] | None = None) -> Callable[[], str]:
    """Return a page that puts `value` into the session under "a" and then raises `then`."""
    def page() -> str:
        get_session()["a"] = value
        if then is not None:
            raise then
        return "put"
    return page


def log_out(then: type[BaseException] | None = None) -> Callable[[], str]:
    def page() -> str:
        get_session_manager().expire_session()
        if then is not None:
            raise then
        return "logged out"
    return page


def log_in(user: Any) -> Callable[[], str]:
    return lambda: get_session().set_user(user) or "logged in"


Make = Callable[..., Application]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that makes an application; Quixote allows one at a time."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # Quixote's logger takes it over

    def make(config: dict[str, Any] | None = None, session_class: type[Session] = DictSession,
             store: Any = None, **options: Any) -> Application:
        quixote.cleanup()
        manager = SessionManager(VolatileSessionStore() if store is None else store, session_class, **options)
        return Application(manager, **(config or {}))

    yield make
    quixote.cleanup()


@pytest.fixture
def app(make: Make) -> Application:
    return make()


def stored(app: Application) -> dict[str, Any]:
    return {key: record for key, record in app.manager.store.scan() if is_session(key, record)}


# -- how a request ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TraversalError, AccessError])
def test_publish_error_is_no_failure(app: Application, error: type[Exception]) -> None:
    response = app.run(put(1, error))
    assert response.status_code == error.status_code
    assert [cookie.name for cookie in cookies(response)] == ["QX_session"]
    assert response.get_header("Vary") == "Cookie"
    assert app.items() == {"a": 1}


def test_logout_holds_where_a_publish_error_follows(app: Application) -> None:
    app.run(put(1))
    (cookie,) = cookies(app.run(log_out(TraversalError)))
    assert cookie.is_deletion
    assert stored(app) == {}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_crash(app: Application, error: type[BaseException]) -> None:
    assert cookies(app.run(put(1, error))) == []
    app.run(put(1))
    response = app.run(put(2, error))
    assert response.status_code == 500
    assert app.items() == {"a": 1}
    assert cookies(app.run(log_out(error))) == []
    assert app.items() == {"a": 1}


def test_redirection(app: Application) -> None:
    def page() -> Any:
        get_session()["a"] = 1
        return redirect("/elsewhere")
    assert app.run(page).status_code == 302
    assert app.items() == {"a": 1}


def test_method_that_is_not_allowed(app: Application) -> None:
    app.run(put(1))
    response = app.run(put(2), REQUEST_METHOD="BREW")
    assert (response.status_code, cookies(response)) == (405, [])
    assert app.items() == {"a": 1}


def test_malformed_request_is_finished_without_a_start(app: Application) -> None:
    app.run(put(1))
    before = stored(app)
    response = app.run(put(2), form={"x": "y"}, CONTENT_LENGTH="99")
    assert (response.status_code, cookies(response)) == (400, [])
    assert stored(app) == before
    assert app.items() == {"a": 1}


def locks(app: Application) -> list[str]:
    return [key for key, _ in app.manager.store.scan() if is_locked(app.manager.store, key)]


def test_path_without_slash_leaves_its_lock_to_the_next_request(make: Make) -> None:
    app = make(concurrency="lock", lock_timeout=0)
    app.run(put(1))
    assert app.run(put(2), PATH_INFO="odd").status_code == 301
    assert len(locks(app)) == 1, "Quixote has learned to finish such a request: this test tests nothing any more"
    assert app.run(put(3)).status_code == 200
    assert locks(app) == []
    assert app.items() == {"a": 3}


@pytest.mark.parametrize("form", [None, {"x": "y"}])
def test_the_lock_is_released_by_any_next_request(make: Make, form: dict[str, str] | None) -> None:
    app = make(concurrency="lock")
    app.run(put(1))
    app.run(put(2), PATH_INFO="odd")
    app.cookies.clear()
    app.run(lambda: "anonymous", form=form, CONTENT_LENGTH="99")
    assert locks(app) == []


def test_system_exit(make: Make) -> None:
    app = make(concurrency="lock", lock_timeout=0)
    app.run(put(1))
    with pytest.raises(SystemExit):
        app.run(put(2, SystemExit))
    assert app.items() == {"a": 1}
    assert locks(app) == []


def test_lock_is_free_after_every_other_end(make: Make) -> None:
    app = make(concurrency="lock", lock_timeout=0)
    app.run(put(1))
    for end in (None, TraversalError, RuntimeError, KeyboardInterrupt):
        app.run(put(1, end))
        assert locks(app) == [], end


def test_lock_timeout_is_an_error_500(make: Make) -> None:
    app = make(concurrency="lock", lock_timeout=0)
    app.run(put(1))
    with app.manager.lock(app.cookies["QX_session"].strip('"')):
        response = app.run(put(2))
    assert (response.status_code, cookies(response)) == (500, [])
    assert app.items() == {"a": 1}


@pytest.mark.parametrize("change", [put(lambda: None), log_in(lambda: None)], ids=["item", "user"])
def test_save_that_fails(app: Application, change: Callable[[], str]) -> None:
    app.run(put(1))
    before = stored(app)
    response = app.run(change)
    assert (response.status_code, cookies(response)) == (500, [])
    assert stored(app) == before
    assert app.items() == {"a": 1}


def test_save_that_fails_after_a_publish_error(make: Make) -> None:
    """Quixote lets the error escape to the server then; the next request must not suffer from it."""
    app = make(concurrency="lock", lock_timeout=0)
    app.run(put(1))
    with pytest.raises(Exception, match="lambda"):
        app.run(put(lambda: None, TraversalError))
    assert app.items() == {"a": 1}
    assert locks(app) == []


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Return a function that takes the directory of a store away."""
    def break_it() -> None:
        (tmp_path / "store").rename(tmp_path / "aside")
        (tmp_path / "store").write_bytes(b"not a folder")
    return break_it


def test_store_that_is_down_fails_closed(make: Make, tmp_path: Path, broken: Callable[[], None]) -> None:
    app = make(store=DirectorySessionStore(tmp_path / "store", create=True))
    app.run(put(1))
    broken()
    called: list[str] = []
    response = app.run(lambda: called.append("page") or "answer")
    assert (response.status_code, cookies(response), called) == (500, [], [])


@pytest.mark.parametrize("error", [RuntimeError, None])
def test_lock_that_cannot_be_released_fails_nothing(make: Make, tmp_path: Path, broken: Callable[[], None],
                                                    caplog: pytest.LogCaptureFixture,
                                                    error: type[Exception] | None) -> None:
    store = DirectorySessionStore(tmp_path / "store", create=True)
    store._locks = None
    app = make(store=store, concurrency="lock")
    app.run(put(1))

    def page() -> str:
        broken()
        if error is not None:
            raise error
        return "read"
    assert app.run(page).status_code == (200 if error is None else 500)
    assert "is released later" in caplog.text


@pytest.mark.parametrize("calls", [
    ["start"], ["start", "start"], ["success"], ["success", "success"], ["success", "failure"], ["start", "success"],
])
def test_calls_that_are_repeated(app: Application, calls: list[str]) -> None:
    names = {"start": app.manager.start_request, "success": app.manager.finish_successful_request,
             "failure": app.manager.finish_failed_request}

    def page() -> str:
        for name in calls:
            names[name]()
        return put(2)()
    app.run(put(1))
    assert app.run(page).status_code == 200
    # What is changed after the request was finished is not stored; one begun anew goes on.
    assert app.items() == {"a": 2 if calls[-1] == "start" else 1}


def test_failure_after_failure(app: Application) -> None:
    app.run(put(1))
    app.run(lambda: app.manager.finish_failed_request() or put(2)())
    assert app.items() == {"a": 1}


def test_no_request(app: Application) -> None:
    with pytest.raises(ConfigurationError, match="no Quixote request"):
        current_exchange()
    quixote.cleanup()
    with pytest.raises(ConfigurationError, match="no Quixote request"):
        current_exchange()


def test_stream_runs_after_the_save(app: Application) -> None:
    def page() -> Stream:
        session = get_session()
        session["a"] = "before"

        def body() -> Iterator[str]:
            session["a"] = "too late"
            yield "valid" if session.valid_csrf_token() else "over"
        return Stream(body())
    response = app.run(page)
    assert len(cookies(response)) == 1
    assert "over" in text(response)
    assert app.items() == {"a": "before"}


def test_request_is_not_kept_alive(app: Application) -> None:
    """Neither by its session nor by what is remembered of the last request."""
    seen: list[weakref.ref[Any]] = []
    gc.disable()
    try:
        app.run(lambda: seen.append(weakref.ref(get_request())) or put(1)())
        assert seen[0]() is None
    finally:
        gc.enable()


# -- logging out ---------------------------------------------------------------------------------------------------


def test_fresh_session_stands_in_place_of_the_expired(app: Application) -> None:
    def page() -> str:
        old = get_session()
        app.manager.expire_session()
        app.manager.expire_session()
        assert get_session() is not old
        assert dict(get_session()) == {}
        assert app.manager.get_session() is get_session()
        return "ok"
    app.run(put(1))
    (cookie,) = cookies(app.run(page))
    assert cookie.is_deletion
    assert stored(app) == {}


def test_revoked_cookie_can_be_set_again(app: Application) -> None:
    """Quixote would keep the attributes of the revoked cookie, ``max-age=0`` among them."""
    def page() -> str:
        app.manager.expire_session()
        app.manager.revoke_session_cookie()
        return log_in("bob")()
    app.run(log_in("ada"))
    (cookie,) = cookies(app.run(page))
    assert "max-age" not in cookie.attributes
    assert app.run(get_user).body == b"bob"


@pytest.mark.parametrize("is_login", [False, True])
def test_cookie_may_be_set_with_other_attributes(app: Application, is_login: bool) -> None:
    def page() -> str:
        app.manager.set_session_cookie(get_session().id, max_age=60, samesite="Strict")
        return log_in("bob")() if is_login else put(2)()
    app.run(put(1))
    before = dict(app.cookies)
    (cookie,) = cookies(app.run(page))
    assert (cookie.attributes["max-age"], cookie.attributes["samesite"]) == ("60", "Strict")
    assert (app.cookies == before) is not is_login
    assert app.items()["a"] == (1 if is_login else 2)
    assert cookies(app.run(lambda: app.manager.set_session_cookie("", max_age=0) or "left"))[0].is_deletion


def test_logout_without_session(app: Application) -> None:
    assert cookies(app.run(log_out())) == []


# -- configuration -------------------------------------------------------------------------------------------------


def test_default_cookie(app: Application) -> None:
    (cookie,) = cookies(app.run(put(1)))
    assert (cookie.name, dict(cookie.attributes)) == (
        "QX_session", {"path": "/", "httponly": "", "samesite": "Lax"})


def test_quixotes_configuration(make: Make) -> None:
    app = make({"session_cookie_name": "shop", "session_cookie_path": "/shop", "session_cookie_domain": ".shop.example",
                "session_cookie_secure": True, "session_cookie_httponly": True})
    (made,) = cookies(app.run(put(1)))
    assert (made.name, dict(made.attributes)) == (
        "shop", {"path": "/shop", "domain": ".shop.example", "secure": "", "httponly": "", "samesite": "Lax"})
    assert app.items() == {"a": 1}
    (ended,) = cookies(app.run(log_out()))
    assert ended.attributes == {**made.attributes, "max-age": "0"}


def test_policy_of_the_manager_wins(make: Make) -> None:
    app = make({"session_cookie_name": "shop", "session_cookie_secure": True}, cookie=CookiePolicy("mine", path="/x"))
    (cookie,) = cookies(app.run(put(1)))
    assert (cookie.name, dict(cookie.attributes)) == ("mine", {"path": "/x", "httponly": "", "samesite": "Lax"})


def test_impossible_configuration_is_refused(make: Make) -> None:
    assert make({"session_cookie_name": "a name"}).run(put(1)).status_code == 500


@pytest.mark.parametrize(("script_name", "path"), [("", "/"), ("/shop", "/shop/"), ("/shop/", "/shop/")])
def test_path_is_where_the_application_is_mounted(app: Application, script_name: str, path: str) -> None:
    (cookie,) = cookies(app.run(put(1), SCRIPT_NAME=script_name))
    assert cookie.attributes["path"] == path


@pytest.mark.parametrize("environ", [{"HTTPS": "on"}, {"SERVER_PORT_SECURE": "1"}])
def test_secure_request_gets_a_secure_cookie(app: Application, environ: dict[str, str]) -> None:
    (cookie,) = cookies(app.run(put(1), **environ))
    assert "secure" in cookie.attributes


def test_partitioned_cookie_without_samesite(make: Make) -> None:
    app = make(cookie=CookiePolicy(secure=True, samesite=None, partitioned=True))
    response = app.run(put(1))
    assert [value.split("; ", 1)[1] for name, value in response.generate_headers() if name == "Set-Cookie"] == [
        "path=/; Partitioned; secure; httponly"]


def test_any_of_two_cookies_will_do(app: Application) -> None:
    app.run(put(1))
    valid = f"QX_session={app.cookies['QX_session']}"
    for header in (f"QX_session=bogus; {valid}", f"{valid}; QX_session=bogus"):
        seen: dict[str, Any] = {}
        app.run(lambda seen=seen: seen.update(get_session()) or "seen", HTTP_COOKIE=header)
        assert seen == {"a": 1}, header


@pytest.mark.parametrize(("present", "expected"), [
    ("Accept-Encoding", "Accept-Encoding, Cookie"), ("cookie", "cookie"), ("Accept, Cookie", "Accept, Cookie"),
])
def test_vary_of_the_application_is_kept(app: Application, present: str, expected: str) -> None:
    response = app.run(lambda: get_response().set_header("Vary", present) or "page")
    assert response.get_header("Vary") == expected


def test_response_with_a_cookie_is_not_cached(app: Application) -> None:
    def page() -> str:
        get_response().set_expires(hours=1)
        return put(1)()
    headers = dict(app.run(page).generate_headers())
    assert headers["Cache-Control"] == "no-store"
    assert "Expires" not in headers
    assert dict(app.run(page).generate_headers())["Cache-Control"] == "max-age=3600", "nothing was sent this time"


# -- what applications call ----------------------------------------------------------------------------------------


def test_user(app: Application) -> None:
    app.run(log_in("ada"))
    seen: list[Any] = []
    app.run(lambda: seen.extend([get_user(), get_session().user, get_session().get_remote_address()]) or "seen")
    assert seen == ["ada", "ada", "192.0.2.7"]
    assert app.run(get_user, HTTP_COOKIE="").body is None


def test_remote_user_is_exported(app: Application) -> None:
    def page() -> str:
        return repr(get_request().get_environ("REMOTE_USER"))
    assert app.run(page).body == b"None"
    app.run(log_in(42))
    assert app.run(page).body == b"'42'"
    assert app.run(page, REMOTE_USER="of the server").body == b"'42'"
    app.run(log_out())
    assert app.run(page, REMOTE_USER="of the server").body == b"'of the server'"


def test_has_session_cookie(app: Application) -> None:
    manager = app.manager

    def page() -> str:
        return f"{manager.has_session_cookie()} {manager.has_session_cookie(must_exist=True)}"
    assert app.run(page).body == b"False False"
    assert app.run(page, HTTP_COOKIE="QX_session=bogus").body == b"True False"
    app.run(put(1))
    assert app.run(page, HTTP_COOKIE=f"QX_session=bogus; QX_session={app.cookies['QX_session']}").body == b"True True"
    assert app.run(page).body == b"True True"
    manager.delete(app.cookies["QX_session"].strip('"'))
    assert app.run(page).body == b"True False"


def test_maintain_session_in_mid_request(app: Application) -> None:
    seen: list[Any] = []

    def page() -> str:
        session = get_session()
        session["a"] = 1
        app.manager.maintain_session(session)
        seen.append((session.id, dict(app.manager[session.id])))
        session["b"] = 2
        return "maintained"
    (cookie,) = cookies(app.run(page))
    assert seen == [(cookie.id, {"a": 1})]
    assert app.items() == {"a": 1, "b": 2}


@pytest.mark.parametrize("error", [TraversalError, RuntimeError])
def test_cookie_of_a_session_maintained_in_mid_request_survives_an_error(app: Application,
                                                                         error: type[Exception]) -> None:
    """The session is stored under its new id by then, and the old one is dead."""
    def page() -> str:
        get_session().set_user("ada")
        app.manager.maintain_session(get_session())
        raise error
    app.run(put(1))
    response = app.run(page)
    assert len(cookies(response)) == 1
    assert response.get_header("Cache-Control") == "no-store"
    assert app.run(get_user).body == b"ada"


def test_manager_is_a_mapping(app: Application) -> None:
    app.run(log_in("ada"))
    id = app.cookies["QX_session"].strip('"')
    manager = get_session_manager()
    assert manager[id].user == "ada"
    assert id in manager
    assert manager.get(id).user == "ada"
    assert manager.has_session(id)
    assert [session.user for session in manager] == ["ada"]
    assert [session.user for session in manager.values()] == ["ada"]
    assert [manager[key].user for key in manager.keys()] == ["ada"]  # noqa: SIM118 (iterates over sessions)
    assert manager.get("nope", "default") == "default"
    assert "nope" not in manager
    with pytest.raises(KeyError):
        del manager["nope"]
    del manager[id]
    assert app.run(lambda: str(get_user())).body == b"None"


def test_subclass_with_attributes(make: Make) -> None:
    class ShopSession(Session):
        basket: tuple[str, ...] = ()

        def has_info(self) -> bool:
            return bool(self.basket) or super().has_info()

        def set_user(self, user: Any) -> None:
            self.user = f"id of {user}"

    app = make(session_class=ShopSession)

    def page() -> str:
        get_session().basket += ("book",)
        return f"{get_session().basket} {get_user()}"
    app.run(page)
    app.run(log_in("ada"))
    assert app.run(page).body == b"('book', 'book') id of ada"


# What an application may do with a session of Quixote's own class, out of old habit.
FOREIGN: dict[str, Callable[[SessionManager[Any], Any], Any]] = {
    "save": lambda manager, session: manager.save(session),
    "store": lambda manager, session: manager.__setitem__("id", session),
    "maintain": lambda manager, session: manager.maintain_session(session),
    "delete": lambda manager, session: manager.delete(session),
    "rotate": lambda manager, session: manager.rotate(session),
    "reserve": lambda manager, session: manager.reserve_id(session),
    "lock": lambda manager, session: manager.lock(session),
}


@pytest.mark.parametrize("use", FOREIGN.values(), ids=FOREIGN)
def test_session_of_quixotes_own_class(app: Application, use: Callable[..., Any]) -> None:
    errors: list[str] = []

    def page() -> str:
        with pytest.raises(TypeError) as refused:
            use(app.manager, quixote.session.Session("id"))
        errors.append(str(refused.value))
        return put(1)()
    assert app.run(page).status_code == 200
    assert "quixote.session.Session is no session of session2" in errors[0]
    assert "derive your class from session2.Session" in errors[0]
    assert app.items() == {"a": 1}


@pytest.mark.parametrize("when", ["page", "logout"])
def test_session_of_quixotes_own_class_in_the_request(make: Make, when: str) -> None:
    app = make({"display_exceptions": "plain"})

    def page() -> str:
        get_request().session = quixote.session.Session("id")
        get_session().set_user("ada")
        if when == "logout":
            app.manager.expire_session()
        return "page"
    app.run(put(1))
    response = app.run(page)
    assert (response.status_code, cookies(response)) == (500, [])
    assert "derive your class from session2.Session" in text(response)
    assert app.items() == {"a": 1}


@pytest.mark.parametrize("session_class", [quixote.session.Session, dict, object, "Session", Session()])
def test_session_class_of_somebody_else(session_class: Any) -> None:
    with pytest.raises(TypeError, match="derive your class from"):
        SessionManager(VolatileSessionStore(), session_class)


def test_csrf_token(app: Application) -> None:
    token = app.run(lambda: get_session().get_csrf_token()).body.decode()

    def valid(form: dict[str, Any] | None, name: str | None = None, **environ: str) -> bool:
        return app.run(lambda: str(get_session().valid_csrf_token(name)), form, **environ).body == b"True"
    assert valid({"csrf_token": token})
    assert valid({"own": token}, name="own")
    assert valid({"csrf_token": ["other", token]}), "Quixote takes the last of several values"
    assert not valid({"csrf_token": [token, "other"]})
    assert not valid({"csrf_token": token + "x"})
    assert not valid({"csrf_token": ""})
    assert not valid({})
    assert not valid({"csrf_token": token}, REQUEST_METHOD="GET")
    assert not valid(None, QUERY_STRING=f"csrf_token={token}")
    assert not valid({"csrf_token": token}, HTTP_COOKIE="")


def test_uploaded_file_is_no_token(app: Application) -> None:
    response = app.run(lambda: get_request().form.update(x=object()) or repr(current_exchange().post_value("x")),
                       form={})
    assert response.body == b"None"


def test_form_tokens_of_quixotes_forms(make: Make) -> None:
    app = make({"form_tokens": True})

    def page() -> str:
        form = Form()
        form.add_string("name")
        form.add_submit("submit")
        if form.is_submitted() and not form.has_errors():
            return f"hello {form['name']}"
        return str(form.render())
    html = app.run(page).body.decode()
    token = html.split('name="_form_id"')[1].split('value="')[1].split('"')[0]
    sent = {"name": "Ada", "submit": "Submit", "_form_id": token}
    assert app.run(page, form={**sent, "_form_id": "forged"}).body != b"hello Ada"
    assert app.run(page, form=sent).body == b"hello Ada"
    assert app.run(page, form=sent).body != b"hello Ada", "a token serves once"


def test_wsgi(app: Application) -> None:
    started: list[Any] = []
    environ = {"SERVER_NAME": "shop.example", "SERVER_PORT": "80", "SCRIPT_NAME": "", "PATH_INFO": "/",
               "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), "wsgi.multithread": False}
    app.page = put(1)
    body = b"".join(quixote.get_wsgi_app()(environ, lambda *arguments: started.append(arguments)))
    assert body == b"put"
    assert [name for name, _ in started[0][1]].count("Set-Cookie") == 1


def test_without_quixote() -> None:
    program = ("import sys; sys.modules['quixote'] = None; import session2\n"
               "try: import session2_quixote\n"
               "except session2.ConfigurationError as error: print(error)")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            env={"PYTHONPATH": ":".join(filter(None, sys.path))})
    assert "pip install 'session2[quixote]'" in result.stdout, result.stderr
