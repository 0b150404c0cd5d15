"""`Filing`: where sessions are filed: found by id or key, written, and replaced by traces."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from . import tokens, traces
from .codec import Codec
from .errors import SerializationError, StoreUnavailable
from .events import Name, tell
from .found import Absence, Found
from .record import Record, Version
from .session import Session
from .store.records import RecordStore
from .ties import Origin

_S = TypeVar("_S", bound=Session)

_RENEWALS: Final = 100
"""How many renewals of an id are followed: more than any grace has room for, so that hostile traces lead nowhere."""


class Filing:
    """Sessions as records; it merges nothing and decides nothing.

    :param records: the back end.
    :param codec: how sessions become records.
    """

    def __init__(self, records: RecordStore, codec: Codec) -> None:
        self.records = records
        self.codec = codec

    def clock(self) -> float:
        """Return the time in seconds since the epoch."""
        return self.records.clock()

    def tell(self, name: Name, key: str, detail: str = "", level: int | None = None) -> None:
        """Log an event and tell the observer."""
        tell(self.records.observer, name, key, detail, level)

    # -- finding ---------------------------------------------------------------------------------------------------

    def locate(self, session_id: str, key: str | None = None) -> Found[Any]:
        """Return where the session is filed that this id, of this key, stands for."""
        for _ in range(_RENEWALS):
            key = key or self.codec.key(session_id)
            record = self.records.read(key)
            if record is None:
                return Found(session_id, key, absence=self._why_missing(key))
            if not record.data.startswith(traces.MARK):
                return Found(session_id, key, record)
            new_id = traces.where_moved(record, session_id)
            if new_id is None:
                return _trace_of(session_id, key, record)
            session_id, key = new_id, None
        return Found(session_id, self.codec.key(session_id), absence=Absence.UNKNOWN)

    def _why_missing(self, key: str) -> Absence:
        """Tell what has expired, and was not purged yet, from what is not there."""
        record = self.records._look_up(key)
        return Absence.UNKNOWN if record is None or traces.is_trace(record) else Absence.EXPIRED

    def locate_key(self, key: str) -> Found[Any]:
        """Return the record of the session filed under this key; its id is known to its visitor only."""
        record = self.records.read(key)
        if record is None or traces.is_lock(key):
            return Found(None, key, absence=Absence.UNKNOWN)
        return _trace_of(None, key, record) if traces.is_trace(record) else Found(None, key, record)

    def locate_again(self, session: Session | str) -> Found[Any]:
        """Return where a session, given itself or its id, is filed by now."""
        origin = session._ties.origin if isinstance(session, Session) else None
        if origin is not None:
            return self.locate_key(origin.key) if origin.id is None else self.locate(origin.id)
        id = session.id if isinstance(session, Session) else session
        if id is None or not tokens.is_id(id):
            return Found(None, "", absence=Absence.MALFORMED)
        return self.locate(id)

    def restore(self, found: Found[Any], session_class: type[_S]) -> Found[_S]:
        """Add the session to what was found, or why it cannot be read."""
        try:
            if found.record is not None:
                found.session = self.codec.restore(found, session_class)
        except SerializationError as error:
            self.tell("corrupt", found.key, f"treated as missing: {error}")
            found.record, found.absence = None, Absence.UNREADABLE
        return found

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, session: Session, id: str | None, key: str, payload: bytes, expected: Version | None,
              checked: bool = False) -> None:
        """Store the session and bind it to its record; `Conflict` if the version there is another one.

        :param checked: whether it is known that the payload can be read again.
        """
        record = self.codec.record(session, payload, key, self.records.clock(), checked)
        stored = Record(*record[:-1], self.records.write(key, record, expected))
        ties = session._ties
        ties.id, ties.origin = id, Origin(id, key, stored, payload)

    def retire(self, key: str, record: Record, trace: bytes, seconds: float) -> Record:
        """Leave a trace in place of a session, and return it; `Conflict` if it has changed.

        The trace counts as used to its end, so that no late touch prolongs it.  It bears the name of the user where
        the session goes on under another id: who revokes must look for that one.
        """
        now = self.clock()
        left = Record(trace, record.created, now, now + seconds, now + seconds,
                      record.user if traces.leads_on(trace) else None)
        try:
            return left._replace(version=self.records.write(key, left, record.version))
        except StoreUnavailable:  # it may be there all the same, and then there is no way back
            found = self.records.read(key)
            if found is None or found.data != trace:
                raise
            return found


def _trace_of(id: str | None, key: str, trace: Record) -> Found[Any]:
    absence, reason = traces.absence_of(trace)
    return Found(id, key, trace if traces.is_emptied(trace) else None, absence=absence, reason=reason)
