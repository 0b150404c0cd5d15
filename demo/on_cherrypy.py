"""The demonstration on CherryPy, served by its own server, Cheroot."""

from __future__ import annotations

import threading
from collections.abc import Callable

import cherrypy
from cheroot.wsgi import Server

from session2_cherrypy import StoreSession

from .pages import PAGES, Manager


class Demo:
    """All pages, at the root."""

    @cherrypy.expose  # type: ignore[untyped-decorator]
    def default(self, /, *_: str, **fields: object) -> str:
        name = cherrypy.serving.request.path_info[1:]  # with the slash at its end, if there is one
        if name not in PAGES:
            raise cherrypy.NotFound
        stored = cherrypy.serving.session
        query = {key: value for key, value in fields.items() if isinstance(value, str)}
        html = PAGES[name](stored.manager, stored.session, query)
        if html is None:
            raise cherrypy.HTTPRedirect("./")
        return html


def serve(manager: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    cherrypy.config.update({"environment": "production", "log.screen": True})
    application = cherrypy.tree.mount(Demo(), config={"/": {
        "tools.sessions.on": True,
        "tools.sessions.storage_class": StoreSession,
        "tools.sessions.manager": manager,
        "tools.sessions.locking": "explicit",  # requests overlap and are merged, as on the other frameworks
    }})
    application.log.access_log.propagate = False
    server = Server((host, port), application, server_name="localhost", shutdown_timeout=1)
    server.prepare()
    cherrypy.server.unsubscribe()
    cherrypy.engine.start()
    # An interrupt is raised in the main thread, and may get lost in Cheroot's loop: so the main thread only waits.
    serving = threading.Thread(target=server.serve, daemon=True)
    serving.start()
    try:
        ready(server.bind_addr[1])
        serving.join()
    finally:
        server.stop()
        cherrypy.engine.exit()
