"""Bringing sessions of another system here: each once, and never again what has been logged out of since."""

from __future__ import annotations

import enum
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .. import traces
from ..adopted import adopted_id, is_noted, note_adopted
from ..errors import Conflict, SessionError, StoreUnavailable
from ..record import Record
from ..serializers import check
from ..session import user_key
from ..store.base import SessionStore

if TYPE_CHECKING:
    from .source import Former, Skipped, Source

log = logging.getLogger("session2")

_TRIES: Final = 10


class Fate(enum.Enum):
    """What became of a session of another system."""

    MOVED = "moved"
    PRESENT = "present"
    """It is here already, as it is there or newer."""
    LEFT = "left"
    """It was here: its visitor has come, and has another id now or has logged out."""
    EXPIRED = "expired"
    """It is over by the other system's own clock."""


def bring(store: SessionStore, former: Former, dry_run: bool = False) -> Fate:
    """Store a session of another system with its times and its user, unless it is here or ever was.

    As long as its visitor has not come, it is replaced by what it has become there.

    :raises SerializationError: for a state that the store's format cannot keep.
    """
    if former.expires is not None and former.expires <= store.clock():
        return Fate.EXPIRED
    id = adopted_id(former.id)
    key, record = store.sessions.key(id), _record_of(store, former)
    for _ in range(_TRIES):
        found = store.read(key)
        fate = _fate(store, id, found, record)
        if dry_run or fate is Fate.LEFT:
            return fate
        with suppress(Conflict):  # the store is in use
            if fate is Fate.MOVED:
                note_adopted(store, id, former.expires, is_coming=True)
                store.write(key, record, None if found is None else found.version)
            note_adopted(store, id, former.expires)
            return fate
    raise SessionError("it kept changing in the store")


def bring_missing(store: SessionStore, source: Source, id: str) -> None:
    """Look for a session in another system, unless it is here or ever was, and store it.

    :raises StoreUnavailable: if the other system fails: to log visitors out for that would be wrong.
    """
    adopted = adopted_id(id)
    if store.read(store.sessions.key(adopted)) is not None or is_noted(store, adopted):
        return
    try:
        found = source.find(id)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise StoreUnavailable(f"the former sessions cannot be read: {why}") from error
    if found is None:
        return
    outcome = bring_or_skip(store, found)
    if not isinstance(outcome, Fate):
        log.warning("%s of the former system was not moved: %s", outcome.where, outcome.why)


def bring_or_skip(store: SessionStore, found: Former | Skipped, dry_run: bool = False) -> Fate | Skipped:
    """Do as `bring`, and return why where that cannot be."""
    from .source import Skipped, place

    if isinstance(found, Skipped):
        return found
    try:
        return bring(store, found, dry_run)
    except StoreUnavailable:
        raise
    except SessionError as error:
        return Skipped(place(found.id), str(error))


def _record_of(store: SessionStore, former: Former) -> Record:
    """Return the record to store; where the other system knows no times it begins now."""
    state, now = former.state, store.clock()
    payload = store.serializer.dumps(state)
    check(store.serializer, state, payload)
    accessed = min(now if former.accessed is None else former.accessed, now)
    created = min(accessed if former.created is None else former.created, accessed)
    data = store.serializer.seal(payload, store.sessions.key(adopted_id(former.id)))
    return Record(data, created, accessed, accessed, former.expires, _user_of(state))


def _user_of(state: dict[str, Any]) -> str | None:
    try:
        return user_key(state.get("user"))
    except ValueError:  # Python writes no number of more than some thousand digits
        raise SessionError("its user is a number that is too long to be a name") from None


def _fate(store: SessionStore, id: str, found: Record | None, record: Record) -> Fate:
    if found is None:
        return Fate.LEFT if is_noted(store, id) else Fate.MOVED
    if traces.is_trace(found):
        return Fate.LEFT
    here, there = (found.modified, found.accessed), (record.modified, record.accessed)
    is_corrected = here == there and record.user not in (None, found.user)  # moved before by a mistyped user_key
    return Fate.MOVED if here < there or is_corrected else Fate.PRESENT
