"""`Codec`: a record from a session and a session from a record; it reads and writes nothing."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from . import tokens, traces
from .equality import differ_plainly, same
from .errors import SerializationError
from .found import Found
from .merge import merge
from .record import Record
from .serializers import Serializer, check, culprit
from .session import Session
from .ties import Origin

_S = TypeVar("_S", bound=Session)


class Form(Protocol):
    """How sessions are to be filed: a `SessionStore` is told when it is made."""

    serializer: Serializer
    hash_ids: bool


class Codec:
    """How sessions become records."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def key(self, session_id: str) -> str:
        """Return the key under which the session of this id is filed."""
        return tokens.hash_id(session_id) if self._form.hash_ids else session_id

    def restore(self, found: Found[Any], session_class: type[_S]) -> _S:
        """Return the session in a record that was found, or raise `SerializationError`."""
        record = found.record
        assert record is not None
        accessed, seen = record.accessed, None
        if found.absence is not None:  # it was emptied
            session, accessed = self._emptied(session_class, record), record.modified
            payload = self.payload(session)
        else:
            payload = self._form.serializer.open(record.data, found.key)
            state = self._form.serializer.loads(payload)
            items = state.get("data", state)
            seen = items.copy() if type(items) is dict else None
            session = session_class.restore(state)
        bound = session._ties
        bound.id = id = found.id if self._form.hash_ids else found.key
        bound.created, bound.accessed, bound.expires = record.created, accessed, record.expires
        bound.origin = Origin(id, found.key, record, payload, seen)
        return session

    def bind_emptied(self, session: Session, origin: Origin, trace: Record) -> None:
        """Bind a session to what it left when it was emptied; it has no id any more, but its place is known."""
        bound = session._ties
        nothing = self.payload(self._emptied(type(session), trace))
        bound.id, bound.origin = None, Origin(origin.id, origin.key, trace, nothing)

    def _emptied(self, session_class: type[_S], trace: Record) -> _S:
        name = traces.emptied_lock(trace)
        return session_class.restore({} if name is None else {"_lock_name": name})

    def loaded(self, session: _S, origin: Origin) -> _S:
        """Return the session as it was loaded or last saved."""
        return type(session).restore(self._form.serializer.loads(origin.payload))

    def payload(self, session: Session) -> bytes:
        """Return the state of a session as bytes, or raise `SerializationError`."""
        state, bound = session.get_state(), session._ties
        id, bound.id = bound.id, None  # what is kept may refer back to the session; no id may get to where records are
        try:
            return self._form.serializer.dumps(state)
        finally:
            bound.id = id

    def record(self, session: Session, payload: bytes, key: str, now: float, checked: bool = False) -> Record:
        """Return what to store under `key`; `SerializationError` if it could not be read again.

        :param checked: whether that is known already.
        """
        if not checked:
            check(self._form.serializer, session.get_state(), payload)
        bound = session._ties
        return Record(self._form.serializer.seal(payload, key), bound.created, now, bound.accessed, bound.expires,
                      session.user_key())

    def holds(self, record: Record, key: str, payload: bytes) -> bool:
        """Tell whether a record was made of this payload."""
        try:
            return self._form.serializer.open(record.data, key) == payload
        except SerializationError:
            return False

    def merge(self, session: Session, origin: Origin, theirs: Session) -> None:
        """Take on what others stored, with the changes applied that were made in this copy since it was loaded."""
        # What was never decoded may differ from what was: an object, say, that is shared with what was here before.
        session.set_state(self.state(self.payload(session), session))
        try:
            session.merge_state(self.loaded(session, origin).get_state(), theirs.get_state())
        except RecursionError as error:
            raise self._too_deep(session.get_state()) from error

    def reunited(self, key: str, base: bytes | None, mine: bytes, theirs: bytes) -> bytes:
        """Return the data of one record for two that were stored under one key at the same time, out of sight.

        No session's class is known here, so there are no rules: of a value that both changed, `mine` counts.

        :param base: what both began with; None if nobody knows, then what one of them lacks is taken from the other.
        """
        serializer = self._form.serializer
        before, one, other = ({} if data is None else serializer.loads(serializer.open(data, key))
                              for data in (base, mine, theirs))
        try:
            return serializer.seal(serializer.dumps(merge(before, one, other)), key)
        except RecursionError as error:
            raise self._too_deep(one) from error

    def is_unchanged(self, session: Session, origin: Origin, payload: bytes) -> bool:
        """Compare honestly: bytes that differ may hold the same state, for ``dumps(loads(x))`` need not be ``x``."""
        if payload == origin.payload:
            return True
        loads = self._form.serializer.loads
        try:
            state = loads(payload)
        except SerializationError:
            check(self._form.serializer, session.get_state(), payload)
            raise
        items = state.get("data", state)
        if origin.seen is not None and type(items) is dict and differ_plainly(origin.seen, items, 1):
            return False  # as nearly always
        try:
            return same(state, loads(origin.payload))
        except RecursionError as error:
            raise self._too_deep(state) from error

    def state(self, payload: bytes, session: Session) -> dict[str, Any]:
        """Return the state a payload of the session's holds; `SerializationError`, naming what cannot be read again."""
        try:
            return self._form.serializer.loads(payload)
        except SerializationError:
            check(self._form.serializer, session.get_state(), payload)
            raise

    def pending(self, session: Session) -> bytes | None:
        """Return what there is to store of a session, None if it is, to the byte, what it was loaded as."""
        bound = session._ties
        origin, payload = bound.origin, self.payload(session)
        same_place = origin is not None and bound.id == origin.id
        return None if same_place and payload == origin.payload else payload  # type: ignore[union-attr]

    def is_changed(self, session: Session) -> bool:
        """Tell whether the session holds anything else than what is stored of it."""
        origin = session._ties.origin
        return origin is None or not self.is_unchanged(session, origin, self.payload(session))

    def user_changed(self, session: Session) -> bool:
        """Tell whether another user is logged in than when the session was loaded.

        An object may be pickled differently each time, so what decoding gives is compared, and not by its bytes.
        """
        origin, now = session._ties.origin, session.user_key()
        if origin is None or origin.record.user == now:
            return origin is None and now is not None
        before = self.loaded(session, origin)
        after = type(session).restore(self.state(self.payload(session), session))
        if before.user_key() == after.user_key():
            return False
        try:
            return type(session).user_key is not Session.user_key or not same(before.user, after.user)
        except RecursionError as error:
            raise self._too_deep({"user": after.user}) from error

    def _too_deep(self, state: dict[str, Any]) -> SerializationError:
        """Return the error that names what is nested too deeply to be compared: formats keep what is deeper."""
        where = culprit(state, self._compare_with_copy)
        return SerializationError(f"{where} is nested too deeply to be compared with what is stored", where)

    def _compare_with_copy(self, value: Any) -> None:
        mine, theirs = {"": value}, self._form.serializer.loads(self._form.serializer.dumps({"": value}))
        same(mine, theirs)
        merge({}, mine, theirs)
