"""The view of a session manager as a mapping of sessions, as Quixote's own manager offers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import tokens
from .errors import ConfigurationError, not_ours
from .session import Session, ties

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault  # which type checkers bring along

    from .record import Outcome
    from .sessions import Sessions

    _S = TypeVarWithDefault("_S", bound=Session, default=Session)
else:
    _S = TypeVar("_S", bound=Session)


class SessionMapping(Generic[_S]):
    """Sessions by id, for a class that has `load`, `save` and `delete`.

    The id of a stored session is known to its visitor only, so `keys` and `items` name the sessions by their keys in
    the store, and everything here takes either.  Nothing here should be given a value that came from a browser, save
    through `has_session`, which takes ids only.
    """

    sessions: Sessions
    session_class: type[_S]

    if TYPE_CHECKING:
        def load(self, session_id: str | None) -> _S | None: ...
        def save(self, session: Session) -> Outcome: ...
        def delete(self, session: Session | str) -> None: ...

    def __getitem__(self, session_id: str) -> _S:
        session = self.load(session_id) or self._by_key(session_id)
        if session is None:
            raise KeyError(f"{str(session_id)[:8]}...")
        return session

    def __setitem__(self, session_id: str, session: _S) -> None:
        ties(session)
        if session_id not in (session.id, session.key):
            raise ConfigurationError("a session is stored under its own id only")
        self.save(session)

    def __delitem__(self, session_id: str) -> None:
        self.delete(self[session_id])

    def __contains__(self, session_id: object) -> bool:
        return isinstance(session_id, str) and self.get(session_id) is not None

    def __iter__(self) -> Iterator[_S]:
        """Iterate over the sessions themselves, as Quixote's managers do."""
        return self.sessions.each(self.session_class)

    def get(self, session_id: str, default: Any = None) -> Any:
        """Return the session with this id or key, or `default`."""
        try:
            return self[session_id]
        except KeyError:
            return default

    def has_session(self, session_id: str | None) -> bool:
        """Tell whether there is a session with this id."""
        return self.load(session_id) is not None

    def keys(self) -> list[str]:
        """Return the keys of all sessions."""
        return [key for key, _ in self.items()]

    def sorted_keys(self) -> list[str]:
        """Return the keys of all sessions in order."""
        return sorted(self.keys())

    def values(self) -> list[_S]:
        """Return all sessions."""
        return list(self)

    def items(self) -> list[tuple[str, _S]]:
        """Return all sessions with their keys."""
        return [(str(session.key), session) for session in self]

    def _by_key(self, key: str) -> _S | None:
        # A key is never an id: where ids are not hashed, `load` has looked under this one already.
        return self.sessions.load_key(key, self.session_class) if tokens.is_key(key) else None


def checked_class(session_class: type[_S]) -> type[_S]:
    """Return the class of a manager's sessions; TypeError for one of somebody else's."""
    if not (isinstance(session_class, type) and issubclass(session_class, Session)):
        raise not_ours(session_class, "session class")
    return session_class
