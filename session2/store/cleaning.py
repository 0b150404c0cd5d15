"""`clean`: purging a store, but never by a clock that the store's newest records contradict.

A machine whose clock is days ahead takes nearly every session for expired.  It finds none of them at the next look,
which does no harm, but must not delete them.  So a purge looks whether the store has been in use by the time that the
clock shows; in the first hour after the machine's start, whether it was an hour ago, for a wrong clock dates what is
stored now.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from ..clock import elapsed
from ..errors import Conflict
from ..record import Record
from ..traces import is_lock, is_session, lock_key
from .records import RecordStore

SETTLED: Final = 3600.0
"""Seconds after which the clock of a machine has been put right, if it was wrong when that was started."""

LULL: Final = 3 * 3600.0
"""Seconds for which a store may rest without any doubt."""

_SAMPLE: Final = 5000
"""How many records are looked at; their keys are hashes, so any are as good as any others."""

_MARK: Final = lock_key("clock")
"""What stands in for the visitors of a store that rests: `created` is when it was left, `accessed` what was newest."""

_MARK_LASTS: Final = 30 * 86400.0


class Cleaned(NamedTuple):
    """What `clean` did."""

    deleted: int
    until: float | None
    """What expired later is kept for now, since the clock may be wrong; None: nothing is kept."""


def clean(store: RecordStore, batch: int = 1000, unused_for: float | None = None,
          trust_clock: bool = False) -> Cleaned:
    """Delete what is expired; for cron jobs and the threads of applications.

    If the newest records lie hours behind the clock, then either nobody came or the clock is wrong.  What expired since
    the newest of them is deleted by a later call, an hour or more from now, if the clock and the records are then as
    they are now.

    :param batch: how many records to delete at a time.
    :param unused_for: delete also the sessions that nobody used for so many seconds.
    :param trust_clock: delete all at once, whatever the records say.
    """
    now = store.clock()
    until = now if trust_clock or not store.can_list else vouched(store, now)
    unused = {} if unused_for is None else {"unused_since": until - unused_for}
    return Cleaned(store.purge(until, batch, **unused), until if until < now else None)


def vouched(store: RecordStore, now: float) -> float:
    """Return the time that the store's records vouch for: `now`, or an earlier one if they contradict it."""
    newest, mark = _newest(store, now, now if elapsed() > SETTLED else now - SETTLED), store.read(_MARK)
    if mark is not None and mark.created > now:  # left by a clock that was ahead
        store.remove(_MARK)
        mark = None
    if newest is not None and newest < now - LULL:
        newest = _marked(store, mark, now, newest)
    return now if newest is None or newest >= now - LULL else newest


def _marked(store: RecordStore, mark: Record | None, now: float, newest: float) -> float:
    """Return when a purge saw, at least an hour ago, that `newest` was newest; or else `newest`.  Leave a mark."""
    seen = mark.created if mark is not None and mark.accessed == newest else None
    if seen is None or seen < now - LULL:
        _leave_mark(store, mark, now, newest)
    return newest if seen is None or seen > now - SETTLED else seen


def _newest(store: RecordStore, now: float, latest: float) -> float | None:
    """Return the newest time in the store up to `latest`, or one that will do; None: there is none."""
    newest = None
    for key, record in islice(_everything(store), _SAMPLE):
        if is_lock(key):
            continue
        times = [time for time in _times(key, record) if time <= latest]
        newest = max([*times] if newest is None else [*times, newest], default=None)
        if newest is not None and newest >= now - LULL:
            return newest
    return newest


def _everything(store: RecordStore) -> Iterator[tuple[str, Record]]:
    """Iterate over what is expired too: a store whose clock stands at the epoch takes nothing for expired."""
    view = copy.copy(store)
    view.clock = lambda: 0.0
    return view.scan()


def _times(key: str, record: Record) -> tuple[float, ...]:
    used = (record.accessed,) if is_session(key, record) else ()  # a trace has its end there
    return record.created, record.modified, *used


def _leave_mark(store: RecordStore, mark: Record | None, now: float, newest: float) -> None:
    with suppress(Conflict):  # another cleaner leaves one at this moment
        store.write(_MARK, Record(b"s2 clock\n", now, now, newest, now + _MARK_LASTS), mark and mark.version)
