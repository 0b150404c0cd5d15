"""The demonstration on CherryPy."""

from __future__ import annotations

import logging
import sys

import cherrypy

from session2_cherrypy import StoreSession

from .pages import Answer, Asked, Site, answer, failed
from .serving import Application


class Demo:
    """All pages, at the root."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def default(self, /, *_: str, **fields: object) -> bytes:
        return sent(answer(self.site, asked()))

    def fail(self) -> None:
        """Answer a request that failed, whose session is forgotten by now."""
        cherrypy.serving.response.body = sent(failed(self.site, asked(), sys.exc_info()[1] or RuntimeError()))


def application(site: Site) -> Application:
    demo = Demo(site)
    cherrypy.config.update({"environment": "production", "log.screen": True})
    mounted = cherrypy.tree.mount(demo, config={"/": {
        "request.error_response": demo.fail,
        "tools.sessions.on": True,
        "tools.sessions.storage_class": StoreSession,
        "tools.sessions.manager": site.manager,
        "tools.sessions.locking": "explicit",  # requests overlap and are merged, as on the other frameworks
    }})
    mounted.log.access_log.propagate = False
    cherrypy.log.error_log.setLevel(logging.WARNING)
    return mounted  # type: ignore[no-any-return]


def asked() -> Asked:
    request = cherrypy.serving.request
    params = {} if request.body is None else request.body.params
    form = {name: value for name, value in params.items() if isinstance(value, str)}
    return Asked("cherrypy", request.wsgi_environ, form, lambda: cherrypy.serving.session.session)


def sent(made: Answer) -> bytes:
    response = cherrypy.serving.response
    response.status = made.status
    for name, value in made.all_headers:
        response.headers[name] = value
    return made.body.encode()
