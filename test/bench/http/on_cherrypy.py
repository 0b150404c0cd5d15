"""The pages on CherryPy, with each kind of session."""

from __future__ import annotations

import fcntl
import itertools
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cherrypy
from cases import STATE, look, use
from cherrypy.lib.sessions import FileSession, RamSession

from session2_cherrypy import StoreSession


class Pages:
    """What is asked for; `state` returns the session."""

    def __init__(self, state: Callable[[], Any]) -> None:
        self.state = state

    @cherrypy.expose
    def begin(self) -> str:
        self.state().update(STATE)
        return "begun"

    @cherrypy.expose
    def change(self) -> str:
        use(self.state())
        return "changed"

    @cherrypy.expose
    def read(self) -> str:
        look(self.state())
        return "read"


class SavedPages(Pages):
    """Pages that must say that the session has changed."""

    @cherrypy.expose
    def begin(self) -> str:
        super().begin()
        self.state().save()
        return "begun"

    @cherrypy.expose
    def change(self) -> str:
        super().change()
        self.state().save()
        return "changed"


class Files:
    """The bare work on a file: nothing that keeps sessions in files can do less."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = map(str, itertools.count())

    @cherrypy.expose
    def begin(self) -> str:
        name = next(self._names)
        (self._folder / name).write_bytes(pickle.dumps(STATE, 5))
        cherrypy.response.cookie["file"] = name
        return "begun"

    @cherrypy.expose
    def change(self) -> str:
        return self._page(os.O_RDWR, fcntl.LOCK_EX, self._change)

    @cherrypy.expose
    def read(self) -> str:
        return self._page(os.O_RDONLY, fcntl.LOCK_SH, lambda handle: look(pickle.loads(os.pread(handle, 65536, 0))))

    def _page(self, flags: int, lock: int, work: Callable[[int], None]) -> str:
        handle = os.open(self._folder / cherrypy.request.cookie["file"].value, flags)
        try:
            fcntl.flock(handle, lock)
            work(handle)
        finally:
            os.close(handle)
        return "done"

    @staticmethod
    def _change(handle: int) -> None:
        state = pickle.loads(os.pread(handle, 65536, 0))
        use(state)
        os.pwrite(handle, pickle.dumps(state, 5), 0)


def _application(pages: Any, **settings: Any) -> Any:
    """Mount the pages; the settings are those of the session tool."""
    cherrypy.config.update({"environment": "production"})  # no autoreload, no log on the screen
    cherrypy.tree.mount(pages, "", {"/": {f"tools.sessions.{name}": value for name, value in settings.items()}})
    cherrypy.server.unsubscribe()
    cherrypy.engine.start()
    return cherrypy.tree


def _with_sessions(**settings: Any) -> Any:
    return _application(Pages(lambda: cherrypy.session), on=True, **settings)


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    state: dict[str, Any] = {}
    return _application(Pages(lambda: state))


def bare_files(folder: Path, url: str) -> Any:
    return _application(Files(folder))


def ram(folder: Path, url: str) -> Any:
    return _with_sessions(storage_class=RamSession)


def files(folder: Path, url: str) -> Any:
    return _with_sessions(storage_class=FileSession, storage_path=str(folder))


def locking(folder: Path, url: str) -> Any:
    """Ours, as it is if nothing is said."""
    return _with_sessions(storage_class=StoreSession, store_url=url)


def merging(folder: Path, url: str) -> Any:
    """Ours, where requests of one session overlap."""
    return _with_sessions(storage_class=StoreSession, store_url=url, locking="explicit")


def beaker(folder: Path, url: str) -> Any:
    """Beaker's middleware around CherryPy."""
    from beaker.middleware import SessionMiddleware

    pages = SavedPages(lambda: cherrypy.request.wsgi_environ["beaker.session"])
    return SessionMiddleware(_application(pages), {"session.type": "file", "session.data_dir": str(folder)})
