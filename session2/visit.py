"""`Visit`: one request's stay in its session, from the cookie that came in to the one that goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import proxy, ref

from . import tokens
from .concurrency import Concurrency, written
from .cookies import CANDIDATES
from .errors import ReadOnlySession, StoreUnavailable
from .exchange import Exchange, policy_of, send_cookie
from .found import Absence, Found, tell_absence
from .notes import lock_name
from .record import Outcome
from .session import Session, ties
from .store.lease import Lease

if TYPE_CHECKING:
    from .manager import SessionManager
    from .sessions import Sessions

log = logging.getLogger("session2")


class Visit:
    """What a manager does for one request."""

    __slots__ = ("absence", "clear_site_data", "concurrency", "cookie", "ended", "exchange", "finished", "former",
                 "lease", "manager", "policy", "request", "sessions")

    def __init__(self, manager: SessionManager[Any], exchange: Exchange, concurrency: Concurrency) -> None:
        self.manager = manager
        # Weak: the exchange has the visit and the session, and a circle would wait for the garbage collector.
        self.request = ref(exchange)
        self.exchange: Exchange = proxy(exchange)
        self.policy = policy_of(manager.cookie, exchange)
        self.sessions = manager.store.for_request(self.exchange, self.policy).sessions
        self.concurrency: Concurrency = concurrency
        self.cookie: str | None = None
        """The well-formed id the cookie carries."""
        self.absence: Absence | None = None
        """Why there was no session when the request began."""
        self.ended: list[Session] = []
        """Sessions logged out of during the request; ended when it succeeds."""
        self.clear_site_data = False
        self.lease: Lease | None = None
        self.former: Lease | None = None
        """The lock of the session before it was renewed: who knows no more than its old id waits for that one."""
        self.finished = False

    def __repr__(self) -> str:
        return f"<Visit {self.absence.value if self.absence else 'of a session'}>"

    # -- the life of a request -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the session the cookie names, or begin a new one."""
        self.exchange.add_header("Vary", "Cookie")  # at once: a page may answer also if this fails
        try:
            session = self._open()
            self._attach(self.manager.new_session(None) if session is None else session, session is None)
        except BaseException:  # nobody will finish this request, and it may have the lock by now
            self.close()
            raise

    def finish(self) -> None:
        """Store what the request made of its session, tell the browser what it must know, and close."""
        if self.finished:
            return
        try:
            self.settle()
        finally:
            self.close()
        self.exchange.add_header("Vary", "Cookie")  # again: a framework may have begun another response, for a 404 say

    def has_news(self) -> bool:
        """Tell whether there is anything that was not stored or the browser not told, as far as can be told unasked."""
        session = self.exchange.session
        if self.ended or session is None:
            return bool(self.ended)
        if self.sessions is not self.manager.sessions and self.sessions.is_undelivered():
            return True
        ties = session._ties
        if ties.origin is None:
            return session.has_info()
        # It may have an id that the browser does not know yet: reserved, or in the grace of a renewal.
        return ties.id != self.cookie or self.sessions.pending(session) is not None

    def settle(self, headers_sent: bool = False) -> None:
        """Store the session and tell the browser now; the request goes on, and may settle again.

        :param headers_sent: no cookie can be sent any more, so a login or a new session is refused, with an error in
            the log; everything else is stored.
        """
        if self.finished:
            return
        session, pending = self.exchange.session, None
        if headers_sent:
            self.exchange.headers_sent = True
        if session is not None and not self.ended and self.cookie is not None and self.cookie == session._ties.id:
            pending = self.sessions.pending(session)
            if pending is None and not self.manager.is_due(session):  # what most requests come to
                if self.sessions is not self.manager.sessions:
                    self.sessions.deliver()
                return
        self._settle(session, pending)
        if self.sessions is not self.manager.sessions:
            self.sessions.deliver()
        self.ended = []

    def close(self) -> None:
        """End the request: nothing is stored for it any more, and its lock is free."""
        self.finished, self.ended = True, []
        if self.lease is not None:
            self.unlock()

    def expire(self, clear_site_data: bool = False) -> None:
        """Log out: end the session when the request succeeds; a fresh one stands in its place at once.

        :param clear_site_data: tell the browser to drop its caches, cookies and storage of this site too.
        """
        session = self.exchange.session
        if session is not None and session._ties.origin is not None:
            self.ended.append(session)
        self.clear_site_data |= clear_site_data
        self._attach(self.manager.new_session(None), not self.finished)

    def maintain(self, session: Session) -> None:
        """Store the session in mid-request and send its cookie, for an application that needs its id early."""
        if not self.finished and session.has_info():
            self._keep(session, [], may_send=self.manager.needs_new_id(session))
            self.sessions.deliver()

    # -- the lock --------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Lock the session, and take in what others stored since it was loaded."""
        session = self.exchange.session
        if self.finished or session is None or session._ties.origin is None:
            return
        if self.concurrency == "merge":
            self.concurrency = "lock"
        if self.lease is not None and self.lease.key == lock_name(session):
            return
        self.unlock()
        self._lock(session, partial(self._catch_up, session))

    def _lock(self, session: Session | str, find: Callable[[str | None], Found[Any]]) -> Found[Any]:
        self.lease, found = self.sessions.locked(session, find, timeout=self.manager.lock_timeout,
                                                 lease=self.manager.lock_lease)
        if self.finished:  # its task was cancelled while this thread waited: nobody else lets go of the lock
            self.close()
        return found

    def _catch_up(self, session: Session, _: str | None) -> Found[Any]:
        self.sessions.merge_in(session)
        return Found(session.id, session.key or "", session=session)

    def unlock(self) -> None:
        """Release the lock; the request goes on."""
        former, lease = self.former, self.lease
        self.former = self.lease = None
        try:
            if former is not None:
                former.release()
        finally:
            if lease is not None:
                lease.release()

    def renew_lock(self) -> None:
        """Start the lease of a long request's lock anew; `LockLost` if another request has taken the lock over."""
        if self.lease is not None:
            self.lease.renew()

    def lock_ahead(self, session: Session, new_id: str) -> Lease | None:
        """Take the lock that a locked session is to have under its next id, before anybody can know that."""
        if self.lease is None or session._ties.origin is None:
            return None
        return self.sessions.lock_ahead(new_id, self.manager.lock_lease)

    def hand_on(self, session: Session, ahead: Lease) -> None:
        """Go on with the lock that was taken ahead, if that is the session's by now."""
        if lock_name(session) != ahead.key:
            ahead.release()
            return
        former, self.former, self.lease = self.former, self.lease, ahead
        if former is not None:
            former.release()
        if self.finished:
            self.close()

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> Session | None:
        found = self._first_that_lives(self.exchange.get_cookies(self.policy.name))
        if found is None or self.cookie is None:
            tell_absence(self.sessions.tell, self.absence)
            return None
        if self.lease is None and found.session is not None and self.concurrency == "lock":
            found = self._find_locked(self.cookie, self.sessions)
        self.absence = found.absence
        if found.session is None:
            tell_absence(self.sessions.tell, found.absence, found.key, found.reason)
        return found.session

    def _first_that_lives(self, values: list[str]) -> Found[Any] | None:
        """Return what is found by the first cookie that names a live session, or else by the first that could."""
        first = None
        for value in list(filter(tokens.matches, values))[:CANDIDATES]:
            find = self._find_locked if self.concurrency == "lock" else self.manager.find
            found = find(value, self.sessions)
            if first is None or found.absence is None:
                first, self.cookie = found, value
            if found.absence is None:
                return found
            self.unlock()
        if first is None:
            self.absence = Absence.MALFORMED if any(values) else Absence.NO_COOKIE
        return first

    def _find_locked(self, session_id: str, sessions: Sessions) -> Found[Any]:
        """Return what is found by a cookie, under its lock."""
        found = self._lock(session_id, partial(self.manager.find, session_id, sessions))
        if found.session is None:
            self.unlock()
        return found

    def _attach(self, session: Session, is_new: bool) -> None:
        address = self.exchange.remote_address if is_new else None
        if address is not None:
            session.__dict__["_remote_address"] = address
        session._ties.visit = self
        self.exchange.session = session
        session.start_request()

    # -- storing ---------------------------------------------------------------------------------------------------

    def _settle(self, session: Session | None, pending: bytes | None) -> None:
        ended = self.ended
        if ended and self.concurrency == "read-only":
            raise ReadOnlySession('a request with concurrency="read-only" logged out; nothing was written')
        is_new = session is None or session._ties.origin is None
        if session is None or not session.has_info():
            self._end(ended)
            if session is not None and not is_new:
                self._empty(session)
        else:
            self._keep(session, ended, pending)
        if self.clear_site_data and not self.exchange.headers_sent:
            self.exchange.add_header("Clear-Site-Data", '"cache", "cookies", "storage"')

    def _end(self, ended: list[Session]) -> None:
        """End the sessions logged out of, and have the browser forget them if it was this request that did it."""
        keys = [self.sessions.end(session) for session in ended]
        if any(keys):
            self._send_cookie(None)

    def _empty(self, session: Session) -> None:
        """End a session that has nothing left, or keep it if others put something into it meanwhile.

        One that this request left alone stays: other managers may count as information what this one does not know.
        """
        if not self.sessions.is_changed(session):
            return
        outcome = None
        while outcome is None and not session.has_info():
            outcome = written(partial(self.sessions.empty, session), self.concurrency, self.lease)
        if outcome is None:
            self._keep(session, [])
        elif session._ties.id is None:  # this one emptied it
            self._send_cookie(None)

    def _keep_late(self, session: Session, ended: list[Session]) -> None:
        """Store what can be stored without sending a cookie."""
        self._end(ended)
        if self.manager.needs_new_id(session):
            if not (self._comes_late(session) or self.sessions.is_over(session)):
                log.error("a session began, or its user or id changed, when the headers were out and no cookie could "
                          "be sent any more; nothing was stored")
        elif self.concurrency == "read-only":
            self.manager.refuse_change(session)
        else:
            outcome = self.manager.save_in_place(session, self.concurrency, self.lease)
            if outcome is Outcome.GONE:
                self._check_gone(session)

    def _keep(self, session: Session, ended: list[Session], pending: bytes | None = None,
              may_send: bool = True) -> None:
        """Store the session and send the cookie, or have it sent at the end, when the store is asked once more.

        :param pending: the payload to store, if it is known already.
        """
        if self.exchange.headers_sent:
            self._keep_late(session, ended)
            return
        if self.absence is not None and self._comes_late(session):
            self.sessions.end(session, "it came too late", replaced=True)  # stored by the application itself, perhaps
            return
        ties = session._ties
        seen = ties.accessed
        outcome = self.manager.save(session, self.concurrency, self.lease, ended, pending)
        if outcome is Outcome.GONE:
            self._check_gone(session)
        if outcome not in (Outcome.GONE, Outcome.REPLACED) and self._cookie_is_due(session, seen, outcome):
            if not may_send:
                self.cookie = None
                return
            self._send_cookie(ties.id)
        self.cookie = ties.id  # also if it is dead: it is not to be sent by a later settle

    def _check_gone(self, session: Session) -> None:
        """Raise what the manager raises for a session that is not gone but was stored as this process cannot read."""
        origin = session._ties.origin
        if origin is not None and origin.id is not None:
            self.manager.find(origin.id, self.sessions)

    def _cookie_is_due(self, session: Session, seen: float, outcome: Outcome) -> bool:
        """Tell whether the browser needs the cookie; not without the store's word that it leads somewhere."""
        ties = session._ties
        may_live_longer = self.policy.max_age is not None and self.manager.clocks.is_next(seen, ties.accessed)
        if ties.id is None or (ties.id == self.cookie and not may_live_longer):
            return False
        if outcome is not Outcome.UNCHANGED:
            return True
        try:
            return self.sessions.stands(session)
        except StoreUnavailable:  # all is stored; the id that the browser has leads on
            return False

    def _comes_late(self, session: Session) -> bool:
        """Whether this would begin a session for a browser that was given another one at a login a moment ago.

        A cookie sent now could take the place of the one of the login.
        """
        if session.user is not None or self.ended or self.cookie is None:
            return False
        return self.absence is Absence.ROTATED or self.sessions.locate(self.cookie).absence is Absence.ROTATED

    def _send_cookie(self, session_id: str | None) -> None:
        if not self.exchange.headers_sent:
            send_cookie(self.exchange, self.policy, session_id)


def visit_of(session: Session) -> Visit | None:
    """Return the stay of a session's request, None outside of requests."""
    return ties(session).visit  # type: ignore[no-any-return]
