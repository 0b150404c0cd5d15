"""What an application that was written for Beaker finds: its names, on sessions of session2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from session2 import DictSession, Session, SessionManager

from .session import WSGISession

Manager = SessionManager[DictSession]

_TIMES: Final[dict[str, Callable[[Session], float]]] = {
    "_creation_time": Session.get_creation_time, "_accessed_time": Session.get_access_time}
"""What Beaker keeps among the items; here they can be read, and are no items."""


@dataclass(frozen=True)
class Beaker:
    """How the middleware gives what Beaker's gave.

    :param auto: store what was changed without ``save()``.
    :param unnoticed: an item that may be asked for without counting as a use of the session, such as TurboGears'
        ``"tg_lang"``.
    :param key: where in the environment the session is.
    :param testing_name: its name in ``environ["paste.testing_variables"]``.
    """

    auto: bool = False
    unnoticed: str | None = None
    key: str = "beaker.session"
    testing_name: str | None = None


class BeakerItems(MutableMapping[str, Any]):
    """What Beaker's sessions have, in a request and out of it."""

    if TYPE_CHECKING:
        @property
        def session(self) -> DictSession: ...

    _manager: Manager

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what Beaker's sessions heed and these would not, such as ``timeout`` and ``path``."""
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{name} cannot be set on a session of session2: it is configured for all")
        super().__setattr__(name, value)

    def __getitem__(self, key: str) -> Any:
        if key in _TIMES and key not in self.session:
            return _TIMES[key](self.session)
        return self.session[key]

    def __contains__(self, key: object) -> bool:
        return key in self.session or key in _TIMES

    def __bool__(self) -> bool:
        return True

    has_key = __contains__

    def copy(self) -> dict[str, Any]:
        """Return the items as a dict."""
        return dict(self.session)

    @property
    def id(self) -> str:
        """The id the cookie carries, or will carry if there is something to store."""
        return self.session.id or self._manager.reserve_id(self.session)

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored of it."""
        return self.session.origin is None

    @property
    def created(self) -> float:
        """When it began, in seconds since the epoch."""
        return float(self.session.get_creation_time())

    @property
    def last_accessed(self) -> float | None:
        """When it was last used before, exact to the manager's `touch_interval`; None for a new one."""
        return None if self.is_new else float(self.session.get_access_time())

    def regenerate_id(self) -> None:
        """Give the session a new id when it is stored; the old one is dead then."""
        self._manager.reserve_id(self.session)

    def revert(self) -> None:
        """Take back what was changed since it was loaded or last stored."""
        origin = self.session.origin
        self.session.data = {} if origin is None else self._loaded(origin).data

    def _loaded(self, origin: Any) -> Any:
        return self._manager.sessions.codec.loaded(self.session, origin)

    def get_by_id(self, id: str) -> StoredSession | None:
        """Return the session with this id, None if there is none."""
        found = self._manager.load(id)
        return None if found is None else StoredSession(self._manager, found)


class StoredSession(BeakerItems):
    """A session that belongs to no request: its changes are stored by `save` at once."""

    def __init__(self, manager: Manager, session: DictSession) -> None:
        self._manager = manager
        self._session = session

    @property
    def session(self) -> DictSession:
        """The session itself: items, attributes, user, tokens."""
        return self._session

    def save(self) -> None:
        """Store it, merging with what others stored meanwhile; without anything in it, it ends."""
        if self._session.has_info():
            self._manager.save(self._session)
        elif not self.is_new:
            self._manager.delete(self._session)

    def delete(self) -> None:
        """End it at once; an empty one stands in its place."""
        if not self.is_new:
            self._manager.delete(self._session)
        self._session = self._manager.new_session()

    invalidate = delete

    def __setitem__(self, key: str, value: Any) -> None:
        self._session[key] = value

    def __delitem__(self, key: str) -> None:
        del self._session[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)


class BeakerSession(BeakerItems, WSGISession):
    """The session of a request: what was changed is stored with the answer, if `save` was called."""

    _dirty = False
    _sess: DictSession | None = None
    """TurboGears puts None here to say that it did not use the session; see its ``i18n.no_session_touch``."""

    def __init__(self, manager: Manager, environ: dict[str, Any], settings: Beaker) -> None:
        super().__init__(manager, environ)
        self._settings = settings
        environ[settings.key] = self
        environ["beaker.get_session"] = partial(_session_by_id, manager)
        if settings.testing_name is not None and "paste.testing_variables" in environ:
            environ["paste.testing_variables"][settings.testing_name] = self

    @property
    def session(self) -> DictSession:
        """The session itself: items, attributes, user, tokens."""
        session = super().session
        if self._sess is not session:
            self._sess = session
        return session

    def get(self, key: str, default: Any = None) -> Any:
        """Return an item."""
        quiet = key == self._settings.unnoticed and not self.accessed()
        found = super().get(key, default)
        if quiet:
            self._sess = None
        return found

    def accessed(self) -> bool:
        """Tell whether anybody used the session."""
        return self._sess is not None

    def dirty(self) -> bool:
        """Tell whether `save` or `delete` was called."""
        return self._dirty

    def load(self) -> None:
        """Open the session; one that is open takes in what others stored since, and is empty if it ended meanwhile."""
        self._look_again()

    def save(self) -> None:
        """Have the session stored when the answer is there, with what is changed until then."""
        self._dirty = True

    def persist(self) -> None:
        """Store the session now, if `save` was called."""
        self._drop_unsaved()
        super().save()

    def delete(self, clear_site_data: bool = False) -> None:
        """Log out: the session ends when the request succeeds; an empty one stands in its place at once."""
        self._dirty = True
        super().delete(clear_site_data)

    def invalidate(self) -> None:
        """End the session; an empty one, with a new id, stands in its place, and is stored if `save` is called."""
        super().delete()

    def lock(self) -> None:
        """Lock the session until the answer is there, and take in what others stored since it was loaded."""
        self.session  # noqa: B018
        self._manager.lock_request(self._exchange)

    unlock = WSGISession.release_lock

    def finish(self, final: bool) -> None:
        """Store the session while a cookie can be sent, unless nobody used it."""
        if not self.accessed():
            return
        if self._dirty or self._settings.auto:
            super().finish(final)
        elif self._has_work():  # a login, or a use to be noted
            self.revert()
            super().finish(final)
        elif final:
            self._exchange.visit.close()

    def _store_late(self) -> None:
        self._drop_unsaved()
        super()._store_late()

    def _drop_unsaved(self) -> None:
        if self._opened and not (self._dirty or self._settings.auto) and self._exchange.visit.has_news():
            self.revert()

    def _loaded(self, origin: Any) -> Any:
        return self._exchange.visit.sessions.codec.loaded(self.session, origin)


def _session_by_id(manager: Manager, session_id: str | None = None) -> StoredSession:
    """Return the session with this id, a new one if there is none: Beaker's ``get_session``."""
    return StoredSession(manager, manager.load(session_id) or manager.new_session())
