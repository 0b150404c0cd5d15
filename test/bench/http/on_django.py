"""The pages on Django, with each kind of session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from cases import STATE, look, use
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path

OURS = "session2_django.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
BACKENDS = "django.contrib.sessions.backends"

PAGES: dict[str, Callable[[Any], Any]] = {"begin": lambda session: session.update(STATE), "change": use, "read": look}

shared: Any = {}
"""What stands in for a session where there is none."""


def page(request: Any, name: str) -> HttpResponse:
    PAGES[name](getattr(request, "session", shared))
    response = HttpResponse(name)
    response["Content-Length"] = str(len(name))
    return response


urlpatterns = [path("<name>", page)]


def _application(*middleware: str, **own: Any) -> Any:
    settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=middleware,
                       LOGGING_CONFIG=None, INSTALLED_APPS=["django.contrib.sessions"], **own)
    django.setup()
    return WSGIHandler()


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    return _application()


def database(folder: Path, url: str) -> Any:
    """Django's default, in SQLite."""
    from django.core.management import call_command

    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "django.db", "CONN_MAX_AGE": None}
    application = _application(DJANGOS, DATABASES={"default": file})
    call_command("migrate", verbosity=0)
    return application


def files(folder: Path, url: str) -> Any:
    return _application(DJANGOS, SESSION_ENGINE=f"{BACKENDS}.file", SESSION_FILE_PATH=str(folder))


def cache(folder: Path, url: str) -> Any:
    """In the memory of the process."""
    return _application(DJANGOS, SESSION_ENGINE=f"{BACKENDS}.cache")


def ours(folder: Path, url: str) -> Any:
    return _application(OURS, SESSION_ENGINE="session2_django", SESSION2_STORE=url)
