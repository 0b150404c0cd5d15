"""Purging in turn: of all the processes that look after a store one does at a time, and not more often than need be."""

from __future__ import annotations

import contextlib
from typing import Final

from ..errors import Conflict, StoreUnavailable
from ..record import Record, Version
from ..traces import lock_key
from .cleaning import clean
from .records import RecordStore

STAMP: Final = lock_key("purge")
"""Where it is filed that somebody is purging, or did a while ago: among the locks, so nobody takes it for a session."""

_LONGEST: Final = 3600.0
"""Seconds after which somebody who purges is believed dead."""

# Of those that come round equally often, one that comes a little early shall not be sent away for ever.
_SLACK: Final = 0.9


def purge_in_turn(store: RecordStore, every: float) -> int | None:
    """Purge the store if nobody else does and nobody did for so many seconds; return how many records are deleted.

    None if it is not our turn.  What fails is tried again by whoever comes next.
    """
    start = store.clock()
    version = _take_turn(store, start, max(every, _LONGEST))
    if version is None:
        return None
    try:
        deleted = clean(store).deleted
    except BaseException:
        with contextlib.suppress(Conflict, StoreUnavailable):
            store.remove(STAMP, version)
        raise
    with contextlib.suppress(Conflict):  # it took so long that somebody else began
        store.write(STAMP, _stamp(start, every), version)
    return deleted


def _take_turn(store: RecordStore, start: float, seconds: float) -> Version | None:
    """Leave a stamp and return its version; None if somebody else's stands there."""
    for _ in range(2):
        with contextlib.suppress(Conflict):
            return store.write(STAMP, _stamp(start, seconds), None)
        found = store.read(STAMP)
        if found is not None and found.created <= start + _LONGEST:
            return None
        with contextlib.suppress(Conflict):
            if found is not None:  # left by a clock that was ahead: nobody would get a turn before that time
                store.remove(STAMP, found.version)
    return None


def _stamp(start: float, seconds: float) -> Record:
    return Record(b"s2 purge\n", start, start, start, start + seconds * _SLACK)
