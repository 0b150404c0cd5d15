"""What sites do with CherryPy's own sessions: to the drafted cookie, in error pages, in threads of their own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import cherrypy
import pytest

from session2 import ConfigurationError, DictSession, SessionManager, StoreUnavailable
from session2.migrate import cookies
from session2.migrate.bringing import bring
from session2.migrate.source import Former
from session2.store.cookie import CookieSessionStore
from session2.store.volatile import VolatileSessionStore
from session2_cherrypy import StoreSession

Serve = Callable[..., Any]

expire = cherrypy.lib.sessions.expire


def visit() -> str:
    cherrypy.session["n"] = cherrypy.session.get("n", 0) + 1
    return str(cherrypy.session["n"])


def look() -> str:
    return str(cherrypy.session.get("n"))


@pytest.fixture
def manager() -> SessionManager[DictSession]:
    return SessionManager(VolatileSessionStore(), DictSession)


def drafting(**attributes: Any) -> Callable[[], str]:
    """Return a page that looks at its session and says how the cookie is to be."""
    def page() -> str:
        draft = cherrypy.response.cookie["session_id"]
        for name, value in attributes.items():
            draft[name.replace("_", "-")] = value
        return look()

    return page


# -- the cookie that the tool drafts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("attributes", "expected"), [
    ({"samesite": "strict"}, "SameSite=Strict"), ({"secure": True}, "Secure"), ({"path": "/shop"}, "Path=/shop"),
    ({"max_age": 60}, "Max-Age=60"), ({"max_age": "", "expires": 90}, "Max-Age=90"),
    *[({"max_age": "", "expires": f"Fri, 31 Dec {year} 23:59:59 GMT"}, "Max-Age=34560000") for year in (2055, 9999)],
])
def test_what_a_page_makes_of_the_cookie_holds(serve: Serve, manager: Any, attributes: Any, expected: str) -> None:
    def page() -> str:
        visit()
        return drafting(**attributes)()

    (header,) = serve({"page": page}, manager=manager).get("/page").all("Set-Cookie")
    assert expected in header
    assert "HttpOnly" in header


@pytest.mark.parametrize("priority", [40, 60, 95])
def test_what_a_hook_makes_of_the_cookie_holds(serve: Serve, manager: Any, priority: int) -> None:
    def page() -> str:
        cherrypy.request.hooks.attach("before_finalize", drafting(samesite="Strict"), priority=priority)
        return visit()

    site = serve({"page": page}, manager=manager)
    (header,) = site.get("/page").all("Set-Cookie")
    assert "SameSite=Strict" in header
    assert site.get("/page", header.partition(";")[0]).all("Set-Cookie") == []


@pytest.mark.parametrize("lasting", [
    drafting(max_age=60), lambda: look() + str(cherrypy.lib.sessions.set_response_cookie(timeout=1))])
def test_a_cookie_that_is_to_last_longer_is_sent_once_more(serve: Serve, manager: Any, lasting: Any) -> None:
    site = serve({"visit": visit, "look": look, "page": lasting}, manager=manager)
    cookie = site.cookie("/visit")
    (header,) = site.get("/page", cookie).all("Set-Cookie")
    assert header.startswith(cookie)
    assert "Max-Age=60" in header
    assert site.get("/look", cookie).all("Set-Cookie") == []


def test_regenerating_a_session_that_ends_with_the_browser_does_not_make_it_last(serve: Serve, manager: Any) -> None:
    site = serve({"visit": visit, "page": lambda: str(cherrypy.tools.sessions.regenerate())}, manager=manager,
                 persistent=False)
    (header,) = site.get("/page", site.cookie("/visit")).all("Set-Cookie")
    assert "Max-Age" not in header


def foreign() -> str:
    cherrypy.response.cookie["session_id"] = "deleted"
    return ""


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("leave", [
    drafting(max_age=0), drafting(max_age="", expires=0), foreign, lambda: str(expire()),
    drafting(max_age="", expires="Thu, 01 Jan 1970 00:00:00 GMT"), drafting(expires="0", max_age="0")])
def test_who_takes_the_cookie_away_logs_out(serve: Serve, manager: Any, leave: Any, persistent: bool) -> None:
    site = serve({"visit": visit, "look": look, "leave": leave}, manager=manager, persistent=persistent)
    cookie = site.cookie("/visit")
    (header,) = site.get("/leave", cookie).all("Set-Cookie")
    assert "Max-Age=0" in header
    assert list(manager) == []


def test_a_date_to_come_is_no_logout(serve: Serve, manager: Any) -> None:
    page = drafting(expires="Fri, 31 Dec 2055 23:59:59 GMT")
    site = serve({"visit": visit, "look": look, "page": page}, manager=manager, persistent=False)
    cookie = site.cookie("/visit")
    assert site.cookie("/page", cookie) == cookie
    assert site.get("/look", cookie).text == "1"


@pytest.mark.parametrize("wrong", [
    {"max_age": "soon"}, {"max_age": "", "expires": "soon"}, {"max_age": "", "expires": datetime.now()},
    {"samesite": "None"}])
def test_a_cookie_that_no_browser_takes_is_an_error(serve: Serve, manager: Any, wrong: Any,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    serve({"page": drafting(**wrong)}, manager=manager).get("/page", status=500)
    assert "ConfigurationError" in caplog.text


class Jar:
    """A browser with the cookies of one site."""

    def __init__(self, site: Any) -> None:
        self.site, self.cookies = site, {}

    def get(self, path: str) -> str:
        answer = self.site.get(path, "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None)
        for header in answer.all("Set-Cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.text


def test_a_session_tool_may_have_another_name(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cherrypy.tools, "mine", cherrypy._cptools.SessionTool(), raising=False)
    settings = {"on": True, "manager": manager, "storage_class": StoreSession, "name": "mine", "persistent": False}
    site = serve({"hello": lambda: cherrypy.session.id, "visit": visit, "look": look},
                 {f"tools.mine.{name}": value for name, value in settings.items()}, on=False)
    browser = Jar(site)
    assert len(browser.get("/hello")) == 43
    assert browser.cookies == {}
    browser.get("/visit")
    assert browser.get("/visit") == "2"
    assert list(browser.cookies) == ["mine"]
    assert "Max-Age" not in site.get("/visit").all("Set-Cookie")[0]


def test_a_session_that_a_page_begins_itself_has_the_name_it_is_given(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.lib.sessions.init(storage_class=StoreSession, manager=manager, name="mine", secure=True)
        cherrypy.request.hooks.attach("before_finalize", cherrypy.lib.sessions.save)
        return visit()

    browser = Jar(serve({"page": page}, on=False))
    assert [browser.get("/page"), browser.get("/page"), list(browser.cookies)] == ["1", "2", ["mine"]]


def test_a_session_beside_that_of_the_tool_keeps_its_name(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    def fetch() -> None:
        cherrypy.request.cart = StoreSession(manager=manager, name="cart", clean_freq=0)

    def page() -> str:
        cherrypy.request.cart["n"] = 7
        return visit()

    monkeypatch.setattr(cherrypy.tools, "cart", cherrypy.Tool("before_handler", fetch), raising=False)
    browser = Jar(serve({"page": page}, {"tools.cart.on": True}, manager=manager, name="shop"))
    assert [browser.get("/page"), browser.get("/page"), sorted(browser.cookies)] == ["1", "2", ["cart", "shop"]]


def test_a_session_that_was_moved_in_is_no_logout_where_its_cookie_is_set(serve: Serve) -> None:
    manager = SessionManager(VolatileSessionStore(), DictSession, former=[cookies.cherrypy("old")])
    bring(manager.store, Former("4f" * 20, {"data": {"n": 7}}))
    site = serve({"look": look, "page": lambda: look() + str(cherrypy.lib.sessions.set_response_cookie())},
                 manager=manager)
    headers = site.get("/page", "old=" + "4f" * 20).all("Set-Cookie")
    (cookie,) = (header.partition(";")[0] for header in headers if header.startswith("session_id="))
    assert site.get("/look", cookie).text == "7"


def test_who_comes_back_behind_a_logout_has_a_cookie_as_configured(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.request.hooks.attach("before_finalize", visit, priority=60)
        return str(expire())

    site = serve({"visit": visit, "look": look, "page": page}, manager=manager)
    (header,) = site.get("/page", site.cookie("/visit")).all("Set-Cookie")
    assert "Max-Age=1209600" in header
    assert site.get("/look", header.partition(";")[0]).text == "1"


def test_a_draft_may_be_stripped(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.response.cookie["session_id"].clear()
        return visit()

    site = serve({"page": page}, manager=manager)
    assert site.get("/page", site.cookie("/page")).text == "2"


# -- the pages of errors -----------------------------------------------------------------------------------------------


def crash() -> None:
    cherrypy.session["n"] = 99
    raise ZeroDivisionError


def crash_logging_out() -> None:
    expire()
    crash()


def redirect() -> None:
    expire()
    raise cherrypy.HTTPRedirect("/look")


@pytest.mark.parametrize(("config", "status"), [
    ({"error_page.default": lambda **_: str(expire())}, 500), ({"request.error_response": expire}, 200),
    ({"request.error_response": redirect}, 303)])
def test_an_error_page_may_log_out(serve: Serve, manager: Any, config: Any, status: int) -> None:
    site = serve({"visit": visit, "look": look, "crash": crash}, config, manager=manager)
    cookie = site.cookie("/visit")
    answer = site.get("/crash", cookie, status)
    (header,) = answer.all("Set-Cookie")
    assert "Max-Age=0" in header
    assert "custom error page failed" not in answer.text
    assert list(manager) == []


def test_an_error_page_ends_a_session_in_a_cookie_too(serve: Serve) -> None:
    manager = SessionManager(CookieSessionStore("of many letters, and of digits: 0123456789"), DictSession)
    site = serve({"visit": visit, "look": look, "crash": crash}, {"error_page.default": lambda **_: str(expire())},
                 manager=manager)
    cookies = "; ".join(cookie.partition(";")[0] for cookie in site.get("/visit").all("Set-Cookie"))
    sent = site.get("/crash", cookies, 500).all("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in sent} == {pair.partition("=")[0] for pair in cookies.split("; ")}
    assert all("Max-Age=0" in cookie for cookie in sent)


def test_a_crash_undoes_a_logout_but_for_that_of_its_page(serve: Serve, manager: Any) -> None:
    site = serve({"visit": visit, "look": look, "crash": crash_logging_out},
                 {"error_page.default": lambda **_: "sorry"}, manager=manager)
    cookie = site.cookie("/visit")
    assert site.get("/crash", cookie, 500).all("Set-Cookie") == []
    assert site.get("/look", cookie).text == "1"


def test_a_redirection_of_an_error_page_sends_no_draft(serve: Serve, manager: Any) -> None:
    def page() -> None:
        raise cherrypy.HTTPRedirect("/look")

    site = serve({"visit": visit, "look": look, "crash": crash}, {"request.error_response": page}, manager=manager)
    assert site.get("/crash", site.cookie("/visit"), 303).all("Set-Cookie") == []


def test_an_error_page_that_cannot_log_out_is_shown(serve: Serve, manager: Any, monkeypatch: Any,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("out of order")

    site = serve({"visit": visit, "crash": crash}, {"error_page.default": lambda **_: str(expire()) + "sorry"},
                 manager=manager)
    cookie = site.cookie("/visit")
    monkeypatch.setattr(manager.store, "write", fail)
    assert "sorry" in site.get("/crash", cookie, 500).text
    assert "could not be ended that an error page expired" in caplog.text


# -- looking again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locking", ["explicit", "implicit"])
def test_load_takes_in_what_others_stored(serve: Serve, manager: Any, locking: str) -> None:
    def page() -> str:
        mine = cherrypy.session
        mine["mine"] = 1
        other = manager.load(mine.id)
        other["n"] = 5
        manager.save(other)
        mine.load()
        return f"{mine['n']} {mine['mine']}"

    site = serve({"visit": visit, "look": look, "page": page}, manager=manager, locking=locking)
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "5 1"


def test_load_shows_that_the_session_has_ended(serve: Serve, manager: Any) -> None:
    def page() -> str:
        look()
        manager.delete(cherrypy.session.id)
        cherrypy.session.load()
        return look()

    site = serve({"visit": visit, "page": page}, manager=manager)
    assert site.get("/page", site.cookie("/visit")).text == "None"


# -- threads that go on behind the request -----------------------------------------------------------------------------


class Worker:
    """A page that keeps its session, for what is done when the request is over."""

    def __init__(self) -> None:
        self.session: Any = None
        self.is_over = threading.Event()

        def page() -> str:
            self.session = cherrypy.serving.session
            self.is_over.clear()
            cherrypy.request.hooks.attach("on_end_request", self.is_over.set, priority=math.inf)
            return look()

        self.page = page

    def work(self, job: Callable[[Any], object]) -> None:
        """Do something in another thread, when the request is over; what it raises is raised here."""
        assert self.is_over.wait(60)
        with ThreadPoolExecutor() as threads:
            threads.submit(job, self.session).result()


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_thread_stores_what_it_has_done(serve: Serve, manager: Any, worker: Worker) -> None:
    site = serve({"visit": visit, "look": look, "page": worker.page}, manager=manager)
    cookie = site.cookie("/visit")
    site.get("/page", cookie)
    site.get("/visit", cookie)

    def job(session: Any) -> None:
        session.acquire_lock()
        with pytest.raises(Exception, match="locked"):
            manager.store.lock(session.session.key, timeout=0)
        session.renew_lock()
        session["n"] += 1
        session.save()
        manager.store.lock(session.session.key, timeout=0).release()
        session["n"] += 1
        session.save()

    worker.work(job)
    assert site.get("/look", cookie).text == "4"


def test_a_thread_that_cannot_look_leaves_no_lock(serve: Serve, manager: Any, worker: Worker, monkeypatch: Any) -> None:
    def fail(_: str) -> None:
        raise StoreUnavailable("the plug was pulled")

    site = serve({"visit": visit, "page": worker.page}, manager=manager)
    site.get("/page", site.cookie("/visit"))
    with monkeypatch.context() as broken:
        broken.setattr(manager.store, "read", fail)
        with pytest.raises(StoreUnavailable):
            worker.work(lambda session: session.acquire_lock())
    manager.store.lock(worker.session.session.key, timeout=0).release()


def test_a_thread_may_empty_or_end_its_session(serve: Serve, manager: Any, worker: Worker) -> None:
    site = serve({"visit": visit, "look": look, "page": worker.page}, manager=manager)
    for job in (lambda session: (session.clear(), session.save()), lambda session: session.delete()):
        cookie = site.cookie("/visit")
        site.get("/page", cookie)
        worker.work(job)
        assert site.get("/look", cookie).text == "None"


@pytest.mark.parametrize("change", [
    lambda session: session.set_user("me"), lambda session: session.regenerate(),
    lambda session: (session.delete(), session.update(a=1))])
def test_what_a_browser_must_be_told_comes_too_late_in_a_thread(serve: Serve, manager: Any, worker: Worker,
                                                                change: Any) -> None:
    site = serve({"visit": visit, "look": look, "page": worker.page}, manager=manager)
    site.get("/page", site.cookie("/visit"))
    with pytest.raises(ConfigurationError, match="request is over"):
        worker.work(lambda session: (change(session), session.save()))


def test_a_session_in_a_cookie_cannot_be_stored_by_a_thread(serve: Serve, worker: Worker) -> None:
    manager = SessionManager(CookieSessionStore("of many letters, and of digits: 0123456789"), DictSession)
    site = serve({"visit": visit, "page": worker.page}, manager=manager)
    cookies = site.get("/visit").all("Set-Cookie")
    site.get("/page", "; ".join(cookie.partition(";")[0] for cookie in cookies))
    with pytest.raises(ConfigurationError, match="kept in its cookie"):
        worker.work(lambda session: (session.update(n=5), session.save()))


def test_a_session_that_nothing_is_in_may_be_saved_by_a_thread(serve: Serve, manager: Any, worker: Worker) -> None:
    serve({"page": worker.page}, manager=manager).get("/page")
    worker.work(lambda session: (session.acquire_lock(), session.renew_lock(), session.save()))
    assert list(manager) == []


# -- settings ----------------------------------------------------------------------------------------------------------


def test_the_timeout_is_that_which_holds(serve: Serve, manager: Any) -> None:
    for settings, expected in (({}, 14 * 24 * 60), ({"timeout": 5}, 5)):
        site = serve({"page": lambda: str(cherrypy.session.timeout)}, manager=manager, **settings)
        assert float(site.get("/page").text) == expected
    for_ever = SessionManager(VolatileSessionStore(), DictSession, idle_timeout=None)
    assert serve({"page": lambda: str(cherrypy.session.timeout)}, manager=for_ever).get("/page").text == "inf"


def test_a_timeout_of_one_session_is_refused(serve: Serve, manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    def page() -> str:
        cherrypy.session.timeout = 5
        return ""

    serve({"page": page}, manager=manager).get("/page", status=500)
    assert "tools.sessions.timeout" in caplog.text


def test_a_stand_in_of_a_test_stays(serve: Serve, manager: Any, monkeypatch: Any) -> None:
    stand_in = SimpleNamespace(get={"n": 7}.get, save=lambda: None, locked=False, acquire_lock=lambda: None)
    monkeypatch.setattr(cherrypy, "session", stand_in, raising=False)
    assert serve({"look": look}, manager=manager).get("/look").text == "7"
