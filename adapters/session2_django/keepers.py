"""What carries out what is said to a session of Django's: at once, or as a part of a request."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from threading import RLock
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError

from session2 import CookiePolicy, DictSession, SessionConflict, tokens
from session2.clocks import Clocks
from session2.record import Outcome
from session2.session import ties_of

from .exchange import DjangoExchange
from .managers import Manager, cookie_age, cookie_policy, current_manager, lenient, usual_policy, with_clocks


class Outside:
    """Out of requests, and under Django's own middleware, which tells a session of no request: all is done at once."""

    opens_at_once: Final = False

    @property
    def manager(self) -> Manager:
        """The manager that the settings ask for by now."""
        return current_manager()

    def find(self, key: str | None, store: Any) -> DictSession:
        """Return the session with this id, or a new one."""
        manager = self.manager
        session = lenient(manager).load(key)
        if session is None or _is_over(session, store.clocks_of(session), manager):
            return manager.new_session()
        return session

    def begin(self, key: str | None, store: Any) -> DictSession:
        """Return a new session."""
        return self.manager.new_session(key)

    def save(self, session: DictSession, store: Any) -> bool:
        """Store a session; tell whether it is still there.  `CreateError` if it is new and there is one with its id."""
        is_new = session.origin is None
        try:
            outcome = with_clocks(self.manager, store.clocks_of(session)).save(session)
        except SessionConflict:
            if is_new:
                raise CreateError from None
            raise
        return outcome not in (Outcome.GONE, Outcome.REPLACED)

    def rotate(self, session: DictSession, store: Any) -> None:
        """Give a session a new id."""
        with_clocks(self.manager, store.clocks_of(session)).rotate(session)

    def flush(self, key: str | None, clear_site_data: bool, store: Any) -> DictSession:
        """End the session and return a new one."""
        self.delete(None, key, store)
        return self.manager.new_session()

    def delete(self, key: str | None, own: str | None, store: Any) -> None:
        """End the session with this id, or with its own."""
        if tokens.is_id(key or own):
            self.manager.delete(str(key or own))


class Behind(Outside):
    """Behind the answer to a request that did not look at its session: in a stream, it still is the cookie's."""

    def __init__(self, exchange: DjangoExchange) -> None:
        self.exchange = exchange

    def find(self, key: str | None, store: Any) -> DictSession:
        """Return the session with this id, or that of the cookie, or a new one."""
        manager = self.manager
        name = manager.cookie.name if manager.cookie else settings.SESSION_COOKIE_NAME
        ids = [key] if key else [id for id in self.exchange.get_cookies(name) if tokens.is_id(id)][:5]
        return super().find(next(filter(lenient(manager).has_session, ids), None), store)


class InRequest:
    """In a request that our middleware manages: it is looked up once, and what becomes of it is decided at the end."""

    opens_at_once: Final = True

    def __init__(self, exchange: DjangoExchange) -> None:
        self.exchange = exchange
        self._opening = RLock()  # of two threads that look at once the second would find what is half opened
        self.failure: Exception | None = None
        self._suited: tuple[DictSession, object] | None = None
        """The session whose expiry was taken into account, and that expiry."""

    @cached_property
    def manager(self) -> Manager:
        """The manager, made when it is needed: a request that looks at no session needs no store."""
        return current_manager()

    def find(self, key: str | None, store: Any) -> DictSession:
        """Return the session of the request; an error is raised at each access, for nobody wants to wait twice."""
        with self._opening:
            if self.failure is not None:
                raise self.failure
            if self.exchange.visit is None:
                try:
                    self._open(store)
                except Exception as error:
                    self.failure = error
                    raise
            return self.exchange.session

    def _open(self, store: Any) -> None:
        exchange, manager = self.exchange, self.manager
        if manager.cookie is None:
            exchange.cookie_policy = self._policy(None, store)
        lenient(manager).start_request(exchange)
        if self._suit(store):
            exchange.visit.manager.start_request(exchange)
            self._suit(store)
        if exchange.is_over:  # it was cancelled when the thread had begun that does this
            exchange.visit.close()

    def _suit(self, store: Any) -> bool:
        """Let store and browser go by an expiry of the session's own; tell whether it is over by that."""
        session, visit = self.exchange.session, self.exchange.visit
        bound, expiry, clocks = ties_of(session), session.data.get("_session_expiry"), store.clocks_of(session)
        end = clocks.end_of(bound.created, bound.accessed)
        visit.manager = with_clocks(self.manager, clocks)
        bound.ends_early = bound.expires is not None and bound.expires != end
        if expiry is not None or self._suited is not None:
            visit.policy = self._policy(expiry, store)
        self._suited = session, expiry
        # Where the record ends with the session, the store has seen that it is not over.
        return bound.origin is not None and end != bound.expires and _is_over(session, clocks, self.manager)

    def _policy(self, expiry: object, store: Any) -> CookiePolicy:
        given = self.manager.cookie
        if expiry is None:
            return given or usual_policy(store.get_session_cookie_age())
        max_age = cookie_age(store.get_expiry_age(expiry=expiry)) if expiry else None
        return cookie_policy(max_age) if given is None else replace(given, max_age=max_age)

    def begin(self, key: str | None, store: Any) -> DictSession:
        """Return the session of the request; a token makes it worth storing without any item, as Django promises."""
        session = self.find(key, store)
        session.get_csrf_token()
        if session.origin is not None:
            self.manager.reserve_id(session)
        return session

    def save(self, session: DictSession, store: Any) -> bool:
        """Store what there is now and have the cookie sent; the request goes on."""
        self._suit_again(store)
        self.exchange.visit.settle()
        return True

    def _suit_again(self, store: Any) -> None:
        session, visit = self.exchange.session, self.exchange.visit
        expiry = session.data.get("_session_expiry")
        if self._suited is not None and self._suited[0] is session:
            if self._suited[1] == expiry:
                return
            if visit.absence is None:
                visit.cookie = None  # to be sent again, for another time
        self._suit(store)

    def finish(self, store: Any) -> None:
        """Store what the request made of its session, and tell the browser what it must know."""
        if not store.accessed and settings.SESSION_SAVE_EVERY_REQUEST:
            self.find(None, store)
        if self.failure is None and (store.accessed or self.exchange.visit is not None):
            store.session  # noqa: B018 (it holds what the items are, from now on)
            self._suit_again(store)
            self.manager.finish_successful_request(self.exchange)
            store.take_over(self.exchange.session)

    def rotate(self, session: DictSession, store: Any) -> None:
        """Have the session stored under a new id."""
        self.manager.reserve_id(session)

    def flush(self, key: str | None, clear_site_data: bool, store: Any) -> DictSession:
        """Log out; return the session that stands in the place of the one that ends."""
        self.find(key, store)
        self.manager.expire_session(self.exchange, clear_site_data)
        return self.exchange.session

    def delete(self, key: str | None, own: str | None, store: Any) -> None:
        """End the session of the request, or another one at once."""
        if key is None or key == self.find(own, store).id:
            self.flush(own, False, store)
        elif tokens.is_id(key):
            self.manager.delete(key)


def _is_over(session: DictSession, clocks: Clocks, manager: Manager) -> bool:
    bound = ties_of(session)
    return clocks.is_over(bound.created, bound.accessed, manager.store.clock())
