"""The pages on Flask, with each kind of session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
from cases import STATE, look, use

from session2 import SessionManager, from_url
from session2_flask import SessionInterface


def _application(state: Callable[[], Any] = lambda: flask.session) -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY="of the benchmark", SESSION_PERMANENT=False)
    pages = {"begin": lambda session: session.update(STATE), "change": use, "read": look}

    @app.get("/<page>")
    def answer(page: str) -> str:
        pages[page](state())
        return page

    return app


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    state: dict[str, Any] = {}
    return _application(lambda: state)


def cookie(folder: Path, url: str) -> Any:
    """Flask's own: all of the session is in the cookie, signed."""
    return _application()


def flask_session(folder: Path, url: str) -> Any:
    from cachelib.file import FileSystemCache
    from flask_session import Session

    app = _application()
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(folder), threshold=0))
    Session(app)
    return app


def flask_session_on_redis(folder: Path, url: str) -> Any:
    import redis
    from flask_session import Session

    app = _application()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.from_url(url))
    Session(app)
    return app


def ours(folder: Path, url: str) -> Any:
    app = _application()
    app.session_interface = SessionInterface(SessionManager(from_url(url)))
    return app
