"""The session systems of others, on the same session: what a request costs there."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import beaker.session
import django
from cases import STATE, Case, look, use
from django.conf import settings


def beakers(kind: str, folder: Path) -> Case:
    """Beaker's session, loaded and saved as its middleware does."""
    options = {"type": kind, "data_dir": str(folder / "beaker"), "use_cookies": False}

    def request(session_id: str | None, page: Callable[[Any], None]) -> str:
        session = beaker.session.Session({}, id=session_id, **options)
        page(session)
        session.save()
        return str(session.id)

    session_id = request(None, lambda session: session.update(STATE))
    return Case(f"Beaker {kind}", lambda: request(session_id, use), lambda: request(session_id, look))


def djangos(engine: str, folder: Path) -> Case:
    """Django's session, saved when it was modified, as its middleware does."""
    (folder / "django").mkdir(exist_ok=True)
    if not settings.configured:
        settings.configure(SECRET_KEY="x" * 50, SESSION_FILE_PATH=str(folder / "django"),
                           INSTALLED_APPS=["django.contrib.sessions"],
                           DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                                                  "NAME": folder / "django.db"}})
        django.setup()
    if engine == "db":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    store = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore

    def request(key: str | None, page: Callable[[Any], None]) -> str:
        session = store(key)
        page(session)
        if session.modified:
            session.save()
        return str(session.session_key)

    key = request(None, lambda session: session.update(STATE))
    return Case(f"Django {engine}", lambda: request(key, use), lambda: request(key, look))
