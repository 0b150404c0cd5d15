"""`Ended`: which sessions are over, for a store whose records are out of reach: in the browsers of visitors."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from .. import traces
from ..errors import Conflict, SessionConflict
from ..patience import attempts
from ..record import Record, Version
from .records import RecordStore

if TYPE_CHECKING:
    from ..session import Session

_PATIENCE = 15.0
"""Seconds for which a revocation gives way to others of the same user."""

_TICK = 1e-6
"""Seconds by which a time is later than another, by clocks that stand still for a moment or lag behind others."""

Born = tuple[float, bytes]
"""A version that tells since when its record stands under its key."""


class Ended:
    """The traces of sessions that ended, as long as a copy of one could be valid, and when users were revoked.

    :param records: where this is kept.
    """

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    def trace(self, key: str, record: Record | None) -> Record | None:
        """Return the trace of the session that was filed under this key; None if it may go on.

        :param record: what the browser has of it.
        """
        trace = self._records.read(key)
        if trace is not None:
            return self._grown_old(trace) if traces.leads_on(trace.data) else trace
        if record is None or record.user is None:
            return None
        note = self._records.read(_note_key(record.user))
        if note is None or _outlives(note, key, record.version):
            return None
        return note._replace(data=traces.ended("revoked by user"))

    def _grown_old(self, trace: Record) -> Record:
        """Return what is left of an id that was replaced: for a while, what helps the requests under way."""
        is_old = self._records.clock() >= trace.accessed
        return trace._replace(data=traces.ended("its browser was given another id")) if is_old else trace

    def end(self, key: str, trace: Record, found: Record, span: float) -> Version:
        """Note that a session is over; `Conflict` if somebody else did, or does.

        The trace stays until no copy of the session, however lately it was used, can be valid any more.

        :param found: what there is of the session: what the browser has, or a trace.
        :param span: for how many seconds it was ever to live unused, by whatever clocks.
        """
        until = found.expires
        if not traces.is_trace(found):
            span = max(span, span_of(found))
            latest = max(self._records.clock(), found.accessed)  # a clock that was ahead counts too
            until = None if span == math.inf else latest + span
        there = self._records.read(key)
        if there is not None and there.version != found.version:
            raise Conflict(f"the session {key:.8} has ended")
        data = traces.ended("nothing was left in it") if traces.is_emptied(trace) else trace.data
        return self._records.write(key, trace._replace(data=data, expires=until), there and there.version)

    def end_user(self, user: str, spared: Session | None) -> str:
        """Note that all sessions which this user has by now are over, but for one; return where it is noted.

        Twice: who began a session between the two may have looked for a revocation before the first was there.
        """
        key = _note_key(user)
        for _ in range(2):
            self._note(key, spared)
        return key

    def _note(self, key: str, spared: Session | None) -> None:
        for _ in attempts(_PATIENCE):
            before = self._records.read(key)
            name = None if spared is None or _is_over(before, spared) else spared.key
            now = self._records.clock()
            created = now if before is None else max(now, before.created + _TICK)
            with suppress(Conflict):
                self._records.write(key, Record(traces.revoked(name), created, now, now), before and before.version)
                return
        raise SessionConflict("this user kept being revoked by others; try again")

    def since(self, user: str | None, now: float) -> float:
        """Return since when a session of this user stands that begins now: later than the user was revoked last."""
        note = None if user is None else self._records.read(_note_key(user))
        return now if note is None else max(now, note.created + _TICK)


def span_of(record: Record) -> float:
    """Return for how many seconds a session is to live unused."""
    return math.inf if record.expires is None else record.expires - record.accessed


def _note_key(user: str) -> str:
    return hashlib.sha256(b"revoked " + user.encode("utf-8", "surrogatepass")).hexdigest()


def _outlives(note: Record, key: str, version: Any) -> bool:
    """Tell whether a session began, or its user logged in, later than the revocation, or was spared by it."""
    return cast(Born, version)[0] > note.created or traces.is_spared(note, key)


def _is_over(note: Record | None, session: Session) -> bool:
    """Tell whether an earlier revocation has ended a session that a later one is to spare."""
    origin = session.origin
    return origin is None or (note is not None and not _outlives(note, origin.key, origin.record.version))
