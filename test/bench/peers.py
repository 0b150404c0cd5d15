"""The session systems of others, on the same session: what a request costs there."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import beaker.session
import django
from cases import Case, by_requests
from django.conf import settings
from django.core.cache import caches
from django.db import connections


def beakers(kind: str, folder: Path, **more: str) -> Case:
    """Beaker's session, loaded and saved as its middleware does."""
    options = {"type": kind, "data_dir": str(folder / "beaker"), "use_cookies": False, **more}

    def request(session_id: str | None, page: Callable[[Any], None]) -> str:
        session = beaker.session.Session({}, id=session_id, **options)
        page(session)
        session.save()
        return str(session.id)

    return Case(f"Beaker {kind}", lambda number: by_requests(request), one_process=kind == "memory")


class Router:
    """Tells Django which of its databases is measured at the moment."""

    database = "default"

    def db_for_read(self, model: object, **hints: object) -> str:
        """Return the name of the database."""
        return self.database

    db_for_write = db_for_read


ROUTER = Router()


def djangos(engine: str, folder: Path, **server: object) -> Case:
    """Django's session, saved when it was modified, as its middleware does.

    :param server: where the database or the cache is, as Django's settings have it; by default SQLite or memory.
    """
    (folder / "django").mkdir(exist_ok=True)
    if not settings.configured:
        settings.configure(SECRET_KEY="x" * 50, SESSION_FILE_PATH=str(folder / "django"),
                           INSTALLED_APPS=["django.contrib.sessions"], DATABASE_ROUTERS=[ROUTER],
                           DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                                                  "NAME": folder / "django.db"}})
        django.setup()
    database = "server" if server else "default"
    if engine == "cache":
        caches.settings[database] = server or caches.settings["default"]
    elif server:
        connections.databases[database] = {**connections.databases["default"], **server}
    if engine == "db":
        from django.core.management import call_command

        call_command("migrate", database=database, verbosity=0)
        connections[database].close()  # before a fork: each worker opens its own
    store = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore

    def request(key: str | None, page: Callable[[Any], None]) -> str:
        ROUTER.database = settings.SESSION_CACHE_ALIAS = database
        session = store(key)
        page(session)
        if session.modified:
            session.save()
        return str(session.session_key)

    return Case(f"Django {engine}", lambda number: by_requests(request), one_process=engine == "cache" and not server)
