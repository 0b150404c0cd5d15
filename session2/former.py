"""Visitors who come with the cookie of the system before: `FormerCookie`, and what a request makes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from . import tokens
from .adopted import adopted_id, note_adopted
from .cookies import CANDIDATES, CookiePolicy
from .errors import ConfigurationError, SessionConflict, StoreUnavailable
from .found import Found, tell_absence
from .session import Session
from .store.base import SessionStore
from .store.records import demand_merging
from .visit import Visit

log = logging.getLogger("session2")

GRACE: Final = 86400.0
"""Seconds for which the former id leads on: the answer with the new cookie may be lost, and the visitor come later."""


class Origin(Protocol):
    """Where sessions come from that are not here yet: `session2.migrate.Source` is such."""

    def bring(self, store: SessionStore, id: str) -> None:
        """Store the session with this id, unless it is not there, or ever was here."""


@dataclass(frozen=True)
class FormerCookie:
    """A cookie of another system that names a session; `session2.migrate.cookies` makes those of known ones.

    :param name: of the cookie.
    :param read: returns the id that a value carries, or None if that system cannot have issued it: by its signature,
        its length and its letters.
    :param source: a `session2.migrate.Source`, where sessions that are not here yet are looked for, once each.
    :param path: where the cookie was set, and is deleted; likewise `domain`.
    :param keep: do not delete it, because the other system still needs it.
    """

    name: str
    read: Callable[[str], str | None] = field(repr=False)  # the secrets may be in it
    source: Origin | None = field(default=None, repr=False)
    path: str = "/"
    domain: str | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for a cookie that no browser can have, and none would delete."""
        CookiePolicy(self.name, self.path, self.domain, secure=True)


def checked(former: Sequence[FormerCookie], store: Any) -> tuple[FormerCookie, ...]:
    """Return the former cookies of a manager; `ConfigurationError` if its store cannot keep their sessions."""
    for cookie in former:
        if not isinstance(cookie, FormerCookie):
            raise ConfigurationError(f"former is a list of FormerCookie, not of {type(cookie).__name__}; "
                                     "session2.migrate.cookies makes them")
    if former:
        demand_merging(store, "former")
        if not isinstance(store, SessionStore):
            raise ConfigurationError(f"former needs a store of records; {type(store).__name__} keeps whole sessions")
    return tuple(former)


class FormerVisit(Visit):
    """A visit of somebody who may still have the cookie of the system before.

    That is looked at only where ours leads nowhere.  The session it names gets an id of ours at once, and its old one
    leads there for a while: for requests that are under way, and in case that this one fails.
    """

    __slots__ = ()

    def _open(self) -> Session | None:
        session = super()._open()
        return self._move_in() if session is None else session

    def _move_in(self) -> Session | None:
        own = self.cookie, self.absence
        for id in self._former_ids():
            found = self._found(id)
            session: Session | None = found.session
            if session is not None and found.absence is None:
                self.cookie, self.absence = id, None
                self._renew(session)
                return session
            self.unlock()
            if own[0] is None:  # then this is why there is none
                self.cookie = id
                self.absence = found.absence
                tell_absence(self.sessions.tell, found.absence, found.key, found.reason)
        if own[0] is not None:
            self.cookie, self.absence = own
        return None

    def _former_ids(self) -> Iterator[str]:
        """Yield the ids of the sessions that former cookies name, when they have been brought here."""
        for cookie in self.manager.former:
            for value in self.exchange.get_cookies(cookie.name)[:CANDIDATES]:
                former_id = cookie.read(value)
                if former_id is not None:
                    if cookie.source is not None:
                        cookie.source.bring(self.manager.store, former_id)
                    yield adopted_id(former_id)

    def _found(self, id: str) -> Found[Any]:
        find = self._find_locked if self.concurrency == "lock" else self.manager.find
        return find(id, self.sessions)

    def _renew(self, session: Session) -> None:
        if session.id is None or session.id != self.cookie:  # another request did it a moment ago
            return
        try:
            note_adopted(self.manager.store, session.id)  # whoever brought it may have been killed before
            self.manager.rotate(session, GRACE)
        except (StoreUnavailable, SessionConflict) as error:
            log.warning("session %.8s keeps its former id until the next request: %s", session.key, error)

    def _send_cookie(self, session_id: str | None) -> None:
        if session_id is not None and not tokens.is_id(session_id):  # it could not be renewed: the former cookie stays
            return
        super()._send_cookie(session_id)
        for cookie in () if self.exchange.headers_sent else self.manager.former:
            if not cookie.keep and cookie.name != self.policy.name and self.exchange.get_cookies(cookie.name):
                self._delete(cookie)

    def _delete(self, cookie: FormerCookie) -> None:
        attributes: dict[str, Any] = {"path": cookie.path, "max_age": 0}
        if cookie.domain is not None:
            attributes["domain"] = cookie.domain
        if self.exchange.is_secure:  # a browser lets nothing else delete what was set so
            attributes["secure"] = True
        self.exchange.set_cookie(cookie.name, "", **attributes)
