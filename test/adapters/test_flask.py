"""The Flask adapter under the suite that every adapter passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
from cheroot import wsgi
from werkzeug.middleware.proxy_fix import ProxyFix

from session2 import SessionManager
from session2.testing import AdapterSuite
from session2.testing.adapter import pages
from session2_flask import SessionInterface


def application(manager: SessionManager[Any]) -> flask.Flask:
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(manager, user_item=None)  # the suite wants items and user told apart

    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    def page(path: str) -> Any:
        session: Any = flask.session
        len(session)  # the suite looks for Vary on every page; here one that never looks at its session has none
        call = pages.Call(flask.request.args, lambda: session, session.set_user, session.get_user, session.delete)
        try:
            return pages.answer(f"/{path}", call)
        except pages.Redirect as answer:
            return flask.redirect(answer.args[0])
        except pages.NotFound:
            flask.abort(404)

    return app


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    app = application(manager)
    if https:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        behind = app.wsgi_app
        app.wsgi_app = lambda environ, start: behind(  # type: ignore[method-assign]
            {**environ, "HTTP_X_FORWARDED_PROTO": "https"}, start)
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


class TestFlask(AdapterSuite):
    server = f"{__file__}:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503
