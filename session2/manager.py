"""`SessionManager`: what applications and frameworks call, in requests and out of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, cast

from . import logins, tokens
from .clocks import DAY, Clocks, Seconds, seconds
from .concurrency import MODES, Concurrency, known_mode, mode_of, written
from .cookies import CookiePolicy
from .errors import ConfigurationError, ReadOnlySession, SessionConflict, StoreUnavailable, of_kind, refuse
from .exchange import Exchange, in_progress, policy_of, policy_with, send_cookie
from .former import FormerCookie, FormerVisit, checked
from .found import Absence, Found
from .mapping import _S, SessionMapping, checked_class
from .notes import begin, has_left, issued_at, left_behind, next_id, note_new_id, unnote
from .record import Outcome
from .session import Session, ties, ties_of, user_key
from .sessions import Sessions
from .store.base import SessionStore
from .store.lease import Lease
from .store.records import demand_merging
from .unheeded import refuse_hooks
from .visit import Visit, visit_of

log = logging.getLogger("session2")


class SessionManager(SessionMapping[_S]):
    """Gives every request its session and stores what became of it.

    :param store: where sessions are kept; one that was written for session2 0.6 will do too.
    :param session_class: `Session`, `DictSession` or a subclass of one.
    :param cookie: the cookie's name and attributes; default: what the framework is configured for, else
        ``CookiePolicy()``.
    :param idle_timeout: how long an unused session lives, in seconds or as a timedelta; None: for ever.
    :param lifetime: how long any session lives; None: for ever.
    :param touch_interval: reading a session moves its idle clock at most this often; default: a tenth of
        `idle_timeout`, 300 seconds at most.
    :param renew_after: give a session a new id this often; default: only when its user changes.
    :param renew_grace: how long a renewed id still serves requests that are under way.
    :param former: the cookies of the system before, whose visitors keep their sessions: see `session2.migrate`.
    :param concurrency: what becomes of requests of one session that overlap: ``"merge"``, ``"lock"`` (one at a time),
        ``"strict"`` (`SessionConflict`) or ``"read-only"``; or a function of the exchange that returns one of these.
    :param max_sessions: how many sessions a user may have at once; who logs in once more ends the oldest.
    :param unreadable: what becomes of a visitor whose record cannot be read here, being damaged or of a class this
        process does not know: ``"new"`` begins another session, ``"refuse"`` raises `StoreUnavailable` (503) and leaves
        record and cookie alone, for deployments in which old and new processes run side by side.
    :param lock_timeout: how long ``"lock"`` waits before `LockTimeout`.
    :param lock_lease: after how long another request may take over a lock whose holder does not answer.
    """

    def __init__(self, store: SessionStore, session_class: type[_S] | None = None, *,
                 cookie: CookiePolicy | None = None, idle_timeout: Seconds | None = 14 * DAY,
                 lifetime: Seconds | None = 90 * DAY, touch_interval: Seconds | None = None,
                 renew_after: Seconds | None = None, renew_grace: Seconds = 60.0, former: Sequence[FormerCookie] = (),
                 concurrency: Concurrency | Callable[[Exchange], Concurrency] = "merge",
                 max_sessions: int | None = None, unreadable: Literal["new", "refuse"] = "new",
                 lock_timeout: Seconds = 30.0, lock_lease: Seconds = 60.0) -> None:
        self.store = store if hasattr(store, "sessions") else refuse("store", store, SessionStore, "from_url(URL)")
        self.sessions: Sessions = store.sessions
        refuse_hooks(type(self), SessionManager)
        self.session_class = checked_class(session_class or cast("type[_S]", Session))
        self.cookie = None if cookie is None else of_kind("cookie", cookie, CookiePolicy, "CookiePolicy(name=\"id\")")
        self.clocks = Clocks(
            None if idle_timeout is None else seconds("idle_timeout", idle_timeout),
            None if lifetime is None else seconds("lifetime", lifetime),
            None if touch_interval is None else seconds("touch_interval", touch_interval, zero=True),
            None if renew_after is None else seconds("renew_after", renew_after),
            seconds("renew_grace", renew_grace))
        self.concurrency = concurrency if callable(concurrency) else mode_of(concurrency, store)
        self.max_sessions = logins.checked(max_sessions, store)
        self.former = checked(former, store)
        self._visit = FormerVisit if former else Visit
        if renew_after is not None:
            demand_merging(store, "renew_after")
        if unreadable not in ("new", "refuse"):
            raise ConfigurationError(f"unreadable must be 'new' or 'refuse', not {unreadable!r}")
        self.unreadable = unreadable
        self.lock_timeout = seconds("lock_timeout", lock_timeout, zero=True)
        self.lock_lease = seconds("lock_lease", lock_lease)

    # -- the life of a request; Quixote's Publisher calls this without arguments -----------------------------------

    def start_request(self, exchange: Exchange | None = None, concurrency: Concurrency | None = None) -> None:
        """Load the session the cookie names, or begin a new one, into ``exchange.session``."""
        exchange = exchange or in_progress()
        if exchange.visit is not None:
            exchange.visit.close()
        if self.sessions.left:
            self.sessions.release_left()
        mode: Any = concurrency or self.concurrency
        if mode != "merge":
            mode = mode_of(mode, self.store, exchange)
        exchange.visit = visit = self._visit(self, exchange, mode)
        visit.begin()

    def finish_successful_request(self, exchange: Exchange | None = None) -> None:
        """Store what the request made of its session, and tell the browser what it must know."""
        if visit := (exchange or in_progress()).visit:
            visit.finish()

    def finish_failed_request(self, exchange: Exchange | None = None) -> None:
        """Forget what the request did to its session, a logout included."""
        if visit := (exchange or in_progress()).visit:
            visit.close()

    def settle_request(self, exchange: Exchange | None = None, headers_sent: bool = False) -> None:
        """Store the session and tell the browser now, if `headers_sent` does not rule that out; see `Visit.settle`."""
        if visit := (exchange or in_progress()).visit:
            visit.settle(headers_sent)

    def lock_request(self, exchange: Exchange | None = None) -> None:
        """Lock the session of a request under way, and take in what others stored since it was loaded."""
        if visit := (exchange or in_progress()).visit:
            visit.lock()

    def unlock_request(self, exchange: Exchange | None = None) -> None:
        """Release the lock of a request under way; what it changes from here on is merged."""
        if visit := (exchange or in_progress()).visit:
            visit.unlock()

    def renew_lock(self, exchange: Exchange | None = None) -> None:
        """Start the lease of a long request's lock anew; `LockLost` if another request has taken the lock over."""
        if visit := (exchange or in_progress()).visit:
            visit.renew_lock()

    def expire_session(self, exchange: Exchange | None = None, clear_site_data: bool = False) -> None:
        """Log out: end the session when the request succeeds; a fresh one stands in its place at once.

        :param clear_site_data: tell the browser to drop its caches, cookies and storage of this site too.
        """
        if visit := (exchange or in_progress()).visit:
            visit.expire(clear_site_data)

    def maintain_session(self, session: Session, exchange: Exchange | None = None) -> None:
        """Store the session in mid-request and send its cookie, for an application that needs its id early."""
        ties(session)
        if visit := (exchange or in_progress()).visit:
            visit.maintain(session)

    def get_session(self, exchange: Exchange | None = None) -> Session | None:
        """Return the session of the current request."""
        return (exchange or in_progress()).session

    # -- cookies ---------------------------------------------------------------------------------------------------

    def set_session_cookie(self, session_id: str | None, exchange: Exchange | None = None, **attributes: Any) -> None:
        """Send the session cookie; `attributes` are other ones than those of its policy, for this request."""
        exchange = exchange or in_progress()
        send_cookie(exchange, policy_with(self.cookie, exchange, attributes), session_id or None)

    def revoke_session_cookie(self, exchange: Exchange | None = None) -> None:
        """Make the browser forget the session cookie."""
        self.set_session_cookie(None, exchange)

    def has_session_cookie(self, must_exist: bool = False, exchange: Exchange | None = None) -> bool:
        """Tell whether the request carries a session cookie; with `must_exist`, one of a session that exists."""
        exchange = exchange or in_progress()
        policy = policy_of(self.cookie, exchange)
        ids, home = exchange.get_cookies(policy.name), self.store.for_request(exchange, policy).sessions
        return any(tokens.is_id(id) and not self.find(id, home).absence if must_exist else id for id in ids)

    # -- one session, in a request or out of it --------------------------------------------------------------------

    def new_session(self, id: str | None = None) -> _S:
        """Return a session that nothing is stored of yet."""
        session, now = self.session_class(id), self.store.clock()
        begin(session, now, self.clocks.end_of(now, now))
        return session

    def find(self, session_id: str, sessions: Sessions | None = None, key: str | None = None) -> Found[_S]:
        """Return the session with this id, a private copy, or why there is none (`Found.absence`)."""
        found = (sessions or self.sessions).find(session_id, self.session_class, key)
        if found.session is None:
            if found.absence is Absence.UNREADABLE and self.unreadable == "refuse":
                raise StoreUnavailable(f"the record {found.key:.8} cannot be read by this process and was left alone")
            return found
        bound = ties_of(found.session)
        end = self.clocks.end_of(bound.created, bound.accessed)
        bound.ends_early = bound.expires is not None and bound.expires != end
        if end is not None and end != bound.expires and end <= self.store.clock():
            found.session, found.absence = None, Absence.EXPIRED  # the record was stored under more generous clocks
        return found

    def load(self, session_id: str | None) -> _S | None:
        """Return a private copy of the session with this id, None if there is none."""
        found = None if session_id is None or not tokens.is_id(session_id) else self.find(session_id)
        return None if found is None or found.absence is not None else found.session

    def save(self, session: Session, concurrency: Concurrency | None = None, lease: Lease | None = None,
             instead_of: Sequence[Session] = (), pending: bytes | None = None) -> Outcome:
        """Store the session, merging with what others stored meanwhile; give it an id if it needs a new one.

        :param concurrency: in place of the manager's own.
        :param lease: the lock the request holds.
        :param instead_of: sessions that end when this one is stored, as at a logout and login in one request.
        :param pending: what `Sessions.pending` returned, if nothing was changed since.
        """
        mode = concurrency or ("merge" if callable(self.concurrency) else self.concurrency)
        mode = mode if mode in MODES else known_mode(mode)
        if mode == "read-only":
            return self.refuse_change(session)
        if self.needs_new_id(session):
            return self._rotate(session, next_id(session), mode, lease, instead_of=instead_of)
        clocks = self.clocks
        if clocks.renewal is not None and ties(session).can_be_told \
                and clocks.renewal_is_due(issued_at(session), self.store.clock()):
            outcome = self._renew(session, mode, lease)
        else:
            outcome = self.save_in_place(session, mode, lease, pending)
        for other in instead_of:
            self._home(session).end(other, replaced=True)
        return outcome

    def delete(self, session: Session | str) -> None:
        """End a session, given itself or its id.  It is no error if there is none."""
        self._home(session).end(session, "deleted by the application")

    def rotate(self, session: Session, grace: Seconds = 0.0) -> None:
        """Give the session a new id; the old one is dead at once, or after `grace`, unless the user has changed."""
        visit, lasts = visit_of(session), seconds("grace", grace, zero=True)
        mode, lease = ("merge", None) if visit is None or visit.finished else (visit.concurrency, visit.lease)
        self._rotate(session, tokens.new_id(), mode, lease, lasts)

    def reserve_id(self, session: Session) -> str:
        """Decide the id the session is stored under when the request ends; an id it has now is dead from then on."""
        ties(session).id = session_id = tokens.new_id()
        return session_id

    def lock(self, session: Session | str) -> Lease:
        """Take the lock of a session, given itself or its id; release it with ``with`` or `Lease.release`."""
        return self._home(session).lock(session, timeout=self.lock_timeout, lease=self.lock_lease)

    # -- the sessions of a user ------------------------------------------------------------------------------------

    def sessions_of(self, user: Any) -> Iterator[_S]:
        """Iterate over the sessions of a user, given as `Session.user` holds it or as `Session.user_key` names it."""
        key = user_key(user)
        return iter(()) if key is None else self.sessions.each(self.session_class, key)

    def revoke_user(self, user: Any, except_: Session | None = None) -> int:
        """End all sessions of a user, but for one; return how many were ended."""
        key = user_key(user)
        return 0 if key is None else sum(1 for _ in self.sessions.revoke(key, except_, "revoked by user"))

    # -- for a visit -----------------------------------------------------------------------------------------------

    def save_in_place(self, session: Session, mode: Concurrency, lease: Lease | None,
                      pending: bytes | None = None) -> Outcome:
        """Store the session under the id it has."""
        bound = ties_of(session)
        visit: Visit | None = bound.visit
        home: Sessions = visit.sessions if visit else self.sessions
        before = bound.accessed, bound.expires
        pending = None if self._use(session) else pending
        outcome = written(partial(home.save, session, pending=pending), mode, lease)
        if outcome is Outcome.REVIVED and visit:
            visit.cookie = None  # the browser may have been told to forget it
        if outcome is Outcome.UNCHANGED:
            if bound.ends_early or self.clocks.touch_is_due(before[0], bound.accessed):
                home.touch(session)
            else:
                bound.accessed, bound.expires = before
        return outcome

    def needs_new_id(self, session: Session) -> bool:
        """Tell whether the session has to be stored under another id than it was."""
        bound = ties(session)
        if (origin := bound.origin) is None:
            return True
        if origin.id is None:  # met by iteration: nobody here could tell the visitor a new id
            return False
        return bound.id != origin.id or self.sessions.user_changed(session)

    def is_due(self, session: Session) -> bool:
        """Tell whether there is something to do for a session that was not changed."""
        bound, clocks, now = ties_of(session), self.clocks, self.store.clock()
        return (bound.ends_early or clocks.touch_is_due(bound.accessed, now)
                or ("_left" in session.__dict__ and has_left(session, now))
                or (clocks.renewal is not None and clocks.renewal_is_due(issued_at(session), now)))

    def refuse_change(self, session: Session) -> Outcome:
        """Raise `ReadOnlySession` if the session was changed."""
        if self.sessions.is_changed(session):
            raise ReadOnlySession('a request with concurrency="read-only" changed its session; nothing was written')
        return Outcome.UNCHANGED

    # -- inside ----------------------------------------------------------------------------------------------------

    def _home(self, session: Session | str) -> Sessions:
        """Return where a session is kept: some stores keep those of a request with the request."""
        visit = None if isinstance(session, str) else visit_of(session)
        return visit.sessions if visit else self.sessions

    def _rotate(self, session: Session, new_id: str, mode: Concurrency = "merge", lease: Lease | None = None,
                grace: float = 0.0, instead_of: Sequence[Session] = ()) -> Outcome:
        """Store the session under `new_id`; once the user has changed there is no grace for the old one."""
        self._use(session)
        user_changed = self.sessions.user_changed(session)
        grace = 0.0 if user_changed else grace
        limit = self.max_sessions if user_changed and session.user_key() is not None else None
        rotate = partial(self._home(session).rotate, session, new_id, grace, instead_of=instead_of)
        with nullcontext() if limit is None else logins.turn(self.sessions, session):
            id, visit = session.id, visit_of(session)
            ahead = None if visit is None else visit.lock_ahead(session, new_id)
            noted = note_new_id(session, self.store.clock(), user_changed, grace, ahead)
            try:
                outcome = written(rotate, mode, lease)
            except BaseException:
                unnote(session, noted)
                session.id = None if id == new_id else id  # something may be there under it: take another next time
                raise
            finally:
                if ahead and visit:
                    visit.hand_on(session, ahead)
            if limit is not None:
                logins.limit(self.sessions, session, self.session_class, limit)
        return outcome

    def _use(self, session: Session) -> bool:
        """Move the idle clock of what is to be written: others may have moved the stored one since it was loaded.

        The trace of the last renewal is removed when its grace is over; returns whether that changed the session.
        """
        bound = ties_of(session)
        bound.accessed = max(self.store.clock(), bound.accessed)
        bound.expires = self.clocks.end_of(bound.created, bound.accessed)
        if trace := "_left" in session.__dict__ and left_behind(session, bound.accessed):
            self._home(session).forget(trace)
        return bool(trace)

    def _renew(self, session: Session, mode: Concurrency, lease: Lease | None) -> Outcome:
        """Store the session under a new id: what the request changed as the mode demands, the renewal by merging."""
        if mode != "merge":
            self._use(session)
            outcome = written(partial(self._home(session).save, session), mode, lease)
            if outcome not in (Outcome.SAVED, Outcome.UNCHANGED):
                return outcome
        try:
            return self._rotate(session, tokens.new_id(), grace=self.clocks.grace)
        except (StoreUnavailable, SessionConflict) as error:
            if mode == "merge":
                raise
            log.warning("session %.8s keeps its id until the next request: %s", ties(session).key, error)
            return Outcome.SAVED
