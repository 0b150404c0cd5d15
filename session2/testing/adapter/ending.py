"""How a session ends: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .browser import Browser
from .pages import NOTHING
from .served import ServedTests


class EndingTests(ServedTests):
    """The end of a session, or of its id."""

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
