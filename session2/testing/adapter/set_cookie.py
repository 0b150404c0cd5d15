"""What the cookie looks like: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

from .browser import Browser
from .pages import NOTHING
from .served import ServedTests


class SetCookieTests(ServedTests):
    """What the browser is sent, and caches are told."""

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
            assert set(first.cookies) >= {"one", "two"}
            assert (first.get("/user").text, second.get("/user").text) == ("ada", "bob")
            second.get("/logout")
            assert (first.get("/user").text, second.get("/user").text) == ("ada", NOTHING)
