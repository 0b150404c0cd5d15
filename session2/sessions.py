"""`Sessions`: sessions over the records that a back end keeps; it knows of no request and of no clock's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from . import tokens, traces
from .codec import Codec
from .errors import ConfigurationError, Conflict, SerializationError, SessionConflict
from .events import Name, tell
from .found import Absence, Found
from .patience import attempts
from .record import Outcome, Record
from .session import Session
from .store.lock import Lease
from .store.records import RecordStore
from .ties import Origin

_S = TypeVar("_S", bound=Session)

ENDED_GRACE: Final = 60.0
"""Seconds for which a replaced id is remembered as dead, so that late requests do not revoke the new cookie."""

MERGE_PATIENCE: Final = 15.0
"""Seconds for which a save goes on merging before it gives up with `SessionConflict`."""

_RENEWALS: Final = 100
"""How many renewals of an id are followed: more than any grace has room for, so that hostile traces lead nowhere."""

_PASSES: Final = 10
"""How often the sessions to revoke are looked for: then whoever still comes in is new."""

_CHANGED: Final = "another request changed the session meanwhile; load it again"


class Sessions:
    """Sessions over records: found, saved, merged, rotated and ended, whatever others do meanwhile.

    :param records: the back end.
    :param codec: how sessions become records.
    """

    def __init__(self, records: RecordStore, codec: Codec) -> None:
        self.records = records
        self.codec = codec

    @property
    def clock(self) -> Callable[[], float]:
        """Return the time in seconds since the epoch."""
        return self.records.clock

    def key(self, session_id: str) -> str:
        """Return the key under which the session of this id is filed."""
        return self.codec.key(session_id)

    def tell(self, name: Name, key: str, detail: str = "") -> None:
        """Log an event and tell the observer."""
        tell(self.records.observer, name, key, detail)

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, session_id: str, session_class: type[_S]) -> Found[_S]:
        """Return a private copy of the session that this id stands for, or why there is none.

        The id of what is returned differs from `session_id` if the session was renewed a moment ago.
        """
        found: Found[_S] = self.locate(session_id)
        return found if found.record is None else self._restored(found, session_class)

    def load(self, session_id: str, session_class: type[_S]) -> _S | None:
        """Return a private copy of the session with this id, None if there is none."""
        return self.find(session_id, session_class).session

    def load_key(self, key: str, session_class: type[_S]) -> _S | None:
        """Return a private copy of the session filed under this key, None if there is none."""
        found: Found[_S] = self.locate_key(key)
        return None if found.record is None else self._restored(found, session_class).session

    def locate(self, session_id: str) -> Found[Any]:
        """Return where the session is filed that this id stands for."""
        for _ in range(_RENEWALS):
            key = self.codec.key(session_id)
            record = self.records.read(key)
            if record is None:
                return Found(session_id, key, absence=Absence.UNKNOWN)
            if not traces.is_trace(record):
                return Found(session_id, key, record)
            new_id = traces.where_moved(record, session_id)
            if new_id is None:
                return Found(session_id, key, absence=traces.absence_of(record))
            session_id = new_id
        return Found(session_id, key, absence=Absence.UNKNOWN)

    def locate_key(self, key: str) -> Found[Any]:
        """Return the record of the session filed under this key; its id is known to its visitor only."""
        record = self.records.read(key)
        if record is None or not traces.is_session(key, record):
            return Found(None, key, absence=Absence.UNKNOWN)
        return Found(None, key, record)

    def _restored(self, found: Found[Any], session_class: type[_S]) -> Found[_S]:
        try:
            return replace(found, session=self.codec.restore(found, session_class))
        except SerializationError as error:
            self.tell("corrupt", found.key, f"treated as missing: {error}")
            return replace(found, record=None, absence=Absence.UNREADABLE)

    def each(self, session_class: type[_S], user: str | None = None) -> Iterator[_S]:
        """Iterate over all sessions, or over those of one user."""
        for key, record in self._records(user):
            if traces.is_session(key, record):
                session = self._restored(Found(None, key, record), session_class).session
                if session is not None:
                    yield session

    def _records(self, user: str | None) -> Iterator[tuple[str, Record]]:
        return self.records.scan() if user is None else self.records.records_of(user)

    def _locate_again(self, session: Session | str) -> Found[Any]:
        """Return where a session, given itself or its id, is filed by now."""
        origin = session._ties.origin if isinstance(session, Session) else None
        if origin is not None:
            return self.locate_key(origin.key) if origin.id is None else self.locate(origin.id)
        id = session.id if isinstance(session, Session) else session
        if id is None or not tokens.is_id(id):
            return Found(None, "", absence=Absence.UNKNOWN)
        return self.locate(id)

    # -- saving ----------------------------------------------------------------------------------------------------

    def save(self, session: Session, merge: bool = True) -> Outcome:
        """Store what the session holds, never over what somebody else wrote meanwhile.

        :param merge: False raises `SessionConflict` where there is something to merge.
        """
        payload = self.codec.payload(session)
        origin = session._ties.origin
        if origin is None:
            return self._insert(session, payload)
        if self.codec.is_unchanged(session, origin, payload):
            return Outcome.UNCHANGED
        return self._replace(session, origin, payload, merge)

    def touch(self, session: Session) -> None:
        """Move the idle clock of a stored session to where this copy of it has it."""
        ties = session._ties
        if ties.origin is not None:
            self.records.touch(ties.origin.key, ties.accessed, ties.expires)

    def check(self, session: Session) -> None:
        """Raise `SerializationError` if the session could not be stored as it is."""
        self.codec.check(session)

    def user_changed(self, session: Session) -> bool:
        """Tell whether another user is logged in than when the session was loaded."""
        return self.codec.user_changed(session)

    def is_changed(self, session: Session) -> bool:
        """Tell whether the session holds anything else than what is stored of it."""
        origin = session._ties.origin
        return origin is None or not self.codec.is_unchanged(session, origin, self.codec.payload(session))

    def merge_in(self, session: Session) -> None:
        """Merge what others stored since the session was loaded into it; an id reserved for it stays."""
        ties = session._ties
        id, origin = ties.id, ties.origin
        if origin is not None and self._catch_up(session, origin) is None and id != origin.id:
            ties.id = id

    def _insert(self, session: Session, payload: bytes) -> Outcome:
        id = session._ties.id
        if id is None or not tokens.is_id(id):  # no other is ever looked for
            raise ConfigurationError("a session needs an id of tokens.new_id() to be stored; save it with the manager")
        key = self.codec.key(id)
        record = self.codec.record(session, payload, key, self.clock())
        try:
            version = self.records.write(key, record, None)
        except Conflict:
            raise SessionConflict("a session with this id is stored already; load that one") from None
        self.tell("created", key)
        return self._stored(session, id, key, record._replace(version=version), payload)

    def _replace(self, session: Session, origin: Origin, payload: bytes, merge: bool) -> Outcome:
        for _ in attempts(MERGE_PATIENCE):
            record = self.codec.record(session, payload, origin.key, self.clock())
            try:
                version = self.records.write(origin.key, record, origin.record.version)
            except Conflict:
                if not merge:
                    raise SessionConflict(_CHANGED) from None
            else:
                return self._stored(session, origin.id, origin.key, record._replace(version=version), payload)
            outcome = self._catch_up(session, origin)
            if outcome is not None:
                return outcome
            origin = _origin_of(session)
            payload = self.codec.payload(session)
            if self.codec.is_unchanged(session, origin, payload):  # somebody stored the same
                return Outcome.UNCHANGED
        raise SessionConflict("the session kept changing while it was to be saved; try again")

    def _catch_up(self, session: Session, origin: Origin) -> Outcome | None:
        """Merge what others stored into the session; return how it ended if it is no longer there."""
        found = self._locate_again(session)
        if found.record is None:
            return Outcome.REPLACED if found.absence is Absence.ROTATED else Outcome.GONE
        if (found.key, found.record.version) == (origin.key, origin.record.version):
            return None
        theirs = self._restored(found, type(session)).session
        if theirs is None:
            return Outcome.GONE
        self.tell("conflict", found.key, "merging")
        session.merge_state(self.codec.loaded(session, origin).get_state(), theirs.get_state())
        ties = session._ties
        ties.id, ties.origin = theirs.id, theirs._ties.origin
        ties.accessed = max(ties.accessed, found.record.accessed)
        return None

    def _stored(self, session: Session, id: str | None, key: str, record: Record, payload: bytes) -> Outcome:
        ties = session._ties
        ties.id, ties.origin = id, Origin(id, key, record, payload)
        return Outcome.SAVED

    # -- rotating --------------------------------------------------------------------------------------------------

    def rotate(self, session: Session, new_id: str, grace: float = 0.0, merge: bool = True) -> Outcome:
        """Store the session under `new_id` and retire its old id.

        :param grace: seconds for which the old id still leads here; 0: it is dead at once.
        :param merge: False raises `SessionConflict` where there is something to merge.
        """
        origin = session._ties.origin
        if origin is None:
            session._ties.id = new_id
            return self._insert(session, self.codec.payload(session))
        new_key = self.codec.key(new_id)
        trace = traces.moved(new_id, origin.id) if grace and origin.id is not None else traces.ENDED
        for _ in attempts(MERGE_PATIENCE):
            payload = self.codec.payload(session)
            record = self.codec.record(session, payload, new_key, self.clock())
            version = self.records.write(new_key, record, None)
            try:
                self._retire(origin.key, origin.record, trace, grace or ENDED_GRACE)
            except Conflict:
                self.records.remove(new_key)  # at once: whatever goes wrong now, there must not be two sessions
            else:
                self.tell("renewed" if grace else "rotated", new_key, f"was {origin.key[:8]}")
                return self._stored(session, new_id, new_key, record._replace(version=version), payload)
            if not merge:
                raise SessionConflict(_CHANGED)
            outcome = self._catch_up(session, origin)
            if outcome is not None:
                return outcome
            old_key, origin = origin.key, _origin_of(session)
            if origin.key != old_key:  # another request renewed the id at the same moment
                return self.save(session) if grace else self.rotate(session, new_id)
        raise SessionConflict("the session kept changing while its id was to be replaced; try again")

    def _retire(self, key: str, record: Record, trace: bytes, seconds: float) -> None:
        """Leave a trace in place of a session; it counts as used to its end, so that no late touch prolongs it."""
        now = self.clock()
        self.records.write(key, Record(trace, now, now, now + seconds, now + seconds, record.user), record.version)

    # -- locking ---------------------------------------------------------------------------------------------------

    def lock(self, session: Session | str, *, timeout: float, lease: float) -> Lease:
        """Take the lock of a session, given itself or its id.

        :param timeout: how long to wait, in seconds, before `LockTimeout`.
        :param lease: after how many seconds another holder may take it over.
        """
        key = session._ties.key if isinstance(session, Session) else tokens.is_id(session) and self.codec.key(session)
        if not key:
            raise ConfigurationError("what was never stored cannot be locked")
        lock = self.records.lock(key, timeout=timeout, lease=lease)
        if lock.taken_over:  # keeps the last holder from writing; if this fails, the next one has to take over too
            self.fence(key)
        return lock

    def fence(self, key: str) -> None:
        """Give what is stored a new version, so that whoever loaded it before cannot write unmerged any more."""
        for _ in attempts(MERGE_PATIENCE):
            record = self.records.read(key)
            if record is None:
                return
            with suppress(Conflict):
                self.records.write(key, record, record.version)
                return

    # -- ending ----------------------------------------------------------------------------------------------------

    def end(self, session: Session | str, replaced: bool = False) -> str | None:
        """End a session, given itself or its id, also if it was renewed meanwhile; return its key.

        It is no error if there is none: then None is returned.

        :param replaced: remember for a moment that the browser got another session, as after a login.
        """
        return self._end(partial(self._locate_again, session), replaced)

    def end_key(self, key: str) -> bool:
        """End the session under this key; tell whether there was one."""
        return self._end(partial(self.locate_key, key)) is not None

    def empty(self, session: Session, merge: bool = True) -> Outcome | None:
        """End a session that has nothing left; return how it ended.

        If others changed it meanwhile, then it stays, their changes are in the session now, and None is returned.

        :param merge: False raises `SessionConflict` in this case.
        """
        origin = _origin_of(session)
        try:
            self.records.remove(origin.key, origin.record.version)
        except Conflict:
            if not merge:
                raise SessionConflict(_CHANGED) from None
            return self._catch_up(session, origin)
        self.tell("ended", origin.key)
        return Outcome.GONE

    def revoke(self, user: str | None = None, spared: Session | None = None) -> Iterator[str]:
        """End the sessions of one user, or all, but for `spared`; yield the key of each.

        Works on the records, so it ends also what this process could not decode.  Sessions renewed meanwhile do not
        get away: their traces bear the user's name too, and what left a new one is looked for again.
        """
        seen: set[str] = set()
        for _ in range(_PASSES):
            more, since = False, self.clock() - ENDED_GRACE  # clocks of other hosts may be behind
            for key, record in self._records(user):
                if traces.is_lock(key) or self._is_filed(spared, key):
                    continue
                if traces.is_session(key, record):
                    more = True
                    if self.end_key(key):
                        yield key
                elif record.modified >= since and key not in seen:
                    more = True
                    seen.add(key)
            if not more:
                return

    def _end(self, locate: Callable[[], Found[Any]], replaced: bool = False) -> str | None:
        """Remove what is found, also if it changes meanwhile; return its key, None if there is nothing any more."""
        for _ in attempts(MERGE_PATIENCE):
            found = locate()
            if found.record is None:
                return None
            with suppress(Conflict):  # changed or renewed between the two: look again
                if replaced:
                    self._retire(found.key, found.record, traces.ENDED, ENDED_GRACE)
                else:
                    self.records.remove(found.key, found.record.version)
                return found.key
        raise SessionConflict("the session kept changing while it was to be ended; try again")

    def _is_filed(self, session: Session | None, key: str) -> bool:
        """Tell whether a session is filed under this key by now."""
        if session is None:
            return False
        found = self._locate_again(session)
        return found.record is not None and found.key == key


def _origin_of(session: Session) -> Origin:
    origin = session._ties.origin
    assert origin is not None, "nothing is stored of this session"
    return origin
