"""What the demonstration can be told: which store, on which framework, where."""

from __future__ import annotations

import errno
import os
import socket
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from session2 import ConfigurationError, urls
from session2.cli.places import made_from
from session2.store.base import SessionStore

from .servers import DATA, SERVERS, program

# Those that need no server, by the names of their schemes.
STORES: Final = {scheme: store.example.format(DATA) for scheme, store in urls.STORES.items()
                 if "{}" in store.example or scheme == "volatile"}


class Framework(NamedTuple):
    """What is known of a framework."""

    name: str
    extra: str
    """What to install: ``session2[extra]``."""
    modules: tuple[str, ...]
    """What is there then."""
    besides: str = ""
    """What to install with it."""

    @property
    def install(self) -> str:
        """Return what pip is to be told."""
        return f"'session2[{self.extra}]' {self.besides}".strip()


FRAMEWORKS: Final = {
    "quixote": Framework("Quixote", "quixote", ("quixote",)),
    "cherrypy": Framework("CherryPy", "cherrypy", ("cherrypy",)),
    "wsgi": Framework("WSGI", "wsgi", ()),
    "django": Framework("Django", "django", ("django",)),
    "pyramid": Framework("Pyramid", "pyramid", ("pyramid",)),
    "flask": Framework("Flask", "flask", ("flask",)),
    "starlette": Framework("Starlette", "starlette", ("starlette", "uvicorn"), "uvicorn"),
}
"""In the order of the bar."""


def check(store: str, framework: str) -> None:
    """Refuse a store or framework that does not exist, with the nearest one that does."""
    if framework not in FRAMEWORKS:
        raise ConfigurationError(_unknown("framework", framework, list(FRAMEWORKS)))
    if ":" in store:
        urls.check(store)
    elif store in SERVERS:
        program(store)
    elif store in urls.STORES and store not in STORES:
        raise ConfigurationError(f"the store {store} needs a URL, for example {urls.STORES[store].example}")
    elif store not in STORES:
        raise ConfigurationError(_unknown("store", store, [*STORES, *SERVERS]) + ", or the URL of a store")


def opened(store: str) -> SessionStore:
    """Make the store and all that it needs."""
    url = STORES.get(store, store)
    scheme, _, path = url.partition("?")[0].partition(":")
    if scheme in STORES and not path.startswith("//"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    made = made_from(url, create=True)
    made.setup()
    return made


def unusable(host: str, port: int, error: Exception) -> str:
    """Say why nobody can listen there, and where somebody could."""
    if _problem(host, port) != errno.EADDRINUSE:
        return f"{host}:{port} cannot be listened to: {error}"
    free = next((near for near in range(port + 1, min(port + 100, 65536)) if _problem(host, near) is None), 0)
    say = f"make demo PORT={free}" if "MAKELEVEL" in os.environ else f"--port {free}"
    return f"{host}:{port} cannot be listened to, for another program does already; try: {say}"


def _problem(host: str, port: int) -> int | None:
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "errno", 0)
    return None


def _unknown(kind: str, name: str, known: list[str]) -> str:
    near = "".join(f"; did you mean {match!r}?" for match in get_close_matches(name, known, 1))
    return f"no {kind} is called {name!r}{near or '.'}  There are: {', '.join(known)}"
