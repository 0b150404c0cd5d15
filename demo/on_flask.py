"""The demonstration on Flask."""

from __future__ import annotations

from typing import Any

import flask

from session2_flask import SessionInterface

from .pages import Answer, Asked, Site, answer, failed
from .serving import Application


def application(site: Site) -> Application:
    app = flask.Flask(__name__, static_folder=None)
    app.session_interface = SessionInterface(site.manager)

    @app.route("/", methods=["GET", "POST"], defaults={"path": ""})
    @app.route("/<path:path>", methods=["GET", "POST"])
    def page(path: str) -> flask.Response:
        return sent(answer(site, asked()))

    @app.errorhandler(500)
    def crashed(error: Any) -> flask.Response:
        return sent(failed(site, asked(), error.original_exception or error))

    return app


def asked() -> Asked:
    session: Any = flask.session
    return Asked("flask", flask.request.environ, flask.request.form, lambda: session.session)


def sent(made: Answer) -> flask.Response:
    return flask.Response(made.body, made.status, made.all_headers)
