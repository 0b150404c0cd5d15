"""What is filed beside sessions: locks, and the traces of sessions that were rotated.

A trace stands in place of a record, so that a request that comes late knows what became of its session.
"""

from __future__ import annotations

from typing import Final

from . import tokens
from .found import Absence
from .record import Record

MARK: Final = b"s2 trace "
"""What every trace begins with, and no session."""

MOVED: Final = MARK + b"moved\n"
"""Begins a trace that leads the holder of the old id to the new one, for a grace."""

ENDED: Final = MARK + b"ended\n"
"""Begins a trace that tells that the browser was given another id, at a login."""

_LOCK: Final = "lock-"


def moved(new_id: str, old_id: str) -> bytes:
    """Return the trace that leads who knows `old_id` to `new_id`, and nobody else."""
    return MOVED + tokens.seal_id(new_id, old_id)


def where_moved(trace: Record, old_id: str) -> str | None:
    """Return the id a trace leads to, None if it leads nowhere, or not whoever knows no more than `old_id`."""
    if not trace.data.startswith(MOVED):
        return None
    return tokens.unseal_id(trace.data[len(MOVED):], old_id)


def absence_of(trace: Record) -> Absence:
    """Return what a trace tells of the session that was there."""
    return Absence.ROTATED if trace.data.startswith(ENDED) else Absence.UNKNOWN


def lock_key(key: str) -> str:
    """Return the key under which the lock of a session is filed."""
    return _LOCK + key


def is_lock(key: str) -> bool:
    """Tell whether a lock is filed under this key."""
    return key.startswith(_LOCK)


def is_trace(record: Record) -> bool:
    """Tell whether a record is what is left of a session."""
    return record.data.startswith(MARK)


def is_session(key: str, record: Record) -> bool:
    """Tell sessions from locks and traces."""
    return not is_lock(key) and not is_trace(record)


def is_over(key: str, record: Record, now: float, unused_since: float | None) -> bool:
    """Tell whether a purge deletes the record: it expired, or is a session that nobody used since."""
    if not record.is_live(now):
        return True
    return unused_since is not None and record.accessed < unused_since and is_session(key, record)
