"""What holds for every session, in requests and out of them: its id, its clocks, its lock and its user."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal, TypeVar, cast, get_args

from . import tokens
from .errors import ConfigurationError, LockLost, ReadOnlySession, SessionConflict, StoreUnavailable
from .events import tell
from .exchange import Exchange
from .mapping import SessionMapping
from .session import Session, user_key
from .store.lock import Lease
from .record import Outcome

Concurrency = Literal["merge", "lock", "strict", "read-only"]
Seconds = float | timedelta

_S = TypeVar("_S", bound=Session)
_Result = TypeVar("_Result")

_MODES: Final = get_args(Concurrency)

_LOGIN_LEASE: Final = 10.0  # seconds that the next login of a user waits at most for one that was killed


class SessionPolicy(SessionMapping[_S]):
    """The part of `SessionManager` that knows of no request."""

    idle_timeout: float | None
    lifetime: float | None
    touch_interval: float
    renew_after: float | None
    renew_grace: float
    max_sessions: int | None
    lock_timeout: float
    lock_lease: float
    concurrency: Concurrency | Callable[[Exchange], Concurrency]

    def new_session(self, id: str | None = None, exchange: Exchange | None = None) -> _S:
        """Return a session that nothing is stored of yet."""
        session = self.session_class(id)
        session._creation_time = session._access_time = self.store.clock()
        session._expires = self._expiry(session)
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
        mode = known_mode(concurrency or ("merge" if callable(self.concurrency) else self.concurrency))
        if mode == "read-only":
            return self._refuse_change(session)
        if self._needs_new_id(session):
            return self._move(session, self._next_id(session), mode, lease)
        return self._renew(session, mode, lease) if self._renewal_due(session) else self._save(session, mode, lease)

    def delete(self, session: Session | str) -> None:
        """End a session, given itself or its id.  It is no error if there is none."""
        self._end(session, "ended", "")

    def rotate(self, session: Session, grace: Seconds = 0.0) -> None:
        """Give the session a new id; the old one is dead at once, or after `grace`, unless the user has changed."""
        self._move(session, tokens.new_id(), grace=seconds("grace", grace, zero=True))

    def reserve_id(self, session: Session) -> str:
        """Decide the id the session is stored under when the request ends; an id it has now is dead from then on."""
        session.id = tokens.new_id()
        return session.id

    def lock(self, session: Session | str) -> Lease:
        """Take the lock of a session, given itself or its id; release it with ``with`` or `Lease.release`."""
        key = session._key if isinstance(session, Session) else tokens.is_id(session) and self.store.key(session)
        if not key:
            raise ConfigurationError("what was never stored cannot be locked")
        lease = self.store.lock(key, timeout=self.lock_timeout, lease=self.lock_lease)
        if lease.taken_over:  # keeps the last holder from writing; if this fails, the next one has to take over too
            self.store.supersede(key)
        return lease

    def sessions_of(self, user: Any) -> Iterator[_S]:
        """Iterate over the sessions of a user, given as `Session.user` holds it or as `Session.user_key` names it."""
        key = user_key(user)
        return iter(()) if key is None else self.store.sessions(self.session_class, key)

    def revoke_user(self, user: Any, except_: Session | None = None) -> int:
        """End all sessions of a user, but for one; return how many were ended."""
        key, count = user_key(user), 0
        for ended in () if key is None else self.store.revoke(key, except_):
            tell(self.store.observer, "revoked", ended, "by user")
            count += 1
        return count

    def _end(self, session: Session | str, event: Literal["ended", "revoked"], reason: str,
             replaced: bool = False) -> bool:
        key = self.store.delete(session, replaced)
        if key is not None:
            tell(self.store.observer, event, key, reason)
        return key is not None

    # -- clocks, ids and locks -------------------------------------------------------------------------------------

    def _save(self, session: Session, mode: Concurrency, lease: Lease | None) -> Outcome:
        """Store the session under the id it has."""
        before = session._access_time, session._expires
        self._use(session)
        outcome = written(partial(self.store.save, session), mode, lease)
        if outcome is Outcome.UNCHANGED:
            if session._access_time - before[0] >= self.touch_interval:
                self.store.refresh(session)
            else:
                session._access_time, session._expires = before
        return outcome

    def _move(self, session: Session, new_id: str, mode: Concurrency = "merge", lease: Lease | None = None,
              grace: float = 0.0) -> Outcome:
        """Store the session under `new_id`; once the user has changed there is no grace for the old one."""
        self._use(session)
        now, user_changed = self.store.clock(), self.store.user_changed(session)
        if user_changed:
            session._login_time, grace = None if session.user is None else now, 0.0
        if session._origin is not None:
            session._issued = now
        limit = self.max_sessions if user_changed and session.user is not None else None
        with nullcontext() if limit is None else self._turn_to_log_in(session):
            try:
                outcome = written(partial(self.store.move, session, new_id, grace), mode, lease)
            except StoreUnavailable:
                session.id = None  # something may be there under the new id: who tries again takes another one
                raise
            if limit is not None:
                self._limit_sessions(session, limit)
        return outcome

    def _turn_to_log_in(self, session: Session) -> Lease:
        """Return a lock of the user whose sessions are limited.

        Of a login that is submitted twice one comes to nothing, and must not be counted meanwhile.
        """
        return self.store.lock(tokens.hash_id(f"logins of {session.user_key()}"), lease=_LOGIN_LEASE)

    def _use(self, session: Session) -> None:
        """Move the idle clock of what is to be written: others may have moved the stored one since it was loaded."""
        session._access_time = max(self.store.clock(), session._access_time)
        session._expires = self._expiry(session)

    def _expiry(self, session: Session) -> float | None:
        idle = None if self.idle_timeout is None else session._access_time + self.idle_timeout
        if self.lifetime is None:
            return idle
        absolute = session._creation_time + self.lifetime
        return absolute if idle is None else min(idle, absolute)

    def _limit_sessions(self, session: Session, limit: int) -> None:
        """End the oldest sessions of the user beyond the limit."""
        for _ in range(10):
            found = self.store.sessions(self.session_class, session.user_key())
            oldest_last = sorted(found, key=lambda found: (found.get_login_time() or 0, str(found._key)), reverse=True)
            ended = [self._end(extra, "revoked", "too many sessions of one user")
                     for extra in oldest_last[limit:]]
            if all(ended):  # none was renewed meanwhile
                return

    def _is_over(self, session: Session) -> bool:
        """Judge by the clocks of this manager too: the record may have been stored under more generous ones."""
        ends = self._expiry(session)
        return ends is not None and ends <= self.store.clock()

    def _renew(self, session: Session, mode: Concurrency, lease: Lease | None) -> Outcome:
        """Store the session under a new id: what the request changed as the mode demands, the renewal by merging."""
        if mode != "merge":
            self._use(session)
            outcome = written(partial(self.store.save, session), mode, lease)
            if outcome not in (Outcome.SAVED, Outcome.UNCHANGED):
                return outcome
        return self._move(session, tokens.new_id(), grace=self.renew_grace)

    def _needs_new_id(self, session: Session) -> bool:
        origin = session._origin
        if origin is None:
            return True
        if origin.id is None:  # met by iteration: nobody here could tell the visitor a new id
            return False
        return session.id != origin.id or self.store.user_changed(session)

    def _next_id(self, session: Session) -> str:
        reserved = session._origin is None or session.id != session._origin.id
        return session.id if reserved and session.id is not None and tokens.is_id(session.id) else tokens.new_id()

    def _renewal_due(self, session: Session) -> bool:
        """Tell whether it is time for a new id; never outside a request, where no browser could be told."""
        issued = session._creation_time if session._issued is None else session._issued
        return self.renew_after is not None and session._exchange is not None \
            and self.store.clock() - issued >= self.renew_after

    def _refuse_change(self, session: Session) -> Outcome:
        if self.store.is_changed(session):
            raise ReadOnlySession('a request with concurrency="read-only" changed its session; nothing was written')
        return Outcome.UNCHANGED


def written(write: Callable[..., _Result], mode: Concurrency, lease: Lease | None) -> _Result:
    """Return what `write` does, which is called with ``merge`` as the mode demands."""
    if mode == "merge":
        return write(merge=True)
    try:
        return write(merge=False)
    except SessionConflict:
        if mode == "strict":
            raise
    if lease is not None and not lease.is_held():
        raise LockLost("this request held its session's lock longer than the lease; nothing was written")
    return write(merge=True)  # somebody wrote without asking for the lock


def seconds(name: str, value: Seconds, zero: bool = False) -> float:
    """Return a duration in seconds; `ConfigurationError` if it is none."""
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(found, (int, float)) or not (0 < found < math.inf or (zero and found == 0)):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return float(found)


def known_mode(concurrency: Any) -> Concurrency:
    """Return `concurrency` if there is such a mode; otherwise `ConfigurationError`."""
    if concurrency not in _MODES:
        raise ConfigurationError(f"concurrency must be one of {', '.join(_MODES)}, not {concurrency!r}")
    return cast(Concurrency, concurrency)
