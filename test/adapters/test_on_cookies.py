"""Both adapters on the store of cookies: the suite, but for what this store declares that it cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from session2 import ConfigurationError, SessionManager, get_secret
from session2.store.cookie import CookieSessionStore
from session2.testing import AdapterSuite
from session2.testing.adapter.website import Site

HERE = Path(__file__).parent


class OnCookies(AdapterSuite):
    """What has ended is kept in a folder."""

    store_url: ClassVar[str] = "cookie:?serializer=encrypted-json&ended_in=directory:{}/store%3Fcreate=true"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def secrets(cls) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SESSION2_SECRETS", get_secret())
            yield

    def test_the_second_cookie_is_like_the_first(self, tmp_path: Path) -> None:
        policy = {"name": "__Secure-shop", "path": "/", "domain": "shop.example", "secure": True, "samesite": "None",
                  "max_age": 3600, "partitioned": True}
        with self.start(tmp_path, cookie=policy) as site:
            browser = site.browser()
            for path, gone in (("/login?user=ada", False), ("/set?key=a&value=1", False), ("/logout", True)):
                first, second = sorted(browser.get(path).all_cookies(), key=lambda cookie: cookie.name)
                assert (first.is_deletion, second.is_deletion, first.attributes) == (gone, gone, second.attributes)

    def test_a_session_too_large_is_an_error_and_stays_as_it_was(self, tmp_path: Path) -> None:
        with self.start(tmp_path) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            before = dict(browser.cookies)
            browser.get("/set", status=500, key="b", value="x" * 5000)
            assert browser.cookies == before
            assert browser.get("/items").json() == {"a": "1"}
            assert "the largest in it: 'b' 50" in site.log() or site.log() == ""


class TestQuixote(OnCookies):
    server = f"{HERE}/test_quixote.py:serve"


class TestCherryPy(OnCookies):
    server = f"{HERE}/test_cherrypy.py:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503

    def test_nothing_is_locked_unless_it_is_asked_for(self, tmp_path: Path) -> None:
        """CherryPy's own rule, that requests take turns, cannot hold; who demands it is told so."""
        with Site(f"{HERE}/test_cherrypy.py:serve_by_default", tmp_path, store_url=self.store_url) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            assert browser.get("/items").json() == {"a": "1"}
        with pytest.raises(ConfigurationError, match="the last answer wins"):
            SessionManager(CookieSessionStore(get_secret()), concurrency="lock")
