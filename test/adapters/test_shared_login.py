"""One login for several frameworks on one host: they share a store, its secret and a cookie, and nothing else.

And since they are served here, requests as no browser sends them.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from behind_a_proxy import Proxy

from session2 import get_secret
from session2.testing.adapter.browser import Answer, Browser
from session2.testing.adapter.pages import NOTHING
from session2.testing.adapter.website import Site

FRAMEWORKS = ["quixote", "cherrypy", "wsgi", "turbogears", "flask", "pyramid", "asgi", "django"]

PAIRS = [pytest.param(begin, end, id=f"{begin}-{end}")
         for begin, end in zip(FRAMEWORKS, FRAMEWORKS[3:] + FRAMEWORKS[:3], strict=True)]
"""Each begins a session, and each ends one that another began."""

STORE = "directory:{}/store?create=true&serializer=encrypted-json"

COOKIE = {"name": "shop", "path": "/"}
"""By default a cookie is for the path that its application is mounted at."""


class Host(Site):
    """The proxy, in the place of a site."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        super().__init__("", folder, cookie=COOKIE)
        self.proxy = proxy
        self.ports = [proxy.server.server_address[1]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Serve with each framework, behind one proxy."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESSION2_SECRETS", get_secret())
        sites = {name: Site(f"{Path(__file__).parent}/behind_a_proxy.py:serve_{name}", folder, cookie=COOKIE,
                            store_url=STORE) for name in FRAMEWORKS}
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Site.start, sites.values()))
            with Proxy({name: site.ports[0] for name, site in sites.items()}) as proxy:
                yield Host(folder, proxy)
        finally:
            for site in sites.values():
                site.__exit__()


@pytest.fixture(params=["https", "http"])
def scheme(request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(host.proxy, "scheme", request.param)
    return str(request.param)


def users(browser: Browser) -> dict[str, str]:
    return {name: browser.get(f"/{name}/user").text for name in FRAMEWORKS}


@pytest.mark.parametrize(("begin", "end"), PAIRS)
def test_a_login_through_one_is_a_login_through_all(host: Host, begin: str, end: str) -> None:
    browser = host.browser()
    browser.get(f"/{begin}/set", key="a", value="1")
    planted = browser.copy()
    browser.get(f"/{begin}/login", user="ada")
    assert users(browser) == dict.fromkeys(FRAMEWORKS, "ada")
    for name in FRAMEWORKS:
        browser.get(f"/{name}/set", key=name, value="2")
    expected = {"a": "1", **dict.fromkeys(FRAMEWORKS, "2")}
    assert [browser.get(f"/{name}/items").json() for name in FRAMEWORKS] == [expected] * len(FRAMEWORKS)
    stolen = browser.copy()
    browser.get(f"/{end}/logout")
    assert users(browser) == dict.fromkeys(FRAMEWORKS, NOTHING)
    for late in (planted, stolen):
        for name in FRAMEWORKS:
            assert host.request(f"/{name}/user", cookie=late.header().encode()).text == NOTHING


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_cookie_is_for_the_whole_host_and_secure_where_the_proxy_speaks_https(host: Host, name: str,
                                                                                scheme: str) -> None:
    browser = host.browser()

    def attributes(answer: Answer) -> dict[str, str]:
        sent = browser.sent(answer)
        assert sent is not None
        return dict(sent.attributes)

    expected = {"path": "/", "httponly": "", "samesite": "Lax", **({"secure": ""} if scheme == "https" else {})}
    assert attributes(browser.get(f"/{name}/login", user="ada")) == expected
    left = attributes(browser.get(f"/{name}/logout"))
    assert left.pop("max-age") == "0"
    left.pop("expires", None)
    assert left == expected


def answers(port: int, *requests: bytes) -> bytes:
    """Send requests at once over one connection, and return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"".join(requests))
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_requests_of_old_and_odd_kinds_have_the_same_session(host: Host, name: str) -> None:
    port, end = host.proxy.ports[name], b"Host: shop.example\r\nConnection: close\r\n"
    head = answers(port, b"HEAD /set?key=a&value=1 HTTP/1.1\r\n" + end + b"\r\n")
    sent = re.findall(rb"\r\nset-cookie: *(shop=[^;]*)", head, re.IGNORECASE)
    assert len(sent) == 1
    cookie = b"Cookie: " + b"; ".join([*(b"c%d=%s" % (number, b"x" * 30) for number in range(100)), *sent]) + b"\r\n"
    assert answers(port, b"GET /get?key=a HTTP/1.0\r\n" + cookie + b"\r\n").endswith(b"\r\n\r\n1")
    both = answers(port, b"GET /set?key=b&value=2 HTTP/1.1\r\nHost: shop.example\r\n" + cookie + b"\r\n",
                   b"GET /items HTTP/1.1\r\n" + end + cookie + b"\r\n")
    assert re.findall(rb"HTTP/1.[01] (\d+)", both) == [b"200", b"200"]
    assert b'{"a": "1", "b": "2"}' in both
