"""The demonstration on Pyramid."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response

from session2_pyramid import SessionFactory

from .pages import Answer, Asked, Site, answer, failed
from .serving import Application


def application(site: Site) -> Application:
    def page(request: Any) -> Response:
        return sent(answer(site, asked(request)))

    def crashed(error: Exception, request: Any) -> Response:
        traceback.print_exception(error, file=sys.stderr)
        return sent(failed(site, asked(request), error))

    with Configurator() as config:
        config.set_session_factory(SessionFactory(site.manager))
        config.add_route("all", "/*path")
        config.add_view(page, route_name="all")
        config.add_exception_view(crashed)
    return config.make_wsgi_app()  # type: ignore[no-any-return]


def asked(request: Any) -> Asked:
    form = {name: value for name, value in request.POST.items() if isinstance(value, str)}
    return Asked("pyramid", request.environ, form, lambda: request.session.session)


def sent(made: Answer) -> Response:
    return Response(made.body.encode(), made.status, made.all_headers)
