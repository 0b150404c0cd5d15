"""`LazySession`: a mapping that opens its session at the first access, for frameworks whose sessions are mappings."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from threading import RLock
from typing import Any

from .exchange import Exchange
from .session import DictSession

log = logging.getLogger("session2")


class LazySession(MutableMapping[str, Any]):
    """The items of a session that is opened when somebody looks at it: who does not costs nothing and gets no cookie.

    A subclass says in `_begin` what opens it.

    :param exchange: the request.
    """

    _opened = False
    _failure: Exception | None = None

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._opening = RLock()  # the second of two threads would begin the request anew, without what the first did

    @abstractmethod
    def _begin(self) -> None:
        """Begin the exchange's request with its manager; called once, at the first access.

        What it raises is raised at each access, for nobody wants to wait twice for a lock in one request.
        """

    @property
    def session(self) -> DictSession:
        """The session itself: items, attributes, user, tokens."""
        if not self._opened:
            self._open()
        return self._exchange.session  # type: ignore[return-value]

    @property
    def loaded(self) -> bool:
        """Whether the session was looked at."""
        return self._opened

    def _open(self) -> None:
        with self._opening:
            if self._failure is not None:
                raise self._failure
            if self._opened:
                return
            try:
                self._begin()
            except Exception as error:
                self._failure = error
                raise
            self._opened = True

    def _look_again(self) -> None:
        """Open the session; one that is open takes in what others stored since, and is empty if it ended meanwhile."""
        if not self._opened:
            self._open()
        elif not self._exchange.visit.finished and self._exchange.visit.sessions.merge_in(self.session) is not None:
            self._begin()

    @property
    def user(self) -> Any:
        """The user of the session; a change gives the session a new id, and the old one is dead."""
        return self.session.user

    @user.setter
    def user(self, user: Any) -> None:
        self.session.user = user

    def set_user(self, user: Any) -> None:
        """Log a user in."""
        self.session.set_user(user)

    def get_user(self) -> Any:
        """Return the user, None for nobody."""
        return self.session.get_user()

    def delete(self, clear_site_data: bool = False) -> None:
        """Log out: end the session when the request succeeds; an empty one, with a new id, stands in its place at once.

        :param clear_site_data: tell the browser to drop its caches, cookies and storage of this site too.
        """
        self.session  # noqa: B018 (it is opened)
        self._exchange.visit.expire(clear_site_data)

    def regenerate(self) -> None:
        """Give the session a new id; the old one is dead when the request has succeeded."""
        session = self.session
        self._exchange.visit.manager.reserve_id(session)

    def _has_work(self) -> bool:
        """Tell whether there is anything to be stored, or to be told the browser, of a session that was looked at."""
        visit = self._exchange.visit
        return bool(visit.has_news() or visit.clear_site_data or visit.manager.is_due(self.session))

    def _store_late(self) -> None:
        """Store what was changed when the headers were out, and unlock; it is too late to say that this failed."""
        visit = self._exchange.visit
        try:
            if self._opened and visit.has_news():
                visit.settle(headers_sent=True)
        except Exception:
            log.exception("what was changed in a session after the headers were out could not be stored")
        finally:
            visit.unlock()

    def __getitem__(self, key: str) -> Any:
        return self.session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.session[key] = value

    def __delitem__(self, key: str) -> None:
        del self.session[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.session)

    def __len__(self) -> int:
        return len(self.session)

    def __contains__(self, key: object) -> bool:
        return key in self.session

    def keys(self) -> KeysView[str]:
        """Return a view of the keys of this session."""
        return self.session.keys()

    def values(self) -> ValuesView[Any]:
        """Return a view of the values of this session."""
        return self.session.values()

    def items(self) -> ItemsView[str, Any]:
        """Return a view of the items of this session."""
        return self.session.items()

    # Two sessions with equal items are still two sessions.
    __eq__ = object.__eq__
    __hash__ = object.__hash__
