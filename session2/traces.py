"""What is filed beside sessions: locks, and the traces of sessions that are there no more.

A trace stands in place of a record for a while, so that a request that comes late knows what became of its session.
"""

from __future__ import annotations

import secrets
from typing import Final

from . import tokens
from .found import Absence
from .record import Record

MARK: Final = b"s2 trace "
"""What every trace begins with, and no session."""

_MOVED: Final = MARK + b"moved\n"
_ROTATED: Final = MARK + b"rotated\n"
_EMPTIED: Final = MARK + b"emptied\n"
_ENDED: Final = MARK + b"ended\n"
_REVOKED: Final = MARK + b"revoked\n"

_TAKEN: Final = MARK + b"taken\n"

_LOCK: Final = "lock-"


def moved(new_id: str, old_id: str) -> bytes:
    """Return the trace of a session that was renewed: it leads who knows `old_id` to `new_id`, and nobody else."""
    return _MOVED + tokens.seal_id(new_id, old_id)


def rotated() -> bytes:
    """Return the trace of a session whose browser was given another id, at a login; no two are equal."""
    return _ROTATED + secrets.token_bytes(16)


def emptied(lock_name: str | None) -> bytes:
    """Return the trace of a session in which nothing was left: who changes it goes on from there, under its lock."""
    return _EMPTIED + (lock_name or "").encode()


def emptied_lock(trace: Record) -> str | None:
    """Return what the lock of a session was called that was emptied."""
    return trace.data[len(_EMPTIED):].decode("ascii", "replace") or None


def ended(reason: str) -> bytes:
    """Return the trace of a session that was ended, which tells why."""
    return _ENDED + reason.encode("utf-8", "replace")


def revoked(spared: str | None) -> bytes:
    """Return the note that all sessions of a user have ended but for the one filed under the key `spared`."""
    return _REVOKED + (spared or "").encode()


def is_spared(note: Record, key: str) -> bool:
    """Tell whether the session filed under `key` is the one that a revocation of its user spared."""
    return note.data == revoked(key)


def is_moved(trace: Record) -> bool:
    """Tell whether a session was renewed: for a while its old id leads to it too."""
    return trace.data.startswith(_MOVED)


def where_moved(trace: Record, old_id: str) -> str | None:
    """Return the id a trace leads to, None if it leads nowhere, or not whoever knows no more than `old_id`."""
    if not trace.data.startswith(_MOVED):
        return None
    return tokens.unseal_id(trace.data[len(_MOVED):], old_id)


def absence_of(trace: Record) -> tuple[Absence, str]:
    """Return what a trace tells of the session that was there, and why."""
    if trace.data.startswith(_ENDED):
        return Absence.ENDED, trace.data[len(_ENDED):].decode("utf-8", "replace")
    if trace.data.startswith(_EMPTIED):
        return Absence.ENDED, "nothing was left in it"
    return (Absence.ROTATED, "") if trace.data.startswith(_ROTATED) else (Absence.UNKNOWN, "")


def taken() -> bytes:
    """Return the note that a session was brought here from another system, and is not to be brought again."""
    return _TAKEN


def leads_on(trace: bytes) -> bool:
    """Tell whether the session that left a trace goes on under another id."""
    return trace.startswith((_MOVED, _ROTATED))


def is_emptied(record: Record) -> bool:
    """Tell whether a record is the trace of a session that goes on if anybody changes it."""
    return record.data.startswith(_EMPTIED)


def lock_key(name: str) -> str:
    """Return the key under which a lock is filed."""
    return _LOCK + name


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
