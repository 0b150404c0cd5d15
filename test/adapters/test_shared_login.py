"""One login for several frameworks: they share a store, its secret and a cookie, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session2 import get_secret
from session2.testing.adapter.browser import Browser
from session2.testing.adapter.pages import NOTHING
from session2.testing.adapter.website import Site

HERE = Path(__file__).parent

SERVERS = {name: f"{HERE}/test_{server}" for name, server in {
    "Quixote": "quixote.py:serve", "CherryPy": "cherrypy.py:serve", "WSGI": "wsgi.py:serve_on_waitress",
    "TurboGears": "turbogears_suite.py:serve", "Flask": "flask.py:serve", "Pyramid": "pyramid.py:serve",
    "ASGI": "asgi.py:serve", "Django": "django.py:serve_believing"}.items()}

PAIRS = [pytest.param(begin, end, id=f"{begin}-{end}")
         for begin, end in zip(SERVERS, [*SERVERS][3:] + [*SERVERS][:3], strict=True)]
"""Each begins a session, and each ends one that another began."""

STORE = "directory:{}/store?create=true&serializer=encrypted-json"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Serve with each framework, side by side."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESSION2_SECRETS", get_secret())
        found = {name: Site(server, folder, cookie={"name": "shop"}, store_url=STORE)
                 for name, server in SERVERS.items()}
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Site.start, found.values()))
            yield found
        finally:
            for site in found.values():
                site.stop()


class Visitor:
    """One browser that goes to all sites."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self.browsers = {name: site.browser() for name, site in sites.items()}
        shared: dict[str, str] = {}
        for browser in self.browsers.values():
            browser.cookies = shared

    def on(self, framework: str) -> Browser:
        return self.browsers[framework]

    def users(self) -> dict[str, str]:
        return {name: browser.get("/user").text for name, browser in self.browsers.items()}


@pytest.mark.parametrize(("begin", "end"), PAIRS)
def test_a_login_through_one_is_a_login_through_all(sites: dict[str, Site], begin: str, end: str) -> None:
    visitor = Visitor(sites)
    visitor.on(begin).get("/set", key="a", value="1")
    planted = visitor.on(begin).copy()
    visitor.on(begin).get("/login", user="ada")
    assert visitor.users() == dict.fromkeys(SERVERS, "ada")
    for number, browser in enumerate(visitor.browsers.values()):
        browser.get("/set", key=f"key{number}", value="2")
    expected = {"a": "1", **{f"key{number}": "2" for number in range(len(sites))}}
    assert [browser.get("/items").json() for browser in visitor.browsers.values()] == [expected] * len(sites)
    stolen = visitor.on(end).copy()
    visitor.on(end).get("/logout")
    assert visitor.users() == dict.fromkeys(SERVERS, NOTHING)
    for late in (planted, stolen):
        for site in sites.values():
            assert site.request("/user", cookie=late.header().encode()).text == NOTHING
