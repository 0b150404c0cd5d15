"""A small server for any WSGI application, with a thread for each connection; and how several run side by side.

Each framework has a server of its own on a port of its own, in this one process: so a store in memory serves all of
them too, and when the process ends, however it does, nothing is left behind.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

NEAR: Final = 20
"""How many ports are tried for a neighbour."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Serving(Protocol):
    """A framework that is served."""

    def serve(self) -> None:
        """Serve until it is stopped."""

    def stop(self) -> None:
        """Stop; requests under way are not waited for."""


class Handler(WSGIRequestHandler):
    timeout = 5.0
    """Seconds.  Browsers open connections that they may never use."""

    def get_environ(self) -> dict[str, Any]:
        # What is answered: HTTP/1.1 would have Quixote send chunks.
        return {**super().get_environ(), "SERVER_PROTOCOL": "HTTP/1.0"}

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Be silent: the console is for what matters."""


class Server(ThreadingMixIn, WSGIServer):
    """Serves an application at a socket that listens already."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, application: Application) -> None:
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = "localhost", listening.getsockname()[1]
        self.setup_environ()
        self.set_app(application)

    def serve(self) -> None:
        """Serve until it is stopped."""
        self.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Stop; requests under way are not waited for."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about a browser that went away: applications tell of their own errors."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; OSError or OverflowError if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


def listen_near(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens at this port, or at the first after it that is free; None if none is."""
    if port == 0:
        return listen(host, 0)
    for near in range(port, min(port + NEAR, 65536)):
        try:
            return listen(host, near)
        except OSError:
            continue
    return None


def run(servings: list[Serving]) -> None:
    """Serve until interrupted.

    An interrupt is raised in the main thread, and may get lost in a server's loop: so the main thread only waits.
    """
    threads = [threading.Thread(target=serving.serve, daemon=True) for serving in servings]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        for serving in servings:
            serving.stop()
