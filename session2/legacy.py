"""The module paths of session2 0.6 and session3, for applications that still import from them.

``from session2.store.DirectorySessionStore import DirectorySessionStore`` and its like keep working.  They cannot be
files: on a file system that folds case, ``Session.py`` and ``session.py`` are the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from .errors import ConfigurationError
from .events import Name, tell
from .found import Absence, Found
from .manager import SessionManager
from .record import Outcome, Record
from .session import DictSession, Session, ties
from .store.records import RecordStore
from .ties import Origin

_OLD_PATHS: Final = {
    "SessionManager": "session2.manager",
    "Session": "session2.session",
    "DictSession": "session2.session",
    "store.SessionStore": "session2.legacy",
    "store.VolatileSessionStore": "session2.store.volatile",
    "store.DirectorySessionStore": "session2.store.directory",
    "store.ShelveSessionStore": "session2.store.shelve",
    "store.DurusSessionStore": "session2.store.durus",
    "store.MySQLSessionStore": "session2.store.mysql",
    "store.PostgresSessionStore": "session2.store.postgres",
}


class SessionStore:
    """The base class of session2 0.6, for a store of your own that has `load_session`, `save_session` and
    `delete_session` and nothing else.

    It works under the manager as it always did and without the guarantees: it keeps session objects, so the last
    writer wins.
    """

    is_thread_safe = False
    is_multiprocess_safe = False
    clock = staticmethod(time.time)

    @property
    def sessions(self) -> WholeSessions:
        """What a manager works with."""
        return WholeSessions(self)

    def for_request(self, exchange: Any, policy: Any) -> SessionStore:
        """Return the store that serves one request: itself."""
        return self

    def has_session(self, session_id: str | None) -> bool:
        """Tell whether there is a session with this id."""
        return self.load_session(session_id, None) is not None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(RecordStore, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ConfigurationError(f"{type(self).__name__} keeps whole sessions and cannot do this ({name}); "
                                 "implement the primitives of session2.store.base.SessionStore")


class WholeSessions:
    """What `Sessions` is for a store of records, for one of whole sessions: no more than that can do."""

    clock = staticmethod(time.time)
    left = ()

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise ConfigurationError(f"{type(self._store).__name__} keeps whole sessions and cannot do this ({name}); "
                                 "implement the primitives of session2.store.base.SessionStore")

    def tell(self, name: Name, key: str, detail: str = "", level: int | None = None) -> None:
        tell(None, name, key, detail, level)

    def deliver(self) -> None:
        pass

    def is_undelivered(self) -> bool:
        return False

    def find(self, session_id: str, session_class: type[Any], key: str | None = None) -> Found[Any]:
        found = self._store.load_session(session_id, None)
        if found is None:
            return Found(session_id, session_id, absence=Absence.UNKNOWN)
        return Found(session_id, session_id, session=_stored(found, session_id))

    def locate(self, session_id: str) -> Found[Any]:
        return self.find(session_id, Session)

    def save(self, session: Session, merge: bool = True, pending: bytes | None = None) -> Outcome:
        self._store.save_session(session)
        _stored(session, str(session.id))
        return Outcome.SAVED

    def rotate(self, session: Session, new_id: str, grace: float = 0.0, merge: bool = True,
               instead_of: Sequence[Session] = ()) -> Outcome:
        old, session.id = ties(session).origin, new_id
        outcome = self.save(session)
        if old is not None:
            self._store.delete_session(type(session)(old.id))
        for other in instead_of:
            self.end(other)
        return outcome

    def end(self, session: Session | str, reason: str = "", replaced: bool = False,
            event: Name = "ended") -> str | None:
        self._store.delete_session(session if isinstance(session, Session) else Session(session))
        key = session.key if isinstance(session, Session) else session
        if key is not None:
            self.tell(event, key, reason)
        return key

    def empty(self, session: Session, merge: bool = True) -> Outcome:
        self._store.delete_session(session)
        ties(session).id = ties(session).origin = None
        return Outcome.GONE

    def touch(self, session: Session) -> None:
        self._store.save_session(session)

    def pending(self, session: Session) -> bytes | None:
        return b""

    def is_changed(self, session: Session) -> bool:
        return True

    def user_changed(self, session: Session) -> bool:
        origin = ties(session).origin
        return session.user_key() != (None if origin is None else origin.record.user)

    def release_left(self) -> None:
        """Do nothing: here nothing can be locked."""


def _stored(session: Any, session_id: str) -> Any:
    """Let the manager see who was logged in when the session was loaded: it rotates the id when that changes."""
    bound = ties(session)
    record = Record(b"", bound.created, bound.accessed, bound.accessed, user=session.user_key())
    bound.id, bound.origin = session_id, Origin(session_id, session_id, record, b"")
    return session


def _old_module(old: str, new: str) -> ModuleType:
    name = old.rpartition(".")[2]
    module = ModuleType(f"session2.{old}", f"Old path of `{new}.{name}`.")

    def lookup(attribute: str) -> Any:
        if attribute != name:
            raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")
        return getattr(import_module(new), name)

    module.__getattr__ = lookup  # type: ignore[method-assign]
    return module


def install() -> None:
    """Make the old module paths importable."""
    from . import store

    for old, new in _OLD_PATHS.items():
        module = sys.modules[f"session2.{old}"] = _old_module(old, new)
        if old.startswith("store."):
            setattr(store, old.removeprefix("store."), module)
    # ``session2.Session`` is a class now and was a module: ``session2.Session.Session`` must still be found.
    for cls in (SessionManager, Session, DictSession):
        setattr(cls, cls.__name__, cls)
