"""`SessionManager`: the life of a session during one request, and what can be done with sessions outside of one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeVar, cast, get_args

from . import tokens
from .errors import ConfigurationError, LockLost, ReadOnlySession, SessionConflict, StoreUnavailable
from .events import tell
from .exchange import CookiePolicy, Exchange
from .mapping import SessionMapping
from .session import Session, user_key
from .store.base import Outcome, SessionStore
from .store.lock import Lease

log = logging.getLogger("session2")

Concurrency = Literal["merge", "lock", "strict", "read-only"]
Seconds = float | timedelta

_S = TypeVar("_S", bound=Session)

DAY: Final = 86400.0

_MODES: Final = get_args(Concurrency)
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
        return self.lease is not None and self.lease.key == session.key

    def unlock(self) -> None:
        """Release the lock; the request goes on.  It goes on too where the store is down: leases end by themselves."""
        lease, self.lease = self.lease, None
        if lease is None:
            return
        try:
            lease.release()
        except StoreUnavailable as error:
            log.warning("the lock of %.8s could not be released and ends with its lease: %s", lease.key, error)


class SessionManager(SessionMapping[_S], Generic[_S]):
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
        self.idle_timeout = _seconds("idle_timeout", idle_timeout)
        self.lifetime = _seconds("lifetime", lifetime)
        self.touch_interval = _seconds("touch_interval", touch_interval, zero=True)
        if self.touch_interval is None:
            self.touch_interval = min(300.0, (self.idle_timeout or 3000.0) / 10)
        self.renew_after = _seconds("renew_after", renew_after)
        self.renew_grace = _seconds("renew_grace", renew_grace) or 0.0
        self.concurrency = concurrency if callable(concurrency) else _known(concurrency)
        if max_sessions is not None and max_sessions < 1:
            raise ConfigurationError(f"max_sessions must be at least 1, not {max_sessions}")
        self.max_sessions = max_sessions
        self.lock_timeout = _seconds("lock_timeout", lock_timeout, zero=True) or 0.0
        self.lock_lease = _seconds("lock_lease", lock_lease) or 0.0

    # -- the life of a request -------------------------------------------------------------------------------------

    def start_request(self, exchange: Exchange | None = None, concurrency: Concurrency | None = None) -> None:
        """Load the session the cookie names, or begin a new one, into ``exchange.session``."""
        exchange = self._exchange(exchange)
        if exchange.visit is not None:
            exchange.visit.close()
        mode = concurrency or (self.concurrency(exchange) if callable(self.concurrency) else self.concurrency)
        visit = exchange.visit = Visit(_known(mode))
        session_id = exchange.get_cookie(self._policy(exchange).name)
        visit.cookie = session_id if tokens.is_id(session_id) else None
        session = self._open(visit) if visit.cookie else None
        self._attach(exchange, session or self.new_session(exchange=exchange))
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
        if visit is None or visit.finished or session is None or session.origin is None:
            return
        if visit.concurrency == "merge":
            visit.concurrency = "lock"
        while not visit.has_lock_of(session):
            visit.unlock()
            visit.lease = self.lock(session)
            try:
                self._take_in(session, visit.lease)
            except BaseException:
                visit.unlock()
                raise

    def unlock_request(self, exchange: Exchange | None = None) -> None:
        """Release the lock of a request under way; what it changes from here on is merged."""
        exchange = self._exchange(exchange)
        if exchange.visit is not None:
            exchange.visit.unlock()

    def reserve_id(self, session: Session) -> str:
        """Decide the id the session is stored under when the request ends; an id it has now is dead from then on."""
        session.id = tokens.new_id()
        return session.id

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
        session.exchange = exchange
        exchange.session = session
        session.start_request()

    def _open(self, visit: Visit) -> _S | None:
        assert visit.cookie is not None
        session = self.load(visit.cookie)
        while visit.concurrency == "lock" and session is not None and not visit.has_lock_of(session):
            visit.unlock()  # of an id that was renewed while this request waited
            visit.lease = self.lock(session)
            try:
                session = self._fenced(visit.cookie, visit.lease)
            except BaseException:
                visit.close()
                raise
        return session

    def _fenced(self, session_id: str, lease: Lease) -> _S | None:
        """Load under the lock.  If its last holder let the lease lapse, a new version keeps that one from writing."""
        session = self.load(session_id)
        if lease.taken_over and session is not None:
            self.store.supersede(session)
        return session

    def _settle(self, exchange: Exchange, visit: Visit) -> None:
        for old in visit.ended:
            if old.origin is not None:
                self.delete(old)
        if visit.clear_site_data:
            exchange.add_header("Clear-Site-Data", '"cache", "cookies", "storage"')
        session = exchange.session
        if session is not None and session.has_info():
            self._keep(exchange, visit, session)
        elif session is not None and session.origin is not None:
            self._drop(session)
            self.revoke_session_cookie(exchange)
        elif visit.ended and visit.cookie is not None:
            self.revoke_session_cookie(exchange)

    def _drop(self, session: Session) -> None:
        self.delete(session)
        session.id = session.key = session.origin = None

    def _settle_late(self, session: Session | None, visit: Visit) -> None:
        for old in visit.ended:
            self.delete(old)
        if session is None or (session.origin is None and not session.has_info()):
            return
        if not session.has_info():
            self._drop(session)
        elif self._needs_new_id(session):
            log.error("a session began, or its user or id changed, when the headers were out and no cookie could be "
                      "sent any more; nothing was stored")
        elif visit.concurrency == "read-only":
            self._refuse_change(session)
        else:
            self._save_as(session, visit.concurrency, visit.lease)

    def _take_in(self, session: Session, lease: Lease) -> None:
        self.store.take_in(session)
        if lease.taken_over:
            self.store.supersede(session)

    def _keep(self, exchange: Exchange, visit: Visit, session: Session) -> None:
        seen = session.access_time
        outcome = self.save(session, visit.concurrency, visit.lease)
        if outcome is Outcome.GONE:
            self.revoke_session_cookie(exchange)
        elif outcome is not Outcome.REPLACED and session.id is not None:
            moved_clock = session.access_time != seen and self._policy(exchange).max_age is not None
            if session.id != visit.cookie or moved_clock:
                self.set_session_cookie(session.id, exchange)

    # -- outside requests ------------------------------------------------------------------------------------------

    def new_session(self, id: str | None = None, exchange: Exchange | None = None) -> _S:
        """Return a session that nothing is stored of yet."""
        session = self.session_class(id)
        session.creation_time = session.access_time = self.store.clock()
        if exchange is not None and exchange.remote_address is not None:
            session._remote_address = exchange.remote_address
        return session

    def load(self, session_id: str | None) -> _S | None:
        """Return a private copy of the session with this id, None if there is none."""
        if session_id is None or not tokens.is_id(session_id):
            return None
        session = self.store.load(session_id, self.session_class)
        return None if session is None or self._is_over(session) else session

    def save(self, session: Session, concurrency: Concurrency | None = None, lease: Lease | None = None) -> Outcome:
        """Store the session, merging with what others stored meanwhile; give it an id if it needs a new one."""
        mode = concurrency or ("merge" if callable(self.concurrency) else self.concurrency)
        if mode == "read-only":
            return self._refuse_change(session)
        now = self.store.clock()
        touch_due = now - session.access_time >= cast(float, self.touch_interval)
        before = session.access_time, session.expires
        session.access_time = max(now, session.access_time)
        session.expires = self._expiry(session)
        if self._needs_new_id(session):
            _note_new_id(session, now)
            outcome = self.store.move(session, self._next_id(session))
            self._limit_sessions(session)
            return outcome
        if self._renewal_due(session, now):
            session._issued = now
            return self.store.move(session, tokens.new_id(), self.renew_grace)
        outcome = self._save_as(session, mode, lease)
        if outcome is Outcome.UNCHANGED:
            if touch_due:
                self.store.refresh(session)
            else:
                session.access_time, session.expires = before
        return outcome

    def delete(self, session: Session | str) -> None:
        """End a session, given itself or its id.  It is no error if there is none."""
        self._end(session, "ended", "")

    def rotate(self, session: Session, grace: Seconds = 0.0) -> None:
        """Give the session a new id; the old one is dead at once, or after `grace`."""
        session.expires = self._expiry(session)
        self.store.move(session, tokens.new_id(), _seconds("grace", grace, zero=True) or 0.0)

    def lock(self, session: Session | str) -> Lease:
        """Take the lock of a session, given itself or its id; release it with ``with`` or `Lease.release`."""
        key = self.store.key(session) if isinstance(session, str) else session.key
        if key is None:
            raise ConfigurationError("a session that was never stored cannot be locked")
        return self.store.lock(key, timeout=self.lock_timeout, lease=self.lock_lease)

    def renew_lock(self, exchange: Exchange | None = None) -> None:
        """Start the lease of a long request's lock anew; `LockLost` if another request has taken the lock over."""
        visit = self._exchange(exchange).visit
        if visit is not None and visit.lease is not None:
            visit.lease.renew()

    def sessions_of(self, user: Any) -> Iterator[_S]:
        """Iterate over the sessions of a user, given as `Session.user` holds it or as `Session.user_key` names it."""
        key = user_key(user)
        return iter(()) if key is None else self.store.sessions(self.session_class, key)

    def revoke_user(self, user: Any, except_: Session | None = None) -> int:
        """End all sessions of a user, but for one; return how many were ended."""
        doomed = [session for session in self.sessions_of(user) if except_ is None or session.key != except_.key]
        for session in doomed:
            self._end(session, "revoked", "by user")
        return len(doomed)

    def _end(self, session: Session | str, event: Literal["ended", "revoked"], reason: str) -> None:
        self.store.delete(session)
        key = session.key if isinstance(session, Session) else self.store.key(session)
        tell(self.store.observer, event, str(key), reason)

    # -- clocks, ids and locks -------------------------------------------------------------------------------------

    def _expiry(self, session: Session) -> float | None:
        idle = None if self.idle_timeout is None else session.access_time + self.idle_timeout
        if self.lifetime is None:
            return idle
        absolute = session.creation_time + self.lifetime
        return absolute if idle is None else min(idle, absolute)

    def _limit_sessions(self, session: Session) -> None:
        """End the oldest sessions of the user beyond the limit.

        Everybody looks after having written, and all agree on the order: of logins that race, the last one to look
        sees them all.
        """
        if self.max_sessions is None or session.user is None:
            return
        found = self.store.sessions(self.session_class, session.user_key())
        oldest_last = sorted(found, key=lambda found: (found.get_login_time() or 0, str(found.key)), reverse=True)
        for extra in oldest_last[self.max_sessions:]:
            self._end(extra, "revoked", "too many sessions of one user")

    def _is_over(self, session: Session) -> bool:
        """Judge by the clocks of this manager too: the record may have been stored under more generous ones."""
        ends = self._expiry(session)
        return ends is not None and ends <= self.store.clock()

    def _needs_new_id(self, session: Session) -> bool:
        origin = session.origin
        if origin is None:
            return True
        if origin.id is None:  # met by iteration: nobody here could tell the visitor a new id
            return False
        return session.id != origin.id or origin.record.user != session.user_key()

    def _next_id(self, session: Session) -> str:
        reserved = session.origin is None or session.id != session.origin.id
        return session.id if reserved and session.id is not None and tokens.is_id(session.id) else tokens.new_id()

    def _renewal_due(self, session: Session, now: float) -> bool:
        issued = session.creation_time if session._issued is None else session._issued
        return self.renew_after is not None and now - issued >= self.renew_after

    def _save_as(self, session: Session, mode: Concurrency, lease: Lease | None) -> Outcome:
        if mode == "merge":
            return self.store.save(session)
        try:
            return self.store.save(session, merge=False)
        except SessionConflict:
            if mode == "strict":
                raise
        if lease is not None and not lease.is_held():
            raise LockLost("this request held its session's lock longer than the lease; nothing was written")
        return self.store.save(session)  # somebody wrote without asking for the lock

    def _refuse_change(self, session: Session) -> Outcome:
        if self.store.is_changed(session):
            raise ReadOnlySession('a request with concurrency="read-only" changed its session; nothing was written')
        return Outcome.UNCHANGED

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
        if exchange.visit is not None and session.has_info():
            self._keep(exchange, exchange.visit, session)
            exchange.visit.cookie = session.id

    def _policy(self, exchange: Exchange) -> CookiePolicy:
        return self.cookie or exchange.cookie_policy or _DEFAULT_POLICY

    def _exchange(self, exchange: Exchange | None) -> Exchange:
        if exchange is not None:
            return exchange
        from session2_quixote import current_exchange  # Quixote's Publisher calls a manager without arguments

        return cast(Exchange, current_exchange())


def _note_new_id(session: Session, now: float) -> None:
    known = None if session.origin is None else session.origin.record.user
    if session.user_key() != known:
        session._login_time = None if session.user is None else now
    if session.origin is not None:
        session._issued = now


def _seconds(name: str, value: Seconds | None, zero: bool = False) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not (seconds > 0 or (zero and seconds == 0)):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return seconds


def _known(concurrency: Any) -> Concurrency:
    if concurrency not in _MODES:
        raise ConfigurationError(f"concurrency must be one of {', '.join(_MODES)}, not {concurrency!r}")
    return cast(Concurrency, concurrency)
