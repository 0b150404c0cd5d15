"""`Saving`: a session stored by compare-and-set, merged with what others stored meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from . import tokens, traces
from .errors import ConfigurationError, Conflict, LockTimeout, SessionConflict, StoreUnavailable
from .filing import Filing
from .found import Absence
from .patience import attempts
from .record import Outcome
from .session import Session
from .store.hostlock import HostLocks
from .store.lease import Lease
from .ties import Origin

MERGE_PATIENCE: Final = 15.0
"""Seconds for which a save goes on merging before it gives up with `SessionConflict`."""

_COURTESY: Final = 1.0
"""Seconds for which a save gives way to those that merge: they may hang, or this may be called by one of them."""

BUSY: Final = "the session kept changing while it was to be saved; try again"

CHANGED: Final = "another request changed the session meanwhile; load it again"


class Saving:
    """Sessions stored, never over what somebody else wrote meanwhile.

    :param lines: those of somebody else who stores the same sessions.
    """

    def __init__(self, filing: Filing, lines: HostLocks | None = None) -> None:
        self.filing = filing
        self.codec = filing.codec
        self.lines = lines or HostLocks()
        """Of the threads of this process that were not the first, one at a time merges: else the last would starve."""
        self._merging: set[str] = set()
        """The keys of sessions that somebody merges just now: who writes one meanwhile would be in the way."""

    def save(self, session: Session, merge: bool = True, pending: bytes | None = None) -> Outcome:
        """Store what the session holds, never over what somebody else wrote meanwhile.

        :param merge: False raises `SessionConflict` where there is something to merge.
        :param pending: the payload, if it is known already.
        """
        payload = self.codec.payload(session) if pending is None else pending
        origin = session._ties.origin
        if origin is None:
            return self.insert(session, payload)
        if self.codec.is_unchanged(session, origin, payload):
            return Outcome.UNCHANGED
        line = self._line(origin.key, _COURTESY) if merge and origin.key in self._merging else None
        if line is not None:
            return self._merge_in(line, session, origin)
        return self._written(session, origin, payload) or self._merge_in_turn(session, origin, merge)

    def merge_in(self, session: Session) -> Outcome | None:
        """Merge what others stored since the session was loaded into it; return how it ended if it is no longer there.

        An id reserved for it stays.
        """
        ties = session._ties
        id, origin = ties.id, ties.origin
        outcome = None if origin is None else self.catch_up(session, origin)
        if outcome is None and origin is not None and id != origin.id:
            ties.id = id
        return outcome

    def insert(self, session: Session, payload: bytes) -> Outcome:
        """Store a session that nothing is stored of yet, under the id it has."""
        id = session._ties.id
        if id is None or not tokens.is_id(id):  # no other is ever looked for
            raise ConfigurationError("a session needs an id of tokens.new_id() to be stored; save it with the manager")
        key = self.codec.key(id)
        try:
            self.filing.write(session, id, key, payload, None)
        except Conflict:
            raise SessionConflict("a session with this id is stored already; load that one") from None
        except BaseException:  # nobody will ever ask for it
            with suppress(StoreUnavailable):
                self.take_back(key, payload)
            raise
        self.filing.tell("created", key)
        return Outcome.SAVED

    def _merge_in_turn(self, session: Session, origin: Origin, merge: bool) -> Outcome:
        if not merge:
            raise SessionConflict(CHANGED)
        line = self._line(origin.key, MERGE_PATIENCE)
        if line is None:
            raise SessionConflict(BUSY)
        return self._merge_in(line, session, origin)

    def _line(self, key: str, patience: float) -> Lease | None:
        """Get in line and wait for one's turn to merge; None if it does not come."""
        try:
            return self.lines.acquire(key, patience, MERGE_PATIENCE, self.filing.clock)
        except LockTimeout:
            return None

    def _merge_in(self, line: Lease, session: Session, origin: Origin) -> Outcome:
        with line:
            try:
                self._merging.add(origin.key)
                return self._merge_and_replace(session, origin)
            finally:  # interrupted here, it is left to who merges next
                self._merging.discard(origin.key)

    def _merge_and_replace(self, session: Session, origin: Origin) -> Outcome:
        for _ in attempts(MERGE_PATIENCE, longest=0.005):
            outcome = self.catch_up(session, origin)
            if outcome is not None:
                return outcome
            origin = _origin_of(session)
            if traces.is_emptied(origin.record) and not session.has_info():
                return Outcome.GONE
            payload = self.codec.payload(session)
            if self.codec.is_unchanged(session, origin, payload):  # somebody stored the same
                return Outcome.UNCHANGED
            outcome = self._written(session, origin, payload)
            if outcome is not None:
                return outcome
        raise SessionConflict(BUSY)

    def _written(self, session: Session, origin: Origin, payload: bytes) -> Outcome | None:
        """Write what is known to be changed, and so was decoded; None if others were first."""
        try:
            self.filing.write(session, origin.id, origin.key, payload, origin.record.version, checked=True)
        except Conflict:
            return None
        return Outcome.REVIVED if origin.record.data.startswith(traces.MARK) else Outcome.SAVED  # it had been emptied

    def catch_up(self, session: Session, origin: Origin) -> Outcome | None:
        """Merge what others stored into the session; return how it ended if it is no longer there."""
        found = self.filing.locate_again(session)
        if found.record is None:
            return Outcome.REPLACED if found.absence is Absence.ROTATED else Outcome.GONE
        if (found.key, found.record.version) == (origin.key, origin.record.version):
            return None
        theirs = self.filing.restore(found, type(session)).session
        if theirs is None:
            return Outcome.GONE
        self.filing.tell("conflict", found.key, "merging")
        self.codec.merge(session, origin, theirs)
        ties = session._ties
        ties.id, ties.origin = theirs.id, theirs._ties.origin
        ties.accessed = max(ties.accessed, theirs._ties.accessed)
        return None

    def take_back(self, key: str, payload: bytes) -> None:
        """Remove what was stored under a new id."""
        with suppress(Conflict):
            found = self.filing.records.read(key)
            if found is not None and self.codec.holds(found, key, payload):
                self.filing.records.remove(key, found.version)


def _origin_of(session: Session) -> Origin:
    origin = session._ties.origin
    assert origin is not None, "nothing is stored of this session"
    return origin
