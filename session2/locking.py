"""`Locking`: the lock of a session, which is that of the session under whatever id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from . import tokens
from .errors import ConfigurationError, Conflict, SessionConflict, StoreUnavailable
from .filing import Filing
from .found import Found
from .notes import lock_name
from .patience import attempts
from .saving import MERGE_PATIENCE
from .session import Session
from .store.lease import Lease

_S = TypeVar("_S", bound=Session)

_RENAMINGS: Final = 10
"""How often a lock is looked for under another name."""


class Locking:
    """Sessions locked by the name of their lock, which is the key they had when they were locked last."""

    def __init__(self, filing: Filing) -> None:
        self.filing = filing
        self.left = filing.records.queues.left

    def lock(self, session: Session | str, *, timeout: float, lease: float) -> Lease:
        """Take the lock of a session, given itself or its id; it stays the lock of that session under any later id.

        :param timeout: how long to wait, in seconds, before `LockTimeout`.
        :param lease: after how many seconds another holder may take it over.
        """
        return self.locked(session, partial(self._find_again, session), timeout=timeout, lease=lease)[0]

    def locked(self, session: Session | str, find: Callable[[str | None], Found[_S]], *, timeout: float,
               lease: float) -> tuple[Lease, Found[_S]]:
        """Take the lock of a session, given itself or its id, and then find it; return both.

        The lock is called after the id, so that once is enough; only what was found tells if it is called otherwise,
        because the session was renewed by somebody who did not have it.  Then that one is taken instead.

        :param find: called with the key of the id, if that was given.
        """
        key = name = None
        if isinstance(session, Session):
            name = lock_name(session)
        elif type(session) is str and tokens.names_a_session(session):
            key = name = self.filing.codec.key(session)
        if name is None:
            raise ConfigurationError("what was never stored cannot be locked")
        for _ in range(_RENAMINGS):
            lock = self.filing.records.lock(name, timeout=timeout, lease=lease)
            if lock.taken_over:
                self._fence_off(session, lock)
            try:
                found = find(key)
                lock.check_time()
                right = name if found.session is None else lock_name(found.session)
            except BaseException:
                lock.release()
                raise
            if right in (name, None):
                return lock, found
            lock.release()
            name = right
        raise SessionConflict("the session kept being renewed while it was to be locked; try again")

    def _fence_off(self, session: Session | str, lock: Lease) -> None:
        """Keep the last holder from writing; if this fails, the next one has to do it."""
        try:
            self.fence(session)
        except BaseException:
            lock.leave()
            raise

    def lock_ahead(self, session_id: str, lease: float) -> Lease:
        """Take the lock of a session that is about to get this id, before anybody can know it."""
        return self.filing.records.lock(self.filing.codec.key(session_id), timeout=0.0, lease=lease)

    def release_left(self) -> None:
        """Release the locks that could not be released when their requests ended."""
        records = self.filing.records
        if records.queues.left:
            with suppress(StoreUnavailable):
                records.queues.clear_left(records)

    def _find_again(self, session: Session | str, _: str | None) -> Found[Session]:
        return self.filing.restore(self.filing.locate_again(session), Session)

    def fence(self, session: Session | str) -> None:
        """Give what is stored a new version, so that whoever loaded it before cannot write unmerged any more."""
        for _ in attempts(MERGE_PATIENCE):
            found = self.filing.locate_again(session)
            if found.record is None:
                return
            with suppress(Conflict):
                self.filing.records.write(found.key, found.record, found.record.version)
                return
