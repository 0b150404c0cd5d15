"""The pages of the demonstration by themselves: on a clock that is set, on stores of every kind."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from demo import on_wsgi
from demo.pages import Site, make_manager, runs
from demo.pages.browser import named
from demo.pages.html import ago, markup, span
from demo.pages.overview import MOST_VALUES
from session2 import from_url, get_secret
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock


class Visitor:
    """A browser of a site that is not served."""

    def __init__(self, site: Site, user_agent: str = "") -> None:
        self.application = on_wsgi.application(site)
        self.user_agent = user_agent
        self.cookies: dict[str, str] = {}
        self.status = ""
        self.more: dict[str, str] = {}
        """What else is in the environment of requests."""

    def get(self, path: str = "/") -> str:
        return self._ask("GET", path, b"")

    def post(self, path: str, **fields: str) -> str:
        """Post a form with the token of the session, and return the page that it leads to."""
        token = re.search(r'name="csrf" content="([^"]*)"', self.get())[1]
        return self._ask("POST", path, urlencode({"csrf_token": token, **fields}).encode())

    def _ask(self, method: str, path: str, body: bytes) -> str:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path.partition("?")[0], "SERVER_PROTOCOL": "HTTP/1.1",
                   "QUERY_STRING": path.partition("?")[2], "wsgi.input": io.BytesIO(body), "HTTP_HOST": "localhost",
                   "CONTENT_LENGTH": str(len(body)), "HTTP_USER_AGENT": self.user_agent, "REMOTE_ADDR": "192.0.2.1",
                   "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **self.more}
        sent = {}
        text = b"".join(self.application(environ, lambda status, headers: sent.update(status=status, headers=headers)))
        self.status = sent["status"]
        for name, value in sent["headers"]:
            if name == "Set-Cookie":
                self.cookies.update({each.key: each.value for each in SimpleCookie(value).values()})
        self.cookies = {name: value for name, value in self.cookies.items() if value}
        location = dict(sent["headers"]).get("Location")
        return text.decode() if location is None else self.get(location)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def site(clock):
    return site_of(VolatileSessionStore(clock=clock))


def site_of(store, idle=None) -> Site:
    return Site(make_manager(store, idle), "volatile", {"wsgi": "WSGI"}, {"wsgi": 1})


def test_a_session_that_nobody_used_has_expired_and_the_page_says_so(clock):
    visitor = Visitor(site_of(VolatileSessionStore(clock=clock), idle=60))
    assert "1 minute left" in visitor.post("/login", user="anne")
    clock.advance(50)
    assert "The session of anne" in visitor.get()
    clock.advance(50)
    assert "The session of anne" in visitor.get()
    clock.advance(61)
    assert "Your session has expired" in visitor.get()


def test_the_id_is_renewed_by_the_clock_and_the_clock_is_seen(site, clock):
    visitor = Visitor(site)
    visitor.post("/begin")
    before = dict(visitor.cookies)
    clock.advance(899)
    assert "1 second left" in visitor.get()
    assert visitor.cookies == before
    clock.advance(2)
    visitor.get()
    assert visitor.cookies != before
    assert "15 minutes left" in visitor.get()


def test_an_administrator_is_none_at_the_next_start(site):
    visitor = Visitor(site)
    assert "Welcome" in visitor.post("/admin/login", password=site.password)
    assert "Sessions by user" in visitor.get("/admin")
    visitor.application = on_wsgi.application(site_of(site.manager.store))
    assert "Sessions by user" not in visitor.get("/admin")
    assert "The password was printed" in visitor.get("/admin")


def test_the_password_is_another_one_each_time_and_in_no_text(site):
    other = site_of(site.manager.store)
    assert site.password != other.password
    assert len(site.password) >= 12
    assert not [word for word in (site.password, site.start) if word in repr(site)]


def test_becoming_an_administrator_gives_a_new_id(site):
    visitor = Visitor(site)
    visitor.post("/begin")
    before = dict(visitor.cookies)
    visitor.post("/admin/login", password=site.password)
    assert visitor.cookies != before
    visitor.cookies = before
    assert "Sessions by user" not in visitor.get("/admin")


def test_the_administrator_purges_what_has_expired(site, clock):
    visitor = Visitor(site)
    visitor.post("/admin/login", password=site.password)
    for _ in range(3):
        Visitor(site).post("/begin")
    for _ in range(14):  # whoever uses a session keeps it
        clock.advance(86400)
        visitor.get("/admin")
    clock.advance(1)
    assert "Purged: 3 records deleted." in visitor.post("/admin/purge")


def test_where_ids_are_not_hashed_no_page_shows_one_either(clock):
    site = site_of(VolatileSessionStore(clock=clock, hash_ids=False))
    visitor, other = Visitor(site), Visitor(site)
    for each in (visitor, other):
        each.post("/login", user="anne")
    visitor.post("/admin/login", password=site.password)
    ids = {*visitor.cookies.values(), *other.cookies.values()}
    for path in ("/", "/devices", "/admin", "/labs"):
        assert not [id for id in ids if id in visitor.get(path)]
    own, others = re.findall(r'name="key" value="(\w+)"', visitor.get("/devices"))
    visitor.post("/devices/end", key=others)
    assert own in visitor.get("/devices")
    assert "Your session was ended" in other.get()


def test_a_store_that_cannot_list_says_so_and_all_else_works(monkeypatch):
    monkeypatch.setenv("SESSION2_SECRETS", get_secret())
    site = site_of(from_url("cookie:?serializer=encrypted-json"))
    visitor = Visitor(site)
    assert "The session of anne" in visitor.post("/login", user="anne")
    visitor.post("/add")
    assert 'id="counter">1<' in visitor.post("/set", key="a", value="b")
    assert "cannot list sessions" in visitor.get("/devices")
    visitor.post("/devices/end", key="x")
    assert visitor.status.startswith("200")
    visitor.post("/admin/login", password=site.password)
    assert "cannot list sessions" in visitor.get("/admin")
    for action in ("purge", "user", "end"):
        visitor.post(f"/admin/{action}", key="x", user="anne")
        assert visitor.status.startswith("200")
    assert "requests that overlap do not meet" in visitor.get("/labs")
    assert "no administrator" in visitor.post("/admin/leave")
    assert "No session" in visitor.post("/logout")


def test_a_race_of_what_is_none_is_refused(site):
    visitor = Visitor(site)
    visitor.post("/begin")
    for fields in ({"mode": "merge", "n": "1"}, {"mode": "x", "n": "1"}):
        visitor.post("/lab/add", **fields)
        assert visitor.status.startswith("400")
    visitor.post("/lab/begin")
    for number in ("", "-1", "50", "x", "٣²", "9" * 5000):
        visitor.post("/lab/add", mode="merge", n=number)
        assert visitor.status.startswith("400")
    visitor.post("/lab/add", mode="merge", n="49")
    assert visitor.status.startswith("200")
    visitor.post("/lab/add", mode="merge", n="000049")
    assert '"counter": 2, "keys": ["49"]' in visitor.get("/lab/state")


def test_an_experiment_that_fails_says_so(site):
    """The one port of this site is served by nobody."""
    visitor = Visitor(site)
    text = visitor.post("/lab/run", lab="logins")
    assert "The experiment itself failed" in text
    assert "Race lab" in visitor.post("/lab/run", lab="nonsense")


def test_a_step_that_should_not_be_makes_the_verdict_so():
    run = runs.Run("A run")
    run.step("here", "all is well", "good")
    run.conclude("Fine.")
    assert run.verdict == "Fine."
    run.step("here", "it is not", "bad")
    run.conclude("Fine.")
    assert run.verdict == "This should not be."


def test_what_the_address_says_was_done_is_believed_only_where_it_can_be(site):
    visitor = Visitor(site)
    assert 'role="status"' not in visitor.get("/?done=in")
    assert 'role="status"' not in visitor.get("/?done=<b>")
    assert "Logged out." in visitor.get("/?done=out")


def test_a_number_that_is_too_long_for_python_is_none(site):
    visitor = Visitor(site)
    assert 'role="status"' not in visitor.get("/admin?done=" + "9" * 5000)
    assert visitor.status.startswith("200")


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://[::1", "http://evil.test", "http://localhost:1@evil"])
def test_a_form_of_an_origin_that_is_none_is_refused(site, origin):
    visitor = Visitor(site)
    visitor.more["HTTP_ORIGIN"] = origin
    assert "Not done" in visitor.post("/login", user="anne")
    assert visitor.status.startswith("403")


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 5000])
def test_a_length_that_is_none_is_that_of_no_form(site, length):
    """A negative one would have all be read that the visitor ever sends."""
    visitor = Visitor(site)
    visitor.more["CONTENT_LENGTH"] = length
    assert "The session of somebody" in visitor.post("/login", user="anne")


def test_no_more_experiments_wait_than_may_however_many_begin_at_once(site, monkeypatch):
    begun, end = threading.Barrier(2), threading.Event()

    class Slow(runs.Run):
        def __init__(self, title):
            super().__init__(title)
            with contextlib.suppress(threading.BrokenBarrierError):
                begun.wait(0.2)

    monkeypatch.setattr(runs, "Run", Slow)
    experiment = "Waiting", lambda site, run: end.wait(60)
    with ThreadPoolExecutor(2 * runs.WAITING) as pool:
        found = list(pool.map(lambda _: runs.start(experiment, site), range(2 * runs.WAITING)))
    end.set()
    started = [run for run in found if run is not None]
    assert len(started) == runs.WAITING
    assert all(run.over.wait(60) for run in started)


@pytest.mark.parametrize("original", [False, True])
def test_values_are_bounded(site, original):
    visitor = Visitor(site)
    visitor.get("/original/login?user=" + "x" * 5000) if original else visitor.post("/login", user="x" * 5000)
    for number in range(MOST_VALUES + 5):
        if original:
            visitor.get(f"/original/set?key=k{number}&value={'v' * 5000}")
        else:
            visitor.post("/set", key=f"k{number}", value="v" * 5000)
    page = visitor.get()
    assert page.count("vvvv</code>") == MOST_VALUES
    assert len(page) < 60_000


@pytest.mark.parametrize(("user_agent", "name"), [
    ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
    ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0",
     "Edge on Windows"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1 Version/17.0 Safari/604.1",
     "Safari on iPhone"),
    ("curl/8.0", "curl"), ("<script>", "another browser"), (None, "another browser")])
def test_a_browser_is_named_in_a_few_words(user_agent, name):
    assert named(user_agent) == name


def test_what_is_filled_in_is_escaped_unless_it_is_html():
    assert markup("<p>{text}{html}{nothing}</p>", text="<&'\"{x}>", html=markup("<b>{a}</b>", a="&"), nothing=None) == \
        "<p>&lt;&amp;&#x27;&quot;{x}&gt;<b>&amp;</b></p>"


@pytest.mark.parametrize(("seconds", "words"), [
    (-5, "0 seconds"), (1, "1 second"), (59.4, "59 seconds"), (60, "1 minute"), (899, "14 minutes 59 s"),
    (7200, "2 hours"), (90_000, "1 day 1 h"), (14 * 86400, "14 days")])
def test_durations_are_told_in_words(seconds, words):
    assert span(seconds) == words
    assert ago(seconds) == ("just now" if seconds < 2 else f"{words} ago")
