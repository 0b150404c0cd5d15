"""Flask's session contract: what `flask.session`, the settings and the extensions of Flask promise, on a store."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf
from werkzeug.http import parse_date
from werkzeug.test import EnvironBuilder, TestResponse

from session2 import ConfigurationError, CookiePolicy, DictSession, Session, SessionManager, StoreUnavailable, merge
from session2.live import LiveSession
from session2.serializers import JSONSerializer, MsgpackSerializer, PickleSerializer, Serializer
from session2.store.volatile import VolatileSessionStore
from session2.testing.adapter.browser import SetCookie
from session2.testing.fakes import Clock
from session2.testing.store.visitor import is_locked
from session2_flask import FlaskExchange, SessionInterface


class Site:
    """An application whose page is whatever function it is asked to run, and a browser in front of it."""

    def __init__(self, config: dict[str, Any] | None = None, user_item: str | None = "_user_id",
                 **options: Any) -> None:
        self.clock = Clock()
        self.store = VolatileSessionStore(clock=self.clock)
        self.manager: SessionManager[Any] = SessionManager(self.store, **{"session_class": DictSession, **options})
        self.app = flask.Flask(__name__)
        self.app.config.update(config or {})
        self.app.session_interface = SessionInterface(self.manager, user_item)
        self.app.add_url_rule("/", view_func=lambda: self.page(), methods=["GET", "POST"])
        self.client: FlaskClient = self.app.test_client()
        self.page: Callable[[], Any] = str

    def run(self, page: Callable[[], Any], status: int = 200, **request: Any) -> TestResponse:
        self.page = page
        response = self.client.open("/", **request)
        assert response.status_code == status, response.text
        return response

    def cookie(self, page: Callable[[], Any], **request: Any) -> SetCookie | None:
        """Return the cookie that a page sends."""
        sent = [SetCookie.parse(value) for value in self.run(page, **request).headers.getlist("Set-Cookie")]
        assert len(sent) <= 1
        return sent[0] if sent else None

    def items(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.run(lambda: found.update(flask.session) or "")
        return found


@pytest.fixture
def make() -> Callable[..., Site]:
    return Site


@pytest.fixture
def site() -> Site:
    return Site()


def put(**items: Any) -> Callable[[], str]:
    def page() -> str:
        flask.session.update(items)
        return "put"
    return page


def look() -> str:
    return str(flask.session.get("a"))


def be_permanent(value: bool = True) -> Callable[[], str]:
    def page() -> str:
        flask.session.permanent = value
        return "permanent" if value else "until the browser is closed"
    return page


# -- the cookie ----------------------------------------------------------------------------------------------------


def test_settings_of_flask_make_the_cookie(make: Callable[..., Site]) -> None:
    site = make({"SESSION_COOKIE_NAME": "shop", "SESSION_COOKIE_DOMAIN": "shop.example", "SESSION_COOKIE_PATH": "/a",
                 "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_SAMESITE": "None",
                 "SESSION_COOKIE_PARTITIONED": True})
    cookie = site.cookie(put(a=1))
    assert cookie is not None
    assert (cookie.name, cookie.attributes) == ("shop", {
        "domain": "shop.example", "path": "/a", "secure": "", "samesite": "None", "partitioned": ""})


@pytest.mark.parametrize(("url", "more"), [("http://localhost", {}), ("https://localhost", {"secure": ""})])
def test_where_the_settings_say_nothing_the_cookie_is_safe(site: Site, url: str, more: dict[str, str]) -> None:
    cookie = site.cookie(put(a=1), base_url=url)
    assert cookie is not None
    assert (cookie.name, cookie.attributes) == ("session", {"path": "/", "httponly": "", "samesite": "Lax", **more})


def test_policy_of_the_manager_wins(make: Callable[..., Site]) -> None:
    site = make({"SESSION_COOKIE_NAME": "theirs"}, cookie=CookiePolicy("mine", max_age=60))
    cookie = site.cookie(lambda: (be_permanent()(), put(a=1)())[1])
    assert cookie is not None
    assert (cookie.name, cookie.attributes["max-age"], "expires" in cookie.attributes) == ("mine", "60", False)


def test_cookie_that_no_browser_would_take_is_refused(make: Callable[..., Site]) -> None:
    assert make({"SESSION_COOKIE_SAMESITE": "None"}).run(put(a=1), 500).headers.get("Set-Cookie") is None


def test_methods_of_the_interface_may_be_overridden() -> None:
    class Named(SessionInterface):
        def get_cookie_name(self, app: flask.Flask) -> str:
            return "named"

    site = Site()
    site.app.session_interface = Named(site.manager)
    cookie = site.cookie(put(a=1))
    assert cookie is not None
    assert cookie.name == "named"
    assert site.items() == {"a": 1}


def test_permanent_session_outlives_the_browser(make: Callable[..., Site]) -> None:
    site = make({"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)})
    cookie = site.cookie(lambda: (be_permanent()(), put(a=1)())[1])
    assert cookie is not None
    assert cookie.attributes["max-age"] == "3600"
    assert parse_date(cookie.attributes["expires"]) > datetime.now(timezone.utc) + timedelta(minutes=50)
    assert site.items() == {"a": 1, "_permanent": True}


def test_cookie_is_sent_again_when_permanence_changes(site: Site) -> None:
    site.run(put(a=1))
    ages = [cookie and cookie.attributes.get("max-age") for cookie in (
        site.cookie(be_permanent()), site.cookie(be_permanent()), site.cookie(be_permanent(False)), site.cookie(look))]
    assert ages == [str(31 * 86400), None, None, None]
    site.run(be_permanent())
    cookie = site.cookie(be_permanent(False))
    assert cookie is not None
    assert "max-age" not in cookie.attributes


def test_permanent_cookie_is_refreshed_when_the_idle_clock_is_moved(make: Callable[..., Site]) -> None:
    site = make(touch_interval=60)
    site.run(lambda: (be_permanent()(), put(a=1)())[1])
    assert site.cookie(look) is None
    site.clock.advance(61)
    cookie = site.cookie(look)
    assert cookie is not None
    assert cookie.attributes["max-age"] == str(31 * 86400)
    assert site.cookie(look) is None


def test_without_refresh_only_a_change_sends_the_permanent_cookie_again(make: Callable[..., Site]) -> None:
    site = make({"SESSION_REFRESH_EACH_REQUEST": False}, touch_interval=60, renew_after=600)
    site.run(lambda: (be_permanent()(), put(a=1)())[1])
    site.clock.advance(61)
    assert site.cookie(look) is None
    site.clock.advance(61)
    cookie = site.cookie(put(a=2))
    assert cookie is not None
    assert cookie.attributes["max-age"] == str(31 * 86400)
    site.clock.advance(601)
    renewed = site.cookie(look)
    assert renewed is not None
    assert renewed.id != cookie.id
    assert renewed.attributes["max-age"] == str(31 * 86400), "a new id is no reason for the cookie to become another"


# -- the clocks ----------------------------------------------------------------------------------------------------


def test_shorter_lifetime_of_flask_ends_sessions_in_the_store_too(make: Callable[..., Site]) -> None:
    site = make({"PERMANENT_SESSION_LIFETIME": 600})
    site.run(put(a=1))
    site.clock.advance(599)
    assert site.run(look).text == "1"
    site.clock.advance(601)
    assert site.run(look).text == "None"


def test_longer_lifetime_of_flask_does_not_keep_sessions_in_the_store(make: Callable[..., Site]) -> None:
    site = make({"PERMANENT_SESSION_LIFETIME": 6000}, idle_timeout=600)
    site.run(put(a=1))
    site.clock.advance(601)
    assert site.run(look).text == "None"


# -- how a session ends --------------------------------------------------------------------------------------------


def test_clear_ends_the_session_and_deletes_the_cookie_with_equal_attributes(make: Callable[..., Site]) -> None:
    site = make({"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SAMESITE": "None",
                 "SESSION_COOKIE_DOMAIN": "localhost"})
    made = site.cookie(put(a=1, _user_id="ada"), base_url="https://localhost")
    ended = site.cookie(lambda: str(flask.session.clear()), base_url="https://localhost")
    assert made is not None
    assert ended is not None
    assert ended.is_deletion
    assert {key: value for key, value in ended.attributes.items() if key not in ("max-age", "expires")} == \
        made.attributes
    assert ended.attributes["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert site.manager.load(made.id) is None


def test_clear_before_a_login_gives_a_new_id(site: Site) -> None:
    """As Flask's tutorial logs in."""
    def login() -> str:
        flask.session.clear()
        flask.session["user_id"] = 1
        return "logged in"
    before, after = site.cookie(put(a=1)), site.cookie(login)
    assert before is not None
    assert after is not None
    assert before.id != after.id
    assert site.manager.load(before.id) is None
    assert site.items() == {"user_id": 1}


def test_regenerate_as_flask_session_has_it(site: Site) -> None:
    interface: Any = site.app.session_interface
    before, after = site.cookie(put(a=1)), site.cookie(lambda: str(interface.regenerate(flask.session)))
    assert before is not None
    assert after is not None
    assert before.id != after.id
    assert site.manager.load(before.id) is None
    assert site.items() == {"a": 1}


# -- the session ---------------------------------------------------------------------------------------------------


def test_page_that_does_not_look_costs_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run(put(a=1))
    monkeypatch.setattr(site.store, "read", None)
    assert "Vary" not in site.run(lambda: "page").headers


def test_vary_and_cache_control_of_the_page_are_kept(site: Site) -> None:
    def page() -> flask.Response:
        flask.session["a"] = 1
        response = flask.make_response("page")
        response.headers.add("Vary", "Accept")
        response.headers.add("Vary", "Accept-Language")
        response.cache_control.private = True
        return response
    headers = site.run(page).headers
    assert headers.getlist("Vary") == ["Accept, Accept-Language, Cookie"]
    assert headers["Cache-Control"] == "private, no-store"


def test_response_that_is_used_again_tells_nobody_the_id_of_another_visitor(site: Site) -> None:
    shared = flask.Response("shared")
    shared.set_cookie("theme", "dark")

    def look() -> flask.Response:
        flask.session["a"] = 1
        return shared

    site.run(look)
    first = site.client
    for page in (look, lambda: shared):
        site.client = site.app.test_client()
        sent = site.run(page).headers.getlist("Set-Cookie")
        assert [cookie.partition("=")[0] for cookie in sent] == ["theme", "session"][:1 + (page is look)]
        assert first.get_cookie("session").value not in str(sent)  # type: ignore[union-attr]


def test_response_that_is_kept_in_a_cache_when_the_page_is_made_tells_nobody_the_id_of_its_first_visitor() -> None:
    site, cache = Site(), dict[str, flask.Response]()

    @site.app.before_request
    def cached() -> flask.Response | None:
        return cache.get(flask.request.path)

    @site.app.after_request
    def keep(response: flask.Response) -> flask.Response:
        return cache.setdefault(flask.request.path, response)

    site.run(put(a=1))
    first = site.client.get_cookie("session")
    site.client = site.app.test_client()
    assert first is not None
    assert first.value not in str(site.run(put(a=1)).headers)
    assert not site.client.get_cookie("session")


def test_response_that_is_used_again_is_no_error_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = flask.Response("shared")

    def page() -> flask.Response:
        flask.session["a"] = flask.session.get("a", 0) + 1
        return shared

    with monkeypatch.context() as broken:
        broken.setattr(site.store, "write", fail)
        site.run(page, 503)
    assert site.run(page).text == "shared"


def test_a_page_has_the_manager_without_a_look_at_the_session(site: Site) -> None:
    assert site.run(lambda: str(flask.session.manager is site.manager)).text == "True"


def test_live_session_of_a_request(site: Site) -> None:
    def page() -> str:
        live = LiveSession(site.manager, flask.session)
        return str(live.increment("n"))

    assert [site.run(page).text for _ in range(2)] == ["1", "2"]


def test_changes_within_values_are_found_without_being_told(site: Site) -> None:
    site.run(put(basket=["tea"]))
    site.run(lambda: str(flask.session["basket"].append("milk")))
    assert site.items() == {"basket": ["tea", "milk"]}


def test_modified_tells_whether_there_is_something_to_store(site: Site) -> None:
    seen: list[bool] = []

    def page() -> str:
        seen.append(flask.session.modified)
        flask.session["a"] = 1
        seen.append(flask.session.modified)
        return "page"
    site.run(page)
    site.run(page)
    assert seen == [False, True, False, False]


@pytest.mark.parametrize("serializer", [PickleSerializer(), JSONSerializer(), MsgpackSerializer()],
                         ids=["pickle", "JSON", "MessagePack"])
def test_flash_over_a_redirection(site: Site, serializer: Serializer) -> None:
    site.store.serializer = serializer

    def page() -> flask.Response:
        flask.flash("Hello", "greeting")
        flask.flash("World")
        return flask.redirect("/")  # type: ignore[return-value]
    site.run(page, 302)
    seen: list[Any] = []
    site.run(lambda: seen.extend(flask.get_flashed_messages(with_categories=True)) or "")
    assert seen == [("greeting", "Hello"), ("message", "World")]
    assert list(site.manager) == [], "nothing is left in it"


def test_sessions_are_mappings_also_of_a_manager_made_for_others(make: Callable[..., Site]) -> None:
    site = make(session_class=Session)
    site.run(put(a=1))
    assert site.items() == {"a": 1}


def test_session_class_that_is_no_mapping_is_refused() -> None:
    class Own(Session):
        pass

    with pytest.raises(ConfigurationError, match="derive Own from DictSession"):
        SessionInterface(SessionManager(VolatileSessionStore(), Own))


def test_merge_rules_hold(make: Callable[..., Site]) -> None:
    class Counted(DictSession):
        merge_rules = {"n": merge.add}

    site = make(session_class=Counted)
    site.run(put(n=1))
    other = site.app.test_client()
    other.set_cookie("session", site.client.get_cookie("session").value)  # type: ignore[union-attr]

    def page() -> str:
        flask.session["n"] += 1
        if flask.session["n"] == 2:
            site.page = page_of_the_other
            other.get("/")
        return "counted"

    def page_of_the_other() -> str:
        flask.session["n"] += 10
        return "counted"
    site.run(page)
    assert site.items() == {"n": 12}


def test_session_transaction_of_the_test_client(site: Site) -> None:
    with site.client.session_transaction() as session:
        session["a"] = 1
    assert site.run(look).text == "1"


def test_stream_reads_the_session_and_does_not_change_it(site: Site) -> None:
    def page() -> flask.Response:
        def body() -> Iterator[str]:
            yield str(flask.session["a"])
            flask.session["a"] = 2
        flask.session["a"]
        return flask.Response(flask.stream_with_context(body()))
    site.run(put(a=1))
    assert site.run(page).text == "1"
    assert site.items() == {"a": 1}


def test_stream_behind_its_request_that_is_the_first_to_look_leaves_no_lock(make: Callable[..., Site]) -> None:
    site = make(concurrency="lock", lock_timeout=0)
    site.run(put(a=1))

    def page() -> Iterator[str]:
        session = flask.session._get_current_object()  # type: ignore[attr-defined]

        def body() -> Iterator[str]:
            found = session["a"]
            with site.manager.lock(session.session):  # nobody else has it
                yield str(found)

        return body()

    assert site.run(page).text == "1"
    site.run(put(a=2))


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("concurrency", ["merge", "lock"])
def test_a_thread_with_a_copy_of_the_context_that_ends_first_takes_nothing_away(make: Callable[..., Site],
                                                                                concurrency: str) -> None:
    def page() -> str:
        flask.session["a"] = 1
        in_a_thread(flask.copy_current_request_context(put(b=2)))
        flask.session["c"] = 3
        return ""

    site = make(concurrency=concurrency)
    site.run(page)
    assert site.items() == {"a": 1, "b": 2, "c": 3}


def test_a_copy_of_the_context_that_is_the_first_to_look_leaves_no_lock(make: Callable[..., Site]) -> None:
    def page() -> str:
        copies.append(flask.copy_current_request_context(lambda: seen.update(flask.session)))
        return ""

    site, copies, seen = make(concurrency="lock", lock_timeout=0), [], {}  # type: ignore[var-annotated]
    site.run(put(a=1))
    site.run(page)
    in_a_thread(copies[0])
    assert seen == {"a": 1}
    site.run(put(a=2))


def test_stream_behind_its_request_has_no_form(site: Site) -> None:
    def page() -> Iterator[str]:
        session: Any = flask.session._get_current_object()  # type: ignore[attr-defined]
        return (str(session.session.valid_csrf_token()) for _ in range(1))

    token = site.run(lambda: flask.session.session.get_csrf_token()).text  # type: ignore[attr-defined]
    assert site.run(page, method="POST", data={"csrf_token": token}).text == "False"


def test_csrf_token_of_the_session(site: Site) -> None:
    def valid() -> str:
        session: Any = flask.session
        return str(session.session.valid_csrf_token())
    token = site.run(lambda: flask.session.session.get_csrf_token()).text  # type: ignore[attr-defined]
    assert site.run(valid, method="POST", data={"csrf_token": token}).text == "True"
    assert site.run(valid, method="POST", data={"csrf_token": "forged"}).text == "False"
    assert site.run(valid, query_string={"csrf_token": token}).text == "False"


@pytest.mark.parametrize(("method", "value"), [("POST", "x"), ("PUT", None), ("GET", None)])
def test_the_fields_of_a_form_are_those_of_a_post(method: str, value: str | None) -> None:
    request = flask.Request(EnvironBuilder(method=method, data={"csrf_token": "x"}).get_environ())
    assert FlaskExchange(request).post_value("csrf_token") == value


def test_request_is_not_kept_alive(site: Site) -> None:
    requests: list[Any] = []

    def page() -> str:
        flask.session["a"] = 1
        requests.append(weakref.ref(flask.request._get_current_object()))  # type: ignore[attr-defined]
        return "page"
    gc.disable()
    try:
        site.run(page, method="POST", data={"upload": "x" * 100})
        site.client = site.app.test_client()
        assert requests[0]() is None
    finally:
        gc.enable()


# -- what fails ----------------------------------------------------------------------------------------------------


def crash(error: BaseException) -> Callable[[], str]:
    def page() -> str:
        flask.session["a"] = 2
        raise error
    return page


@pytest.mark.parametrize("error", [RuntimeError(), SystemExit()], ids=["error", "exit"])
def test_crash_that_goes_through_to_the_server_frees_the_lock(make: Callable[..., Site], error: BaseException) -> None:
    site = make({"TESTING": True}, concurrency="lock")
    cookie = site.cookie(put(a=1))
    assert cookie is not None
    with pytest.raises(type(error)):
        site.run(crash(error))
    assert not is_locked(site.store, hashlib.sha256(cookie.id.encode()).hexdigest())
    assert site.items() == {"a": 1}


def test_error_that_the_application_handles_is_no_crash(site: Site) -> None:
    @site.app.errorhandler(KeyError)
    def handle(error: KeyError) -> tuple[str, int]:
        return "no such thing", 404

    site.run(crash(KeyError("thing")), 404)
    assert site.items() == {"a": 2}


def fail(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("out of order")


@pytest.mark.parametrize("when", ["read", "write"])
def test_store_that_is_down_is_a_503_for_which_the_application_may_have_a_page(site: Site, when: str,
                                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    site.app.register_error_handler(503, lambda error: ("Back soon.", 503))
    site.run(put(a=1))
    with monkeypatch.context() as broken:
        broken.setattr(site.store, when, fail)
        response = site.run(put(a=2), 503)
    assert response.text == "Back soon."
    assert response.headers["Vary"] == "Cookie"
    assert "Set-Cookie" not in response.headers
    assert site.items() == {"a": 1}


def test_error_page_that_looks_at_a_session_that_cannot_be_had_leaves_the_status(make: Callable[..., Site]) -> None:
    site = make(concurrency="lock", lock_timeout=0)
    site.app.register_error_handler(503, lambda error: str(flask.get_flashed_messages()))
    sent = site.cookie(lambda: str(flask.session.update(a=1)))
    assert sent is not None
    with site.manager.lock(sent.id):
        assert site.run(lambda: str(flask.session["a"]), 503).headers["Retry-After"] == "1"


def test_body_that_is_not_sent_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"body"])

        def close(self) -> None:
            closed.append("closed")

    def page() -> flask.Response:
        flask.session["a"] = 1
        return flask.Response(Body())
    monkeypatch.setattr(site.store, "write", fail)
    response = site.run(page, 503)
    assert "not available" in response.text
    response.close()
    assert closed == ["closed"]


def test_lock_that_is_not_free_says_when_to_try_again(make: Callable[..., Site]) -> None:
    site = make(concurrency="lock", lock_timeout=0)
    cookie = site.cookie(put(a=1))
    assert cookie is not None
    with site.manager.lock(cookie.id):
        assert site.run(look, 503).headers["Retry-After"] == "1"
    assert site.run(look).text == "1"


def test_value_that_cannot_be_stored_is_a_500(site: Site) -> None:
    site.run(put(a=1))
    site.run(put(a=lambda: 1), 500)
    assert site.items() == {"a": 1}


def test_without_flask() -> None:
    program = ("import sys; sys.modules['flask'] = None; import session2\n"
               "try: import session2_flask\n"
               "except session2.ConfigurationError as error: print(error)")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            env={"PYTHONPATH": ":".join(filter(None, sys.path))})
    assert "pip install 'session2[flask]'" in result.stdout, result.stderr


# -- who is logged in ----------------------------------------------------------------------------------------------


def test_user_and_its_item_are_one_fact(site: Site) -> None:
    site.run(put(a=1))
    seen: list[Any] = []

    def page() -> str:
        session: Any = flask.session
        session["_user_id"] = "ada"
        seen.append((session.user, dict(session), len(session), list(session.values()), "_user_id" in session))
        session.user = "bob"
        seen.append((session["_user_id"], session.pop("_user_id"), session.user, dict(session), "_user_id" in session))
        with pytest.raises(KeyError):
            del session["_user_id"]
        return "page"
    site.run(page)
    assert seen == [("ada", {"a": 1, "_user_id": "ada"}, 2, [1, "ada"], True), ("bob", "bob", None, {"a": 1}, False)]


def test_item_of_the_application_may_be_the_user(make: Callable[..., Site]) -> None:
    site = make(user_item="user_id")
    site.run(put(a=1, user_id=7))
    assert site.items() == {"a": 1, "user_id": 7}
    assert site.manager.revoke_user(7) == 1
    assert site.items() == {}


class Members(Site):
    """A site with Flask-Login and Flask-WTF."""

    def __init__(self, **options: Any) -> None:
        super().__init__({"SECRET_KEY": "test", "TESTING": True}, **options)
        login = LoginManager(self.app)

        @login.user_loader  # type: ignore[untyped-decorator]
        def load(user_id: str) -> Any:
            user = UserMixin()
            user.id = user_id  # type: ignore[attr-defined]
            return user

        self.load = load

    def login(self, user: str = "ada", **options: Any) -> TestResponse:
        return self.run(lambda: str(login_user(self.load(user), **options)))

    def user(self) -> str | None:
        return self.run(lambda: str(current_user.get_id())).text


def test_login_of_flask_login_sets_the_user_and_gives_a_new_id() -> None:
    site = Members()
    before = site.cookie(put(a=1))
    site.login()
    assert before is not None
    assert site.manager.load(before.id) is None
    assert site.user() == "ada"
    assert [(session.user, session["a"]) for session in site.manager.sessions_of("ada")] == [("ada", 1)]
    assert "_user_id" not in next(site.manager.sessions_of("ada")).data


def test_user_that_is_revoked_is_logged_out_of_flask_login() -> None:
    site = Members()
    site.login()
    assert site.manager.revoke_user("ada") == 1
    assert site.user() == "None"
    assert site.run(login_required(lambda: "secret"), 401)


def test_logout_of_flask_login_ends_the_id_and_keeps_the_other_items() -> None:
    site = Members()
    site.run(put(a=1))
    site.login()
    after = site.cookie(lambda: str(logout_user()))
    assert after is not None
    assert after.id
    assert list(site.manager.sessions_of("ada")) == []
    assert site.user() == "None"
    assert site.items()["a"] == 1


def test_login_by_another_framework_is_one_of_flask_login() -> None:
    site = Members()
    session = site.manager.new_session()
    session.set_user("bob")
    site.manager.save(session)
    site.client.set_cookie("session", session.id)
    assert site.user() == "bob"


@pytest.mark.parametrize("protection", ["basic", "strong", None])
@pytest.mark.parametrize("between", ["bob", None])
def test_nobody_is_fresh_who_logged_in_elsewhere(protection: str | None, between: str | None) -> None:
    site = Members()
    site.app.config["SESSION_PROTECTION"] = protection
    site.run(put(a=1))
    site.login()

    def page() -> str:
        return f"{current_user.get_id()} {flask.session.get('_fresh')}"
    assert site.run(page).text == "ada True"
    (session,) = site.manager
    for user in (between, "ada"):
        session.set_user(user)
        site.manager.rotate(session)
        site.client.set_cookie("session", str(session.id))
        if user is not None:
            assert site.run(page).text == f"{user} False"
            session = site.manager.load(session.id)
    site.login()
    assert site.run(page).text == "ada True"


@pytest.mark.parametrize("protection", ["basic", "strong", None])
def test_session_protection_of_flask_login(protection: str | None) -> None:
    site = Members()
    site.app.config["SESSION_PROTECTION"] = protection
    site.login()

    def page() -> str:
        return f"{current_user.get_id()} {flask.session.get('_fresh')}"
    seen = [site.run(page).text, site.run(page, headers={"User-Agent": "another"}).text]
    assert seen == {"basic": ["ada True", "ada False"], "strong": ["ada True", "None None"],
                    None: ["ada True", "ada True"]}[protection]


def test_remember_cookie_of_flask_login_logs_in_again() -> None:
    site = Members()
    site.login(remember=True)
    site.client.delete_cookie("session")
    assert site.user() == "ada"
    assert len(list(site.manager.sessions_of("ada"))) == 2


def test_forms_of_flask_wtf_are_protected_also_over_a_login() -> None:
    site = Members()
    CSRFProtect(site.app)
    site.app.config.update(TESTING=False)
    token = site.run(generate_csrf).text
    site.run(lambda: "sent", method="POST", data={"csrf_token": token})
    site.run(lambda: "sent", 400, method="POST", data={"csrf_token": "forged"})
    site.run(lambda: "sent", 400, method="POST")
    site.login()
    site.run(lambda: "sent", method="POST", data={"csrf_token": token})


# -- beside another framework --------------------------------------------------------------------------------------


def test_one_login_with_cherrypy(serve: Callable[..., Any]) -> None:
    import cherrypy

    site = Members(cookie=CookiePolicy("both"))
    pages = {"user": lambda: str(cherrypy.session.user), "login": lambda: str(cherrypy.session.set_user("bob")),
             "out": lambda: str(cherrypy.session.delete())}
    theirs = serve(pages, manager=site.manager)

    def cookie() -> str:
        return f"both={site.client.get_cookie('both').value}"  # type: ignore[union-attr]

    site.login("ada")
    assert theirs.get("/user", cookie()).text == "ada"
    sent = theirs.cookie("/login", cookie())
    assert site.user() == "None", "the old id is dead"
    site.client.set_cookie("both", sent.partition("=")[2])
    assert site.user() == "bob"
    theirs.get("/out", cookie())
    assert site.user() == "None"
