"""`LiveSession`: a mapping whose every access asks the store, and whose every change is stored at once.

`LiveDictSession` is a session class whose items are so in each request, on every framework.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from contextlib import contextmanager
from copy import copy
from typing import Any, Final, TypeVar, cast

from . import tokens
from .errors import ConfigurationError, SessionConflict, SessionEnded
from .found import Absence, Found
from .manager import SessionManager
from .patience import attempts
from .saving import BUSY, MERGE_PATIENCE
from .session import DictSession, ties
from .ties import Origin
from .visit import Visit, visit_of

_T = TypeVar("_T")

_NOTHING: Final = object()


class LiveSession(MutableMapping[str, Any]):
    """The items of one session as they are in the store now; for pages that run long and are to see each other.

    Each access is a load, each change a load and a save by compare-and-set, begun anew if somebody else was first: so
    changes are atomic, and no two of them are lost in each other.  What is returned is a copy: a value that was changed
    in place has to be set again, or changed in `apply`.

    :param manager: with sessions that are `DictSession`.
    :param session: the session of a request, as a `DictSession` or as a framework gives it, or the id of one.

    A session that ended, by a logout elsewhere for example, is not restored.  In its own request it is empty from then
    on and changes are not stored, as with every session that ends; outside of requests `SessionEnded` is raised.
    Methods raise `StoreUnavailable` as the manager's do, and `SessionConflict` if others kept changing the session.
    """

    def __init__(self, manager: SessionManager[Any], session: Any) -> None:
        if not isinstance(session, (DictSession, str)):
            session = getattr(session, "session", None)
        self._manager = manager
        self._session = session if isinstance(session, DictSession) else None
        self._id = session if isinstance(session, str) else None
        if self._session is None and not tokens.is_id(self._id):
            raise ConfigurationError("a live session needs the session of a request, or an id of one")
        if not issubclass(manager.session_class, DictSession):
            raise ConfigurationError("a live session needs a manager whose session_class is DictSession, or derived")

    def __repr__(self) -> str:
        return "<LiveSession>"

    def apply(self, change: Callable[[dict[str, Any]], _T]) -> _T:
        """Change several items in one step, and return what `change` returns.

        :param change: called with the items, a dict of its own; again with fresh ones whenever somebody else stored
            the session meanwhile, so it should do nothing but change them.
        """
        for _ in attempts(MERGE_PATIENCE, longest=0.005):
            session = self._load()
            with self._unchanged_on_error(session):
                result = change(session.data)
                if self._store(session):
                    return result
        raise SessionConflict(BUSY)

    def increment(self, key: str, by: float = 1) -> Any:
        """Add to a number, 0 if there is none, and return the sum."""
        def add(items: dict[str, Any]) -> Any:
            items[key] = items.get(key, 0) + by
            return items[key]

        return self.apply(add)

    @property
    def is_live(self) -> bool:
        """Whether the session is stored and has not ended."""
        return self._found().absence is None

    # -- the store -------------------------------------------------------------------------------------------------

    def _found(self) -> Found[DictSession]:
        """Return what is stored of the session; its id may be another one by now, if it was renewed."""
        own = self._session
        if own is None:
            found = self._manager.find(cast(str, self._id))
            self._id = found.id or self._id
            return found
        id, visit = self._known_id(own), visit_of(own)
        if id is None:
            return Found(None, "", absence=Absence.NO_COOKIE)
        home = self._manager.sessions if visit is None else visit.sessions
        found = self._manager.find(id, home)
        if found.session is not None and home is not self._manager.sessions:  # it is kept with the request
            ties(found.session).visit = visit
        return found

    def _known_id(self, session: DictSession) -> str | None:
        """Return the id under which it is stored: one that it is to get when the request ends leads nowhere yet."""
        origin = ties(session).origin
        return None if origin is None else origin.id

    def _load(self) -> DictSession:
        session = self._session
        if session is not None and ties(session).origin is None:  # nothing is stored yet
            return session
        found, visit = self._found(), None if session is None else visit_of(session)
        if found.absence is None:
            return cast(DictSession, found.session)
        if session is None or visit is None:
            raise SessionEnded("the session has ended; nothing of it is there any more")
        if found.session is not None:  # it was emptied, and with a change it goes on
            visit.sessions.merge_in(session)
            return session
        return self._manager.session_class()  # type: ignore[no-any-return]

    def _store(self, session: DictSession) -> bool:
        """Store a change; tell whether nobody else was first."""
        visit = None if self._session is None else visit_of(self._session)
        if session is self._session:
            self._store_own(session, visit)
        elif (seen := ties(session).origin) is not None and self._manager.sessions.is_changed(session):
            try:
                self._manager.save(session, "read-only" if visit and visit.concurrency == "read-only" else "strict")
            except SessionConflict:
                return False
            if visit is not None and visit.concurrency == "strict":
                self._tell_own(session, seen)
        return True

    def _tell_own(self, session: DictSession, seen: Origin) -> None:
        """Let the session of a strict request know of this change, which would else be taken for somebody else's."""
        own = cast(DictSession, self._session)
        origin = ties(own).origin
        if origin is not None and origin.record.version == seen.record.version:
            self._manager.sessions.codec.merge(own, origin, session)
            ties(own).origin = ties(session).origin

    def _store_own(self, session: DictSession, visit: Visit | None) -> None:
        """Store a session of which nothing is stored yet, or which was emptied."""
        exchange = ties(session).exchange  # had as long as the visit needs it: in another thread the request may end
        if visit is None:
            self._manager.save(session)
        elif visit.finished or exchange is None:
            raise SessionEnded("the request is over, and nothing is stored of its session; nothing was changed")
        else:
            visit.maintain(session)

    @contextmanager
    def _unchanged_on_error(self, session: DictSession) -> Iterator[None]:
        """Have a change that fails leave no part of itself in the session of the request."""
        if session is not self._session:  # one of our own, which nobody else sees
            yield
            return
        codec = self._manager.sessions.codec
        before = codec.payload(session)
        try:
            yield
        except BaseException:
            session.set_state(codec.state(before, session))
            raise

    # -- a mapping -------------------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._load().data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._load().data)

    def __len__(self) -> int:
        return len(self._load().data)

    def keys(self) -> KeysView[str]:
        """Return the keys as they are now."""
        return copy(self._load().data).keys()

    def values(self) -> ValuesView[Any]:
        """Return the values as they are now."""
        return copy(self._load().data).values()

    def items(self) -> ItemsView[str, Any]:
        """Return the items as they are now."""
        return copy(self._load().data).items()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`; set it first if there is none."""
        return self.apply(lambda items: items.setdefault(key, default))

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """Remove an item and return its value."""
        return self.apply(lambda items: items.pop(key) if default is _NOTHING else items.pop(key, default))

    def popitem(self) -> tuple[str, Any]:
        """Remove the item that was added last and return it."""
        return self.apply(dict.popitem)

    def update(self, *others: Any, **items: Any) -> None:
        """Set several items in one step."""
        self.apply(lambda present: present.update(*others, **items))

    def clear(self) -> None:
        """Remove all items."""
        self.apply(dict.clear)


class LiveDictSession(DictSession):
    """A session whose items are live while its request lasts; for ``SessionManager(store, LiveDictSession)``.

    Everything else (user, attributes, form tokens) is stored when the request ends, as always.  Outside of requests it
    is a `DictSession` like any other.
    """

    __slots__ = ()

    @property
    def live(self) -> LiveSession:
        """The items as `LiveSession` has them, with `increment` and `apply`."""
        visit = visit_of(self)
        if visit is None or visit.finished:
            raise ConfigurationError("a session is live in its request; elsewhere use LiveSession(manager, id)")
        return LiveSession(visit.manager, self)

    def _items(self) -> MutableMapping[str, Any]:
        visit = visit_of(self)
        return self.data if visit is None or visit.finished else LiveSession(visit.manager, self)

    def __getitem__(self, key: str) -> Any:
        return self._items()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._items()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`; set it first if there is none."""
        return self._items().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove an item and return its value."""
        return self._items().pop(key, *default)

    def update(self, *others: Any, **items: Any) -> None:
        """Set several items in one step."""
        self._items().update(*others, **items)

    def clear(self) -> None:
        """Remove all items."""
        self._items().clear()
