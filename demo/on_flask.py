"""The demonstration on Flask, served by Werkzeug."""

from __future__ import annotations

import socket
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

import flask
from werkzeug.serving import make_server

from session2_flask import SessionInterface

from .pages import PAGES, Manager


def application(manager: Manager) -> flask.Flask:
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(manager)

    @app.get("/", defaults={"name": ""})
    @app.get("/<path:name>")
    def page(name: str) -> Any:
        if name not in PAGES:
            flask.abort(404)
        stored: Any = flask.session
        html = PAGES[name](stored.manager, stored.session, flask.request.args)
        return flask.redirect("./") if html is None else html

    return app


def serve(manager: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    with socket.create_server((host, port)) as listening:  # Werkzeug itself would end the process where that fails
        server = make_server(host, port, application(manager), threaded=True, fd=listening.fileno())
    try:
        ready(server.port)
        BaseServer.serve_forever(server)  # Werkzeug's own keeps an interrupt to itself
    finally:
        server.server_close()
