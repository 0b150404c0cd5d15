"""The pages on Pyramid, with each kind of session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import STATE, look, use
from pyramid.config import Configurator
from pyramid.response import Response

from session2 import DictSession, SessionManager, from_url
from session2_pyramid import SessionFactory

PAGES: dict[str, Callable[[Any], Any]] = {"begin": lambda session: session.update(STATE), "change": use, "read": look}


def _application(factory: Any = None, state: Callable[[Any], Any] = lambda request: request.session,
                 include: str | None = None) -> Any:
    def page(request: Any) -> Response:
        PAGES[request.matchdict["page"]](state(request))
        return Response(request.matchdict["page"], content_type="text/plain")

    with Configurator() as config:
        if factory is not None:
            config.set_session_factory(factory)
        if include is not None:
            config.include(include)
        config.add_route("page", "/{page}")
        config.add_view(page, route_name="page")
    return config.make_wsgi_app()


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    kept: dict[str, Any] = {}
    return _application(state=lambda request: kept)


def beaker(folder: Path, url: str) -> Any:
    """As pyramid_beaker has it."""
    from pyramid_beaker import BeakerSessionFactoryConfig

    return _application(BeakerSessionFactoryConfig(type="file", data_dir=str(folder)))


def cookie(folder: Path, url: str) -> Any:
    """Pyramid's own: all of the session is in the cookie, signed."""
    from pyramid.session import SignedCookieSessionFactory

    return _application(SignedCookieSessionFactory("of the benchmark"))


def ours(folder: Path, url: str) -> Any:
    store = from_url(url)
    store.setup()
    return _application(SessionFactory(SessionManager(store, DictSession)), include="session2_pyramid")
