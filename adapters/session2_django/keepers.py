"""What carries out what is said to a session of Django's: at once, or as a part of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError

from session2 import DictSession, SessionConflict, tokens
from session2.clocks import Clocks
from session2.record import Outcome
from session2.session import ties

from .exchange import DjangoExchange
from .managers import Manager, cookie_age, cookie_policy, current_manager, lenient, with_clocks

ClocksOf = Callable[[DictSession], Clocks]


class Outside:
    """Out of requests, and under Django's own middleware, which tells a session of no request: all is done at once."""

    opens_at_once: Final = False

    def find(self, key: str | None, clocks_of: ClocksOf) -> DictSession:
        """Return the session with this id, or a new one."""
        manager = current_manager()
        session = lenient(manager).load(key)
        return manager.new_session() if session is None or _is_over(session, manager, clocks_of) else session

    def begin(self, key: str | None, clocks_of: ClocksOf) -> DictSession:
        """Return a new session."""
        return current_manager().new_session(key)

    def save(self, session: DictSession, store: Any) -> bool:
        """Store a session; tell whether it is still there.  `CreateError` if it is new and there is one with its id."""
        is_new = session.origin is None
        try:
            outcome = with_clocks(current_manager(), store.clocks_of(session)).save(session)
        except SessionConflict:
            if is_new:
                raise CreateError from None
            raise
        return outcome not in (Outcome.GONE, Outcome.REPLACED)

    def rotate(self, session: DictSession, store: Any) -> None:
        """Give a session a new id."""
        with_clocks(current_manager(), store.clocks_of(session)).rotate(session)

    def flush(self, key: str | None, clear_site_data: bool, clocks_of: ClocksOf) -> DictSession:
        """End the session and return a new one."""
        self.delete(None, key, clocks_of)
        return current_manager().new_session()

    def delete(self, key: str | None, own: str | None, clocks_of: ClocksOf) -> None:
        """End the session with this id, or with its own."""
        if tokens.is_id(key or own):
            current_manager().delete(str(key or own))


class InRequest:
    """In a request that our middleware manages: it is looked up once, and what becomes of it is decided at the end."""

    opens_at_once: Final = True

    def __init__(self, exchange: DjangoExchange) -> None:
        self.exchange = exchange
        self.failure: Exception | None = None
        self._expiry: object = None

    @cached_property
    def manager(self) -> Manager:
        """The manager, made when it is needed: a request that looks at no session needs no store."""
        return current_manager()

    def find(self, key: str | None, clocks_of: ClocksOf) -> DictSession:
        """Return the session of the request; an error is raised at each access, for nobody wants to wait twice."""
        if self.failure is not None:
            raise self.failure
        if self.exchange.visit is None:
            try:
                self._open(clocks_of)
            except Exception as error:
                self.failure = error
                raise
        return self._session

    @property
    def _session(self) -> DictSession:
        session: Any = self.exchange.session
        return session  # type: ignore[no-any-return]

    def _open(self, clocks_of: ClocksOf) -> None:
        exchange = self.exchange
        if self.manager.cookie is None:
            exchange.cookie_policy = cookie_policy(None)
        lenient(self.manager).start_request(exchange)
        if self._session.origin is not None and _is_over(self._session, self.manager, clocks_of):
            self.manager.start_request(exchange)
        self._expiry = self._session.data.get("_session_expiry")
        self._set_clocks(clocks_of)

    def _set_clocks(self, clocks_of: ClocksOf) -> None:
        session, clocks = self._session, clocks_of(self._session)
        self.exchange.visit.manager = with_clocks(self.manager, clocks)
        end = clocks.end_of(session.creation_time, session.access_time)
        ties(session).ends_early = session.expires is not None and session.expires != end

    def begin(self, key: str | None, clocks_of: ClocksOf) -> DictSession:
        """Return the session of the request; a token makes it worth storing without any item, as Django promises."""
        session = self.find(key, clocks_of)
        session.get_csrf_token()
        if session.origin is not None:
            self.manager.reserve_id(session)
        return session

    def save(self, session: DictSession, store: Any) -> bool:
        """Store what there is now and have the cookie sent; the request goes on."""
        self.prepare(store)
        self.exchange.visit.settle()
        return True

    def prepare(self, store: Any) -> None:
        """Let store and browser know of an expiry of the session's own."""
        self._set_clocks(store.clocks_of)
        visit, expiry = self.exchange.visit, self._session.data.get("_session_expiry")
        if visit.manager.cookie is None:
            visit.policy = cookie_policy(None if store.get_expire_at_browser_close() else store.get_expiry_age())
        elif expiry is not None:
            visit.policy = replace(visit.policy, max_age=cookie_age(store.get_expiry_age()) if expiry else None)
        if expiry != self._expiry:
            visit.cookie = None  # to be sent again, for another time
            self._expiry = expiry

    def finish(self, store: Any) -> None:
        """Store what the request made of its session, and tell the browser what it must know."""
        if settings.SESSION_SAVE_EVERY_REQUEST and not store.accessed:
            self.find(None, store.clocks_of)
        if self.failure is None and (store.accessed or self.exchange.visit is not None):
            store.session  # noqa: B018 (it holds what the items are, from now on)
            self.prepare(store)
            self.manager.finish_successful_request(self.exchange)
            store.take_over(self._session)

    def rotate(self, session: DictSession, store: Any) -> None:
        """Have the session stored under a new id."""
        self.manager.reserve_id(session)

    def flush(self, key: str | None, clear_site_data: bool, clocks_of: ClocksOf) -> DictSession:
        """Log out; return the session that stands in the place of the one that ends."""
        self.find(key, clocks_of)
        self.manager.expire_session(self.exchange, clear_site_data)
        return self._session

    def delete(self, key: str | None, own: str | None, clocks_of: ClocksOf) -> None:
        """End the session of the request, or another one at once."""
        if key is None or key == self.find(own, clocks_of).id:
            self.flush(own, False, clocks_of)
        elif tokens.is_id(key):
            self.manager.delete(key)


def _is_over(session: DictSession, manager: Manager, clocks_of: ClocksOf) -> bool:
    return clocks_of(session).is_over(session.creation_time, session.access_time, manager.sessions.clock())
