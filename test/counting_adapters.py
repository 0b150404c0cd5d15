"""What a request costs through an adapter: functions of session2 and of the adapter that are called."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cherrypy
import flask
import quixote
import quixote.publish
from counting import PAUSE, calls
from pyramid.config import Configurator
from pyramid.response import Response
from quixote.directory import Directory
from quixote.publish import Publisher
from quixote.wsgi import QWIP

from session2 import DictSession, SessionManager
from session2.store.volatile import VolatileSessionStore
from session2_cherrypy import StoreSession
from session2_flask import SessionInterface
from session2_pyramid import SessionFactory
from session2_wsgi import SessionMiddleware


def begin(session: Any) -> None:
    session["count"] = 0


def look(session: Any) -> None:
    session["count"]


def change(session: Any) -> None:
    session["count"] += 1


PAGES = {"begin": begin, "look": look, "change": change}


class Visitor:
    """A browser without HTTP: it calls a WSGI application."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._cookie = ""

    def visit(self, page: str) -> None:
        body = self._application(self._environ(f"/{page}"), self._answer)
        b"".join(body)
        if hasattr(body, "close"):
            body.close()

    def _environ(self, path: str) -> dict[str, Any]:
        environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
                   "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
                   "REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "localhost", "wsgi.version": (1, 0),
                   "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
                   "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False}
        return {**environ, "HTTP_COOKIE": self._cookie} if self._cookie else environ

    def _answer(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        assert status.startswith("200"), status
        for name, value in headers:
            if name.lower() == "set-cookie":
                self._cookie = value.split(";")[0]


def on_cherrypy(mode: str) -> Visitor:
    """Return a visitor of an application on CherryPy, locked as it is by default, or merging."""
    class Root:
        @cherrypy.expose
        def default(self, page: str) -> str:
            PAGES[page](cherrypy.session)
            return "page"

    manager = SessionManager(VolatileSessionStore(), DictSession)
    settings = {"tools.sessions.on": True, "tools.sessions.storage_class": StoreSession,
                "tools.sessions.manager": manager, "tools.sessions.clean_freq": 0}
    if mode == "merge":
        settings["tools.sessions.locking"] = "explicit"
    application = cherrypy.Application(Root(), "", {"/": settings})
    application.log.access_log.disabled = True
    return Visitor(application)


def on_quixote(mode: Any) -> Visitor:
    """Return a visitor of an application on Quixote."""
    class Root(Directory):  # type: ignore[misc, unused-ignore]
        def _q_lookup(self, page: str) -> str:
            PAGES[page](quixote.get_session())
            return "page"

    quixote.publish._publisher = None  # it allows one in a process
    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency=mode)
    return Visitor(QWIP(Publisher(Root(), session_manager=manager)))


def on_wsgi(mode: Any, **settings: Any) -> Visitor:
    """Return a visitor of a bare WSGI application."""
    def application(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        session = environ["session2.session"]
        PAGES[environ["PATH_INFO"][1:]](session)
        if settings and environ["PATH_INFO"] != "/look":
            session.save()
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency=mode)
    return Visitor(SessionMiddleware(application, manager, **settings))


def on_wsgi_as_beaker(mode: Any) -> Visitor:
    """Return a visitor of an application that says ``save()`` to Beaker's session."""
    return on_wsgi(mode, beaker=True)


def on_flask(mode: Any) -> Visitor:
    """Return a visitor of an application on Flask."""
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(SessionManager(VolatileSessionStore(), DictSession, concurrency=mode))

    @app.get("/<page>")
    def answer(page: str) -> str:
        PAGES[page](flask.session)
        return "page"

    return Visitor(app)


def on_django(mode: Any) -> Visitor:
    """Return a visitor of an application on Django, of which there is one in a process: that of its tests."""
    sys.path.insert(0, str(Path(__file__).parent / "adapters"))
    import django_cases as cases
    from django.core.handlers.wsgi import WSGIHandler

    def view(request: Any) -> Any:
        PAGES[request.path[1:]](request.session)
        return cases.HttpResponse("page")

    cases.django_shop.manager = SessionManager(VolatileSessionStore(), DictSession, concurrency=mode)
    handler = WSGIHandler()
    return Visitor(lambda environ, start: handler({**environ, "shop.view": view}, start))


def on_pyramid(mode: Any) -> Visitor:
    """Return a visitor of an application on Pyramid."""
    def page(request: Any) -> Response:
        PAGES[request.matchdict["page"]](request.session)
        return Response("page")

    manager = SessionManager(VolatileSessionStore(), DictSession, concurrency=mode)
    with Configurator(session_factory=SessionFactory(manager)) as config:
        config.include("session2_pyramid")
        config.add_route("page", "/{page}")
        config.add_view(page, route_name="page")
    return Visitor(config.make_wsgi_app())


ADAPTERS = {"CherryPy": on_cherrypy, "Quixote": on_quixote, "Django": on_django, "Flask": on_flask,
            "Pyramid": on_pyramid, "WSGI": on_wsgi, "WSGI as Beaker": on_wsgi_as_beaker}


def calls_through(adapter: str, kind: str, mode: str) -> int:
    """Return how many functions a request calls on the volatile store, once what is done once is done."""
    visitor, found = ADAPTERS[adapter](mode), []
    visitor.visit("begin")
    for _ in range(5):
        time.sleep(PAUSE)
        found.append(calls(lambda: visitor.visit(kind)))
    return min(found)
