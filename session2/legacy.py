"""The module paths of session2 0.6 and session3, for applications that still import from them.

``from session2.store.DirectorySessionStore import DirectorySessionStore`` and its like keep working.  They cannot be
files: on a file system that folds case, ``Session.py`` and ``session.py`` are the same.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from .errors import ConfigurationError
from .manager import SessionManager
from .session import DictSession, Origin, Session
from .store.base import SessionStore as _SessionStore
from .record import Outcome, Record

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


class SessionStore(_SessionStore):
    """The base class of session2 0.6, for a store of your own that overrides `load_session`, `save_session` and
    `delete_session` and nothing else.

    It works under the manager as it always did and without the guarantees: it keeps session objects, so the last
    writer wins.
    """

    def __new__(cls, *_: Any, **__: Any) -> SessionStore:
        """Prepare a store whose own ``__init__`` never heard of this one's, for it used to have none."""
        store = super().__new__(cls)
        _SessionStore.__init__(store)
        return store

    def load(self, session_id: str, session_class: type[Any]) -> Any:
        found = self.load_session(session_id, None)
        if found is not None:
            _mark_stored(found, session_id)
        return found

    def save(self, session: Session, merge: bool = True) -> Outcome:
        self.save_session(session)
        _mark_stored(session, str(session.id))
        return Outcome.SAVED

    def move(self, session: Session, new_id: str, grace: float = 0.0, merge: bool = True) -> Outcome:
        old, session.id = session._origin, new_id
        outcome = self.save(session)
        if old is not None:
            self.delete_session(type(session)(old.id))
        return outcome

    def delete(self, session: Session | str, replaced: bool = False) -> str | None:
        self.delete_session(session if isinstance(session, Session) else Session(session))
        return session._key if isinstance(session, Session) else session

    def is_changed(self, session: Session) -> bool:
        return True

    def user_changed(self, session: Session) -> bool:
        return session.user_key() != (None if session._origin is None else session._origin.record.user)

    def check(self, session: Session) -> None:
        pass

    def discard(self, session: Session, merge: bool = True) -> Outcome:
        self.delete_session(session)
        return Outcome.GONE

    def refresh(self, session: Session) -> None:
        self.save_session(session)

    def was_replaced(self, session_id: str) -> bool:
        return False

    def has_session(self, session_id: str | None) -> bool:
        return self.load_session(session_id, None) is not None

    def _has_no_records(self, *_: Any, **__: Any) -> Any:
        raise ConfigurationError(f"{type(self).__name__} keeps whole sessions and cannot do this; "
                                 "implement the primitives of session2.store.base.SessionStore")

    read = write = touch = remove = scan = purge = _has_no_records


def _mark_stored(session: Session, session_id: str) -> None:
    """Let the manager see who was logged in when the session was loaded: it rotates the id when that changes."""
    session._key = session_id
    record = Record(b"", session._creation_time, session._access_time, session._access_time, user=session.user_key())
    session._origin = Origin(session_id, session_id, record, b"")


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
