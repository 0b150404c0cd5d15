"""`SessionMiddleware`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from session2 import SessionError, SessionManager
from session2.variants import for_mappings

from .answer import Answer, delivered
from .beaker import Beaker, BeakerSession
from .session import WSGISession

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class SessionMiddleware:
    """A WSGI application whose requests find their session in the environment.

    :param app: the application.
    :param manager: its session class is a `DictSession`; `Session` itself will do.
    :param key: where in the environment the session is.
    :param beaker: also give what Beaker's middleware gives; `Beaker` says how.
    """

    def __init__(self, app: Application, manager: SessionManager[Any], *, key: str = "session2.session",
                 beaker: Beaker | bool = False) -> None:
        self.app = app
        self.manager = for_mappings(manager)
        self._key = key
        self._beaker = Beaker() if beaker is True else beaker or None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if self._is_around(environ.get(self._key)):
            return self.app(environ, start_response)
        session = environ[self._key] = self._session(environ)
        answer, files = Answer(session, environ, start_response), Files.in_place(environ)
        try:
            chunks = self.app(environ, answer.start)
        except SessionError as error:
            return answer.refuse(error)
        except BaseException:
            session.give_up()
            raise
        is_done = chunks is None or isinstance(chunks, (list, tuple)) or files.made(chunks)
        return delivered(answer, chunks, is_done)

    def _is_around(self, session: object) -> bool:
        """Tell whether the session of the request is there already: a second one would not know of its changes."""
        kind = WSGISession if self._beaker is None else BeakerSession
        return type(session) is kind and session.is_under_way(self.manager)

    def _session(self, environ: dict[str, Any]) -> WSGISession:
        if self._beaker is None:
            return WSGISession(self.manager, environ)
        return BeakerSession(self.manager, environ, self._beaker)


class Files:
    """The server's file wrapper, which remembers what it made: the server knows that by what it is."""

    def __init__(self, wrap: Callable[..., Any] | None) -> None:
        self._wrap = wrap
        self._made: Any = None

    @classmethod
    def in_place(cls, environ: dict[str, Any]) -> Files:
        files = cls(environ.get("wsgi.file_wrapper"))
        if files._wrap is not None and not isinstance(files._wrap, type):
            environ["wsgi.file_wrapper"] = files
        return files

    def __call__(self, *arguments: Any) -> Any:
        assert self._wrap is not None
        self._made = self._wrap(*arguments)
        return self._made

    def made(self, chunks: Any) -> bool:
        """Tell whether the server sends this by itself."""
        return chunks is self._made or (isinstance(self._wrap, type) and isinstance(chunks, self._wrap))
