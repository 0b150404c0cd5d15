"""The demonstration on Django, served by its own development server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import re_path

from .pages import PAGES, Manager

manager: Manager


def page(request: Any) -> Any:
    name = request.path_info[1:]
    if name not in PAGES:
        raise Http404
    html = PAGES[name](manager, request.session.session, request.GET.dict())
    return HttpResponseRedirect("./") if html is None else HttpResponse(html)


urlpatterns = [re_path("", page)]


def serve(given: Manager, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until interrupted; `ready` is called with the port once it is listened to."""
    global manager
    manager = given
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["session2_django.SessionMiddleware"],
        SESSION_ENGINE="session2_django",
        SESSION2_MANAGER=f"{__name__}.manager",
    )
    django.setup()
    server = ThreadedWSGIServer((host, port), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    try:
        ready(server.server_port)
        server.serve_forever()
    finally:
        server.server_close()
