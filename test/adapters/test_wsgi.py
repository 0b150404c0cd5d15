"""The WSGI middleware under the suite that every adapter passes, on three servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIServer, make_server

import cheroot.wsgi
import waitress

from session2 import SessionManager
from session2.testing import AdapterSuite
from session2.testing.adapter import pages
from session2.testing.adapter.beginning import BeginningTests
from session2.testing.adapter.failure import FailureTests
from session2.testing.adapter.overlap import OverlapTests
from session2_wsgi import SessionMiddleware

Start = Callable[..., Any]


def page(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer with a page of the suite."""
    session = environ["session2.session"]
    session.user  # noqa: B018 (the suite looks for Vary on every page; here one that never looks at its session has none)
    call = pages.Call(dict(parse_qsl(environ["QUERY_STRING"])), lambda: session, session.set_user, session.get_user,
                      session.delete)
    try:
        status, headers, text = "200 OK", [], pages.answer(environ["PATH_INFO"], call)
    except pages.Redirect as answer:
        status, headers, text = "303 See Other", [("Location", answer.args[0])], "elsewhere"
    except pages.NotFound:
        status, headers, text = "404 Not Found", [], "not found"
    start(status, [*headers, ("Content-Type", "text/plain"), ("Content-Length", str(len(text.encode())))])
    return [text.encode()]


def page_as_generator(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer likewise, but do all of it when the server asks for the first bytes."""
    yield from page(environ, start)


def page_by_write(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer likewise, with the callable that ``start_response`` returns."""
    kept: list[Any] = []
    for chunk in page(environ, lambda *arguments: kept.append(start(*arguments))):
        kept[0](chunk)
    return ()


def application(manager: SessionManager[Any], https: bool, app: Any = page) -> Any:
    served = SessionMiddleware(app, manager)

    def behind_a_proxy(environ: dict[str, Any], start: Start) -> Any:
        return served({**environ, "wsgi.url_scheme": "https"}, start)

    return behind_a_proxy if https else served


def serve_on_cheroot(manager: SessionManager[Any], ready: Callable[[int], None], https: bool,
                     app: Any = page_by_write) -> None:
    server = cheroot.wsgi.Server(("127.0.0.1", 0), application(manager, https, app), numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


def serve_on_waitress(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    server = waitress.create_server(application(manager, https), host="127.0.0.1", port=0, threads=20,
                                    clear_untrusted_proxy_headers=True)
    ready(server.effective_port)
    server.run()


class ThreadingServer(WSGIServer):
    request_queue_size = 128

    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self._process, args=(request, client_address), daemon=True).start()

    def _process(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)


def serve_on_wsgiref(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    server = make_server("127.0.0.1", 0, application(manager, https, page_as_generator), ThreadingServer)
    ready(server.server_port)
    server.serve_forever()


class TestCheroot(AdapterSuite):
    """With the callable ``write``."""

    server = f"{__file__}:serve_on_cheroot"
    threads = 20
    conflict_status = 409
    unavailable_status = 503


class TestWsgiref(BeginningTests, FailureTests, OverlapTests):
    """With an application that does not begin before its first bytes are asked for."""

    server = f"{__file__}:serve_on_wsgiref"
    threads = 20
    conflict_status = 409
    unavailable_status = 503


class TestWaitress(BeginningTests, FailureTests):
    """Without cookies of others: those with a control character it refuses by itself."""

    server = f"{__file__}:serve_on_waitress"
    threads = 20
    unavailable_status = 503
