"""The CherryPy adapter under the suite that every adapter passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cherrypy
from cheroot import wsgi

import session2_cherrypy
from session2 import SessionManager
from session2.testing import AdapterSuite
from session2.testing.adapter import pages


class Root:
    @cherrypy.expose
    def default(self, *path: str, **arguments: str) -> str:
        session = cherrypy.session
        session.load()  # the suite looks for Vary on every page; here one that never looks at its session has none
        call = pages.Call(arguments, lambda: session, session.set_user, session.get_user, session.delete)
        try:
            return pages.answer("/" + "/".join(path), call)
        except pages.Redirect as answer:
            raise cherrypy.HTTPRedirect(answer.args[0]) from None
        except pages.NotFound:
            raise cherrypy.NotFound from None


def application(manager: SessionManager[Any], **settings: Any) -> cherrypy.Application:
    """Return an application whose session tool has these settings."""
    tool = {"on": True, "storage_class": session2_cherrypy.StoreSession, "manager": manager, "clean_freq": 0}
    config = {f"tools.sessions.{name}": value for name, value in {**tool, **settings}.items()}
    return cherrypy.Application(Root(), "", {"/": config})


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    locking = {"locking": "merge"} if manager.concurrency == "merge" else {}
    app = application(manager, **locking)
    if https:
        app.merge({"/": {"tools.proxy.on": True, "tools.proxy.base": "https://shop.example"}})
    _run(app, ready)


def serve_by_default(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    """Serve with the locking that CherryPy has by default."""
    _run(application(manager), ready)


def _run(app: cherrypy.Application, ready: Callable[[int], None]) -> None:
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


class TestCherryPy(AdapterSuite):
    server = f"{__file__}:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503
