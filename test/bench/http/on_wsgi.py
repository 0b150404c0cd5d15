"""The pages as a bare WSGI application, with each kind of session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import STATE, look, use

from session2 import DictSession, SessionManager, from_url
from session2_wsgi import SessionMiddleware


class Pages:
    """What is asked for; `state` returns the session of an environ."""

    def __init__(self, state: Callable[[dict[str, Any]], Any]) -> None:
        self.state = state

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        name = environ["PATH_INFO"][1:]
        {"begin": self.begin, "change": use, "read": look}[name](self.state(environ))
        self.done(name, environ)
        text = name.encode()
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]

    @staticmethod
    def begin(state: Any) -> None:
        state.update(STATE)

    def done(self, name: str, environ: dict[str, Any]) -> None:
        """Do what there is to do once a page has done its work."""


class SavedPages(Pages):
    """Pages that must say that the session has changed."""

    def done(self, name: str, environ: dict[str, Any]) -> None:
        if name != "read":
            self.state(environ).save()


def _of_beaker(environ: dict[str, Any]) -> Any:
    return environ["beaker.session"]


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    state: dict[str, Any] = {}
    return Pages(lambda environ: state)


def beaker(folder: Path, url: str) -> Any:
    from beaker.middleware import SessionMiddleware as BeakersMiddleware

    return BeakersMiddleware(SavedPages(_of_beaker), {"session.type": "file", "session.data_dir": str(folder)})


def _manager(url: str) -> SessionManager[DictSession]:
    store = from_url(url)
    store.setup()
    return SessionManager(store, DictSession)


def ours(folder: Path, url: str) -> Any:
    return SessionMiddleware(Pages(lambda environ: environ["session2.session"]), _manager(url))


def as_beaker(folder: Path, url: str) -> Any:
    """Ours, in the place of Beaker's."""
    return SessionMiddleware(SavedPages(_of_beaker), _manager(url), beaker=True)
