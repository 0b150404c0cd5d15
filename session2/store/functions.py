"""Sessions kept by three functions of the application's own, as in CherryPy 0.10; and such functions over a store.

What the functions are given is a plain dict, the items of the session, which is what they have always pickled or
written as JSON.  All else that belongs to a session is one more item of it, `OURS`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from .. import tokens
from ..errors import ConfigurationError, Conflict, SerializationError, SessionConflict, SessionError, StoreUnavailable
from ..found import Absence
from ..patience import attempts
from ..record import Outcome, Record, Version
from ..saving import BUSY, MERGE_PATIENCE
from ..serializers import Encrypted, Signed
from ..session import DictSession, ties
from .base import SessionStore
from .hostlock import HostLocks
from .lease import Lease
from .records import checked_key

OURS: Final = "session2"
"""The item, of text, numbers and None, that holds what is no item of the session: its times, its user and so on."""

NEVER: Final = 4294967295.0
"""What the functions are told of a session that never ends: the latest time that 32 bits hold, in the year 2106."""

Found = tuple[Mapping[str, Any], float]

_PATIENCE: Final = 30.0
"""Seconds to wait for another thread that stores the same session."""

_HANGS: Final = 3600.0
"""Seconds after which a function that does not return counts as dead."""

_T = TypeVar("_T")


class FunctionSessionStore(SessionStore):
    """Keeps sessions with functions of the application's own, those of CherryPy 0.10 say, as they are.

    Two threads lose nothing of each other; two processes may, for the functions cannot tell that somebody else wrote.

    :param save: ``saveSessionData(sessionId, sessionData, expirationTime)``; the time is in seconds since the epoch.
    :param load: ``loadSessionData(sessionId)`` returns ``(sessionData, expirationTime)``, or None.
    :param cleanup: ``cleanUpOldSessions()`` deletes what is expired; called by `purge`.
    :param delete: ``deleteSessionData(sessionId)``; by default nothing is saved, and as expired.
    """

    is_thread_safe = True
    can_list = False

    def __init__(self, save: Callable[[str, dict[str, Any], float], object], load: Callable[[str], Found | None],
                 cleanup: Callable[[], object] | None = None, delete: Callable[[str], object] | None = None,
                 **options: Any) -> None:
        super().__init__(**options)
        self._save, self._load, self._cleanup, self._delete = save, load, cleanup, delete
        self._locks = HostLocks()
        self._turns = HostLocks()

    def read(self, key: str) -> Record | None:
        with self._turn(key):  # of a function that deletes a row before it inserts another one nobody is to see the gap
            return self._read(key)

    def _read(self, key: str) -> Record | None:
        found = _call("load", self._load, _name(key))
        record = None if found is None else self._record(key, found)
        return record if record is not None and record.is_live(self.clock()) else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        with self._turn(key):
            self._compare(key, expected)
            version = secrets.token_hex(16)
            self._put(key, record._replace(version=version))
            return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        with self._turn(key):
            record = self._read(key)
            if record is not None and (accessed > record.accessed or not record.modified):
                modified = record.modified or accessed
                self._put(key, record._replace(modified=modified, accessed=accessed, expires=expires))
            return record is not None

    def remove(self, key: str, expected: Version | None = None) -> None:
        with self._turn(key):
            if expected is not None and self._read(key) is not None:
                self._compare(key, expected)
            if self._delete is None:
                _call("save", self._save, _name(key), {}, 0.0)
            else:
                _call("delete", self._delete, _name(key))

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Have the function clean up that is there for it; nobody knows how much that was."""
        if self._cleanup is not None:
            _call("cleanup", self._cleanup)
        return 0

    def _turn(self, key: str) -> Lease:
        return self._turns.acquire(checked_key(key), _PATIENCE, _HANGS, monotonic)

    def _compare(self, key: str, expected: Version | None) -> None:
        record = self._read(key)
        if (None if record is None else record.version) != expected:
            raise Conflict(f"the record {key:.8} changed")

    # -- what the functions are given, and give ------------------------------------------------------------------------

    def _put(self, key: str, record: Record) -> None:
        items, rest = self._apart(record.data, key)
        times = record.created, record.modified, record.accessed, record.expires
        ours = {**rest, "of": _name(key), "times": list(times), "user": record.user, "version": record.version}
        expires = NEVER if record.expires is None else record.expires
        _call("save", self._save, _name(key), {**items, OURS: ours}, expires)

    def _apart(self, data: bytes, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the items that the data holds and what else there is; what is sealed, or no session, stays whole."""
        if not isinstance(self.serializer, (Signed, Encrypted)):
            try:
                state = self.serializer.loads(self.serializer.open(data, key))
            except SerializationError:
                pass
            else:
                items = state.get("data")
                if type(items) is dict and OURS not in items:
                    return items, {"state": {**state, "data": None}}
                return {}, {"whole": state}
        return {}, {"raw": data.decode("latin-1")}

    def _record(self, key: str, found: Any) -> Record | None:
        """Return the record in what a function loaded; one that knows nothing of us is a session, too."""
        try:
            data, expires = found
            items, until = dict(data), float(expires)
        except (TypeError, ValueError):
            self._damaged(key, "load did not return a dict and a time")
            return None
        ours = items.pop(OURS, None)
        try:
            if ours is not None:
                return self._ours(key, items, until, ours)
            return self._old(key, items, until) if items else None
        except (AttributeError, LookupError, TypeError, ValueError, SerializationError) as error:
            self._damaged(key, f"what was loaded is not as it was saved: {type(error).__name__}")
            return None

    def _old(self, key: str, items: dict[str, Any], until: float) -> Record:
        """Return the record of a session that was saved without us: it begins now, for all that is known.

        That it was never modified tells a touch that it is to be saved, though no record is used later than one that
        begins now.
        """
        payload = self.serializer.dumps({"data": items})
        now, version = self.clock(), hashlib.sha256(payload + repr(until).encode()).hexdigest()
        return Record(self.serializer.seal(payload, key), now, 0.0, now, until, None, version)

    def _ours(self, key: str, items: dict[str, Any], until: float, ours: Any) -> Record | None:
        if ours["of"] != _name(key):  # a column that does not mind capitals, say
            return None
        if "raw" in ours:
            data = ours["raw"].encode("latin-1")
        else:
            state = ours["whole"] if "whole" in ours else {**ours["state"], "data": items}
            data = self.serializer.seal(self.serializer.dumps(state), key)
        created, modified, accessed, expires = ours["times"]
        if abs((NEVER if expires is None else expires) - until) >= 1:  # somebody else moved it, and not only rounded
            expires = until
        return Record(data, created, modified, accessed, expires, ours["user"], ours["version"])


def _name(key: str) -> str:
    """Return what the functions know a session by: 43 characters, for the columns of old hold 50."""
    return base64.urlsafe_b64encode(bytes.fromhex(key)).decode("ascii").rstrip("=") if tokens.is_key(key) else key


def _call(what: str, function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function; what it raises is an outage of whatever is behind it."""
    try:
        return function(*arguments)
    except SessionError:
        raise
    except Exception as error:  # of whatever driver
        raise StoreUnavailable(f"the function {what} raised {type(error).__name__}") from error


# -- the other way round ----------------------------------------------------------------------------------------------


class Hooks(NamedTuple):
    """The three functions, over a store."""

    save: Callable[[str, dict[str, Any], float], None]
    load: Callable[[str], Found | None]
    cleanup: Callable[[], None]


class _Loaded(dict[str, Any]):
    """The items of a session, and what they were loaded from: saving them again loses nothing that others stored."""

    def __init__(self, session: DictSession, session_id: str) -> None:
        super().__init__(session.data)
        self.session, self.session_id = session, session_id

    def save(self, store: SessionStore, expires: float) -> None:
        """Store the items, and take in those of others."""
        self.session.data = dict(self)
        _save(store, self.session, expires)
        self.clear()
        self.update(self.session.data)


def hooks(of: Any) -> Hooks:
    """Return ``saveSessionData``, ``loadSessionData`` and ``cleanUpOldSessions`` for code that calls them.

    They work on the sessions of a store of session2, or of a `SessionManager`.  An id may be any text; one of session2
    is the session that its cookie leads to.  Who saves the dict that was loaded has his changes merged with those of
    others; who saves another one replaces all items.

    :param of: the store or the manager.
    """
    session_class: type[DictSession] = getattr(of, "session_class", DictSession)
    store: SessionStore = of.store if hasattr(of, "session_class") else of  # a store may have one of its own, too
    if not issubclass(session_class, DictSession):
        raise ConfigurationError("these functions need a manager whose session_class is DictSession, or derived")

    def load(session_id: str) -> Found | None:
        session = store.sessions.load(_id_of(session_id), session_class)
        if session is None:
            return None
        return _Loaded(session, session_id), NEVER if session.expires is None else session.expires

    def save(session_id: str, data: dict[str, Any], expires: float) -> None:
        if isinstance(data, _Loaded) and data.session_id == session_id:
            data.save(store, expires)
            return
        for _ in attempts(MERGE_PATIENCE):  # somebody else may begin it at the same moment
            session = _session(store, _id_of(session_id), session_class)
            if session is None or _replaced(store, session, dict(data), expires):  # or it has ended: it is not restored
                return
        raise SessionConflict(BUSY)

    def cleanup() -> None:
        store.purge()

    return Hooks(save, load, cleanup)


def _session(store: SessionStore, session_id: str, session_class: type[DictSession]) -> DictSession | None:
    """Return the session with this id, or a new one; None if it has ended a while ago."""
    found = store.sessions.find(session_id, session_class)
    if found.absence in (Absence.ENDED, Absence.ROTATED):
        return None
    if found.absence is Absence.UNREADABLE:
        raise StoreUnavailable(f"the record {found.key:.8} cannot be read by this process and was left alone")
    return session_class(session_id) if found.session is None else found.session


def _replaced(store: SessionStore, session: DictSession, items: dict[str, Any], expires: float) -> bool:
    """Store these items in place of all; False if it is new and somebody else began it meanwhile."""
    session.data, is_new = items, session.key is None
    try:
        _save(store, session, expires)
    except SessionConflict:
        if is_new:
            return False
        raise
    return True


def _save(store: SessionStore, session: DictSession, expires: float) -> None:
    bound, now = ties(session), store.clock()
    if bound.origin is None:
        bound.created = now
    bound.accessed, bound.expires = max(now, bound.accessed), None if expires >= NEVER else float(expires)
    if store.sessions.save(session) is Outcome.UNCHANGED:
        store.sessions.touch(session)


def _id_of(text: str) -> str:
    """Return the id of session2 that stands for one of somebody else's."""
    if tokens.is_id(text):
        return text
    digest = hashlib.sha256(b"session2 hook " + text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
