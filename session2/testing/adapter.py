"""`AdapterSuite`: what it means that an adapter works, as tests that drive a whole application over real HTTP.

Suppose an adapter for a framework.  Its test file holds one function, which runs in a server process of its own, and
one class::

    def serve(manager: SessionManager[PageSession], ready: Callable[[int], None], https: bool) -> None:
        application = ...       # leads every path to pages.answer(path, Call(...)); see session2.testing.pages
        server = ...            # on 127.0.0.1 and any free port
        ready(server.port)      # once it answers
        server.serve_forever()  # the suite ends the process

    class TestFramework(AdapterSuite):
        server = f"{__file__}:serve"
        threads = 10

With ``https`` the application must take every request for one over HTTPS, as behind a proxy that says so.  A page that
raises `pages.Redirect` or `pages.NotFound` is a redirection or a 404 as the framework has it; any other exception must
become the framework's own answer to a crash, with status 500.

The suite makes the manager (a directory store in an empty folder, `PageSession`, a `CookiePolicy`, a clock that it
moves), starts as many servers as a test needs, and stops them.  Nothing waits for time to pass: requests that are to
overlap meet at a `Gate`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .. import tokens
from .overlap import OverlapTests
from .pages import NOTHING
from .site import Browser, Site

HOSTILE = {
    "a path upwards": b"../../etc/passwd",
    "a path upwards, escaped": b"..%2f..%2fetc%2fpasswd",
    "an absolute path": b"/etc/hostname",
    "a device": b"/dev/null",
    "a file beside the store": b"../canary",
    "5000 characters": b"x" * 5000,
    "43 characters, one of them not ours": b"." + b"x" * 42,
    "an id and a suffix": b"x" * 43 + b".lock",
    "NUL": b"x" * 42 + b"\x00",
    "NUL behind an id": b"x" * 43 + b"\x00",
    "bytes that are not ASCII": "ä".encode() * 20 + b"\xff\xfe\xfd",
    "letters that are not ASCII, 43 of them": "é".encode("latin-1") * 43,
    "nothing": b"",
    "the mark of a deleted cookie": b"*del*",
    "an empty string in quotes": b'""',
    "half a quotation": b'"' + b"x" * 43,
    "SQL": b"'OR'1'='1",
}


class AdapterSuite(OverlapTests):
    """Base class of an adapter's tests; see the module's docstring."""

    # -- a cookie, when there is something to remember -------------------------------------------------------------

    @pytest.mark.parametrize("path", ["/", "/get?key=a", "/items", "/user", "/logout", "/logout-twice"])
    def test_no_session_without_information(self, browser: Browser, path: str) -> None:
        before = browser.site.keys()
        answer = browser.get(path)
        assert browser.sent(answer) is None
        assert browser.site.keys() == before

    def test_first_information_begins_a_session(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        assert tokens.is_id(browser.id)
        assert browser.get("/get", key="a").text == "1"
        assert browser.get("/items").json() == {"a": "1"}

    def test_browsers_do_not_share(self, site: Site) -> None:
        one, two = site.browser(), site.browser()
        one.get("/set", key="a", value="1")
        two.get("/set", key="a", value="2")
        assert one.id != two.id
        assert one.get("/get", key="a").text == "1"

    def test_user_alone_is_information(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        assert browser.get("/user").text == "ada"

    def test_every_server_knows_the_session(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        answers = [browser.get("/get", server=number, key="a").text for number in range(self.processes)]
        assert answers == ["1"] * self.processes

    def test_cookie_is_sent_once(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        for path in ("/", "/get?key=a", "/set?key=a&value=1", "/set?key=b&value=2", "/user", "/delete?key=b"):
            assert browser.sent(browser.get(path)) is None, path
        assert browser.get("/items").json() == {"a": "1"}

    def test_reading_writes_nothing(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        before = sorted(browser.site.store.scan())
        for path in ("/", "/get?key=a", "/set?key=a&value=1", "/items"):
            browser.get(path)
        assert sorted(browser.site.store.scan()) == before

    def test_information_gone_is_session_gone(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        old = browser.copy()
        cookie = browser.sent(browser.get("/delete", key="a"))
        assert cookie is not None
        assert cookie.is_deletion
        assert browser.id is None
        self.assert_dead(old)

    def test_restart_loses_nothing(self, tmp_path: Path) -> None:
        with self.start(tmp_path) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            site.stop()
            site.start()
            assert browser.get("/get", key="a").text == "1"

    # -- what the cookie looks like --------------------------------------------------------------------------------

    def test_cookie_attributes(self, browser: Browser) -> None:
        cookie = browser.sent(browser.get("/set", key="a", value="1"))
        assert cookie is not None
        assert {**cookie.attributes, "samesite": cookie.attributes["samesite"].lower()} == {
            "path": "/", "httponly": "", "samesite": "lax"}

    def test_cookie_attributes_https(self, tmp_path: Path) -> None:
        with self.start(tmp_path, https=True) as site:
            browser = site.browser()
            cookie = browser.sent(browser.get("/set", key="a", value="1"))
        assert cookie is not None
        assert "secure" in cookie.attributes

    def test_cookie_policy(self, tmp_path: Path) -> None:
        policy = {"name": "__Secure-shop", "path": "/", "domain": "shop.example", "secure": True, "samesite": "None",
                  "max_age": 3600, "partitioned": True}
        with self.start(tmp_path, cookie=policy) as site:
            browser = site.browser()
            made = browser.sent(browser.get("/set", key="a", value="1"))
            ended = browser.sent(browser.get("/logout"))
        assert made is not None
        assert ended is not None
        assert {**made.attributes, "samesite": made.attributes["samesite"].lower()} == {
            "path": "/", "domain": "shop.example", "secure": "", "httponly": "", "samesite": "none",
            "max-age": "3600", "partitioned": ""}
        assert ended.is_deletion
        assert {**ended.attributes, "max-age": "3600"} == made.attributes

    def test_host_prefix(self, tmp_path: Path) -> None:
        with self.start(tmp_path, cookie={"name": "__Host-session", "secure": True}) as site:
            browser = site.browser()
            made = browser.sent(browser.get("/set", key="a", value="1"))
            ended = browser.sent(browser.get("/logout"))
        assert made is not None
        assert ended is not None
        for cookie in (made, ended):
            assert cookie.attributes["path"] == "/"
            assert "secure" in cookie.attributes
            assert "domain" not in cookie.attributes

    def test_vary_whenever_the_session_was_looked_at(self, browser: Browser) -> None:
        """CVE-2023-30861, CVE-2026-27205 (Flask): caches handed one visitor's page to another."""
        for path in ("/get", "/items", "/user", "/increment", "/redirect", "/missing"):
            answer = browser.site.request(path, 0, None, key="a", value="1")
            assert "cookie" in answer.tokens("Vary"), path
        browser.get("/login", user="ada")
        answer = browser.site.request("/user", 0, f"{browser.site.cookie_name}={browser.id}".encode())
        assert "cookie" in answer.tokens("Vary")

    def test_cookie_with_max_age_is_sent_again(self, tmp_path: Path) -> None:
        with self.start(tmp_path, cookie={"max_age": 3600}, touch_interval=60) as site:
            browser = site.browser()
            made = browser.sent(browser.get("/set", key="a", value="1"))
            assert browser.sent(browser.get("/get", key="a")) is None
            site.clock.advance(61)
            assert browser.sent(browser.get("/get", key="a")) == made
            assert browser.sent(browser.get("/get", key="a")) is None

    def test_two_cookies_do_not_interfere(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        with self.start(tmp_path / "one", cookie={"name": "one"}) as one, \
                self.start(tmp_path / "two", cookie={"name": "two"}) as two:
            first, second = one.browser(), two.browser()
            second.cookies = first.cookies
            first.get("/login", user="ada")
            second.get("/login", user="bob")
            assert set(first.cookies) == {"one", "two"}
            assert (first.get("/user").text, second.get("/user").text) == ("ada", "bob")
            second.get("/logout")
            assert (first.get("/user").text, second.get("/user").text) == ("ada", NOTHING)

    # -- cookies that are not ours ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
    def test_hostile_cookie(self, site: Site, value: bytes) -> None:
        (site.folder / "canary").write_bytes(b"untouched")
        before = _tree(site.folder)
        for path in ("/get?key=a", "/user", "/logout"):
            answer = site.request(path, cookie=site.cookie_name.encode() + b"=" + value)
            assert (answer.status, answer.cookies(site.cookie_name)) in ((200, []),), answer
        assert _tree(site.folder) == before
        answer = site.request("/set?key=a&value=1", cookie=site.cookie_name.encode() + b"=" + value)
        cookie = site.browser().sent(answer)
        assert cookie is not None
        assert tokens.is_id(cookie.id)
        assert cookie.id.encode() != value
        assert site.browser(cookie.value).get("/get", key="a").text == "1"

    def test_unknown_id_is_not_adopted(self, site: Site) -> None:
        planted = tokens.new_id()
        browser = site.browser(planted)
        browser.get("/set", key="a", value="1")
        assert browser.id != planted
        self.assert_dead(site.browser(planted))

    def test_key_of_the_store_is_no_cookie(self, browser: Browser) -> None:
        before = browser.site.keys()
        browser.get("/set", key="a", value="1")
        (key,) = browser.site.keys() - before
        for value in (key, key[:43], f"{browser.id}.lock", f"{browser.id}x", str(browser.id)[:-1]):
            self.assert_dead(browser.site.browser(value))
        assert browser.get("/get", key="a").text == "1"

    def test_store_does_not_hold_the_cookie(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        assert browser.id is not None
        for path in (browser.site.folder / "store").rglob("*"):
            assert browser.id not in path.name
            assert path.is_dir() or browser.id.encode() not in path.read_bytes()

    # -- the end of a session --------------------------------------------------------------------------------------

    def test_idle_session_expires(self, tmp_path: Path) -> None:
        with self.start(tmp_path, idle_timeout=600, touch_interval=60) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            for _ in range(3):
                site.clock.advance(599)
                assert browser.get("/get", key="a").text == "1"
            site.clock.advance(601)
            old = browser.id
            assert browser.get("/get", key="a").text == NOTHING
            browser.get("/set", key="a", value="2")
            assert browser.id != old

    def test_lifetime_is_absolute(self, tmp_path: Path) -> None:
        with self.start(tmp_path, idle_timeout=600, lifetime=1000, touch_interval=0) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            site.clock.advance(501)
            assert browser.get("/get", key="a").text == "1"
            site.clock.advance(500)
            assert browser.get("/get", key="a").text == NOTHING

    def test_login_gives_a_new_id(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        before = browser.copy()
        browser.get("/login", user="ada")
        assert browser.id != before.id
        assert browser.get("/items").json() == {"a": "1"}
        self.assert_dead(before)
        ada = browser.copy()
        browser.get("/login", user="bob")
        assert browser.get("/user").text == "bob"
        self.assert_dead(ada)

    def test_dead_id_does_not_revoke_the_new_cookie(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        before = browser.copy()
        browser.get("/login", user="ada")
        assert before.sent(before.get("/get", key="a")) is None

    @pytest.mark.parametrize("path", ["/logout", "/logout-twice"])
    def test_logout(self, browser: Browser, path: str) -> None:
        before = browser.site.keys()
        browser.get("/login", user="ada")
        old = browser.copy()
        cookie = browser.sent(browser.get(path))
        assert cookie is not None
        assert cookie.is_deletion
        assert browser.site.keys() == before
        self.assert_dead(old)
        assert browser.sent(browser.get(path)) is None

    def test_logout_and_login_in_one_request(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        browser.get("/set", key="a", value="1")
        old = browser.copy()
        browser.get("/relogin", user="bob")
        assert browser.id not in (None, old.id)
        assert browser.get("/user").text == "bob"
        assert browser.get("/items").json() == {}
        self.assert_dead(old)

    def test_clear_site_data(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        assert "Clear-Site-Data" not in dict(browser.get("/logout-clear-fail", status=500).headers)
        answer = browser.get("/logout-clear")
        assert answer.tokens("Clear-Site-Data") == ['"cache"', '"cookies"', '"storage"']
        assert browser.sent(answer) is not None
        assert not browser.get("/get", key="a").tokens("Clear-Site-Data")

    # -- failure ---------------------------------------------------------------------------------------------------

    def test_crash_stores_nothing(self, browser: Browser) -> None:
        before = browser.site.keys()
        browser.get("/fail", status=500, key="a", value="1")
        assert browser.site.keys() == before
        browser.get("/set", key="a", value="1")
        browser.get("/fail", status=500, key="a", value="2")
        assert browser.get("/items").json() == {"a": "1"}

    def test_crash_cancels_a_login(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        browser.get("/login-fail", status=500, user="ada")
        assert browser.get("/user").text == NOTHING
        assert browser.get("/get", key="a").text == "1"

    def test_crash_cancels_a_logout(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        browser.get("/logout-fail", status=500)
        assert browser.get("/user").text == "ada"

    def test_not_found_is_no_crash(self, browser: Browser) -> None:
        browser.get("/missing", status=404, key="a", value="1")
        assert browser.get("/get", key="a").text == "1"

    def test_redirection_is_no_crash(self, browser: Browser) -> None:
        answer = browser.site.request("/redirect?key=a&value=1")
        assert answer.status in (302, 303, 307)
        cookie = browser.sent(answer)
        assert cookie is not None
        assert browser.site.browser(cookie.value).get("/get", key="a").text == "1"

    def test_store_that_is_down(self, tmp_path: Path) -> None:
        with self.start(tmp_path) as site:
            browser = site.browser()
            browser.get("/login", user="ada")
            with site.unavailable():
                for path in ("/user", "/set?key=a&value=1", "/logout"):
                    answer = site.request(path, cookie=f"{site.cookie_name}={browser.id}".encode())
                    assert 500 <= answer.status < 600, answer
                    assert answer.cookies(site.cookie_name) == []
            assert browser.get("/user").text == "ada"
            assert browser.get("/items").json() == {}

    @pytest.mark.parametrize("path", ["/set?key=a&value=1", "/login?user=bob"])
    def test_store_that_goes_down_during_the_request(self, tmp_path: Path, path: str) -> None:
        with self.start(tmp_path) as site:
            browser = site.browser()
            browser.get("/login", user="ada")
            status = self.unavailable_status
            with self.slow(browser.copy(), f"{path}&gate={{}}", status) as (gate, sent), site.unavailable():
                gate.open()
                sent.result()
            assert browser.get("/user").text == "ada"
            assert browser.get("/items").json() == {}


def _tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, but for the log, with their contents."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log"}
