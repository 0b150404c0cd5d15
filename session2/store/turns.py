"""Purging in turn: of all the processes that look after a store one does at a time, and not more often than need be."""

from __future__ import annotations

import contextlib
from typing import Final

from ..errors import Conflict
from ..record import Record
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
    try:
        version = store.write(STAMP, _stamp(start, max(every, _LONGEST)), None)
    except Conflict:
        return None
    try:
        deleted = clean(store).deleted
    except BaseException:
        store.remove(STAMP)
        raise
    with contextlib.suppress(Conflict):  # it took so long that somebody else began
        store.write(STAMP, _stamp(start, every), version)
    return deleted


def _stamp(start: float, seconds: float) -> Record:
    return Record(b"s2 purge\n", start, start, start, start + seconds * _SLACK)
