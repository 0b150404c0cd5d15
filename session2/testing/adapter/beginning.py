"""A session begins, and is known again: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ... import tokens
from ...session import DictSession
from ..store.claims import needs_listing, needs_merging
from .browser import Browser
from .served import ServedTests
from .website import Site


class BeginningTests(ServedTests):
    """A cookie, when there is something to remember."""

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

    @needs_listing
    def test_session_knows_where_it_came_from(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        session = browser.site.store.sessions.load(str(browser.id), DictSession)
        assert session is not None
        assert session.get_remote_address() == "127.0.0.1"

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

    @needs_merging
    def test_cookie_is_sent_once(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        for path in ("/", "/get?key=a", "/set?key=a&value=1", "/set?key=b&value=2", "/user", "/delete?key=b"):
            assert browser.sent(browser.get(path)) is None, path
        assert browser.get("/items").json() == {"a": "1"}

    @needs_listing
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
