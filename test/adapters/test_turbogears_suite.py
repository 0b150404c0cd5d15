"""A TurboGears application under parts of the suite that every adapter passes: its sessions look like Beaker's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cheroot.wsgi

from session2 import SessionManager
from session2.testing.adapter import pages
from session2.testing.adapter.beginning import BeginningTests
from session2.testing.adapter.ending import EndingTests
from session2.testing.adapter.failure import FailureTests
from session2_wsgi import SessionMiddleware

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb, below it, imports cgi
    from tg import MinimalApplicationConfigurator, TGController, abort, expose, redirect, request, session


class Root(TGController):
    @expose(content_type="text/plain")
    def _default(self, *path: str, **arguments: str) -> str:
        session.load()  # the suite looks for Vary on every page; here one that never looks at its session has none
        call = pages.Call(request.GET, lambda: session, session.set_user, session.get_user, session.delete)
        answer: Any = None
        try:
            return pages.answer(request.environ["PATH_INFO"], call)
        except pages.Redirect as found:
            answer = found
        except pages.NotFound:
            pass
        finally:
            session.save()
        return redirect(answer.args[0]) if answer else abort(404)


def application(manager: SessionManager[Any]) -> SessionMiddleware:
    configurator = MinimalApplicationConfigurator()
    configurator.update_blueprint({"root_controller": Root()})
    return SessionMiddleware(configurator.make_wsgi_app({}, {}), manager, beaker=True)


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    app = application(manager)

    def behind_a_proxy(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        return app({**environ, "wsgi.url_scheme": "https"}, start)

    server = cheroot.wsgi.Server(("127.0.0.1", 0), behind_a_proxy if https else app, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


class TestTurboGears(BeginningTests, EndingTests, FailureTests):
    server = f"{__file__}:serve"
    threads = 20
    unavailable_status = 503
