"""`SessionStore`: what every store is made with, and the API that stores have had since session2 0.6."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import tokens, traces
from ..clock import SteadyClock
from ..codec import Codec
from ..errors import ConfigurationError
from ..events import Observer
from ..filing import Filing
from ..serializers import PickleSerializer, Serializer
from ..session import DictSession, Session
from ..sessions import Sessions
from .lock import Queues
from .records import RecordStore


class SessionStore(RecordStore):
    """The base of every store.

    A back end implements the six primitives of `RecordStore`: `read`, `write`, `touch`, `remove`, `scan` and `purge`.

    :param serializer: how state becomes bytes; default `PickleSerializer`.
    :param hash_ids: file sessions under the SHA-256 of their id, so that a copy of the store holds no usable cookie.
    :param clock: returns the time in seconds since the epoch; default: `session2.clock.SteadyClock`.
    :param observer: told of every `session2.events.Event`; for metrics.
    """

    sessions: Sessions
    """The sessions over these records: what a manager works with."""

    def __init__(self, *, serializer: Serializer | None = None, hash_ids: bool = True,
                 clock: Callable[[], float] | None = None, observer: Observer | None = None) -> None:
        self.serializer = serializer or PickleSerializer()
        self.hash_ids = hash_ids
        self.clock = clock or SteadyClock()
        self.observer = observer
        self.queues = Queues()
        self.sessions = Sessions(Filing(self, Codec(self)))

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> SessionStore:
        """Make a store from the part of a URL before the query; by default ``scheme:PATH`` for a store at a path."""
        scheme, _, path = location.partition(":")
        if not path:
            raise ConfigurationError(f"{location!r} names no path; write for example '{scheme}:/var/lib/sessions'")
        return cls(path, **options)  # type: ignore[arg-type, call-arg]

    # -- the API of session2 0.6 -----------------------------------------------------------------------------------

    def load_session(self, session_id: str | None, default: Any = None) -> Any:
        """Return the `DictSession` with this id, or `default`; a manager returns sessions of your own class."""
        session = self.sessions.load(session_id, DictSession) if session_id and tokens.is_id(session_id) else None
        return default if session is None else session

    def save_session(self, session: Session) -> None:
        """Store a session; one without an id gets one."""
        if session.id is None and session.key is None:
            session.id = tokens.new_id()
        self.sessions.save(session)

    def delete_session(self, session: Session | str | None) -> None:
        """End a session, given itself or its id.  It is no error if there is none."""
        if session is not None:
            self.sessions.end(session)

    def has_session(self, session_id: str | None) -> bool:
        """Tell whether there is a session with this id."""
        return self.load_session(session_id) is not None

    def iter_sessions(self) -> Iterator[tuple[str, Session]]:
        """Iterate over ``(key, session)``; the id of a session is known to its visitor only."""
        return ((str(session.key), session) for session in self.sessions.each(DictSession))

    def delete_old_sessions(self, minutes: float) -> tuple[int, int]:
        """Delete the sessions nobody used for so many minutes; return how many are deleted and how many remain."""
        deleted = self.purge(unused_since=self.clock() - minutes * 60)
        return deleted, sum(traces.is_session(key, record) for key, record in self.scan())
