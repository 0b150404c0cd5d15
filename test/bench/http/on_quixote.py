"""The pages on Quixote, with each session manager."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import STATE, look, use
from quixote import get_session
from quixote.errors import TraversalError
from quixote.publish import Publisher
from quixote.session import Session as QuixoteSession
from quixote.session import SessionManager as QuixoteManager
from quixote.wsgi import QWIP

from session2 import DictSession, SessionManager, from_url


class ThreadedPublisher(Publisher):
    """A publisher for a server with threads: Quixote's own has one place for the request that is being processed."""

    is_thread_safe = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._here = threading.local()
        super().__init__(*arguments, **options)

    @property
    def _request(self) -> Any:
        return getattr(self._here, "request", None)

    @_request.setter
    def _request(self, request: Any) -> None:
        self._here.request = request


class Pages:
    """What is asked for; `state` returns the session."""

    def __init__(self, state: Callable[[], Any]) -> None:
        self.state = state

    def _q_traverse(self, path: list[str]) -> str:
        page = {"begin": self._begin, "change": use, "read": look}.get(path[0])
        if page is None:
            raise TraversalError
        page(self.state())
        return path[0]

    @staticmethod
    def _begin(state: Any) -> None:
        state.update(STATE)


def with_state(base: Any) -> type[Any]:
    """Return a session class of Quixote's kind that keeps a state, in the way its manual tells to."""
    class Keeping(base):
        def __init__(self, session_id: str | None) -> None:
            super().__init__(session_id)
            self.state: dict[str, Any] = {}

        def has_info(self) -> bool:
            return bool(self.state)

    Keeping.__qualname__ = Keeping.__name__ = f"{base.__module__.partition('.')[0].title()}Session"
    globals()[Keeping.__name__] = Keeping  # where pickle looks for it
    return Keeping


def _application(state: Callable[[], Any], manager: Any = None) -> Any:
    return QWIP(ThreadedPublisher(Pages(state), session_manager=manager))


def plain(folder: Path, url: str) -> Any:
    """No sessions: the work on a dict."""
    state: dict[str, Any] = {}
    return _application(lambda: state)


def builtin(folder: Path, url: str) -> Any:
    """Quixote's own manager, which keeps the live objects in memory."""
    return _application(lambda: get_session().state, QuixoteManager(with_state(QuixoteSession)))


def session3(folder: Path, url: str) -> Any:
    from session3.Session import Session
    from session3.SessionManager import SessionManager as Manager
    from session3.store.DirectorySessionStore import DirectorySessionStore

    return _application(lambda: get_session().state, Manager(DirectorySessionStore(str(folder)), with_state(Session)))


def ours(folder: Path, url: str) -> Any:
    store = from_url(url)
    store.setup()
    return _application(get_session, SessionManager(store, DictSession))
