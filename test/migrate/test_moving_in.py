"""Visitors of the real frameworks, logged in with the former sessions: with the same cookie they still are on ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import beaker.middleware
import flask
import flask_login
import flask_session
import pytest
import redis
import webtest
from cachelib.file import FileSystemCache

from session2 import CookiePolicy, DictSession, SessionManager
from session2.migrate import Fate, FormerCookie, bring, cookies, open_source
from session2.store.volatile import VolatileSessionStore
from session2_flask import SessionInterface
from session2_wsgi import SessionMiddleware

HERE = Path(__file__).parent
SECRET = "the secret of both"


def manager_with(former: FormerCookie, store: VolatileSessionStore | None = None) -> SessionManager[DictSession]:
    return SessionManager(store or VolatileSessionStore(), DictSession, former=[former])


def moved(url: str, **options: Any) -> VolatileSessionStore:
    """Return a store into which all sessions of a source were moved."""
    store = VolatileSessionStore()
    source = open_source(url, **options)
    assert {bring(store, found) for found in source.scan()} == {Fate.MOVED}
    source.close()
    return store


# -- Beaker -----------------------------------------------------------------------------------------------------------


def shop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Serve an application that was written for Beaker."""
    session = environ["beaker.session"]
    if environ["PATH_INFO"] == "/login":
        session["user"] = "ada"
        session["basket"] = ["tea"]
        session.save()
    elif environ["PATH_INFO"] == "/buy":
        session["basket"] = [*session["basket"], "milk"]
        session.save()
    elif environ["PATH_INFO"] == "/logout":
        session.delete()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{session.get('user')}: {session.get('basket')}".encode()]


def before(**options: Any) -> webtest.TestApp:
    """Return the application with Beaker's sessions, and a visitor who logged in."""
    app = beaker.middleware.SessionMiddleware(shop, {f"session.{name}": value for name, value in options.items()})
    visitor = webtest.TestApp(app)
    visitor.get("/login")
    assert visitor.get("/buy").text == "ada: ['tea', 'milk']"
    return visitor


def after(former: FormerCookie, visitor: webtest.TestApp, store: VolatileSessionStore | None = None) -> Any:
    """Return the application with our sessions, and the visitor, who comes back; and the manager."""
    manager = manager_with(former, store)
    manager.cookie = CookiePolicy(name="shop")
    other = webtest.TestApp(SessionMiddleware(shop, manager, beaker=True))
    for name, value in visitor.cookies.items():
        other.set_cookie(name, value.strip('"'))
    return other, manager


def test_a_visitor_of_beakers_stays_logged_in_when_all_was_moved(tmp_path: Path) -> None:
    visitor = before(type="file", data_dir=str(tmp_path), secret=SECRET)
    store = moved(f"beaker+file:{tmp_path}", user_key="user")
    other, manager = after(cookies.beaker(secrets=[SECRET]), visitor, store)
    answer = other.get("/")
    assert answer.text == "ada: ['tea', 'milk']"
    assert [each.partition(";")[0].partition("=")[0] for each in answer.headers.getall("Set-Cookie")] == [
        "shop", "beaker.session.id"]
    assert "beaker.session.id=; Path=/; Max-Age=0" in answer.headers.getall("Set-Cookie")
    assert other.get("/buy").text == "ada: ['tea', 'milk', 'milk']"
    assert len([*manager.sessions_of("ada")]) == 1
    manager.revoke_user("ada")
    assert other.get("/").text == "None: None"


@pytest.mark.parametrize("kind", ["file", "dbm", "ext:database", "ext:redis", "ext:memcached"])
def test_a_visitor_of_beakers_is_brought_along_at_the_first_request(kind: str, tmp_path: Path, redis_server: Any,
                                                                    memcached: Any) -> None:
    redis_url = redis_server.url
    options, url = {
        "file": ({"data_dir": str(tmp_path)}, f"beaker+file:{tmp_path}"),
        "dbm": ({"data_dir": str(tmp_path)}, f"beaker+dbm:{tmp_path}"),
        "ext:database": ({"url": f"sqlite:///{tmp_path}/shop.sqlite", "lock_dir": str(tmp_path)},
                         f"beaker+sqlite:{tmp_path}/shop.sqlite"),
        "ext:redis": ({"url": redis_url}, f"beaker+{redis_url}"),
        "ext:memcached": ({"url": memcached.place, "lock_dir": str(tmp_path)}, f"beaker+{memcached.url}")}[kind]
    visitor = before(type=kind, **options)
    other, _ = after(cookies.beaker(source=open_source(url, user_key="user")), visitor)
    assert other.get("/").text == "ada: ['tea', 'milk']"
    assert visitor.get("/").text == "ada: ['tea', 'milk']"
    check_logout(other, visitor.cookies)


def check_logout(other: webtest.TestApp, former: dict[str, str]) -> None:
    """See that a logout holds although the former system knows nothing of it."""
    other.get("/logout")
    for name, value in former.items():
        other.set_cookie(name, value.strip('"'))
    assert other.get("/").text == "None: None"


def test_a_visitor_with_beakers_session_in_the_cookie_stays_logged_in(tmp_path: Path) -> None:
    visitor = before(type="cookie", validate_key=SECRET)
    other, manager = after(cookies.beaker_signed([SECRET], user_key="user"), visitor)
    assert other.get("/").text == "ada: ['tea', 'milk']"
    assert len([*manager.sessions_of("ada")]) == 1
    check_logout(other, visitor.cookies)


# -- Flask ------------------------------------------------------------------------------------------------------------


class User(flask_login.UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


def flask_shop(**settings: Any) -> flask.Flask:
    """Return an application with Flask-Login, and with Flask's own sessions."""
    app = flask.Flask("shop")
    app.config.update(SECRET_KEY=SECRET, PERMANENT_SESSION_LIFETIME=timedelta(days=1), **settings)
    login = flask_login.LoginManager(app)
    login.user_loader(User)

    @app.get("/login")
    def log_in() -> str:
        flask_login.login_user(User("7"))
        flask.session["basket"] = ["tea"]
        return "welcome"

    @app.get("/logout")
    def log_out() -> str:
        flask_login.logout_user()
        return "farewell"

    @app.get("/")
    def index() -> str:
        who = flask_login.current_user.get_id()
        return f"{who}: {flask.session.get('basket')}"

    return app


def visit(app: flask.Flask) -> Any:
    """Log in, and return the visitor."""
    visitor = app.test_client()
    visitor.get("/login")
    assert visitor.get("/").text == "7: ['tea']"
    return visitor


def check_flask(former: FormerCookie, visitor: Any, store: VolatileSessionStore | None = None) -> None:
    """See that the visitor is logged in on an application with our sessions, and logs out for good."""
    app = flask_shop()
    manager = manager_with(former, store)
    app.session_interface = SessionInterface(manager)
    before = visitor.get_cookie("session").value
    other = app.test_client()
    other.set_cookie("session", before)
    assert other.get("/").text == "7: ['tea']"
    assert other.get_cookie("session").value != before
    assert other.get("/").text == "7: ['tea']"
    assert len([*manager.sessions_of("7")]) == 1
    other.get("/logout")
    assert other.get("/").text == "None: ['tea']"
    assert [*manager.sessions_of("7")] == []
    other.set_cookie("session", before)
    assert other.get("/").text in ("None: ['tea']", "None: None")


def settings_of(kind: str, tmp_path: Path, redis_server: Any) -> dict[str, Any]:
    if kind == "cachelib":
        return {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": FileSystemCache(str(tmp_path), 500)}
    return {"SESSION_TYPE": "redis", "SESSION_REDIS": redis.Redis.from_url(redis_server.url)}


@pytest.mark.parametrize("kind", ["cachelib", "redis"])
def test_a_visitor_of_flask_sessions_is_brought_along_at_the_first_request(kind: str, tmp_path: Path,
                                                                           redis_server: Any) -> None:
    settings = settings_of(kind, tmp_path, redis_server)
    app = flask_shop(**settings)
    flask_session.Session(app)
    visitor = visit(app)
    url = f"flask-session+file:{tmp_path}" if kind == "cachelib" else f"flask-session+{redis_server.url}"
    check_flask(cookies.flask_session(source=open_source(url)), visitor)
    if kind == "redis":
        settings["SESSION_REDIS"].flushdb()
        settings["SESSION_REDIS"].close()


def test_a_visitor_of_flask_sessions_stays_logged_in_when_all_was_moved(redis_server: Any) -> None:
    settings = settings_of("redis", Path(), redis_server)
    app = flask_shop(**settings)
    flask_session.Session(app)
    visitor = visit(app)
    store = moved(f"flask-session+{redis_server.url}")
    settings["SESSION_REDIS"].flushdb()
    settings["SESSION_REDIS"].close()
    check_flask(cookies.flask_session(), visitor, store)


def test_a_visitor_with_flasks_own_session_stays_logged_in() -> None:
    check_flask(cookies.flask([SECRET]), visit(flask_shop()))


# -- Django -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def django_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a Django application says; in a process of its own, for it has settings of its own."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parents[1] / "adapters")])
    done = subprocess.run([sys.executable, str(HERE / "django_moving.py"), str(tmp_path_factory.mktemp("shop"))],
                          env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("engine", ["db", "cached_db", "file", "cache", "cache of a table", "signed_cookies"])
def test_a_visitor_of_djangos_stays_logged_in_and_logs_out_for_good(engine: str, django_pages: Any) -> None:
    ada = "ada: ['tea']"
    assert django_pages[engine] == [ada, ada, ada, "changed: True", "known: 1", "nobody: None"]
