"""The cases that CherryPy tests its own session classes with, run against `StoreSession`.

The classes RamSession and FileSession are ours while they run.  What is said differently to the cases: SameSite and
HttpOnly are switched off, for they list the attributes; the two pages that only load or regenerate a session also
store something in it, for nothing is stored of an empty session; a browser keeps the cookie it has, for it is not sent
anew with every response; and the look into the folder of FileSession is turned to the folder of our store.  The waits
for sessions to expire move a clock instead.  Left out is what tests memcached, and test_8, which looks into a dict of
locks that does not exist here.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cherrypy
import pytest
from cheroot import wsgi
from cherrypy.lib import gctools, sessions
from cherrypy.test import helper
from cherrypy.test import test_session as upstream

import session2_cherrypy
from session2 import DictSession, SessionManager
from session2.store.base import SessionStore
from session2.store.directory import DirectorySessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock
from session2_cherrypy.cleaning import _monitors, stop_cleaning

gctools.request_counter.unsubscribe()  # it would count the requests of all tests, for an engine that was started


class Cleaning:
    """Lets a test wait until a store has been cleaned."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.changed = threading.Condition()
        self.begun = self.done = 0
        self.purge = store.purge
        store.purge = self.counted  # type: ignore[method-assign]

    def counted(self, *arguments: Any) -> int:
        with self.changed:
            self.begun += 1
            number = self.begun
        count = self.purge(*arguments)
        with self.changed:
            self.done = number
            self.changed.notify_all()
        return count

    def wait(self) -> None:
        """Wait for a clean-up that begins from now on, if there is a thread for it."""
        with self.changed:
            number = self.begun + 1
            assert self.store not in _monitors() or self.changed.wait_for(lambda: self.done >= number, timeout=60)


class Cache:
    """What `RamSession.cache` is to the cases: the ids of all sessions there are, expired ones too."""

    def __init__(self, store: VolatileSessionStore) -> None:
        self.store = store

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in self.store._records if not key.startswith("lock-")])

    def keys(self) -> list[str]:
        return list(self)

    def clear(self) -> None:
        self.store.setup(drop=True)


def session_class(name: str, store: SessionStore, **attributes: Any) -> type[session2_cherrypy.StoreSession]:
    manager = SessionManager(store, DictSession)

    class OneOfTheirs(session2_cherrypy.StoreSession):
        samesite = None

        def __init__(self, id: str | None = None, **settings: Any) -> None:
            super().__init__(id, **{**settings, "manager": manager})

    return type(name, (OneOfTheirs,), attributes)


def storing(page: Callable[..., str]) -> Callable[..., str]:
    """Return the page, which stores something in its session too."""
    @functools.wraps(page)
    def both(self: Any) -> str:
        text = page(self)
        cherrypy.session["something"] = 1
        return text

    return both


def test_their_next_release_may_mark_cases_as_flaky(pytestconfig: pytest.Config) -> None:
    assert [line for line in pytestconfig.getini("markers") if line.startswith("flaky:")]


class TestTheirCases(helper.CPWebCase):  # type: ignore[misc]
    test_0_Session = upstream.SessionTest.test_0_Session
    test_1_Ram_Concurrency = upstream.SessionTest.test_1_Ram_Concurrency
    test_2_File_Concurrency = upstream.SessionTest.test_2_File_Concurrency
    test_3_Redirect = upstream.SessionTest.test_3_Redirect
    test_4_File_deletion = upstream.SessionTest.test_4_File_deletion
    test_5_Error_paths = upstream.SessionTest.test_5_Error_paths
    test_6_regenerate = upstream.SessionTest.test_6_regenerate
    test_7_session_cookies = upstream.SessionTest.test_7_session_cookies
    _test_Concurrency = upstream.SessionTest._test_Concurrency
    test_gc = None
    interactive = False

    @classmethod
    def setup_class(cls) -> None:
        """Left to `server`: CherryPy's own way takes a port that is always the same."""

    @classmethod
    def teardown_class(cls) -> None:
        """Likewise."""

    @pytest.fixture(autouse=True)
    def server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        clock = Clock()
        ram = VolatileSessionStore(clock=clock, hash_ids=False)
        folder = DirectorySessionStore(tmp_path / "sessions", create=True, clock=clock)
        cleanings = [Cleaning(ram), Cleaning(folder)]
        for name, store in (("RamSession", ram), ("FileSession", folder)):
            monkeypatch.setattr(sessions, name, session_class(name, store, cache=Cache(ram)))
        monkeypatch.setattr(upstream, "os", self.files_of(folder))
        monkeypatch.setattr(upstream, "time", SimpleNamespace(
            time=time.time, sleep=lambda seconds: self.sleep(seconds, clock, cleanings)))
        opened: list[HTTPConnection] = []
        monkeypatch.setattr(upstream, "HTTPConnection", lambda host: opened.append(HTTPConnection(host)) or opened[-1])
        server = self.serve(monkeypatch)
        yield
        server.stop()
        for connection in opened:  # the cases leave them open
            connection.close()
        cherrypy.config.reset()
        for cleaning in cleanings:
            stop_cleaning(cleaning.store)

    def getPage(self, url: str, headers: Any = None, *arguments: Any, **named: Any) -> None:
        super().getPage(url, headers, *arguments, **named)
        self.cookies = self.cookies or [header for header in headers or () if header[0] == "Cookie"]

    def serve(self, monkeypatch: pytest.MonkeyPatch) -> wsgi.Server:
        monkeypatch.setattr(cherrypy, "tree", cherrypy._cptree.Tree())
        cherrypy.config.reset()
        cherrypy.config.update({"environment": "test_suite"})
        upstream.setup_server()
        root = cherrypy.tree.apps[""].root.__class__
        # The cases follow one another with FileSession left over from the second.
        monkeypatch.setitem(root._cp_config, "tools.sessions.storage_class", sessions.FileSession)
        monkeypatch.setitem(root._cp_config, "tools.sessions.httponly", False)
        root.session_cookie, root.regen = storing(root.session_cookie), storing(root.regen)
        server = wsgi.Server(("127.0.0.1", 0), cherrypy.tree)
        server.expiration_interval = 0.02
        server.prepare()
        threading.Thread(target=server.serve, daemon=True).start()
        monkeypatch.setattr(type(self), "HOST", "127.0.0.1")
        monkeypatch.setattr(type(self), "PORT", server.bind_addr[1])
        return server

    @staticmethod
    def sleep(seconds: float, clock: Clock, cleanings: list[Cleaning]) -> None:
        if seconds < 1:
            time.sleep(seconds)  # in a page, so that requests overlap
        else:
            clock.advance(seconds)
            for cleaning in cleanings:
                cleaning.wait()

    @staticmethod
    def files_of(store: DirectorySessionStore) -> SimpleNamespace:
        """Return an `os` that shows the files of the store as FileSession's."""
        def listdir(_: object) -> list[str]:
            return [f"session-{key}" for key, _ in store.iter_sessions()]

        def unlink(path: str) -> None:
            (file,) = Path(store.directory).rglob(store.sessions.key(os.path.basename(path).partition("-")[2]))
            file.unlink()

        return SimpleNamespace(path=os.path, listdir=listdir, unlink=unlink)
