"""`SessionMiddleware`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from session2 import ConfigurationError, SessionError, SessionManager
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
        if isinstance(manager, dict):
            raise ConfigurationError("Beaker's options become a manager: beaker = from_beaker_config(options), and "
                                     "then SessionMiddleware(app, beaker.manager, **beaker.settings)")
        self.app = app
        self.manager = for_mappings(manager)
        self._key = key
        self._kind: type[WSGISession] = BeakerSession if beaker else WSGISession
        self._settings: tuple[Beaker, ...] = () if not beaker else (Beaker() if beaker is True else beaker,)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        around = environ.get(self._key)
        # A second session of the same request would not know of the changes in this one.
        if around is not None and type(around) is self._kind and around.is_under_way(self.manager):
            return self.app(environ, start_response)
        session = environ[self._key] = self._kind(self.manager, environ, *self._settings)
        wrap = environ.get("wsgi.file_wrapper")
        answer, files = Answer(session, environ, start_response), None if wrap is None else Files(wrap, environ)
        try:
            chunks = self.app(environ, answer.start)
        except SessionError as error:
            return answer.refuse(error)
        except BaseException:
            session.give_up()
            raise
        is_done = isinstance(chunks, (list, tuple)) or chunks is None or (files is not None and files.made(chunks))
        return delivered(answer, chunks, is_done)


class Files:
    """The server's file wrapper, which remembers what it made: the server knows that by what it is."""

    def __init__(self, wrap: Callable[..., Any], environ: dict[str, Any]) -> None:
        self._wrap = wrap
        self._made: Any = self  # which no application returns
        if not isinstance(wrap, type):
            environ["wsgi.file_wrapper"] = self

    def __call__(self, *arguments: Any) -> Any:
        self._made = self._wrap(*arguments)
        return self._made

    def made(self, chunks: Any) -> bool:
        """Tell whether the server sends this by itself."""
        return chunks is self._made or (isinstance(self._wrap, type) and isinstance(chunks, self._wrap))
