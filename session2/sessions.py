"""`Sessions`: sessions found, saved, merged, rotated and ended; it knows of no request and of no clock's rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, TypeVar, cast

from . import tokens, traces
from .errors import Conflict, SessionConflict, StoreUnavailable
from .filing import Filing
from .found import Found
from .locking import Locking
from .notes import lock_name
from .patience import attempts
from .record import Outcome, Record
from .saving import CHANGED, MERGE_PATIENCE, Saving
from .session import Session
from .ties import Origin

log = logging.getLogger("session2")

Event = Literal["ended", "revoked"]

_S = TypeVar("_S", bound=Session)

ENDED_GRACE: Final = 60.0
"""Seconds for which a replaced id is remembered as dead, so that late requests begin no session of their own."""

TRACE_LIFE: Final = 86400.0
"""Seconds for which it is remembered why a session ended, and that it was emptied, if it would have lived so long."""

PROVISIONAL: Final = 180.0
"""Seconds that a record lives under a new id until the old one is retired: nobody will ask for it if that fails."""

_PASSES: Final = 10
"""How often the sessions to revoke are looked for: then whoever still comes in is new."""


class Sessions:
    """What a manager works with: sessions that stay right whatever others do meanwhile.

    :param kin: those of the same store, of which this is the part that one request sees.
    """

    def __init__(self, filing: Filing, kin: Sessions | None = None) -> None:
        self.filing = filing
        self.codec = codec = filing.codec
        self.saving: Saving = Saving(filing, None if kin is None else kin.saving.lines)
        saving = self.saving
        self.locking = locking = Locking(filing)
        self.clock, self.tell, self.locate = filing.clock, filing.tell, filing.locate
        self.save, self.merge_in = saving.save, saving.merge_in
        self.is_changed, self.pending, self.user_changed = codec.is_changed, codec.pending, codec.user_changed
        self.lock, self.locked, self.fence = locking.lock, locking.locked, locking.fence
        self.lock_ahead, self.left, self.release_left = locking.lock_ahead, locking.left, locking.release_left

    def key(self, session_id: str) -> str:
        """Return the key under which the session of this id is filed."""
        return self.codec.key(session_id)

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, session_id: str, session_class: type[_S], key: str | None = None) -> Found[_S]:
        """Return a private copy of the session that this id stands for, or why there is none.

        The id of what is returned differs from `session_id` if the session was renewed a moment ago.

        :param key: what `key` returns for the id, if that is known.
        """
        return self.filing.restore(self.filing.locate(session_id, key), session_class)

    def load(self, session_id: str, session_class: type[_S]) -> _S | None:
        """Return a private copy of the session with this id, None if there is none."""
        found = self.find(session_id, session_class)
        return found.session if found.absence is None else None

    def load_key(self, key: str, session_class: type[_S]) -> _S | None:
        """Return a private copy of the session filed under this key, None if there is none."""
        found = self.filing.restore(self.filing.locate_key(key), session_class)
        return found.session if found.absence is None else None

    def each(self, session_class: type[_S], user: str | None = None) -> Iterator[_S]:
        """Iterate over all sessions, or over those of one user."""
        for key, record in self._records(user):
            if traces.is_session(key, record):
                session = self.filing.restore(Found(None, key, record), session_class).session
                if session is not None:
                    yield session

    def _records(self, user: str | None) -> Iterator[tuple[str, Record]]:
        return self.filing.records.scan() if user is None else self.filing.records.records_of(user)

    def stands(self, session: Session) -> bool:
        """Ask the store whether a session is still where it was, neither ended nor under another id."""
        found = self.filing.locate_again(session)
        return found.absence is None and found.key == session._ties.key

    def is_over(self, session: Session) -> bool:
        """Ask the store whether a session that was stored has ended since, or was given another id at a login."""
        return session._ties.origin is not None and self.filing.locate_again(session).record is None

    def touch(self, session: Session) -> None:
        """Move the idle clock of a stored session to where this copy of it has it."""
        ties = session._ties
        if ties.origin is not None:
            self.filing.records.touch(ties.origin.key, ties.accessed, ties.expires)

    def deliver(self) -> None:
        """Send what travels with the answer to a request, which is settled: nothing, but in some stores."""

    def is_undelivered(self) -> bool:
        """Tell whether there is something that `deliver` is to send."""
        return False

    # -- rotating --------------------------------------------------------------------------------------------------

    def rotate(self, session: Session, new_id: str, grace: float = 0.0, merge: bool = True,
               instead_of: Sequence[Session] = ()) -> Outcome:
        """Store the session under `new_id` and retire its old id; if that fails, all stays as it was.

        :param grace: seconds for which the old id still leads here; 0: it is dead at once.
        :param merge: False raises `SessionConflict` where there is something to merge.
        :param instead_of: sessions that end at the same moment, for this one takes their place in the browser.
        """
        ties = session._ties
        if ties.origin is None and not instead_of:
            ties.id = new_id
            return self.saving.insert(session, self.codec.payload(session))
        is_reserved = ties.id == new_id
        for _ in attempts(MERGE_PATIENCE):
            origin = ties.origin
            try:
                return self._move(session, new_id, grace, instead_of)
            except Conflict:
                if not merge:
                    raise SessionConflict(CHANGED) from None
            assert origin is not None
            outcome = self.saving.catch_up(session, origin)
            if outcome is not None:
                return outcome
            if traces.is_emptied(cast(Origin, ties.origin).record) and not session.has_info():
                return Outcome.GONE
            if ties.key != origin.key:  # another request renewed the id at the same moment
                return self.save(session) if grace else self.rotate(session, new_id, 0.0, True, instead_of)
            if not is_reserved:  # what was stored under the last one may still be there, or what is left of it
                new_id = tokens.new_id()
        raise SessionConflict("the session kept changing while its id was to be replaced; try again")

    def _move(self, session: Session, new_id: str, grace: float, instead_of: Sequence[Session]) -> Outcome:
        """Store the session under its new id for a moment, retire the old one, and let the new one live."""
        ties, key = session._ties, self.codec.key(new_id)
        before, expires = ties.origin, ties.expires
        soon = self.clock() + PROVISIONAL
        ties.expires = soon if expires is None else min(soon, expires)
        payload = self.codec.payload(session)
        try:
            self.filing.write(session, new_id, key, payload, None)
            self._retire_old(before, new_id, grace, instead_of)
        except (Conflict, SessionConflict, StoreUnavailable):
            ties.origin, ties.id = before, None if before is None else before.id
            self.saving.take_back(key, payload)  # if this fails, another attempt would find it in its place
            raise
        except BaseException:  # interrupted: nobody will ask for it, unless the old id leads there by now
            ties.origin, ties.id = before, None if before is None else before.id
            with suppress(StoreUnavailable):
                if before is None or self._is_as_it_was(before):
                    self.saving.take_back(key, payload)
            raise
        finally:
            ties.expires = expires
        self.tell("created" if before is None else "renewed" if grace else "rotated", key,
                  "" if before is None else f"was {before.key[:8]}")
        return self._let_live(session, payload, leads_on=grace > 0)

    def _is_as_it_was(self, origin: Origin) -> bool:
        record = self.filing.records.read(origin.key)
        return record is not None and record.version == origin.record.version

    def _let_live(self, session: Session, payload: bytes, leads_on: bool) -> Outcome:
        """Give the record under a new id the time it shall live, unless others went on from it already.

        :param leads_on: whether the old id leads here, so that the browser need not be told the new one.
        """
        origin = cast(Origin, session._ties.origin)
        try:
            self.filing.write(session, origin.id, origin.key, payload, origin.record.version)
        except Conflict:
            return self._go_on(session, origin)
        except StoreUnavailable as error:  # the next request does it
            log.warning("session %.8s lives for %g s only, until it is used again: %s", origin.key, PROVISIONAL, error)
            if leads_on:  # others may have gone on from it, to an id that is newer than this: that is to be asked
                return Outcome.UNCHANGED
        return Outcome.SAVED

    def _go_on(self, session: Session, origin: Origin) -> Outcome:
        """Take in what became of a session since it was moved; it is stored, whatever becomes of this."""
        try:
            outcome = self.saving.catch_up(session, origin) or Outcome.SAVED
        except (StoreUnavailable, SessionConflict):
            return Outcome.UNCHANGED
        return outcome if session.has_info() else Outcome.GONE

    def _retire_old(self, origin: Origin | None, new_id: str, grace: float, instead_of: Sequence[Session]) -> None:
        for other in instead_of:
            self.end(other, "logged out, and another session begun", replaced=True)
        if origin is None:
            return
        trace = traces.moved(new_id, origin.id) if grace and origin.id is not None else traces.rotated()
        self.filing.retire(origin.key, origin.record, trace, grace or ENDED_GRACE)

    def forget(self, key: str) -> None:
        """Remove the trace of a renewal whose grace is over: with the old id it still tells the new one."""
        record = self.filing.records.read(key)
        if record is None or traces.is_trace(record):  # one that is over counts as absent, and is there nevertheless
            self.filing.records.remove(key)

    # -- ending ----------------------------------------------------------------------------------------------------

    def end(self, session: Session | str, reason: str = "logged out", replaced: bool = False,
            event: Event = "ended") -> str | None:
        """End a session, given itself or its id, also if it was renewed meanwhile; return its key.

        It is no error if there is none: then None is returned.

        :param reason: what is remembered of it, for the log.
        :param replaced: whether the browser gets another session, as at a login.
        """
        return self._end(partial(self.filing.locate_again, session), reason, replaced, event)

    def end_key(self, key: str, reason: str = "revoked", event: Event = "revoked") -> bool:
        """End the session under this key; tell whether there was one."""
        return self._end(partial(self.filing.locate_key, key), reason, False, event) is not None

    def empty(self, session: Session, merge: bool = True) -> Outcome | None:
        """End a session that has nothing left; return how it ended.  A late change of others goes on from there.

        If others changed it already, then it stays, their changes are in the session now, and None is returned.

        :param merge: False raises `SessionConflict` in this case.
        """
        origin = session._ties.origin
        assert origin is not None, "nothing is stored of this session"
        if traces.is_emptied(origin.record):  # by somebody else
            return Outcome.GONE
        try:
            trace = self.filing.retire(origin.key, origin.record, traces.emptied(lock_name(session)),
                                       self._trace_life(origin.record))
        except Conflict:
            if not merge:
                raise SessionConflict(CHANGED) from None
            return self.saving.catch_up(session, origin)
        self.tell("ended", origin.key, "nothing was left in it")
        self.codec.bind_emptied(session, origin, trace)
        return Outcome.GONE

    def revoke(self, user: str | None = None, spared: Session | None = None,
               reason: str = "revoked") -> Iterator[str]:
        """End the sessions of one user, or all, but for `spared`; yield the key of each.

        Works on the records, so it ends also what this process could not decode.  Sessions renewed meanwhile do not
        get away: their traces bear the user's name too, and what left a new one is looked for again.
        """
        seen: set[str] = set()
        for _ in range(_PASSES):
            more, since = False, self.clock() - ENDED_GRACE  # clocks of other hosts may be behind
            for key, record in self._records(user):
                if traces.is_lock(key) or key in seen or self._is_filed(spared, key):
                    continue
                if traces.is_session(key, record):
                    more = True
                    if self.end_key(key, reason):
                        seen.add(key)
                        yield key
                elif record.modified >= since:
                    more = True
                    seen.add(key)
            if not more:
                return

    def _end(self, locate: Callable[[], Found[Any]], reason: str, replaced: bool, event: Event) -> str | None:
        """Put a trace in place of what is found, also if it changes meanwhile; return its key, None if nothing is."""
        for _ in attempts(MERGE_PATIENCE):
            found = locate()
            if found.record is None:
                return None
            trace = traces.rotated() if replaced else traces.ended(reason)
            with suppress(Conflict):  # changed or renewed between the two: look again
                self.filing.retire(found.key, found.record, trace,
                                   ENDED_GRACE if replaced else self._trace_life(found.record))
                if found.absence is not None:  # it was emptied before
                    return None
                self.tell(event, found.key, reason)
                return found.key
        raise SessionConflict("the session kept changing while it was to be ended; try again")

    def _trace_life(self, record: Record) -> float:
        """Return for how many seconds to remember what became of a session: not longer than it would have lived."""
        return TRACE_LIFE if record.expires is None else min(TRACE_LIFE, max(record.expires - self.clock(), 1.0))

    def _is_filed(self, session: Session | None, key: str) -> bool:
        """Tell whether a session is filed under this key by now."""
        if session is None:
            return False
        found = self.filing.locate_again(session)
        return found.record is not None and found.key == key
