"""What can be measured, by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """One application.

    `make` is the function of the module on_FRAMEWORK.py that makes it, `url` that of its store, ``{}`` standing
    for a folder of its own.
    """

    framework: str
    label: str
    make: str
    url: str = ""
    only_if_asked: bool = False

    def application(self, folder: Path, url: str) -> Any:
        """Return the WSGI application."""
        return getattr(import_module(f"on_{self.framework}"), self.make)(folder, url)


URLS = {"directory": "directory:{}/sessions?create=true", "sqlite": "sqlite:{}/sessions.db?create=true",
        "shelve": "shelve:{}/sessions?create=true", "volatile": "volatile:", "durus": "durus:{}/sessions?create=true",
        "postgres": "", "mysql": ""}

ASKED_FOR = ("durus", "postgres", "mysql")
"""Stores that are measured only if they are named: of the last two the servers must be there."""


def _on_cherrypy() -> dict[str, Variant]:
    found = {"cherrypy": Variant("cherrypy", "CherryPy without sessions", "plain"),
             "cherrypy-bare": Variant("cherrypy", "bare work on a file", "bare_files"),
             "cherrypy-ram": Variant("cherrypy", "CherryPy RamSession", "ram"),
             "cherrypy-file": Variant("cherrypy", "CherryPy FileSession", "files"),
             "cherrypy-beaker": Variant("cherrypy", "Beaker file", "beaker")}
    for store, url in URLS.items():
        asked = store in ASKED_FOR
        found[f"cherrypy-{store}"] = Variant("cherrypy", f"session2 {store}, lock", "locking", url, asked)
        found[f"cherrypy-{store}-merge"] = Variant("cherrypy", f"session2 {store}, merge", "merging", url, asked)
    return found


def _on_quixote() -> dict[str, Variant]:
    return {"quixote": Variant("quixote", "Quixote without sessions", "plain"),
            "quixote-builtin": Variant("quixote", "Quixote SessionManager (memory)", "builtin"),
            "quixote-session3": Variant("quixote", "session3 directory", "session3"),
            "quixote-directory": Variant("quixote", "session2 directory, merge", "ours", URLS["directory"]),
            "quixote-sqlite": Variant("quixote", "session2 sqlite, merge", "ours", URLS["sqlite"])}


def _on_django() -> dict[str, Variant]:
    return {"django": Variant("django", "Django without sessions", "plain"),
            "django-db": Variant("django", "Django db (SQLite)", "database"),
            "django-file": Variant("django", "Django file", "files"),
            "django-cache": Variant("django", "Django cache (memory)", "cache"),
            "django-directory": Variant("django", "session2 directory, merge", "ours", URLS["directory"]),
            "django-sqlite": Variant("django", "session2 sqlite, merge", "ours", URLS["sqlite"]),
            "django-volatile": Variant("django", "session2 volatile, merge", "ours", URLS["volatile"])}


def _on_wsgi() -> dict[str, Variant]:
    return {"wsgi": Variant("wsgi", "WSGI without sessions", "plain"),
            "wsgi-beaker": Variant("wsgi", "Beaker file", "beaker"),
            "wsgi-directory": Variant("wsgi", "session2 directory, merge", "ours", URLS["directory"]),
            "wsgi-directory-beaker": Variant("wsgi", "session2 directory, as Beaker", "as_beaker", URLS["directory"]),
            "wsgi-sqlite": Variant("wsgi", "session2 sqlite, merge", "ours", URLS["sqlite"])}


def _on_flask() -> dict[str, Variant]:
    return {"flask": Variant("flask", "Flask without sessions", "plain", only_if_asked=True),
            "flask-cookie": Variant("flask", "Flask's own, in the cookie", "cookie", only_if_asked=True),
            "flask-session": Variant("flask", "Flask-Session, cachelib files", "flask_session",
                                     only_if_asked=True),
            "flask-session-redis": Variant("flask", "Flask-Session, Redis", "flask_session_on_redis",
                                           only_if_asked=True),
            "flask-redis": Variant("flask", "session2 redis, merge", "ours", only_if_asked=True),
            "flask-directory": Variant("flask", "session2 directory, merge", "ours", URLS["directory"], True),
            "flask-sqlite": Variant("flask", "session2 sqlite, merge", "ours", URLS["sqlite"], True)}


def _on_pyramid() -> dict[str, Variant]:
    return {"pyramid": Variant("pyramid", "Pyramid without sessions", "plain", only_if_asked=True),
            "pyramid-cookie": Variant("pyramid", "Pyramid's own, in the cookie", "cookie", only_if_asked=True),
            "pyramid-beaker": Variant("pyramid", "pyramid_beaker, file", "beaker", only_if_asked=True),
            "pyramid-directory": Variant("pyramid", "session2 directory, merge", "ours", URLS["directory"], True),
            "pyramid-sqlite": Variant("pyramid", "session2 sqlite, merge", "ours", URLS["sqlite"], True)}


VARIANTS = {**_on_cherrypy(), **_on_quixote(), **_on_wsgi(), **_on_django(), **_on_flask(), **_on_pyramid()}
