"""Each framework as it is told to believe the proxy in front of it, and that proxy: one host, a path for each."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from session2 import SessionManager

Ready = Callable[[int], None]

# -- the proxy -----------------------------------------------------------------------------------------------------


class Proxy:
    """Leads ``/NAME/page`` to the page of the server called so; serves while it is a context.

    :param ports: of the servers, by name.
    """

    scheme = "https"
    """What browsers are said to have used."""

    def __init__(self, ports: dict[str, int]) -> None:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.ports = ports
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> Proxy:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def do_GET(self) -> None:
        _, name, path = self.path.split("/", 2)
        own = {"X-Forwarded-Proto": self.proxy.scheme, "X-Forwarded-For": self.client_address[0],
               "X-Forwarded-Host": "shop.example", "X-Forwarded-Prefix": f"/{name}", "Connection": "close"}
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.ports[name], timeout=60)
        try:
            connection.request("GET", f"/{path}", headers={**dict(self.headers), **own})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        self.send_response_only(answer.status)
        for header, value in answer.getheaders():
            if header.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be quiet."""


# -- the servers ---------------------------------------------------------------------------------------------------


def _on_cheroot(application: Any, ready: Ready) -> None:
    from cheroot import wsgi

    server = wsgi.Server(("127.0.0.1", 0), application, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


def _fixed(application: Any) -> Any:
    from werkzeug.middleware.proxy_fix import ProxyFix

    return ProxyFix(application, x_prefix=1)


def serve_flask(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from test_flask import application

    app: Any = application(manager)
    app.wsgi_app = _fixed(app.wsgi_app)
    _on_cheroot(app, ready)


def serve_wsgi(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    import waitress
    from test_wsgi import application

    server = waitress.create_server(application(manager, https=False), host="127.0.0.1", port=0, threads=20,
                                    trusted_proxy="127.0.0.1", trusted_proxy_headers={"x-forwarded-proto"})
    ready(server.effective_port)
    server.run()


def serve_turbogears(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from test_turbogears_suite import application

    _on_cheroot(_fixed(application(manager)), ready)


def serve_pyramid(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from test_pyramid import application, page

    _on_cheroot(_fixed(application(manager, page)), ready)


def serve_django(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    import django_shop
    from test_django import application

    _on_cheroot(application(manager, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
                            USE_X_FORWARDED_HOST=True, FORCE_SCRIPT_NAME="/django",
                            MIDDLEWARE=[*django_shop.MIDDLEWARE, "django_shop.views.BelievesTheSession"]), ready)


def serve_cherrypy(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from test_cherrypy import application

    app = application(manager, locking="merge")
    app.merge({"/": {"tools.proxy.on": True}})
    _on_cheroot(app, ready)


def serve_asgi(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from test_asgi import application, run

    run(application(manager), ready)  # uvicorn believes whom it is called by from its own host


def serve_quixote(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    from quixote.publish import Publisher
    from quixote.server.simple_server import HTTPRequestHandler, SockInheritHTTPServer
    from test_quixote import Pages

    class Handler(HTTPRequestHandler):  # type: ignore[misc, no-any-unimported, unused-ignore]
        def get_cgi_env(self, method: str) -> dict[str, Any]:
            secure = {"HTTPS": "on"} if self.headers["X-Forwarded-Proto"] == "https" else {}
            return {**super().get_cgi_env(method), **secure}

    Publisher(Pages(manager), session_manager=manager)
    server = SockInheritHTTPServer(("127.0.0.1", 0), Handler)
    ready(server.server_port)
    server.serve_forever()
