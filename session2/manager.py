"""`SessionManager`: the life of a session during one request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar, cast

from . import tokens
from .errors import ConfigurationError, ReadOnlySession, StoreUnavailable
from .exchange import CookiePolicy, Exchange
from .policy import Concurrency, Seconds, SessionPolicy, known_mode, seconds, written
from .session import Session
from .store.base import SessionStore
from .store.lock import Lease
from .record import Outcome

log = logging.getLogger("session2")

_S = TypeVar("_S", bound=Session)

DAY: Final = 86400.0

_DEFAULT_POLICY: Final = CookiePolicy()


@dataclass(slots=True)
class Visit:
    """The manager's notes about one request."""

    concurrency: Concurrency
    cookie: str | None = None
    """The well-formed id the cookie carries."""
    ended: list[Session] = field(default_factory=list)
    """Sessions logged out of during the request; deleted when it succeeds."""
    clear_site_data: bool = False
    lease: Lease | None = None
    finished: bool = False

    def close(self) -> None:
        """End the request: nothing is stored for it any more, and its lock is free."""
        self.finished = True
        self.unlock()

    def has_lock_of(self, session: Session) -> bool:
        """Tell whether the request took the lock of this session."""
        return self.lease is not None and self.lease.key == session._key

    def unlock(self) -> None:
        """Release the lock; the request goes on.  It goes on too where the store is down: leases end by themselves."""
        lease, self.lease = self.lease, None
        if lease is None:
            return
        try:
            lease.release()
        except StoreUnavailable as error:
            log.warning("the lock of %.8s could not be released and ends with its lease: %s", lease.key, error)


class SessionManager(SessionPolicy[_S]):
    """Gives every request its session and stores what became of it.

    :param store: where sessions are kept.
    :param session_class: `Session`, `DictSession` or a subclass of one.
    :param cookie: the cookie's name and attributes; default: what the framework is configured for, else
        ``CookiePolicy()``.
    :param idle_timeout: how long an unused session lives, in seconds or as a timedelta; None: for ever.
    :param lifetime: how long any session lives; None: for ever.
    :param touch_interval: reading a session moves its idle clock at most this often; default: a tenth of
        `idle_timeout`, 300 seconds at most.
    :param renew_after: give a session a new id this often; default: only when its user changes.
    :param renew_grace: how long a renewed id still serves requests that are under way.
    :param concurrency: what becomes of requests of one session that overlap: ``"merge"``, ``"lock"`` (one at a time),
        ``"strict"`` (`SessionConflict`) or ``"read-only"``; or a function of the exchange that returns one of these.
    :param max_sessions: how many sessions a user may have at once; who logs in once more ends the oldest.
    :param lock_timeout: how long ``"lock"`` waits before `LockTimeout`.
    :param lock_lease: after how long another request may take over a lock whose holder does not answer.
    """

    def __init__(self, store: SessionStore, session_class: type[_S] | None = None, *,
                 cookie: CookiePolicy | None = None,
                 idle_timeout: Seconds | None = 14 * DAY, lifetime: Seconds | None = 90 * DAY,
                 touch_interval: Seconds | None = None,
                 renew_after: Seconds | None = None, renew_grace: Seconds = 60.0,
                 concurrency: Concurrency | Callable[[Exchange], Concurrency] = "merge",
                 max_sessions: int | None = None,
                 lock_timeout: Seconds = 30.0, lock_lease: Seconds = 60.0) -> None:
        self.store = store
        self.session_class: type[_S] = session_class or cast("type[_S]", Session)
        self.cookie = cookie
        self.idle_timeout = None if idle_timeout is None else seconds("idle_timeout", idle_timeout)
        self.lifetime = None if lifetime is None else seconds("lifetime", lifetime)
        self.touch_interval = min(300.0, (self.idle_timeout or 3000.0) / 10) if touch_interval is None \
            else seconds("touch_interval", touch_interval, zero=True)
        if self.idle_timeout is not None and self.touch_interval >= self.idle_timeout:
            raise ConfigurationError("touch_interval must be shorter than idle_timeout, or sessions in use would end")
        self.renew_after = None if renew_after is None else seconds("renew_after", renew_after)
        self.renew_grace = seconds("renew_grace", renew_grace)
        self.concurrency = concurrency if callable(concurrency) else known_mode(concurrency)
        if max_sessions is not None and max_sessions < 1:
            raise ConfigurationError(f"max_sessions must be at least 1, not {max_sessions}")
        self.max_sessions = max_sessions
        self.lock_timeout = seconds("lock_timeout", lock_timeout, zero=True)
        self.lock_lease = seconds("lock_lease", lock_lease)

    # -- the life of a request -------------------------------------------------------------------------------------

    def start_request(self, exchange: Exchange | None = None, concurrency: Concurrency | None = None) -> None:
        """Load the session the cookie names, or begin a new one, into ``exchange.session``."""
        exchange = self._exchange(exchange)
        if exchange.visit is not None:
            exchange.visit.close()
        mode = concurrency or (self.concurrency(exchange) if callable(self.concurrency) else self.concurrency)
        visit = exchange.visit = Visit(known_mode(mode))
        session_id = exchange.get_cookie(self._policy(exchange).name)
        visit.cookie = session_id if tokens.is_id(session_id) else None
        try:
            session = self._open(visit) if visit.cookie else None
            self._attach(exchange, session or self.new_session(exchange=exchange))
        except BaseException:  # nobody will finish this request, and it may have the lock by now
            visit.close()
            raise
        exchange.add_header("Vary", "Cookie")

    def finish_successful_request(self, exchange: Exchange | None = None) -> None:
        """Store what the request made of its session, and tell the browser what it must know."""
        exchange = self._exchange(exchange)
        visit = exchange.visit
        if visit is None or visit.finished:
            return
        try:
            self._settle(exchange, visit)
        finally:
            visit.close()
        exchange.add_header("Vary", "Cookie")  # again: a framework may have begun another response, for a 404 say

    def finish_failed_request(self, exchange: Exchange | None = None) -> None:
        """Forget what the request did to its session, a logout included."""
        exchange = self._exchange(exchange)
        if exchange.visit is not None:
            exchange.visit.close()

    def settle_request(self, exchange: Exchange | None = None, headers_sent: bool = False) -> None:
        """Store the session and tell the browser now; the request goes on, and may settle again.

        :param headers_sent: no cookie can be sent any more, so a login or a new session is refused, with an error in
            the log; everything else is stored.
        """
        exchange = self._exchange(exchange)
        visit = exchange.visit
        if visit is None or visit.finished:
            return
        if headers_sent:
            self._settle_late(exchange.session, visit)
        else:
            self._settle(exchange, visit)
        visit.ended.clear()

    def lock_request(self, exchange: Exchange | None = None) -> None:
        """Lock the session of a request under way, and take in what others stored since it was loaded."""
        exchange = self._exchange(exchange)
        visit, session = exchange.visit, exchange.session
        if visit is None or visit.finished or session is None or session._origin is None:
            return
        if visit.concurrency == "merge":
            visit.concurrency = "lock"
        while not visit.has_lock_of(session):
            visit.unlock()
            visit.lease = self.lock(session)
            try:
                self.store.take_in(session)
            except BaseException:
                visit.unlock()
                raise

    def unlock_request(self, exchange: Exchange | None = None) -> None:
        """Release the lock of a request under way; what it changes from here on is merged."""
        exchange = self._exchange(exchange)
        if exchange.visit is not None:
            exchange.visit.unlock()

    def renew_lock(self, exchange: Exchange | None = None) -> None:
        """Start the lease of a long request's lock anew; `LockLost` if another request has taken the lock over."""
        visit = self._exchange(exchange).visit
        if visit is not None and visit.lease is not None:
            visit.lease.renew()

    def expire_session(self, exchange: Exchange | None = None, clear_site_data: bool = False) -> None:
        """Log out: end the session when the request succeeds; a fresh one stands in its place at once.

        :param clear_site_data: tell the browser to drop its caches, cookies and storage of this site too.
        """
        exchange = self._exchange(exchange)
        if exchange.visit is None:
            return
        if exchange.session is not None:
            exchange.visit.ended.append(exchange.session)
        exchange.visit.clear_site_data |= clear_site_data
        self._attach(exchange, self.new_session(exchange=exchange))

    def _attach(self, exchange: Exchange, session: Session) -> None:
        session._exchange = exchange
        exchange.session = session
        session.start_request()

    def _open(self, visit: Visit) -> _S | None:
        assert visit.cookie is not None
        session = self.load(visit.cookie)
        while visit.concurrency == "lock" and session is not None and not visit.has_lock_of(session):
            visit.unlock()  # of an id that was renewed while this request waited
            visit.lease = self.lock(session)
            session = self.load(visit.cookie)
        return session

    def _settle(self, exchange: Exchange, visit: Visit) -> None:
        session = exchange.session
        self._log_out(visit, session if session is not None and session.has_info() else None)
        if visit.clear_site_data:
            exchange.add_header("Clear-Site-Data", '"cache", "cookies", "storage"')
        if session is None or (session._origin is None and not session.has_info()):
            if visit.ended and visit.cookie is not None:
                self.revoke_session_cookie(exchange)
            return
        outcome = None if session.has_info() else self._drop(session, visit)
        if outcome is None:
            self._keep(exchange, visit, session)
        elif outcome is Outcome.GONE:
            self.revoke_session_cookie(exchange)

    def _log_out(self, visit: Visit, successor: Session | None) -> None:
        """End the sessions logged out of, unless the request may not or what follows them cannot be stored."""
        ended = [session for session in visit.ended if session._origin is not None]
        if ended and visit.concurrency == "read-only":
            raise ReadOnlySession('a request with concurrency="read-only" logged out; nothing was written')
        if ended and successor is not None:
            self.store.check(successor)
        for session in ended:
            self._end(session, "ended", "", replaced=successor is not None)

    def _drop(self, session: Session, visit: Visit) -> Outcome | None:
        """End a session that has nothing left; return None if others put something into it meanwhile.

        One that this request left alone stays: other managers may count as information what this one does not know.
        """
        if not self.store.is_changed(session):
            return Outcome.UNCHANGED
        if visit.concurrency == "read-only":
            self._refuse_change(session)
        outcome = None
        while outcome is None and not session.has_info():
            outcome = written(partial(self.store.discard, session), visit.concurrency, visit.lease)
        if outcome is not None:
            session.id = session._key = session._origin = None
        return outcome

    def _settle_late(self, session: Session | None, visit: Visit) -> None:
        self._log_out(visit, None)
        if session is None or (session._origin is None and not session.has_info()):
            return
        if not session.has_info() and self._drop(session, visit) is not None:
            return
        if self._needs_new_id(session):
            log.error("a session began, or its user or id changed, when the headers were out and no cookie could be "
                      "sent any more; nothing was stored")
        elif visit.concurrency == "read-only":
            self._refuse_change(session)
        else:
            self._save(session, visit.concurrency, visit.lease)

    def _comes_late(self, session: Session, visit: Visit) -> bool:
        """Whether this would begin a session for a browser that was given another one at a login a moment ago.

        A cookie sent now could take the place of the one of the login.
        """
        if session._origin is not None or session.user is not None or visit.ended or visit.cookie is None:
            return False
        return self.store.was_replaced(visit.cookie)

    def _keep(self, exchange: Exchange, visit: Visit, session: Session) -> None:
        if self._comes_late(session, visit):
            return
        seen = session._access_time
        outcome = self.save(session, visit.concurrency, visit.lease)
        if outcome is Outcome.GONE:
            self.revoke_session_cookie(exchange)
        elif outcome is not Outcome.REPLACED and session.id is not None:
            moved_clock = session._access_time != seen and self._policy(exchange).max_age is not None
            if session.id != visit.cookie or moved_clock:
                self.set_session_cookie(session.id, exchange)
            visit.cookie = session.id

    # -- cookies ---------------------------------------------------------------------------------------------------

    def set_session_cookie(self, session_id: str, exchange: Exchange | None = None) -> None:
        """Send the session cookie."""
        exchange = self._exchange(exchange)
        policy = self._policy(exchange)
        exchange.set_cookie(policy.name, session_id, **policy.attributes(exchange))
        exchange.add_header("Cache-Control", "no-store")

    def revoke_session_cookie(self, exchange: Exchange | None = None) -> None:
        """Make the browser forget the session cookie."""
        exchange = self._exchange(exchange)
        policy = self._policy(exchange)
        exchange.set_cookie(policy.name, "", **{**policy.attributes(exchange), "max_age": 0})
        exchange.add_header("Cache-Control", "no-store")

    def has_session_cookie(self, must_exist: bool = False, exchange: Exchange | None = None) -> bool:
        """Tell whether the request carries a session cookie; with `must_exist`, one of a session that exists."""
        exchange = self._exchange(exchange)
        value = exchange.get_cookie(self._policy(exchange).name)
        return self.has_session(value) if must_exist else bool(value)

    def get_session(self, exchange: Exchange | None = None) -> Session | None:
        """Return the session of the current request."""
        return self._exchange(exchange).session

    def maintain_session(self, session: Session, exchange: Exchange | None = None) -> None:
        """Store the session in mid-request and send its cookie, for an application that needs its id early."""
        exchange = self._exchange(exchange)
        visit = exchange.visit
        if visit is not None and not visit.finished and session.has_info():
            self._keep(exchange, visit, session)

    def _policy(self, exchange: Exchange) -> CookiePolicy:
        return self.cookie or exchange.cookie_policy or _DEFAULT_POLICY

    def _exchange(self, exchange: Exchange | None) -> Exchange:
        if exchange is not None:
            return exchange
        from session2_quixote import current_exchange  # Quixote's Publisher calls a manager without arguments

        return cast(Exchange, current_exchange())
