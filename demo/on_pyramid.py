"""The demonstration on Pyramid, served by Cheroot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cheroot.wsgi import Server
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import Response

from session2_pyramid import SessionFactory

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
    server = Server((host, port), config.make_wsgi_app(), server_name="localhost", shutdown_timeout=1)
    server.prepare()
    ready(server.bind_addr[1])
    try:
        server.serve()
    finally:
        server.stop()
