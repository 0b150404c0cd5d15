"""The sessions of a user whose number is limited."""

from __future__ import annotations

import logging
from typing import Any, Final

from . import tokens
from .errors import ConfigurationError, SessionConflict, StoreUnavailable
from .session import Session
from .sessions import Sessions
from .store.lease import Lease

log = logging.getLogger("session2")

_LEASE: Final = 10.0
"""Seconds that the next login of a user waits at most for one that was killed."""


def checked(most: int | None, store: Any) -> int | None:
    """Return how many sessions a user may have; `ConfigurationError` if that cannot be, or not with this store."""
    if most is not None and most < 1:
        raise ConfigurationError(f"max_sessions must be at least 1, not {most}")
    if most is not None and not getattr(store, "can_list", True):
        raise ConfigurationError(f"max_sessions needs a store that can list; {type(store).__name__} cannot")
    return most


def turn(sessions: Sessions, session: Session) -> Lease:
    """Return a lock of the session's user.

    Of a login that is submitted twice one comes to nothing, and must not be counted meanwhile.
    """
    return sessions.filing.records.lock(tokens.hash_id(f"logins of {session.user_key()}"), lease=_LEASE)


def limit(sessions: Sessions, session: Session, session_class: type[Session], most: int) -> None:
    """End the oldest sessions of the session's user beyond the limit; the login stands, whatever becomes of this."""
    try:
        for _ in range(10):
            found = sessions.each(session_class, session.user_key())
            oldest_last = sorted(found, key=lambda each: (each.key == session.key, each.get_login_time() or 0,
                                                          str(each.key)), reverse=True)
            if all(sessions.end(extra, "too many sessions of one user", event="revoked")
                   for extra in oldest_last[most:]):  # none was renewed meanwhile
                return
    except (StoreUnavailable, SessionConflict) as error:
        log.warning("a user may have more sessions than allowed until the next login: %s", error)
