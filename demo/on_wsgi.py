"""The demonstration as a bare WSGI application, served by the standard library, in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from session2_wsgi import SessionMiddleware

from .pages import PAGES, Manager


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    timeout = 5.0
    """Seconds.  Browsers open connections that they may never use."""


def serve(manager: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    def demo(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = environ["PATH_INFO"][1:]
        if name not in PAGES:
            return _answered(start, HTTPStatus.NOT_FOUND, "There is no such page.")
        html = PAGES[name](manager, environ["session2.session"].session, dict(parse_qsl(environ["QUERY_STRING"])))
        if html is None:
            return _answered(start, HTTPStatus.SEE_OTHER, "", ("Location", "./"))
        return _answered(start, HTTPStatus.OK, html)

    with make_server(host, port, SessionMiddleware(demo, manager), Server, Handler) as server:
        ready(server.server_port)
        server.serve_forever()


def _answered(start: Callable[..., Any], status: HTTPStatus, html: str, *headers: tuple[str, str]) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/html; charset=utf-8"), *headers])
    return [html.encode()]
