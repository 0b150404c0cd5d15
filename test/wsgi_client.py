"""A server and a browser in one, for WSGI applications: it shows what reaches a server, and when."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

from session2.testing.adapter.browser import Answer

Start = Callable[..., Any]
PLAIN = [("Content-Type", "text/plain")]


def environ(path: str = "/", cookie: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the environment of a request."""
    found = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
             "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
             "REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "localhost", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
             "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
             "wsgi.multiprocess": False, "wsgi.run_once": False, **more}
    return found if cookie is None else {**found, "HTTP_COOKIE": cookie}


class Reply(Answer):
    """A response."""

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Client:
    """Calls an application as a server does, and keeps its cookie as a browser does."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app
        self.cookie: str | None = None
        self.sent: list[str] = []
        """What reached the server: the status, then each part of the body."""
        self.headers: list[tuple[str, str]] = []
        self.error: Any = None
        """What came with the headers as ``exc_info``."""

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None and self.sent:
            raise exc_info[1]
        assert not self.sent, "the headers are out"
        self.sent, self.headers, self.error = [status], headers, exc_info
        return lambda chunk: self.sent.append(chunk.decode())

    def steps(self, path: str = "/", **more: Any) -> Iterator[str]:
        """Send a request and yield what reaches the server, as soon as it does; the body is closed at the end."""
        self.sent = []
        body, shown = self.app(environ(path, self.cookie, **more), self.start), 0
        try:
            for chunk in body:
                self.sent.append(chunk.decode())
                yield from self.sent[shown:]
                shown = len(self.sent)
            yield from self.sent[shown:]
        finally:
            if hasattr(body, "close"):
                body.close()

    def get(self, path: str = "/", **more: Any) -> Reply:
        """Send a request; return the answer."""
        status, *body = self.steps(path, **more)
        answer = Reply(int(status[:3]), "".join(body), self.headers)
        for header in answer.all("Set-Cookie"):
            pair = header.partition(";")[0]
            self.cookie = None if pair.endswith("=") else pair
        return answer
