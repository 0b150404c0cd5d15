"""The ASGI adapter under the suite that every adapter passes, on Starlette served by uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from session2 import SessionManager
from session2.testing import AdapterSuite
from session2.testing.adapter import pages
from session2.testing.adapter.failure import FailureTests
from session2_asgi import SessionMiddleware


def page(request: Request) -> Response:
    """Answer in a worker thread, for the pages of the suite wait."""
    session: Any = request.session
    session.user  # noqa: B018 (the suite looks for Vary on every page; here one that never looks at it has none)
    call = pages.Call(request.query_params, lambda: session, session.set_user, session.get_user, session.delete)
    try:
        return PlainTextResponse(pages.answer(request.url.path, call))
    except pages.Redirect as answer:
        return RedirectResponse(answer.args[0])
    except pages.NotFound:
        raise HTTPException(404) from None


def application(manager: SessionManager[Any]) -> Any:
    return Starlette(routes=[Route("/{path:path}", page)], middleware=[Middleware(SessionMiddleware, manager=manager)])


def run(app: Any, ready: Callable[[int], None]) -> None:
    async def serve() -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_level="warning", lifespan="off"))
        ready(listening.getsockname()[1])
        await server.serve([listening])

    asyncio.run(serve())


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    app = application(manager)

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "scheme": "https"}, receive, send)

    run(behind_a_proxy if https else app, ready)


def serve_around(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    """Serve with the middleware around all that Starlette is, with what it answers to a crash."""
    run(SessionMiddleware(Starlette(routes=[Route("/{path:path}", page)]), manager), ready)


class TestASGI(AdapterSuite):
    server = f"{__file__}:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503
    refused_bytes = b"\x00"


class TestAround(FailureTests):
    server = f"{__file__}:serve_around"
    unavailable_status = 503
