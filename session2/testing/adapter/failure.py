"""What fails: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .browser import Browser
from .pages import NOTHING
from .served import ServedTests


class FailureTests(ServedTests):
    """Requests that fail, and a store that does."""

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
        assert browser.keep(answer).get("/get", key="a").text == "1"

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
