"""The demonstration on Starlette, served by uvicorn."""

from __future__ import annotations

import socket
import sys
import traceback
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from session2_asgi import SessionMiddleware

from .pages import Answer, Asked, Site, answer, failed


class Serving:
    """The application on a server of its own."""

    def __init__(self, site: Site, listening: socket.socket) -> None:
        config = uvicorn.Config(application(site), log_level="warning", lifespan="off", timeout_keep_alive=5)
        self._server, self._listening = uvicorn.Server(config), listening

    def serve(self) -> None:
        """Serve until it is stopped."""
        self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """Stop; the process does not wait for it."""
        self._server.should_exit = self._server.force_exit = True


serving = Serving


def application(site: Site) -> Starlette:
    async def page(request: Request) -> Response:
        asked = _asked(request, await request.body())
        return _sent(await run_in_threadpool(_answered, site, asked))

    return Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])],
                     middleware=[Middleware(SessionMiddleware, manager=site.manager)])


def _answered(site: Site, asked: Asked) -> Answer:
    """Answer in a thread, for stores and pages may take their time; a status of 500 has the session forgotten."""
    try:
        return answer(site, asked)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return failed(site, asked, error)


def _asked(request: Request, body: bytes) -> Asked:
    environ: dict[str, Any] = {"REQUEST_METHOD": request.method, "PATH_INFO": request.url.path,
                               "QUERY_STRING": request.url.query}
    environ.update((f"HTTP_{name.upper().replace('-', '_')}", value) for name, value in request.headers.items())
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True)) if request.method == "POST" else {}
    return Asked("starlette", environ, form, lambda: request.session.session)  # type: ignore[attr-defined]


def _sent(made: Answer) -> Response:
    return Response(made.body, made.status, dict(made.all_headers))
