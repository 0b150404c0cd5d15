"""`SessionStore`: sessions on top of the records that a back end keeps."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

from .. import tokens
from ..clock import SteadyClock
from ..errors import ConfigurationError, Conflict, SerializationError, SessionConflict
from ..events import Observer, tell
from ..serializers import PickleSerializer, Serializer, check
from ..session import DictSession, Origin, Session
from .lock import Queues
from ..record import Outcome, Record
from .records import RecordStore

_S = TypeVar("_S", bound=Session)

_MOVED = b"s2 moved\n"
_ENDED = b"s2 ended\n"

ENDED_GRACE = 60.0
"""Seconds for which a replaced id is remembered as dead, so that late requests do not revoke the new cookie."""

_RENEWALS = 100
"""How many renewals of an id are followed: more than any grace has room for, so that hostile traces lead nowhere."""

_PASSES = 10
"""How often the sessions to revoke are looked for: then whoever still comes in is new."""

MERGE_PATIENCE = 15.0
"""Seconds for which a save goes on merging before it gives up with `SessionConflict`."""


Found: TypeAlias = tuple[str | None, str, Record]
"""The id (None where only the visitor knows it), the key and the record of a stored session."""


_CHANGED = "another request changed the session meanwhile; load it again"


class SessionStore(RecordStore):
    """The base of every store: sessions on top of the records that a back end keeps.

    A back end implements the six primitives of `RecordStore`: `read`, `write`, `touch`, `remove`, `scan` and `purge`.

    :param serializer: how state becomes bytes; default `PickleSerializer`.
    :param hash_ids: file sessions under the SHA-256 of their id, so that a copy of the store holds no usable cookie.
    :param clock: returns the time in seconds since the epoch; default: `session2.clock.SteadyClock`.
    :param observer: told of every `session2.events.Event`; for metrics.
    """

    def __init__(self, *, serializer: Serializer | None = None, hash_ids: bool = True,
                 clock: Callable[[], float] | None = None, observer: Observer | None = None) -> None:
        self.serializer = serializer or PickleSerializer()
        self.hash_ids = hash_ids
        self.clock = clock or SteadyClock()
        self.observer = observer
        self.queues = Queues()

    @classmethod
    def from_location(cls, location: str, **options: Any) -> SessionStore:
        """Make a store from the part of a URL before the query; by default ``scheme:PATH`` for a store at a path."""
        scheme, _, path = location.partition(":")
        if not path:
            raise ConfigurationError(f"{location!r} names no path; write for example '{scheme}:/var/lib/sessions'")
        return cls(path, **options)  # type: ignore[arg-type, call-arg]

    # -- sessions <-> records: what the manager calls --------------------------------------------------------------

    def key(self, session_id: str) -> str:
        """Return the key under which the session of this id is filed."""
        return tokens.hash_id(session_id) if self.hash_ids else session_id

    def load(self, session_id: str, session_class: type[_S]) -> _S | None:
        """Return a private copy of the session with this id, None if there is none.

        The id of what is returned differs from `session_id` if the session was renewed a moment ago.
        """
        found = self._follow(session_id)
        if isinstance(found, Outcome):
            return None
        session_id, key, record = found
        return self.session_from(key, record, session_class, session_id)

    def was_replaced(self, session_id: str) -> bool:
        """Tell whether this id was given up for another one, at a login, a moment ago."""
        return self._follow(session_id) is Outcome.REPLACED

    def session_from(self, key: str, record: Record, session_class: type[_S],
                     session_id: str | None = None) -> _S | None:
        """Return the session in a record, None (and a log line) if its format is foreign or damaged."""
        try:
            payload = self.serializer.open(record.data, key)
            session = session_class.restore(self.serializer.loads(payload))
        except SerializationError as error:
            tell(self.observer, "corrupt", key, f"treated as missing: {error}")
            return None
        session._key = key
        session.id = session_id if self.hash_ids else key
        session._creation_time, session._access_time, session._expires = record.created, record.accessed, record.expires
        session._origin = Origin(session.id, key, record, payload)
        return session

    def save(self, session: Session, merge: bool = True) -> Outcome:
        """Store what the session holds, never over what somebody else wrote meanwhile.

        :param merge: False raises `SessionConflict` where there is something to merge.
        """
        payload = self._payload(session)
        if session._origin is None:
            return self._insert(session, payload)
        if self._is_unchanged(session, session._origin, payload):
            return Outcome.UNCHANGED
        return self._replace(session, payload, merge)

    def is_changed(self, session: Session) -> bool:
        """Tell whether the session holds anything else than what is stored of it."""
        return session._origin is None or not self._is_unchanged(session, session._origin, self._payload(session))

    def user_changed(self, session: Session) -> bool:
        """Tell whether another user is logged in than when the session was loaded.

        An object may be pickled differently once it has been stored, so the pickles of what was loaded are compared.
        """
        origin, now = session._origin, session.user_key()
        if origin is None or origin.record.user == now:
            return origin is None and now is not None
        return self._loaded(session, origin).user_key() != now

    def check(self, session: Session) -> None:
        """Raise `SerializationError` if the session could not be stored as it is."""
        check(self.serializer, session.get_state(), self._payload(session))

    def discard(self, session: Session, merge: bool = True) -> Outcome | None:
        """Remove what is stored of a session; return how it ended.

        If others changed it meanwhile, then it stays, their changes are in the session now, and None is returned.

        :param merge: False raises `SessionConflict` in this case.
        """
        assert session._origin is not None
        try:
            self.remove(session._origin.key, session._origin.record.version)
        except Conflict:
            if not merge:
                raise SessionConflict(_CHANGED) from None
            return self._catch_up(session)
        tell(self.observer, "ended", session._origin.key)
        return Outcome.GONE

    def refresh(self, session: Session) -> None:
        """Move the idle clock of a stored session to its `access_time` and `expires`."""
        if session._origin is not None:
            self.touch(session._origin.key, session._access_time, session._expires)

    def move(self, session: Session, new_id: str, grace: float = 0.0, merge: bool = True) -> Outcome:
        """Store the session under `new_id` and retire its old id.

        :param grace: seconds for which the old id still leads here; 0: it is dead at once.
        :param merge: False raises `SessionConflict` where there is something to merge.
        """
        if session._origin is None:
            session.id = new_id
            return self._insert(session, self._payload(session))
        old_id, old_key, _, _ = session._origin
        new_key = self.key(new_id)
        retired = _MOVED + tokens.seal_id(new_id, old_id) if grace and old_id is not None else _ENDED
        for _ in _attempts():
            payload = self._payload(session)
            record = self._record(session, payload, new_key)
            version = self.write(new_key, record, None)
            try:
                self._retire(old_key, session._origin.record, retired, grace or ENDED_GRACE)
            except Conflict:
                self.remove(new_key)  # at once: whatever goes wrong from here on, there must not be two sessions
                if not merge:
                    raise SessionConflict(_CHANGED) from None
                outcome = self._catch_up(session)
                if outcome is not None:
                    return outcome
                if session._origin.key != old_key:  # another request renewed the id at the same moment
                    return self.save(session) if grace else self.move(session, new_id)
            else:
                tell(self.observer, "renewed" if grace else "rotated", new_key, f"was {old_key[:8]}")
                return self._stored(session, new_id, new_key, record._replace(version=version), payload)
        raise SessionConflict("the session kept changing while its id was to be replaced; try again")

    def supersede(self, key: str) -> None:
        """Give what is stored a new version, so that whoever loaded it before cannot write unmerged any more."""
        for _ in _attempts():
            record = self.read(key)
            if record is None:
                return
            with contextlib.suppress(Conflict):
                self.write(key, record, record.version)
                return

    def take_in(self, session: Session) -> None:
        """Merge what others stored since the session was loaded into it; an id reserved for it stays."""
        id, origin = session.id, session._origin
        if origin is not None and self._catch_up(session) is None and id != origin.id:
            session.id = id

    def delete(self, session: Session | str, replaced: bool = False) -> str | None:
        """End a session, given itself or its id, also if it was renewed meanwhile; return its key.

        It is no error if there is none: then None is returned.

        :param replaced: remember for a moment that the browser got another session, as after a login.
        """
        return self._end(partial(self._current, session), replaced)

    def delete_key(self, key: str) -> bool:
        """End the session under this key; tell whether there was one."""
        return self._end(partial(self._find, key)) is not None

    def revoke(self, user: str | None = None, spared: Session | None = None) -> Iterator[str]:
        """End the sessions of one user, or all, but for `spared`; yield the key of each.

        Works on the records, so it ends also what this process could not decode.  Sessions renewed meanwhile do not
        get away: their traces bear the user's name too, and what left a new one is looked for again.
        """
        traces: set[str] = set()
        more = True
        for _ in range(_PASSES):
            if not more:
                return
            more, since = False, self.clock() - ENDED_GRACE  # clocks of other hosts may be behind
            for key, record in self.scan() if user is None else self.records_of(user):
                if key.startswith("lock-") or self._is_filed(spared, key):
                    continue
                if self.is_session(key, record):
                    more = True
                    if self.delete_key(key):
                        yield key
                elif record.modified >= since and key not in traces:
                    more = True
                    traces.add(key)

    def sessions(self, session_class: type[_S], user: str | None = None) -> Iterator[_S]:
        """Iterate over all sessions, or over those of one user."""
        for key, record in self.scan() if user is None else self.records_of(user):
            if self.is_session(key, record):
                session = self.session_from(key, record, session_class)
                if session is not None:
                    yield session

    def is_session(self, key: str, record: Record) -> bool:
        """Tell sessions from what else is filed: locks and the traces of replaced ids."""
        return not key.startswith("lock-") and not record.data.startswith((_MOVED, _ENDED))

    # -- the API of session2 ---------------------------------------------------------------------------------------

    def load_session(self, session_id: str | None, default: Any = None) -> Any:
        """Return the `DictSession` or `Session` with this id, or `default`."""
        session = self.load(session_id, DictSession) if tokens.is_id(session_id) and session_id else None
        return default if session is None else session

    def save_session(self, session: Session) -> None:
        """Store a session; one without an id gets one."""
        if session.id is None and session._origin is None:
            session.id = tokens.new_id()
        self.save(session)

    def delete_session(self, session: Session | str | None) -> None:
        """End a session, given itself or its id.  It is no error if there is none."""
        if session is not None:
            self.delete(session)

    def has_session(self, session_id: str | None) -> bool:
        """Tell whether there is a session with this id."""
        return self.load_session(session_id) is not None

    def iter_sessions(self) -> Iterator[tuple[str, Session]]:
        """Iterate over ``(key, session)``; the id of a session is known to its visitor only."""
        return ((str(session._key), session) for session in self.sessions(DictSession))

    def delete_old_sessions(self, minutes: float) -> tuple[int, int]:
        """Delete the sessions nobody used for so many minutes; return how many are deleted and how many remain."""
        deleted, remaining = self.purge(), 0
        limit = self.clock() - minutes * 60
        for key, record in self.scan():
            if not self.is_session(key, record):
                continue
            if record.accessed >= limit:
                remaining += 1
                continue
            try:
                self.remove(key, record.version)
                deleted += 1
            except Conflict:  # in use after all
                remaining += 1
        return deleted, remaining

    # -- inside ----------------------------------------------------------------------------------------------------

    def _end(self, find: Callable[[], Found | Outcome], replaced: bool = False) -> str | None:
        """Remove what is found, also if it changes meanwhile; return its key, None if there is nothing any more."""
        for _ in _attempts():
            found = find()
            if isinstance(found, Outcome):
                return None
            _, key, record = found
            with contextlib.suppress(Conflict):  # changed or renewed between the two: look again
                if replaced:
                    self._retire(key, record, _ENDED, ENDED_GRACE)
                else:
                    self.remove(key, record.version)
                return key
        raise SessionConflict("the session kept changing while it was to be ended; try again")

    def _current(self, session: Session | str) -> Found | Outcome:
        """Return where a session, given itself or its id, is filed by now, or how it ended."""
        if isinstance(session, Session) and session._origin is not None:
            id, key, _, _ = session._origin
            return self._find(key) if id is None else self._follow(id)
        id = session.id if isinstance(session, Session) else session
        return self._follow(id) if id is not None and tokens.is_id(id) else Outcome.GONE

    def _is_filed(self, session: Session | None, key: str) -> bool:
        """Tell whether a session is filed under this key by now."""
        found = Outcome.GONE if session is None else self._current(session)
        return not isinstance(found, Outcome) and found[1] == key

    def _follow(self, session_id: str) -> tuple[str, str, Record] | Outcome:
        """Return id, key and record of the session this id stands for, or how it ended."""
        for _ in range(_RENEWALS):
            key = self.key(session_id)
            record = self.read(key)
            if record is None:
                return Outcome.GONE
            if record.data.startswith(_ENDED):
                return Outcome.REPLACED
            if not record.data.startswith(_MOVED):
                return session_id, key, record
            new_id = tokens.unseal_id(record.data[len(_MOVED):], session_id)
            if new_id is None:
                return Outcome.GONE
            session_id = new_id
        return Outcome.GONE

    def _payload(self, session: Session) -> bytes:
        state, id = session.get_state(), session.id
        session.id = None  # what is kept may refer back to the session, and no id may get to where the records are
        try:
            return self.serializer.dumps(state)
        finally:
            session.id = id

    def _is_unchanged(self, session: Session, origin: Origin, payload: bytes) -> bool:
        """Compare honestly: bytes that differ may hold the same state, for ``dumps(loads(x))`` need not be ``x``."""
        if payload == origin.payload:
            return True
        return payload == self._payload(self._loaded(session, origin))

    def _loaded(self, session: _S, origin: Origin) -> _S:
        """Return the session as it was loaded."""
        return type(session).restore(self.serializer.loads(origin.payload))

    def _record(self, session: Session, payload: bytes, key: str) -> Record:
        check(self.serializer, session.get_state(), payload)
        return Record(self.serializer.seal(payload, key), session._creation_time, self.clock(), session._access_time,
                      session._expires, session.user_key())

    def _stored(self, session: Session, id: str | None, key: str, record: Record, payload: bytes) -> Outcome:
        session.id, session._key, session._origin = id, key, Origin(id, key, record, payload)
        return Outcome.SAVED

    def _retire(self, key: str, record: Record, trace: bytes, seconds: float) -> None:
        """Leave a trace in place of a session; it counts as used to its end, so that no late touch prolongs it."""
        now = self.clock()
        self.write(key, Record(trace, now, now, now + seconds, now + seconds, record.user), record.version)

    def _insert(self, session: Session, payload: bytes) -> Outcome:
        if session.id is None or not tokens.is_id(session.id):  # no other is ever looked for
            raise ConfigurationError("a session needs an id of tokens.new_id() to be stored; save it with the manager")
        key = self.key(session.id)
        record = self._record(session, payload, key)
        try:
            version = self.write(key, record, None)
        except Conflict:
            raise SessionConflict("a session with this id is stored already; load that one") from None
        tell(self.observer, "created", key)
        return self._stored(session, session.id, key, record._replace(version=version), payload)

    def _replace(self, session: Session, payload: bytes, merge: bool) -> Outcome:
        for _ in _attempts():
            assert session._origin is not None
            id, key, old, _payload = session._origin
            record = self._record(session, payload, key)
            try:
                version = self.write(key, record, old.version)
            except Conflict:
                if not merge:
                    raise SessionConflict(_CHANGED) from None
            else:
                return self._stored(session, id, key, record._replace(version=version), payload)
            outcome = self._catch_up(session)
            if outcome is not None:
                return outcome
            payload = self._payload(session)
            if self._is_unchanged(session, session._origin, payload):  # somebody stored the same
                return Outcome.UNCHANGED
        raise SessionConflict("the session kept changing while it was to be saved; try again")

    def _catch_up(self, session: Session) -> Outcome | None:
        """Merge what others stored into the session; return how it ended if it is no longer there."""
        assert session._origin is not None
        found = self._current(session)
        if isinstance(found, Outcome):
            return found
        new_id, key, record = found
        if (key, record.version) == (session._origin.key, session._origin.record.version):
            return None
        theirs = self.session_from(key, record, type(session), new_id)
        if theirs is None:
            return Outcome.GONE
        tell(self.observer, "conflict", key, "merging")
        base = self._loaded(session, session._origin)
        session.merge_state(base.get_state(), theirs.get_state())
        session.id, session._key, session._origin = theirs.id, key, theirs._origin
        session._access_time = max(session._access_time, record.accessed)
        return None

    def _find(self, key: str) -> Found | Outcome:
        record = self.read(key)
        return Outcome.GONE if record is None or not self.is_session(key, record) else (None, key, record)


def _attempts() -> Iterator[None]:
    """Yield at once, then after ever longer pauses with jitter, until the patience is used up."""
    end = time.monotonic() + MERGE_PATIENCE
    pause = 0.001
    while time.monotonic() < end:
        yield
        time.sleep(random.uniform(0, pause))
        pause = min(pause * 2, 0.05)
