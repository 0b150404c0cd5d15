"""The demonstration on Quixote, served by its own simple server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from quixote import get_publisher, get_request, get_session, redirect
from quixote.directory import Directory
from quixote.errors import TraversalError
from quixote.publish import Publisher
from quixote.server.simple_server import HTTPRequestHandler, SockInheritHTTPServer

from .pages import PAGES, Manager


class Demo(Directory):  # type: ignore[misc]
    """All pages, at the root."""

    def _q_traverse(self, path: Sequence[str]) -> Any:
        name = "/".join(path)
        if name not in PAGES:
            raise TraversalError
        query = {key: value for key, value in get_request().get_fields().items() if isinstance(value, str)}
        html = PAGES[name](get_publisher().session_manager, get_session(), query)
        return redirect("./") if html is None else html


class Handler(HTTPRequestHandler):  # type: ignore[misc]
    timeout = 5.0
    """Seconds.  Browsers open connections that they may never use, and this server serves one at a time."""


def serve(manager: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    server = SockInheritHTTPServer((host, port), Handler)
    with redirect_stdout(sys.stdout):  # and back: a publisher turns standard output into its error log
        Publisher(Demo(), session_manager=manager)
    try:
        ready(server.server_address[1])
        server.serve_forever()
    finally:
        server.server_close()
