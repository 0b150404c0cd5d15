"""CherryPy's engine and the settings of the session tool: what cannot work stops the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cherrypy
import pytest

import session2_cherrypy
from session2 import ConfigurationError, CookiePolicy, DictSession, Session, SessionManager, StoreUnavailable
from session2.store.volatile import VolatileSessionStore
from session2_cherrypy import checks
from session2_cherrypy import settings as tool

OURS = {"on": True, "storage_class": session2_cherrypy.StoreSession, "store_url": "volatile:"}


@pytest.fixture(autouse=True)
def tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    tree = cherrypy._cptree.Tree()
    monkeypatch.setattr(cherrypy, "tree", tree)
    yield tree
    cherrypy.config.reset()


def named(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"tools.sessions.{name}": value for name, value in settings.items()}


def start(config: dict[str, dict[str, Any]], root: object = None, script_name: str = "") -> None:
    """Mount an application and do what the engine does at its start."""
    cherrypy.tree.mount(root, script_name, config)
    checks.check_settings()


def manager(**options: Any) -> SessionManager[Any]:
    return SessionManager(VolatileSessionStore(), **options)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"time_out": 5}, "no setting tools.sessions.time_out; did you mean 'timeout'"),
    ({"storage_type": "file"}, "storage_type = 'file' is what CherryPy heeds"),
    ({"stor_url": "volatile:"}, "did you mean 'store_url'"),
    ({"Timeout": 5}, "did you mean 'timeout'"),
    ({"xyzzy": 5}, "no setting tools.sessions.xyzzy"),
    ({"store_url": None}, "set tools.sessions.manager"),
    ({"store_url": "nowhere:"}, "no store is called"),
    ({"store_url": "directory:{}/missing"}, "missing"),
    ({"store_url": "directory:{}?serialiser=json"}, "no argument 'serialiser'"),
    ({"store_url": "volatile:?hash_ids=perhaps"}, "true or false"),
    ({"store_url": 5}, "must be text"),
    ({"store_url": Path("sessions")}, "must be text"),
    ({"manager": VolatileSessionStore()}, "must be a session2.SessionManager"),
    ({"manager": "shop.sessions"}, "must be a session2.SessionManager"),
    ({"manager": manager(session_class=type("Visitor", (Session,), {}))}, "derive Visitor from DictSession"),
    *[({"timeout": value}, "positive number of minutes")
      for value in ("60", None, 0, -1, True, float("nan"), float("inf"), [60])],
    *[({"clean_freq": value}, "number of minutes") for value in ("5", [], float("nan"))],
    *[({name: "yes"}, "True or False") for name in ("secure", "httponly", "persistent")],
    *[({name: 5}, "must be text") for name in ("name", "path", "path_header", "domain", "locking")],
    ({"name": ""}, "name of a cookie"),
    ({"name": "a name"}, "name of a cookie"),
    ({"name": "path"}, "reserved key"),
    ({"name": "__Host-s"}, "needs secure=True"),
    ({"name": "__host-s", "secure": True, "domain": "shop.example"}, "no domain"),
    ({"name": "x" * 5000}, "too long"),
    ({"path": "shop"}, "path of a cookie"),
    ({"domain": "shop.example:8080"}, "domain of a cookie"),
    ({"domain": "https://shop.example"}, "domain of a cookie"),
    ({"samesite": "lax"}, "samesite"),
    ({"samesite": "None"}, "needs secure=True"),
    ({"samesite": True}, "samesite"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_what_cannot_work_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    if isinstance(settings.get("store_url"), str):
        settings = {**settings, "store_url": settings["store_url"].format(tmp_path)}
    with pytest.raises(ConfigurationError, match=message) as refused:
        start({"/shop": named({**OURS, **settings})}, script_name="/site")
    assert "/site/shop" in str(refused.value)


@pytest.mark.parametrize("settings", [
    {}, {"timeout": 0.5}, {"clean_freq": 0}, {"clean_freq": None}, {"clean_freq": False}, {"clean_freq": 0.5},
    {"secure": 1, "httponly": 0}, {"secure": True, "samesite": "None"}, {"samesite": None}, {"domain": None},
    {"domain": ""}, {"path": None}, {"path_header": "X-Path"}, {"persistent": False}, {"debug": True}, {"priority": 60},
    {"name": "shop", "locking": "merge"}, {"locking": None}, {"manager": manager(session_class=DictSession)},
    {"manager": manager(), "store_url": None}, {"manager": manager(cookie=CookiePolicy("mine")), "timeout": 5},
    {"storage_path": "/tmp", "lock_timeout": 5},  # left over from another class
])
def test_what_works_is_accepted(settings: dict[str, Any]) -> None:
    start({"/": named({**OURS, **settings})})


def test_left_over_setting_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    start({"/": named({**OURS, "storage_path": "/tmp"})})
    assert "tools.sessions.storage_path is a setting of another session class" in caplog.text


@pytest.mark.parametrize("config", [
    {}, {"/": named({"on": False, "xyzzy": 1})}, {"/": named({"on": True, "xyzzy": 1})},
    {"/": named({**OURS, "on": False, "store_url": "nowhere:"})},
    {"/": named({**OURS, "storage_class": cherrypy.lib.sessions.RamSession, "xyzzy": 1})},
    {"database": named({**OURS, "xyzzy": 1})},
])
def test_what_is_not_ours_is_left_alone(config: Any) -> None:
    start(config)


class Shop:
    @cherrypy.expose
    def index(self) -> str:
        return "shop"

    @property
    def account(self) -> Any:
        raise AssertionError("nobody asked")

    @cached_property
    def archive(self) -> Any:
        raise AssertionError("nobody asked")


def shop_with(name: str) -> Any:
    """Return an application's root, with a setting of this name in its code."""
    settings = named({name: 1})
    below = type("Below", (Shop,), {"_cp_config": settings})()
    by_function = type("ByFunction", (Shop,), {"page": cherrypy.expose(cherrypy.config(**settings)(lambda self: ""))})()
    static = type("Static", (Shop,), {"page": staticmethod(cherrypy.expose(cherrypy.config(**settings)(lambda: "")))})()
    root: Any = Shop()
    root.one, root.up = {"below": below, "function": by_function, "static": static}[name[0:name.index("_")]], root
    return root


@pytest.mark.parametrize("name", ["below_", "function_", "static_"])
def test_settings_in_the_code_are_checked_too(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"/one.*{name}"):
        start({"/": named(OURS)}, shop_with(name))


class Touchy:
    """What must not be asked: what MongoDB answers can be no condition, and XML-RPC's answer is that of a server."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody asked for {name}")

    __dir__ = __bool__ = __len__ = __getattr__  # type: ignore[assignment]


def test_what_is_no_page_is_not_asked() -> None:
    root: Any = Shop()
    root.database, root.down = Touchy(), Shop()
    root.down.proxy = Touchy()
    start({"/": named(OURS)}, root)


def test_a_page_of_another_object_is_checked_too() -> None:
    root: Any = Shop()
    page = cherrypy.expose(cherrypy.config(**named({"a": 1}))(lambda self: ""))
    root.elsewhere = type("Other", (), {"page": page})().page
    with pytest.raises(ConfigurationError, match="/elsewhere"):
        start({"/": named(OURS)}, root)


def test_settings_are_merged_as_cherrypy_does() -> None:
    cherrypy.config.update(named(OURS))
    start({"/": named({"timeout": 30})})
    start({"/": {}, "/private": named({"on": False, "timeout": "x"})}, script_name="/two")
    with pytest.raises(ConfigurationError, match="/three/shop/old"):
        start({"/shop": named({"name": "shop"}), "/shop/old": named({"timeout": "x"})}, Shop(), script_name="/three")


def test_subclass_may_have_settings_of_its_own() -> None:
    class Own(session2_cherrypy.StoreSession):
        def __init__(self, id: str | None = None, *, branch: str = "north", **settings: Any) -> None:
            super().__init__(id, **{**settings, "manager": manager(), "branch": branch})

    settings = {"on": True, "storage_class": Own}
    start({"/": named({**settings, "branch": "south"})})
    with pytest.raises(ConfigurationError, match="did you mean 'branch'"):
        start({"/": named({**settings, "brunch": "south"})}, script_name="/two")


@pytest.mark.parametrize("name", tool.OF_OTHER_STORAGE)
def test_subclass_may_not_keep_its_sessions_itself(name: str) -> None:
    own = type("Own", (session2_cherrypy.StoreSession,), {name: lambda self, *arguments: None})
    with pytest.raises(ConfigurationError, match=f"Own.{name} would never be called"):
        start({"/": named({**OURS, "storage_class": own})})


def test_subclass_that_wants_a_request_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Wanting(session2_cherrypy.StoreSession):
        def __init__(self, id: str | None = None, **settings: Any) -> None:
            super().__init__(id, **settings, branch=cherrypy.request.branch)

    start({"/": named({**OURS, "storage_class": Wanting})})
    assert "could not be checked" in caplog.text


@pytest.mark.parametrize("error", [ConfigurationError("no such branch"), OSError("no such branch")])
def test_subclass_that_refuses_its_settings_is_heard(error: Exception) -> None:
    class Refusing(session2_cherrypy.StoreSession):
        def __init__(self, id: str | None = None, **settings: Any) -> None:
            raise error

    with pytest.raises(ConfigurationError, match="the session tool at /: no such branch"):
        start({"/": named({**OURS, "storage_class": Refusing})})


def test_store_that_is_down_stops_no_server(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def down(*_: Any) -> None:
        raise StoreUnavailable("the plug was pulled")

    monkeypatch.setattr(VolatileSessionStore, "setup", down)
    start({"/": named({**OURS, "store_url": "volatile:?hash_ids=false"})})
    assert "not available yet: the plug was pulled" in caplog.text


def test_store_is_open_when_the_first_visitor_comes(tmp_path: Path) -> None:
    url = f"directory:{tmp_path}/sessions?create=true"
    start({"/": named({**OURS, "store_url": url})})
    assert (tmp_path / "sessions").is_dir()
    assert url in tool._by_url


def test_nothing_is_left_of_the_pretended_request() -> None:
    start({"/": named(OURS)})
    assert not hasattr(cherrypy.serving, "session")
    assert cherrypy.serving.request.toolmaps == {} if hasattr(cherrypy.serving.request, "toolmaps") else True


PROGRAM = """
import cherrypy, session2_cherrypy
class Shop:
    @cherrypy.expose
    def index(self):
        return str(cherrypy.session.get("n"))
cherrypy.config.update({"server.socket_port": 0, "engine.autoreload.on": False, "checker.on": False})
cherrypy.engine.subscribe("main", lambda: print("started") or cherrypy.engine.exit())
cherrypy.quickstart(Shop(), "/", {"/": {
    "tools.sessions.on": True, "tools.sessions.storage_class": session2_cherrypy.StoreSession,
    "tools.sessions.store_url": %r, %s}})
"""


@pytest.mark.parametrize(("url", "more", "message"), [
    ("volatile:", "", None),
    ("volatile:", "'tools.sessions.time_out': 5", "did you mean 'timeout'"),
    ("directory:nowhere", "", "nowhere"),
])
def test_server_does_not_start(url: str, more: str, message: str | None, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-u", "-c", PROGRAM % (url, more)], cwd=tmp_path, capture_output=True,
                          text=True, timeout=60, env={"PYTHONPATH": ":".join(filter(None, sys.path))})
    said = done.stderr + done.stdout
    assert (done.returncode, "started" in done.stdout) == ((0, True) if message is None else (70, False)), said
    assert message is None or message in said


def test_without_cherrypy() -> None:
    program = ("import sys; sys.modules['cherrypy'] = None; import session2\n"
               "try: import session2_cherrypy\n"
               "except session2.ConfigurationError as error: print(error)")
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            env={"PYTHONPATH": ":".join(filter(None, sys.path))})
    assert "pip install 'session2[cherrypy]'" in result.stdout, result.stderr
