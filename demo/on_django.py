"""The demonstration on Django."""

from __future__ import annotations

import secrets
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path

from .pages import Answer, Asked, Manager, Site, answer, failed
from .serving import Application

site: Site
manager: Manager


def page(request: Any) -> Any:
    try:
        return sent(answer(site, asked(request)))
    except Exception as error:
        request.failure = error
        raise


def crashed(request: Any) -> Any:
    """Answer a request that failed."""
    return sent(failed(site, asked(request), getattr(request, "failure", None) or RuntimeError()))


urlpatterns = [re_path("", page)]
handler500 = f"{__name__}.crashed"


def application(given: Site) -> Application:
    global site, manager
    site, manager = given, given.manager
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["session2_django.SessionMiddleware"],
        SESSION_ENGINE="session2_django",
        SESSION2_MANAGER=f"{__name__}.manager",
        SECRET_KEY=secrets.token_hex(),  # nothing is signed with it; Django 4.2 wants one to log a crash
    )
    django.setup()
    return get_wsgi_application()  # type: ignore[no-any-return]


def asked(request: Any) -> Asked:
    return Asked("django", request.META, request.POST.dict(), lambda: request.session.session)


def sent(made: Answer) -> Any:
    response = HttpResponse(made.body, status=made.status, content_type=made.content_type)
    for name, value in made.headers:
        response[name] = value
    return response
