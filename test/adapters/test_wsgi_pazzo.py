"""Applications that were written for Pazzo: settings, and sessions that are live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import flask
import pytest
from servers_redis import RedisServer
from servers_sql import PASSWORD

from session2 import ConfigurationError, CookiePolicy, Signed, get_secret
from session2_wsgi import SessionMiddleware, pazzo
from session2_wsgi.pazzo import Session, from_pazzo_settings

SECRET = get_secret()


@pytest.fixture
def settings(redis_server: RedisServer) -> Iterator[SimpleNamespace]:
    """A module of settings."""
    yield SimpleNamespace(SESSION_SECRET_KEY=SECRET, REDIS_SESSIONS_HOST="127.0.0.1", REDIS_SESSIONS_DB=7,
                          REDIS_SESSIONS_PORT=redis_server.port, REDIS_SESSIONS_PASSWORD=PASSWORD)
    with redis_server.open() as client:
        client.execute_command("SELECT", 7)
        client.flushdb()


@pytest.fixture
def app(settings: SimpleNamespace) -> Iterator[flask.Flask]:
    """An application of Flask's whose pages name Pazzo's session."""
    app, manager = flask.Flask("shop"), from_pazzo_settings(settings)
    app.wsgi_app = SessionMiddleware(app.wsgi_app, manager)  # type: ignore[method-assign]

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        session = Session(flask.request.environ)
        session[key] = value
        return str(dict(Session(flask.request.environ)))

    @app.get("/items")
    def items() -> dict[str, Any]:
        return dict(Session(flask.request.environ))

    @app.get("/count")
    def count() -> str:
        return str(Session(flask.request.environ).increment("count"))

    @app.get("/call/<name>")
    def call(name: str) -> str:
        session = Session(flask.request.environ)
        return repr(getattr(session, name)())

    yield app
    manager.store.close()


def test_a_change_is_stored_at_once(app: flask.Flask) -> None:
    browser = app.test_client()
    answer = browser.get("/set/colour/blue")
    assert answer.text == "{'colour': 'blue'}"
    assert answer.headers["Set-Cookie"].startswith("sessionid=")
    assert "Max-Age=1209600" in answer.headers["Set-Cookie"]
    assert browser.get("/items").json == {"colour": "blue"}


def test_requests_at_once_keep_each_key_and_each_count(app: flask.Flask) -> None:
    browser = app.test_client()
    browser.get("/set/start/1")
    cookie = browser.get_cookie("sessionid")

    def visit(number: int) -> None:
        mine = app.test_client()
        mine.set_cookie("sessionid", cookie.value)
        for turn in range(5):
            mine.get(f"/set/{number}-{turn}/x")
            mine.get("/count")

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(visit, range(10)))
    found = browser.get("/items").json
    assert (found.pop("count"), len(found)) == (50, 51)


def test_the_methods_of_pazzo(app: flask.Flask) -> None:
    browser = app.test_client()
    browser.get("/call/set_test_cookie")
    assert browser.get("/call/test_cookie_worked").text == "True"
    browser.get("/call/delete_test_cookie")
    assert browser.get("/call/test_cookie_worked").text == "False"
    browser.get("/set/a/1")
    old = browser.get_cookie("sessionid").value
    browser.get("/call/cycle_key")
    assert browser.get_cookie("sessionid").value != old
    assert browser.get("/items").json == {"a": "1"}
    assert browser.get("/call/save").text == "None"
    browser.get("/call/flush")
    assert browser.get("/items").json == {}


@pytest.mark.parametrize("change", [
    lambda settings, server: vars(settings).update(REDIS_SESSIONS_URL=server.url, REDIS_SESSIONS_PORT=1),
    lambda settings, server: vars(settings).update(SESSION_COOKIE_DOMAIN="127.0.0.1")],
    ids=["a URL is above all but the database", "the domain that Pazzo has by default"])
def test_settings(settings: SimpleNamespace, redis_server: RedisServer, change: Callable[..., None]) -> None:
    change(settings, redis_server)
    manager = from_pazzo_settings(settings)
    session = manager.new_session()
    session["a"] = 1
    manager.save(session)
    with redis_server.open() as client:
        client.execute_command("SELECT", 7)
        assert all(key.startswith(b"pazzo:") for key in client.scan_iter())
        assert client.dbsize() == 1
    assert manager.cookie is not None
    assert (manager.cookie.domain, manager.cookie.httponly, manager.clocks.idle) == (None, True, 1209600)
    manager.store.close()


def test_each_setting_counts_and_what_is_stored_is_signed() -> None:
    settings = SimpleNamespace(SESSION_SECRET_KEY=SECRET, SESSION_COOKIE_NAME="n", SESSION_COOKIE_PATH="/shop",
                               SESSION_COOKIE_DOMAIN="shop.example", SESSION_COOKIE_SECURE=True,
                               SESSION_COOKIE_HTTPONLY=False, SESSION_COOKIE_AGE=60)
    manager = from_pazzo_settings(settings)
    assert manager.cookie == CookiePolicy("n", path="/shop", domain="shop.example", secure=True, httponly=False,
                                          max_age=60)
    assert manager.clocks.idle == 60
    assert isinstance(manager.store.serializer, Signed)
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    policy = from_pazzo_settings(settings).cookie
    assert policy is not None
    assert policy.max_age is None


def test_there_is_no_secret_by_default() -> None:
    with pytest.raises(ConfigurationError, match="SESSION_SECRET_KEY"):
        from_pazzo_settings(SimpleNamespace())


@pytest.mark.parametrize("name", ["REDIS_SESSIONS_PORT", "REDIS_SESSIONS_DB", "REDIS_POOL_MAX_CONNECTIONS"])
def test_a_setting_that_must_be_a_number_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number, not 'many'"):
        from_pazzo_settings(SimpleNamespace(SESSION_SECRET_KEY=SECRET, **{name: "many"}))


@pytest.mark.parametrize(("given", "url"), [
    ({"REDIS_SESSIONS_HOST": "::1"}, "redis://[::1]:6379/15"),
    ({"REDIS_SESSIONS_URL": "rediss://u:p@h:7/3?ca=/x"}, "rediss://u:p@h:7/15?ca=/x"),
    ({"REDIS_SESSIONS_URL": "redis+unix:///run/redis.sock?db=3"}, "redis+unix:///run/redis.sock?db=3"),
])
def test_where_redis_is(given: dict[str, Any], url: str) -> None:
    assert pazzo._url({**pazzo.DEFAULTS, **given}) == url


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no setting REDIS_SESSION_HOST; did you mean REDIS_SESSIONS_HOST"):
        from_pazzo_settings(SimpleNamespace(SESSION_SECRET_KEY=SECRET, REDIS_SESSION_HOST="h", REDIS_URL="another's"))


@pytest.mark.parametrize(("given", "held"), [("Strict", "Strict"), (False, None)])
def test_the_setting_of_django_for_samesite_is_heeded(given: Any, held: Any) -> None:
    policy = from_pazzo_settings(SimpleNamespace(SESSION_SECRET_KEY=SECRET, SESSION_COOKIE_SAMESITE=given,
                                                 SESSION_COOKIE_DOMAIN="")).cookie
    assert policy is not None
    assert (policy.samesite, policy.domain) == (held, None)


def test_a_session_outside_of_the_middleware() -> None:
    with pytest.raises(ConfigurationError, match="SessionMiddleware"):
        Session({})
