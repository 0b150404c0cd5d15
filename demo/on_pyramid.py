"""The demonstration on Pyramid, served by the standard library, in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import make_server

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import Response

from session2_pyramid import SessionFactory

from .on_wsgi import Handler, Server
from .pages import PAGES, Manager


def answer(request: Any) -> Response:
    """Answer for all pages."""
    name = request.path_info[1:]
    if name not in PAGES:
        raise HTTPNotFound
    session = request.session
    html = PAGES[name](session.manager, session.session, request.params)
    if html is None:
        raise HTTPFound("./")
    return Response(html)


def serve(manager: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    with Configurator() as config:
        config.set_session_factory(SessionFactory(manager))
        config.add_route("all", "/*path")
        config.add_view(answer, route_name="all")
    with make_server(host, port, config.make_wsgi_app(), Server, Handler) as server:
        ready(server.server_port)
        server.serve_forever()
