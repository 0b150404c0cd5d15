"""`Visit`: one request's stay in its session, from the cookie that came in to the one that goes out."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from . import tokens
from .concurrency import Concurrency, written
from .cookies import CookiePolicy
from .errors import ReadOnlySession, StoreUnavailable
from .exchange import Exchange
from .found import Absence
from .record import Outcome
from .session import Session
from .store.lock import Lease

if TYPE_CHECKING:
    from .manager import SessionManager

log = logging.getLogger("session2")

_DEFAULT_POLICY: Final = CookiePolicy()

_CANDIDATES: Final = 5
"""How many cookies of one name are tried: more than a site has applications mounted in one another."""


class Visit:
    """What a manager does for one request."""

    __slots__ = ("absence", "clear_site_data", "concurrency", "cookie", "ended", "exchange", "finished", "lease",
                 "manager", "policy", "sessions")

    def __init__(self, manager: SessionManager[Any], exchange: Exchange, concurrency: Concurrency) -> None:
        self.manager = manager
        self.sessions = manager.store.for_request(exchange).sessions
        self.exchange = exchange
        self.policy = policy_of(manager, exchange)
        self.concurrency: Concurrency = concurrency
        self.cookie: str | None = None
        """The well-formed id the cookie carries."""
        self.absence: Absence | None = None
        """Why there was no session when the request began."""
        self.ended: list[Session] = []
        """Sessions logged out of during the request; ended when it succeeds."""
        self.clear_site_data = False
        self.lease: Lease | None = None
        self.finished = False

    def __repr__(self) -> str:
        return f"<Visit {self.absence.value if self.absence else 'of a session'}>"

    # -- the life of a request -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the session the cookie names, or begin a new one."""
        try:
            session = self._open()
            self._attach(self.manager.new_session(exchange=self.exchange) if session is None else session)
        except BaseException:  # nobody will finish this request, and it may have the lock by now
            self.close()
            raise
        self.exchange.add_header("Vary", "Cookie")

    def finish(self) -> None:
        """Store what the request made of its session, tell the browser what it must know, and close."""
        if self.finished:
            return
        try:
            self.settle()
        finally:
            self.close()
        self.exchange.add_header("Vary", "Cookie")  # again: a framework may have begun another response, for a 404 say

    def settle(self, headers_sent: bool = False) -> None:
        """Store the session and tell the browser now; the request goes on, and may settle again.

        :param headers_sent: no cookie can be sent any more, so a login or a new session is refused, with an error in
            the log; everything else is stored.
        """
        if self.finished:
            return
        if headers_sent:
            self._settle_late(self.exchange.session)
        else:
            self._settle(self.exchange.session)
        self.ended.clear()

    def close(self) -> None:
        """End the request: nothing is stored for it any more, and its lock is free."""
        self.finished = True
        self.unlock()

    def expire(self, clear_site_data: bool = False) -> None:
        """Log out: end the session when the request succeeds; a fresh one stands in its place at once.

        :param clear_site_data: tell the browser to drop its caches, cookies and storage of this site too.
        """
        if self.exchange.session is not None:
            self.ended.append(self.exchange.session)
        self.clear_site_data |= clear_site_data
        self._attach(self.manager.new_session(exchange=self.exchange))

    def maintain(self, session: Session) -> None:
        """Store the session in mid-request and send its cookie, for an application that needs its id early."""
        if not self.finished and session.has_info():
            self._keep(session)

    # -- the lock --------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Lock the session, and take in what others stored since it was loaded."""
        session = self.exchange.session
        if self.finished or session is None or session._ties.origin is None:
            return
        if self.concurrency == "merge":
            self.concurrency = "lock"
        while not self._has_lock_of(session):
            self.unlock()
            self.lease = self.manager.lock(session)
            try:
                self.sessions.merge_in(session)
            except BaseException:
                self.unlock()
                raise

    def unlock(self) -> None:
        """Release the lock; the request goes on.  It goes on too where the store is down: leases end by themselves."""
        lease, self.lease = self.lease, None
        if lease is None:
            return
        try:
            lease.release()
        except StoreUnavailable as error:
            log.warning("the lock of %.8s could not be released and ends with its lease: %s", lease.key, error)

    def renew_lock(self) -> None:
        """Start the lease of a long request's lock anew; `LockLost` if another request has taken the lock over."""
        if self.lease is not None:
            self.lease.renew()

    def _has_lock_of(self, session: Session) -> bool:
        return self.lease is not None and self.lease.key == session._ties.key

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> Session | None:
        session = self._first_that_lives(self.exchange.get_cookies(self.policy.name))
        while self.concurrency == "lock" and session is not None and not self._has_lock_of(session):
            self.unlock()  # of an id that was renewed while this request waited
            self.lease = self.manager.lock(session)
            session = self._load()
        return session

    def _first_that_lives(self, values: list[str]) -> Session | None:
        """Return the session of the first cookie that names one; if none does, the first that could is the visit's."""
        candidates = [value for value in dict.fromkeys(values) if tokens.is_id(value)][:_CANDIDATES]
        self.absence = Absence.MALFORMED if any(values) else Absence.NO_COOKIE
        missed: list[tuple[str, Absence | None]] = []
        for candidate in candidates:
            self.cookie = candidate
            session = self._load()
            if session is not None:
                return session
            missed.append((candidate, self.absence))
        if missed:
            self.cookie, self.absence = missed[0]
        return None

    def _load(self) -> Session | None:
        found = self.manager.find(cast(str, self.cookie), self.sessions)
        self.absence = found.absence
        return found.session

    def _attach(self, session: Session) -> None:
        session._ties.exchange = self.exchange
        self.exchange.session = session
        session.start_request()

    # -- storing ---------------------------------------------------------------------------------------------------

    def _settle(self, session: Session | None) -> None:
        self._end_sessions(session if session is not None and session.has_info() else None)
        if self.clear_site_data:
            self.exchange.add_header("Clear-Site-Data", '"cache", "cookies", "storage"')
        if session is None or (session._ties.origin is None and not session.has_info()):
            if self.ended and self.cookie is not None:
                self._send_cookie(None)
            return
        outcome = None if session.has_info() else self._empty(session)
        if outcome is None:
            self._keep(session)
        elif outcome is Outcome.GONE:
            self._send_cookie(None)

    def _settle_late(self, session: Session | None) -> None:
        self._end_sessions(None)
        if session is None or (session._ties.origin is None and not session.has_info()):
            return
        if not session.has_info() and self._empty(session) is not None:
            return
        if self.manager.needs_new_id(session):
            log.error("a session began, or its user or id changed, when the headers were out and no cookie could be "
                      "sent any more; nothing was stored")
        elif self.concurrency == "read-only":
            self.manager.refuse_change(session)
        else:
            self.manager.save_in_place(session, self.concurrency, self.lease)

    def _end_sessions(self, successor: Session | None) -> None:
        """End the sessions logged out of, unless the request may not or what follows them cannot be stored."""
        ended = [session for session in self.ended if session._ties.origin is not None]
        if ended and self.concurrency == "read-only":
            raise ReadOnlySession('a request with concurrency="read-only" logged out; nothing was written')
        if ended and successor is not None:
            self.sessions.check(successor)
        for session in ended:
            key = self.sessions.end(session, replaced=successor is not None)
            if key is not None:
                self.sessions.tell("ended", key)

    def _empty(self, session: Session) -> Outcome | None:
        """End a session that has nothing left; return None if others put something into it meanwhile.

        One that this request left alone stays: other managers may count as information what this one does not know.
        """
        if not self.sessions.is_changed(session):
            return Outcome.UNCHANGED
        if self.concurrency == "read-only":
            self.manager.refuse_change(session)
        outcome = None
        while outcome is None and not session.has_info():
            outcome = written(partial(self.sessions.empty, session), self.concurrency, self.lease)
        if outcome is not None:
            session._ties.id = session._ties.origin = None
        return outcome

    def _keep(self, session: Session) -> None:
        if self._comes_late(session):
            return
        ties = session._ties
        seen = ties.accessed
        outcome = self.manager.save(session, self.concurrency, self.lease)
        if outcome is Outcome.GONE:
            self._send_cookie(None)
        elif outcome is not Outcome.REPLACED and ties.id is not None:
            moved_clock = ties.accessed != seen and self.policy.max_age is not None
            if ties.id != self.cookie or moved_clock:
                self._send_cookie(ties.id)
            self.cookie = ties.id

    def _comes_late(self, session: Session) -> bool:
        """Whether this would begin a session for a browser that was given another one at a login a moment ago.

        A cookie sent now could take the place of the one of the login.
        """
        if session._ties.origin is not None or session.user is not None or self.ended or self.cookie is None:
            return False
        return self.sessions.locate(self.cookie).absence is Absence.ROTATED

    def _send_cookie(self, session_id: str | None) -> None:
        send_cookie(self.exchange, self.policy, session_id)


def policy_of(manager: SessionManager[Any], exchange: Exchange) -> CookiePolicy:
    """Return how the cookie of a request is to be sent."""
    return manager.cookie or exchange.cookie_policy or _DEFAULT_POLICY


def send_cookie(exchange: Exchange, policy: CookiePolicy, session_id: str | None) -> None:
    """Send the session cookie; without an id, make the browser forget it."""
    attributes = policy.attributes(exchange)
    if session_id is None:
        attributes["max_age"] = 0
    exchange.set_cookie(policy.name, session_id or "", **attributes)
    exchange.add_header("Cache-Control", "no-store")
