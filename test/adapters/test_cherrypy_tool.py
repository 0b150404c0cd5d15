"""CherryPy's session tool with `StoreSession`: settings, laziness, the mapping, and every way a request can end."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, MutableMapping
from http.cookies import CookieError, Morsel
from pathlib import Path
from typing import Any

import cherrypy
import pytest

import session2_cherrypy
from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Session,
    SessionConflict,
    SessionManager,
    StoreUnavailable,
)
from session2.errors import LockLost
from session2.live import LiveDictSession
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock
from session2_cherrypy import settings as tool

Serve = Callable[..., Any]


class CountingStore(VolatileSessionStore):
    """Notes every call of a primitive; raises `StoreUnavailable` while it is down.  Its locks are records."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._locks = None
        self.calls: list[str] = []
        self.down = False

    def _note(self, call: str, key: str) -> None:
        self.calls.append(call + (" lock" if key.startswith("lock-") else ""))
        if self.down:
            raise StoreUnavailable("the plug was pulled")

    def read(self, key: str) -> Any:
        self._note("read", key)
        return super().read(key)

    def write(self, key: str, record: Any, expected: Any) -> Any:
        self._note("write", key)
        self.calls.append("(")
        version = super().write(key, record, expected)
        del self.calls[len(self.calls) - self.calls[::-1].index("(") - 1:]  # how it looks at itself does not count
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        self._note("touch", key)
        return super().touch(key, accessed, expires)

    def scan(self) -> Any:
        self._note("scan", "")
        return super().scan()

    def remove(self, key: str, expected: Any = None) -> None:
        self._note("remove", key)
        calls = list(self.calls)
        super().remove(key, expected)
        self.calls = calls


def visit() -> str:
    cherrypy.session["n"] = cherrypy.session.get("n", 0) + 1
    return str(cherrypy.session["n"])


def look() -> str:
    return str(cherrypy.session.get("n"))


def hello() -> str:
    return "hello"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> CountingStore:
    return CountingStore(clock=clock)


@pytest.fixture
def manager(store: CountingStore) -> SessionManager[DictSession]:
    return SessionManager(store, DictSession)


# -- what it costs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locking", [{}, {"locking": "implicit"}, {"locking": "explicit"}, {"locking": "merge"}])
def test_request_that_does_not_look_costs_nothing(serve: Serve, manager: Any, store: Any, locking: Any) -> None:
    site = serve({"index": hello, "visit": visit}, manager=manager, **locking)
    cookie = site.cookie("/visit")
    store.calls.clear()
    answer = site.get("/", cookie)
    assert (answer.all("Set-Cookie"), answer.all("Vary"), answer.all("Cache-Control")) == ([], [], [])
    assert store.calls == []


def test_look_without_a_cookie_costs_nothing(serve: Serve, manager: Any, store: Any) -> None:
    answer = serve({"look": look}, manager=manager).get("/look")
    assert (answer.text, answer.all("Set-Cookie"), answer.all("Vary")) == ("None", [], ["Cookie"])
    assert store.calls == []


def test_look_is_one_read(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({"look": look, "visit": visit}, manager=manager, locking="merge")
    cookie = site.cookie("/visit")
    store.calls.clear()
    assert site.get("/look", cookie).text == "1"
    assert store.calls == ["read"]
    site.get("/visit", cookie)
    assert store.calls == ["read", "read", "write"]


def test_look_under_the_lock_writes_no_session(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({"look": look, "visit": visit}, manager=manager)
    cookie = site.cookie("/visit")
    store.calls.clear()
    assert site.get("/look", cookie).text == "1"
    assert sorted(store.calls) == ["read", "remove lock", "write lock"]


def test_early_locks_before_the_body_is_read(serve: Serve, manager: Any, store: Any) -> None:
    calls: list[list[str]] = []

    def before_body() -> None:
        calls.append(list(store.calls))

    site = serve({"index": hello, "visit": visit}, manager=manager, locking="early",
                 config={"hooks.before_request_body": cherrypy._cprequest.Hook(before_body, priority=70)})
    cookie = site.cookie("/visit")
    store.calls.clear()
    site.get("/", cookie, method="POST", body=b"a=1")
    assert "write lock" in calls[-1]
    assert store.calls[-1] == "remove lock"


# -- settings ----------------------------------------------------------------------------------------------------------


def attributes(site: Any, path: str = "/visit", **request: Any) -> dict[str, str]:
    (header,) = site.get(path, **request).all("Set-Cookie")
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs}


def test_cookie_by_default(serve: Serve, manager: Any) -> None:
    sent = attributes(serve({"visit": visit}, manager=manager))
    assert sent.pop("expires").endswith("GMT")
    assert len(sent.pop("session_id")) == 43
    assert sent == {"Path": "/", "HttpOnly": "", "SameSite": "Lax", "Max-Age": str(14 * 86400)}


@pytest.mark.parametrize(("settings", "expected"), [
    ({"persistent": False}, {"Path": "/", "HttpOnly": "", "SameSite": "Lax"}),
    ({"persistent": False, "httponly": False}, {"Path": "/", "SameSite": "Lax"}),
    ({"persistent": False, "httponly": True}, {"Path": "/", "HttpOnly": "", "SameSite": "Lax"}),
    ({"persistent": False, "samesite": None}, {"Path": "/", "HttpOnly": ""}),
    ({"persistent": False, "samesite": "None", "secure": True},
     {"Path": "/", "HttpOnly": "", "SameSite": "None", "Secure": ""}),
    ({"persistent": False, "domain": "shop.example"},
     {"Path": "/", "HttpOnly": "", "SameSite": "Lax", "Domain": "shop.example"}),
    ({"persistent": False, "domain": ""}, {"Path": "/", "HttpOnly": "", "SameSite": "Lax"}),
    ({"persistent": False, "path": "/shop"}, {"Path": "/shop", "HttpOnly": "", "SameSite": "Lax"}),
    ({"persistent": False, "path_header": "X-Path"}, {"Path": "/sent", "HttpOnly": "", "SameSite": "Lax"}),
    ({"persistent": False, "path_header": "X-None"}, {"Path": "/", "HttpOnly": "", "SameSite": "Lax"}),
])
def test_cookie_settings(serve: Serve, manager: Any, settings: Any, expected: Any) -> None:
    site = serve({"visit": visit}, manager=manager, name="shop", **settings)
    sent = attributes(site, headers={"X-Path": "/sent"})
    assert len(sent.pop("shop")) == 43
    assert sent == expected


@pytest.mark.parametrize("path", ["/a; Domain=evil.example", "/\x7f"])
def test_path_header_cannot_add_attributes(serve: Serve, manager: Any, path: str) -> None:
    site = serve({"visit": visit}, manager=manager, path_header="X-Path")
    assert site.get("/visit", headers={"X-Path": path}, status=400).all("Set-Cookie") == []


def test_path_header_is_checked_before_python_does(serve: Serve, manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer Pythons refuse control characters in the cookie that the tool drafts for every request."""
    original = Morsel.__setitem__

    def checked(morsel: Any, key: str, value: Any) -> None:
        if any(char < " " or char == "\x7f" for char in str(value)):
            raise CookieError("control characters are not allowed in cookies")
        original(morsel, key, value)

    monkeypatch.setattr(Morsel, "__setitem__", checked)
    site = serve({"visit": visit, "index": hello}, manager=manager, path_header="X-Path")
    for page in ("/", "/visit"):
        assert site.get(page, headers={"X-Path": "/\x7f"}, status=400).all("Set-Cookie") == []
        assert site.get(page, headers={"X-Path": "/shop"}).text in ("hello", "1")


def test_cookie_is_secure_behind_a_proxy_with_tls(serve: Serve, manager: Any) -> None:
    site = serve({"visit": visit}, {"tools.proxy.on": True}, manager=manager)
    assert "Secure" in attributes(site, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" not in attributes(site)


def test_policy_of_the_manager_comes_first(serve: Serve, store: Any) -> None:
    policy = CookiePolicy("mine", samesite="Strict")
    site = serve({"visit": visit}, manager=SessionManager(store, cookie=policy), name="other")
    sent = attributes(site)
    assert len(sent.pop("mine")) == 43
    assert sent == {"Path": "/", "HttpOnly": "", "SameSite": "Strict"}
    assert site.get("/visit", site.cookie("/visit")).text == "2"


def expiry(store: Any) -> float:
    ((_, record),) = store.scan()
    return float(record.expires - record.accessed)


def test_clocks_of_the_manager_rule(serve: Serve, store: Any) -> None:
    manager = SessionManager(store, idle_timeout=77)
    sent = attributes(serve({"visit": visit}, manager=manager))
    assert (expiry(store), sent["Max-Age"]) == (77, "77")


@pytest.mark.parametrize(("minutes", "seconds", "max_age"), [(2, 120, "120"), (0.025, 1.5, "2")])
def test_timeout_is_in_minutes(serve: Serve, manager: Any, store: Any, clock: Clock, minutes: float,
                               seconds: float, max_age: str) -> None:
    site = serve({"visit": visit, "look": look}, manager=manager, timeout=minutes)
    (header,) = site.get("/visit").all("Set-Cookie")
    assert f"Max-Age={max_age};" in header
    assert expiry(store) == pytest.approx(seconds)
    clock.advance(seconds - 0.01)
    assert site.get("/look", header.partition(";")[0]).text == "1"
    clock.advance(seconds + 0.01)
    assert site.get("/look", header.partition(";")[0]).text == "None"
    assert manager.clocks.idle == 14 * 86400


def test_store_by_url_has_the_timeout_of_cherrypy(serve: Serve, tmp_path: Path) -> None:
    url = f"directory:{tmp_path}/sessions?create=true"
    sent = attributes(serve({"visit": visit}, store_url=url))
    assert sent["Max-Age"] == "3600"
    assert expiry(tool._by_url[url].store) == 3600


def test_store_by_url_is_made_once(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = tool.from_url

    def from_url(url: str) -> Any:
        made.append(url)
        return original(url)

    monkeypatch.setattr(tool, "from_url", from_url)
    site = serve({"visit": visit}, store_url=f"directory:{tmp_path}/sessions?create=true")
    threads = [threading.Thread(target=site.get, args=("/visit",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_configuration_file(tmp_path: Path, serve: Serve) -> None:
    file = tmp_path / "site.conf"
    file.write_text("[/]\ntools.sessions.on = True\n"
                    "tools.sessions.storage_class = session2_cherrypy.StoreSession\n"
                    f'tools.sessions.store_url = "directory:{tmp_path}/sessions?create=true"\n'
                    "tools.sessions.timeout = 1.5\ntools.sessions.clean_freq = 0\n")
    site = serve({"visit": visit})
    site.app.config.clear()
    site.app.merge(str(file))
    assert site.app.config["/"]["tools.sessions.storage_class"] is session2_cherrypy.StoreSession
    cookie = site.cookie("/visit")
    assert site.get("/visit", cookie).text == "2"
    assert list((tmp_path / "sessions").rglob("*"))


@pytest.mark.parametrize(("settings", "message"), [
    ({}, "set tools.sessions.manager"),
    ({"store_url": "nowhere:"}, "no store is called"),
    ({"manager": object()}, "must be a session2.SessionManager"),
    ({"manager": SessionManager(VolatileSessionStore(), type("Visitor", (Session,), {}))},
     "derive Visitor from DictSession"),
    ({"manager": SessionManager(VolatileSessionStore()), "timeout": -1}, "positive number of minutes"),
    ({"manager": SessionManager(VolatileSessionStore()), "samesite": "None"}, "needs secure=True"),
])
def test_settings_that_cannot_work(serve: Serve, settings: Any, message: str) -> None:
    answer = serve({"visit": visit}, **settings).get("/visit", status=500)
    assert message in answer.text
    assert answer.all("Set-Cookie") == []


def test_a_timeout_that_only_equals_a_number_is_none() -> None:
    settings = {"store_url": "volatile:"}
    assert tool.find_manager(settings, 1).clocks.idle == 60
    with pytest.raises(ConfigurationError, match="positive number of minutes"):
        tool.find_manager(settings, True)


# -- the session as the application sees it ----------------------------------------------------------------------------


def test_mapping(serve: Serve, manager: Any) -> None:
    def page() -> str:
        session = cherrypy.session
        assert isinstance(session, MutableMapping)
        assert session
        session.update({"a": 1, "b": 2}, c=3)
        assert list(session) == list(session.keys()) == ["a", "b", "c"]
        assert sorted(session.values()) == [1, 2, 3]
        assert dict(session) == dict(session.items()) == {"a": 1, "b": 2, "c": 3} == session._data
        assert ("a" in session, "x" in session) == (True, False)
        assert len(session.keys()) == len(session.items()) == 3
        assert (session.pop("a"), session.pop("x", None), session.setdefault("b", 9)) == (1, None, 2)
        assert session.popitem() == ("b", 2)
        del session["c"]
        assert list(session) == []
        session["d"] = 4
        session.clear()
        return "as it should be"

    answer = serve({"page": page}, manager=manager).get("/page")
    assert answer.text == "as it should be"
    assert answer.all("Set-Cookie") == []


def test_length_is_the_number_of_sessions(serve: Serve, manager: Any) -> None:
    site = serve({"visit": visit, "count": lambda: str(len(cherrypy.session))}, manager=manager)
    assert site.get("/count").text == "0"
    site.get("/visit")
    assert site.get("/count", site.cookie("/visit")).text == "2"


@pytest.mark.parametrize("ask", [
    list, tuple, sorted, dict, set, repr, bool, lambda session: [*session], lambda session: {**session},
    lambda session: list(session.keys()), lambda session: list(session.values()), lambda session: len(session.keys()),
    lambda session: list(session.items()), lambda _: list(cherrypy.serving.session), lambda session: session.clear(),
])
def test_who_wants_the_items_leaves_the_other_sessions_alone(serve: Serve, manager: Any, store: Any, ask: Any) -> None:
    """Python's list() asks for the length first."""
    site = serve({"page": lambda: str(ask(cherrypy.session)), "visit": visit}, manager=manager)
    cookie = site.cookie("/visit")
    site.get("/visit")
    store.calls.clear()
    site.get("/page", cookie)
    assert "scan" not in store.calls


def test_sessions_are_counted_without_being_decoded(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    def count() -> str:
        decoded.clear()
        return f"{len(cherrypy.session)} {[*cherrypy.session]} {len(cherrypy.session)} {len(decoded)}"

    decoded: list[Any] = []
    restore = DictSession.restore.__func__
    monkeypatch.setattr(DictSession, "restore", classmethod(lambda *given: decoded.append(1) or restore(*given)))
    site = serve({"count": count, "visit": visit}, manager=manager, locking="merge")
    cookies = [site.cookie("/visit") for _ in range(3)]
    assert site.get("/count", cookies[0]).text == "3 ['n'] 3 1"
    assert decoded


def test_attributes_of_the_session(serve: Serve, store: Any) -> None:
    class Shopper(DictSession):
        greeting = "hello"

    def page() -> str:
        assert type(cherrypy.session.session) is Shopper
        cherrypy.session.session.seen = True
        return str(cherrypy.session.session.greeting)

    site = serve({"page": page, "seen": lambda: str(cherrypy.session.session.seen), "visit": visit},
                 manager=SessionManager(store, Shopper))
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "hello"
    assert site.get("/seen", cookie).text == "True"


def test_id_is_what_the_cookie_carries(serve: Serve, manager: Any) -> None:
    def begin() -> str:
        early = str(cherrypy.session.id)
        visit()
        assert cherrypy.session.id == early
        return early

    site = serve({"begin": begin, "id": lambda: cherrypy.session.id}, manager=manager)
    (header,) = (answer := site.get("/begin")).all("Set-Cookie")
    assert header.startswith(f"session_id={answer.text};")
    assert site.get("/id", header.partition(";")[0]).text == answer.text
    assert site.get("/id").all("Set-Cookie") == []


def test_what_the_request_brought(serve: Serve, manager: Any) -> None:
    def page() -> str:
        session = cherrypy.session
        loaded = session.loaded
        return f"{session.originalid} {loaded} {session.missing} {session.loaded}"

    site = serve({"page": page, "visit": visit}, manager=manager)
    cookie = site.cookie("/visit")
    assert site.get("/page").text == "None False False True"
    assert site.get("/page", cookie).text == f"{cookie.partition('=')[2]} False False True"
    assert site.get("/page", "session_id=made-up").text == "made-up False True True"
    assert site.get("/page", "session_id=" + "x" * 43).text == "x" * 43 + " False True True"
    assert site.get("/page", f"session_id=; a={{}}; {cookie}").text.endswith(" False False True")


def test_user(serve: Serve, manager: Any) -> None:
    def login() -> str:
        cherrypy.session.user = "ada"
        return str(cherrypy.session.get_user())

    def switch() -> str:
        cherrypy.session.set_user("bob")
        return str(cherrypy.session.user)

    site = serve({"login": login, "switch": switch, "who": lambda: str(cherrypy.session.user)}, manager=manager)
    ada = site.cookie("/login")
    bob = site.cookie("/switch", ada)
    assert (site.get("/who", ada).text, site.get("/who", bob).text) == ("None", "bob")
    assert [session.user for session in manager.sessions_of("bob")] == ["bob"]


def test_session_auth_as_the_page_has_it(serve: Serve, manager: Any) -> None:
    page = (Path(__file__).parents[2] / "docs/cherrypy.md").read_text("utf-8")
    recipe: dict[str, Any] = {}
    exec(page.partition("tools.session_auth`")[2].partition("```python\n")[2].partition("```")[0], recipe)
    site = serve({"index": lambda: str(cherrypy.session.user), "do_login": hello, "do_logout": hello},
                 recipe["members_only"], manager=manager)

    def post(path: str, cookie: str, form: bytes = b"") -> str:
        sent = {"Content-Type": "application/x-www-form-urlencoded"}
        return str(site.cookie(path, cookie, method="POST", body=form, status=303, headers=sent))

    planted = site.cookie("/")
    assert "Password" in site.get("/", planted).text
    ada = post("/do_login", planted, b"username=ada&password=sesame&from_page=/")
    assert site.get("/", ada).text == "ada"
    assert ada != planted
    assert "Password" in site.get("/", planted).text
    left = post("/do_logout", ada, b"from_page=/")
    for cookie in (ada, planted, left):
        assert "Password" in site.get("/", cookie).text
    assert list(manager.sessions_of("ada")) == []


def test_csrf_token_of_a_form(serve: Serve, manager: Any) -> None:
    site = serve({"form": lambda: cherrypy.session.session.get_csrf_token(),
                  "send": lambda **_: str(cherrypy.session.session.valid_csrf_token())}, manager=manager)
    answer = site.get("/form")
    cookie = answer.all("Set-Cookie")[0].partition(";")[0]
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def send(token: str, method: str = "POST") -> str:
        body = f"{DictSession.CSRF_TOKEN_NAME}={token}".encode()
        return str(site.get("/send", cookie, method=method, headers=form, body=body).text)

    assert (send(answer.text), send("wrong"), send(answer.text, "PUT")) == ("True", "False", "False")


def test_a_lock_that_was_lost_is_a_conflict_also_when_it_is_renewed(serve: Serve, manager: Any,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(exchange: Any) -> None:
        raise LockLost("another request has it")

    monkeypatch.setattr(manager, "renew_lock", lost)
    serve({"index": lambda: cherrypy.session.renew_lock()}, manager=manager).get("/", status=409)


def test_a_session_tells_that_it_was_regenerated(serve: Serve, manager: Any) -> None:
    def page() -> str:
        before = cherrypy.session.regenerated
        cherrypy.session.regenerate()
        return f"{before} {cherrypy.session.regenerated}"

    assert serve({"index": page}, manager=manager).get("/").text == "False True"


# -- how a request ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [cherrypy.HTTPError(402, "pay"), cherrypy.HTTPRedirect("/look"), cherrypy.NotFound()])
def test_answers_that_are_exceptions_store_the_session(serve: Serve, manager: Any, error: Exception) -> None:
    def page() -> str:
        visit()
        raise error

    status = {"HTTPError": 402, "HTTPRedirect": 303, "NotFound": 404}[type(error).__name__]
    site = serve({"page": page, "look": look}, manager=manager)
    answer = site.get("/page", status=status)
    assert answer.all("Vary") == ["Cookie"]
    assert site.get("/look", answer.all("Set-Cookie")[0].partition(";")[0]).text == "1"


@pytest.mark.parametrize("end", ["delete", "expire", "login", "regenerate"])
def test_crash_undoes_everything(serve: Serve, manager: Any, store: Any, end: str) -> None:
    def crash() -> None:
        visit()
        {"delete": cherrypy.session.delete, "expire": cherrypy.lib.sessions.expire,
         "login": lambda: cherrypy.session.set_user("ada"), "regenerate": cherrypy.tools.sessions.regenerate}[end]()
        raise RuntimeError("on purpose")

    site = serve({"crash": crash, "visit": visit, "look": look}, manager=manager)
    cookie = site.cookie("/visit")
    before = list(store.scan())
    answer = site.get("/crash", cookie, status=500)
    assert (answer.all("Set-Cookie"), answer.all("Vary")) == ([], ["Cookie"])
    assert list(store.scan()) == before, "nothing stored, no lock left"
    assert site.get("/look", cookie).text == "1"


def late(point: str, change: Callable[[], Any], priority: int = 50) -> dict[str, Any]:
    """Return configuration that has `change` done at a hook point."""
    return {f"hooks.{point}": cherrypy._cprequest.Hook(change, priority=priority)}


LATE = [("before_finalize", 40), ("before_finalize", 60), ("before_finalize", 95), ("before_finalize", 10 ** 6),
        ("on_end_resource", 50), ("on_end_resource", 99), ("on_end_request", 10), ("on_end_request", 95),
        ("on_end_request", 10 ** 6)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("locking", ["implicit", "merge"])
@pytest.mark.parametrize(("point", "priority"), LATE)
def test_what_late_hooks_change_is_stored(serve: Serve, manager: Any, store: Any, point: str, priority: int,
                                          locking: str, stream: bool) -> None:
    seen: list[str] = []

    def change() -> None:
        seen.append(look())
        cherrypy.session["late"] = cherrypy.session.get("late", 0) + 1

    begun = serve({"visit": visit}, manager=manager).cookie("/visit")
    for number, page in enumerate([hello, look, visit], 1):
        site = serve({"page": page}, {**late(point, change, priority), "response.stream": stream}, manager=manager,
                     locking=locking)
        answer = site.get("/page", begun)
        site.server.stop()  # the last hooks run when the browser has its answer already
        assert answer.all("Set-Cookie") == []
        assert [session["late"] for session in manager] == [number]
    assert [session["n"] for session in manager] == [2]
    assert seen == ["1", "1", "2"]
    assert [key for key, _ in store.scan()] == [session.key for session in manager], "no lock is left"


@pytest.mark.parametrize("end", [cherrypy.HTTPError(402), cherrypy.HTTPRedirect("/look"), cherrypy.NotFound()])
@pytest.mark.parametrize(("point", "priority"), LATE)
def test_late_hooks_of_answers_that_are_exceptions(serve: Serve, manager: Any, point: str, priority: int,
                                                   end: Exception) -> None:
    def page() -> None:
        raise end

    def change() -> None:
        cherrypy.session["late"] = 1

    site = serve({"visit": visit, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    site.app.merge({"/page": late(point, change, priority)})
    site.get("/page", cookie, status={"HTTPError": 402, "HTTPRedirect": 303, "NotFound": 404}[type(end).__name__])
    site.server.stop()
    assert [session["late"] for session in manager] == [1]


@pytest.mark.parametrize("priority", [40, 60, 95, 10 ** 6])
@pytest.mark.parametrize("change", ["begin", "login", "delete", "regenerate"])
def test_late_hooks_can_still_send_a_cookie_before_the_headers_are_out(serve: Serve, manager: Any, change: str,
                                                                       priority: int) -> None:
    def do() -> None:
        {"begin": visit, "login": lambda: cherrypy.session.set_user("ada"), "delete": cherrypy.session.delete,
         "regenerate": cherrypy.session.regenerate}[change]()

    site = serve({"visit": visit, "page": hello, "look": lambda: f"{look()} {cherrypy.session.user}"}, manager=manager)
    old = None if change == "begin" else site.cookie("/visit")
    site.app.merge({"/page": late("before_finalize", do, priority)})
    answer = site.get("/page", old)
    assert (answer.all("Cache-Control"), answer.all("Vary")) == (["no-store"], ["Cookie"])
    new = answer.all("Set-Cookie")[0].partition(";")[0]
    assert site.get("/look", new).text == {"begin": "1 None", "login": "1 ada", "delete": "None None",
                                           "regenerate": "1 None"}[change]
    assert site.get("/look", old).text == "None None"


@pytest.mark.parametrize("point", ["on_end_resource", "on_end_request"])
@pytest.mark.parametrize("change", ["begin", "login", "regenerate", "no value"])
def test_late_change_that_cannot_be_stored_is_logged(serve: Serve, manager: Any, store: Any, point: str, change: str,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    def do() -> None:
        {"begin": visit, "login": lambda: cherrypy.session.set_user("ada"), "regenerate": cherrypy.session.regenerate,
         "no value": lambda: cherrypy.session.update(key=lambda: None)}[change]()

    site = serve({"visit": visit, "page": hello}, manager=manager)
    cookie = site.cookie("/visit")
    before = list(store.scan())
    site.app.merge({"/page": late(point, do)})
    assert site.get("/page", None if change == "begin" else cookie).all("Set-Cookie") == []
    site.server.stop()
    assert ("no cookie could be sent any more" if change != "no value" else "'key'") in caplog.text
    assert list(store.scan()) == before


@pytest.mark.parametrize("point", ["on_end_resource", "on_end_request"])
def test_late_change_that_the_store_refuses_is_logged(serve: Serve, manager: Any, store: Any, point: str,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    def change() -> None:
        cherrypy.session["late"] = 1
        store.down = True

    site = serve({"visit": visit, "page": look}, manager=manager, locking="merge")
    cookie = site.cookie("/visit")
    site.app.merge({"/page": late(point, change)})
    assert site.get("/page", cookie).text == "1"
    site.server.stop()
    assert "after the answer was made" in caplog.text
    assert "the plug was pulled" in caplog.text


@pytest.mark.parametrize("point", ["on_end_resource", "on_end_request"])
def test_late_logout_ends_the_session(serve: Serve, manager: Any, point: str) -> None:
    site = serve({"visit": visit, "page": hello}, manager=manager)
    cookie = site.cookie("/visit")
    site.app.merge({"/page": late(point, lambda: cherrypy.session.delete())})
    site.get("/page", cookie)
    site.server.stop()
    assert list(manager) == []


@pytest.mark.parametrize(("point", "priority"), [("on_end_resource", 50), ("on_end_request", 10),
                                                 ("on_end_request", 10 ** 6), ("before_error_response", 10)])
def test_late_hooks_do_not_store_what_a_crash_undid(serve: Serve, manager: Any, store: Any, point: str,
                                                    priority: int) -> None:
    def crash() -> None:
        visit()
        raise RuntimeError("on purpose")

    def change() -> None:
        cherrypy.session["late"] = 1

    site = serve({"visit": visit, "crash": crash}, manager=manager)
    cookie = site.cookie("/visit")
    before = list(store.scan())
    site.app.merge({"/crash": late(point, change, priority)})
    site.get("/crash", cookie, status=500)
    site.server.stop()
    assert list(store.scan()) == before


@pytest.mark.parametrize("priority", [60, 95, 10 ** 6])
def test_hook_that_crashes_stores_nothing_of_its_own(serve: Serve, manager: Any, store: Any, priority: int) -> None:
    def crash() -> None:
        visit()
        raise RuntimeError("on purpose")

    site = serve({"visit": visit, "page": look}, manager=manager)
    cookie = site.cookie("/visit")
    before = list(store.scan())
    site.app.merge({"/page": late("before_finalize", crash, priority)})
    assert site.get("/page", cookie, status=500).all("Set-Cookie") == []
    assert list(store.scan()) == before


@pytest.mark.parametrize("priority", [10, 60, 95, 10 ** 6])
def test_hook_that_answers_stores_the_session(serve: Serve, manager: Any, priority: int) -> None:
    def answer() -> None:
        if not cherrypy.session.get("answered"):
            cherrypy.session["answered"] = True
            raise cherrypy.HTTPRedirect("/look")

    site = serve({"page": visit, "look": look}, manager=manager)
    site.app.merge({"/page": late("before_finalize", answer, priority)})
    cookie = site.cookie("/page", status=303)
    assert site.get("/look", cookie).text == "1"
    assert [session["answered"] for session in manager] == [True]


def test_settling_again_costs_nothing(serve: Serve, store: Any) -> None:
    manager = SessionManager(store, DictSession, touch_interval=0)
    site = serve({"look": look, "visit": visit}, manager=manager, locking="merge")
    cookie = site.cookie("/visit")
    store.calls.clear()
    site.get("/look", cookie)
    site.server.stop()
    assert store.calls.count("touch") == 1


def test_what_nothing_can_have_changed_is_not_compared_again(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    compared, payload = [], manager.sessions.codec.payload
    site = serve({"look": look, "visit": visit}, manager=manager)
    cookie = site.cookie("/visit")
    monkeypatch.setattr(manager.sessions.codec, "payload", lambda session: compared.append(1) or payload(session))
    site.get("/look", cookie)
    site.server.stop()
    assert len(compared) == 1


def test_what_a_page_changes_when_it_has_saved_is_stored(serve: Serve, manager: Any) -> None:
    def page() -> str:
        items = cherrypy.session.setdefault("items", [])
        cherrypy.session.save()
        items.append(1)
        return "page"

    site = serve({"page": page}, manager=manager)
    site.get("/page", site.cookie("/page"))
    site.server.stop()
    assert [session["items"] for session in manager] == [[1, 1]]


def test_two_sessions_of_one_request_are_both_stored(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    def fetch() -> None:
        cherrypy.request.cart = session2_cherrypy.StoreSession(manager=manager, name="cart", clean_freq=0)

    def page() -> str:
        cherrypy.session["n"] = cherrypy.request.cart["n"] = 1
        return "bought"

    monkeypatch.setattr(cherrypy.tools, "cart", cherrypy.Tool("before_handler", fetch), raising=False)
    site = serve({"page": page, "look": lambda: f"{look()} {cherrypy.request.cart.get('n')}"},
                 {"tools.cart.on": True}, manager=manager)
    cookies = [header.partition(";")[0] for header in site.get("/page").all("Set-Cookie")]
    assert site.get("/look", "; ".join(cookies)).text == "1 1"


def test_what_is_first_looked_at_behind_the_answer_is_stored(serve: Serve, manager: Any) -> None:
    def late() -> None:
        if cherrypy.request.path_info == "/":
            visit()

    site = serve({"index": hello, "visit": visit}, manager=manager)
    cookie = site.cookie("/visit")
    cherrypy.engine.subscribe("after_request", late)
    try:
        site.get("/", cookie)
        site.server.stop()
    finally:
        cherrypy.engine.unsubscribe("after_request", late)
    assert [session["n"] for session in manager] == [2]


def test_requests_that_never_reach_the_tool(serve: Serve, manager: Any) -> None:
    def refuse() -> None:
        raise cherrypy.HTTPError(405)

    site = serve({"visit": visit}, {"hooks.on_start_resource": refuse}, manager=manager)
    assert site.get("/visit", status=405).all("Set-Cookie") == []
    assert serve({"visit": visit}, manager=manager).get("/nowhere", status=404).all("Set-Cookie") == []


def test_internal_redirect_keeps_a_new_session(serve: Serve, manager: Any) -> None:
    def begin() -> None:
        visit()
        raise cherrypy.InternalRedirect("/look")

    def to_hello() -> None:
        visit()
        raise cherrypy.InternalRedirect("/")

    site = serve({"begin": begin, "look": look, "to_hello": to_hello, "index": hello}, manager=manager)
    answer = site.get("/begin")
    assert answer.text == "1"
    assert site.get("/look", answer.all("Set-Cookie")[0].partition(";")[0]).text == "1"
    assert site.get("/look", site.cookie("/to_hello")).text == "1"
    assert site.get("/begin", site.cookie("/begin")).text == "2"


def test_internal_redirect_by_a_page_with_the_tool_off_keeps_a_new_session(serve: Serve, manager: Any) -> None:
    def begin() -> None:
        visit()
        raise cherrypy.InternalRedirect("/between")

    def between() -> None:
        raise cherrypy.InternalRedirect("/look")

    site = serve({"begin": begin, "between": between, "look": look}, manager=manager)
    site.app.merge({"/between": {"tools.sessions.on": False}})
    assert site.get("/look", site.cookie("/begin")).text == "1"


def test_headers_survive_an_internal_redirect(serve: Serve, manager: Any) -> None:
    def to_hello(change: Callable[..., Any]) -> Callable[[], None]:
        def page() -> None:
            change()
            raise cherrypy.InternalRedirect("/")
        return page

    def logout() -> None:
        cherrypy.session.delete(clear_site_data=True)

    site = serve({"index": hello, "begin": to_hello(visit), "look": to_hello(look), "logout": to_hello(logout)},
                 manager=manager)
    assert site.get("/look").all("Vary") == ["Cookie"]
    answer = site.get("/begin")
    assert (answer.all("Vary"), answer.all("Cache-Control")) == (["Cookie"], ["no-store"])
    assert site.get("/logout").all("Clear-Site-Data") == ['"cache", "cookies", "storage"']


def test_headers_are_not_doubled_where_cherrypy_finalizes_twice(serve: Serve, manager: Any) -> None:
    def logout() -> str:
        cherrypy.session.delete(clear_site_data=True)
        return "good-bye"

    site = serve({"logout": logout}, {"tools.etags.on": True, "tools.etags.autotags": True}, manager=manager)
    tag = site.get("/logout").all("ETag")[0]
    answer = site.get("/logout", headers={"If-None-Match": tag}, status=304)
    assert answer.all("Clear-Site-Data") == ['"cache", "cookies", "storage"']
    assert answer.all("Vary") == ["Cookie"]


def test_internal_redirect_after_logout(serve: Serve, manager: Any, store: Any) -> None:
    def logout() -> None:
        cherrypy.session.delete()
        raise cherrypy.InternalRedirect("/look")

    site = serve({"visit": visit, "look": look, "logout": logout}, manager=manager)
    answer = site.get("/logout", site.cookie("/visit"))
    assert answer.text == "None"
    assert "Max-Age=0" in answer.all("Set-Cookie")[0]
    assert list(store.iter_sessions()) == []


def test_generator_runs_under_the_lock(serve: Serve, manager: Any) -> None:
    def page() -> Any:
        cherrypy.session["n"] = cherrypy.session.get("n", 0)
        yield str(cherrypy.session.locked)
        cherrypy.session["n"] += 1
        yield ""

    site = serve({"visit": visit, "page": page, "look": look}, manager=manager)
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "True"
    assert site.get("/look", cookie).text == "2"


# -- streams -----------------------------------------------------------------------------------------------------------

STREAM = {"response.stream": True}


def test_stream_sends_the_cookie_before_the_body(serve: Serve, manager: Any) -> None:
    def page() -> Any:
        visit()

        def body() -> Any:
            yield "first "
            cherrypy.session["n"] += 1
            yield "second"

        return body()

    site = serve({"page": page, "look": look}, STREAM, manager=manager)
    answer = site.get("/page")
    cookie = answer.all("Set-Cookie")[0].partition(";")[0]
    assert answer.text == "first second"
    assert site.get("/look", cookie).text == "2"
    assert site.get("/page", cookie).text == "first second"
    assert site.get("/look", cookie).text == "4"


def test_stream_holds_the_lock_until_its_end(serve: Serve, store: Any) -> None:
    holding: list[bool] = []

    def page() -> Any:
        visit()

        def body() -> Any:
            holding.append(any(key.startswith("lock-") for key, _ in store.scan()))
            yield "body"

        return body()

    site = serve({"page": page, "visit": visit}, STREAM, manager=SessionManager(store))
    site.get("/page", site.cookie("/visit"))
    assert holding == [True]
    assert not [key for key, _ in store.scan() if key.startswith("lock-")]


def test_login_in_a_stream_comes_too_late(serve: Serve, manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    def page() -> Any:
        cherrypy.session.load()

        def body() -> Any:
            yield "body"
            cherrypy.session.user = "ada"

        return body()

    site = serve({"page": page, "visit": visit, "who": lambda: str(cherrypy.session.user)}, STREAM, manager=manager)
    cookie = site.cookie("/visit")
    site.get("/page", cookie)
    site.get("/page")
    assert caplog.text.count("no cookie could be sent any more") == 2
    assert site.get("/who", cookie).text == "None"
    assert len(list(manager)) == 1


@pytest.mark.parametrize("known", [False, True])
def test_live_items_in_a_stream_begin_no_session_that_nobody_can_reach(
        serve: Serve, store: Any, caplog: pytest.LogCaptureFixture, known: bool) -> None:
    def page() -> Any:
        cherrypy.session.load()

        def body() -> Any:
            yield "body"
            cherrypy.session.session["n"] = 5

        return body()

    manager = SessionManager(store, LiveDictSession)
    site = serve({"page": page, "visit": visit}, STREAM, manager=manager)
    site.get("/page", site.cookie("/visit") if known else None)
    assert [session["n"] for session in manager] == ([5] if known else [])
    assert ("no cookie could be sent any more" in caplog.text) is not known


def test_a_session_that_outlives_its_request_knows_what_it_was_told(serve: Serve, manager: Any) -> None:
    kept = []

    def page() -> str:
        kept.append(cherrypy.serving.session)
        return str(cherrypy.session.session.get_csrf_token())

    site = serve({"page": page}, manager=manager)
    cookie = site.cookie("/page")
    site.get("/page", cookie)
    gc.collect()
    _, session = kept
    assert (session.session.valid_csrf_token(), session.originalid) == (False, session.id)
    session.delete()
    assert dict(session.session) == {}
    assert list(manager) == []


def test_logout_in_a_stream_ends_the_session(serve: Serve, manager: Any) -> None:
    def page() -> Any:
        cherrypy.session.load()

        def body() -> Any:
            yield "body"
            cherrypy.session.delete()

        return body()

    site = serve({"page": page, "visit": visit, "look": look}, STREAM, manager=manager)
    cookie = site.cookie("/visit")
    site.get("/page", cookie)
    assert site.get("/look", cookie).text == "None"


# -- when the session cannot be had ------------------------------------------------------------------------------------


def test_store_that_is_down(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({"visit": visit, "index": hello}, manager=manager)
    cookie = site.cookie("/visit")
    store.down = True
    assert site.get("/visit", cookie, status=503).all("Set-Cookie") == []
    assert site.get("/visit", status=503).all("Set-Cookie") == []
    assert site.get("/", cookie).text == "hello"
    store.down = False
    assert site.get("/visit", cookie).text == "2"


@pytest.mark.parametrize("end", [None, cherrypy.HTTPRedirect("/look"), cherrypy.NotFound(),
                                 cherrypy.InternalRedirect("/look")])
def test_conflict_is_409(serve: Serve, store: Any, end: Exception | None) -> None:
    manager = SessionManager(store, DictSession, concurrency="strict")

    def overtaken() -> str:
        visit()
        (session,) = manager.values()
        session["n"] = 100
        manager.save(session)
        if end is not None:
            raise end
        return "never sent"

    site = serve({"visit": visit, "overtaken": overtaken, "look": look}, manager=manager)
    cookie = site.cookie("/visit")
    answer = site.get("/overtaken", cookie, status=409)
    assert (answer.all("Set-Cookie"), answer.all("Vary")) == ([], ["Cookie"])
    assert site.get("/look", cookie).text == "100"


def test_lock_that_is_never_free_is_503(serve: Serve, store: Any) -> None:
    manager = SessionManager(store, DictSession, lock_timeout=0)

    def twice() -> None:
        for _ in range(2):
            with pytest.raises(cherrypy.HTTPError):
                cherrypy.session.get("n")
        visit()

    site = serve({"visit": visit, "twice": twice}, manager=manager)
    cookie = site.cookie("/visit")
    with manager.lock(cookie.partition("=")[2]):
        answer = site.get("/visit", cookie, status=503)
        assert answer.all("Retry-After") == ["1"]
        assert answer.all("Set-Cookie") == []
        store.calls.clear()
        site.get("/twice", cookie, status=503)
        assert store.calls.count("write lock") == 1, "one request waits for the lock once"
    assert site.get("/visit", cookie).text == "2"


@pytest.mark.parametrize("error", [cherrypy.HTTPError(403), RuntimeError()])
def test_session_that_refuses_the_request_leaves_no_lock(serve: Serve, store: Any, error: Exception) -> None:
    class Refusing(DictSession):
        def start_request(self) -> None:
            if "n" in self:
                raise error

    site = serve({"visit": visit}, manager=SessionManager(store, Refusing))
    site.get("/visit", site.cookie("/visit"), status=403 if isinstance(error, cherrypy.HTTPError) else 500)
    assert not [key for key, _ in store.scan() if key.startswith("lock-")]


@pytest.mark.parametrize("mode", ["strict", "read-only"])
def test_concurrency_of_the_manager_holds(serve: Serve, store: Any, mode: Any) -> None:
    modes: list[str] = []

    def page() -> str:
        cherrypy.session.load()
        modes.append(cherrypy.session._exchange.visit.concurrency)
        return "ok"

    manager = SessionManager(store, DictSession, concurrency=mode)
    serve({"page": page}, manager=manager).get("/page")
    serve({"page": page}, manager=manager, locking="explicit").get("/page")
    serve({"page": page}, manager=manager, locking="implicit").get("/page")
    assert modes == [mode, mode, "lock"]


def test_conflict_error_names_its_cause() -> None:
    from session2_cherrypy.answers import refuse

    with pytest.raises(cherrypy.HTTPError) as caught:
        refuse(SessionConflict("why"))
    assert isinstance(caught.value.__cause__, SessionConflict)
