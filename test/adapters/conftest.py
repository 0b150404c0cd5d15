"""Applications of CherryPy on ports of their own, for tests that look at one behaviour each."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session2.testing.adapter.browser import Answer


class Reply(Answer):
    """A response."""

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Served:
    """A CherryPy application that is being served; its settings are those of the session tool."""

    def __init__(self, pages: dict[str, Callable[..., Any]], config: dict[str, Any], settings: dict[str, Any]) -> None:
        import cherrypy
        from cheroot import wsgi

        import session2_cherrypy

        root = type("Root", (), {name: staticmethod(cherrypy.expose(page)) for name, page in pages.items()})()
        tool = {"on": True, "storage_class": session2_cherrypy.StoreSession, "clean_freq": 0, **settings}
        config = {**{f"tools.sessions.{name}": value for name, value in tool.items()}, **config}
        self.app = cherrypy.Application(root, "", {"/": config})
        self.app.log.screen = False
        self.server = wsgi.Server(("127.0.0.1", 0), self.app, numthreads=8)
        self.server.expiration_interval = 0.02  # how soon it sees that it is to stop
        self.server.prepare()
        threading.Thread(target=self.server.serve, daemon=True).start()

    def connect(self, path: str, cookie: str | None = None, method: str = "GET",
                headers: dict[str, str] | None = None, body: bytes | None = None) -> http.client.HTTPConnection:
        """Send a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.bind_addr[1], timeout=60)
        sent = {**({"Cookie": cookie} if cookie else {}), **(headers or {})}
        connection.request(method, path, headers=sent, body=body)
        return connection

    def get(self, path: str, cookie: str | None = None, status: int = 200, **request: Any) -> Reply:
        """Send a request and return the answer, which must have this status."""
        connection = self.connect(path, cookie, **request)
        try:
            response = connection.getresponse()
            answer = Reply(response.status, response.read().decode(), response.getheaders())
        finally:
            connection.close()
        assert answer.status == status, answer
        return answer

    def cookie(self, path: str, cookie: str | None = None, **request: Any) -> str:
        """Send a request and return the cookie it sets, as a browser would send it back."""
        (header,) = self.get(path, cookie, **request).all("Set-Cookie")
        return header.partition(";")[0]


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Return a function that serves pages, given by name, with settings of the session tool."""
    running: list[Served] = []

    def start(pages: dict[str, Callable[..., Any]], config: dict[str, Any] | None = None, **settings: Any) -> Served:
        running.append(Served(pages, config or {}, settings))
        return running[-1]

    yield start
    for served in running:
        served.server.stop()
