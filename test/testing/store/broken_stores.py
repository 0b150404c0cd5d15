"""Stores that each break one promise, and a suite for each; `test_suite.py` runs them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pickle
import time
from pathlib import Path

from session2.codec import Codec
from session2.errors import Conflict, SerializationError
from session2.filing import Filing
from session2.session import DictSession
from session2.sessions import Sessions
from session2.store.base import SessionStore
from session2.store.lock import Left, RecordLease
from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite
from session2.traces import is_over, lock_key


def dawdle():
    """Leave others as much time as a disk or a network would."""
    time.sleep(0.0003)


class TestSound(StoreSuite):
    """The promise kept, for comparison."""

    store_class = VolatileSessionStore


class RecordLockedStore(VolatileSessionStore):
    """Its locks are records, as in a store of several hosts."""

    def __init__(self, **options):
        super().__init__(**options)
        self._locks = None


class TestForgetsToCompare(StoreSuite):
    class store_class(RecordLockedStore):
        def _compare(self, key, expected):
            pass


class TestResurrects(StoreSuite):
    class store_class(VolatileSessionStore):
        def _compare(self, key, expected):
            if self.read(key) is not None:
                super()._compare(key, expected)


class TestOverwritesOnInsert(StoreSuite):
    class store_class(VolatileSessionStore):
        def _compare(self, key, expected):
            if expected is not None:
                super()._compare(key, expected)


def with_sessions(sessions_class):
    """Return a store that is whole but for what it makes of its records."""

    class Store(VolatileSessionStore):
        def __init__(self, **options):
            super().__init__(**options)
            self.sessions = sessions_class(self.sessions.filing)

    return Store


class ForgetfulFiling(Filing):
    def retire(self, key, record, trace, seconds):
        return record


class TestEndsNothing(StoreSuite):
    class store_class(VolatileSessionStore):
        def __init__(self, **options):
            super().__init__(**options)
            self.sessions = Sessions(ForgetfulFiling(self, Codec(self)))


class AdoptingSessions(Sessions):
    def find(self, session_id, session_class):
        found = super().find(session_id, session_class)
        if found.session is None:
            self.save(session_class(session_id))
            return super().find(session_id, session_class)
        return found


class TestAdopts(StoreSuite):
    store_class = with_sessions(AdoptingSessions)


class TestTearsWrites(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            return super().write(key, record._replace(data=record.data[:65535]), expected)


class TestStripsData(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            return super().write(key, record._replace(data=record.data.rstrip(b"\0\r\n")), expected)


class TestNeverExpires(StoreSuite):
    class store_class(VolatileSessionStore):
        def read(self, key):
            return self._records.get(key)


class TestTouchesBackwards(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            with self._mutex:
                record = self.read(key)
                if record is not None:
                    self._records[key] = record._replace(accessed=accessed, expires=expires)
                return record is not None


class TestTouchRecreates(StoreSuite):
    class store_class(VolatileSessionStore):
        removed = None

        def remove(self, key, expected=None):
            self.removed = self.read(key) or self.removed
            super().remove(key, expected)

        def touch(self, key, accessed, expires):
            if self.read(key) is None and self.removed is not None:
                self._records[key] = self.removed._replace(accessed=accessed, expires=expires)
            return super().touch(key, accessed, expires)


class TestTouchRevives(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            record = self._records.get(key)
            if record is not None and accessed > record.accessed:
                self._records[key] = record._replace(accessed=accessed, expires=expires)
            return record is not None


class TestTouchChangesTheVersion(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            there = super().touch(key, accessed, expires)
            if self.read(key) is not None:
                self._records[key] = self._records[key]._replace(version=next(self._versions))
            return there


class TestTouchUndoesWrites(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            record = self.read(key)
            dawdle()
            if record is not None and accessed > record.accessed and self.read(key) is not None:
                self._records[key] = record._replace(accessed=accessed, expires=expires)
            return record is not None


class TestWriteKeepsTheOldTimes(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            old = self.read(key)
            return super().write(key, record if old is None else record._replace(expires=old.expires), expected)


class TouchingSessions(Sessions):
    def find(self, session_id, session_class):
        found = super().find(session_id, session_class)
        if found.session is not None:
            self.filing.records.touch(found.key, self.clock() + 1, found.session.expires)
        return found


class TestTouchesOnRead(StoreSuite):
    store_class = with_sessions(TouchingSessions)


class TestRemovesUnasked(StoreSuite):
    class store_class(VolatileSessionStore):
        def remove(self, key, expected=None):
            super().remove(key)


class TestRestartsVersions(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            with self._mutex:
                self._compare(key, expected)
                version = (expected or 0) + 1
                self._records[key] = record._replace(version=version)
                return version


class TestVersionIsOfTheContents(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            with self._mutex:
                self._compare(key, expected)
                version = hashlib.sha256(record.data).digest()
                self._records[key] = record._replace(version=version)
                return version


class TestScansTheExpired(StoreSuite):
    class store_class(VolatileSessionStore):
        def scan(self):
            return iter(list(self._records.items()))


class TestScanBreaks(StoreSuite):
    """The dict changes size during iteration."""

    class store_class(VolatileSessionStore):
        def scan(self):
            return ((key, record) for key, record in self._records.items() if record.is_live(self.clock()))


class TestPurgesTheLive(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            return super().purge(self.clock() + 15 if now is None else now, batch, unused_since)


class TestPurgesOneBatch(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            now = self.clock() if now is None else now
            expired = [key for key, record in self._records.items() if not record.is_live(now)][:batch]
            for key in expired:
                self._records.pop(key, None)
            return len(expired)


class TestPurgesWhatIsNew(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            now = self.clock() if now is None else now
            expired = [key for key, record in list(self._records.items()) if not record.is_live(now)]
            for key in expired:
                dawdle()
                self._records.pop(key, None)
            return len(expired)


class TestTakesTurnsWrongly(StoreSuite):
    """Takes what it does not know for the record of nobody."""

    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            if record.data.startswith(b"s2 purge"):
                return next(self._versions)
            return super().write(key, record, expected)


class TestTouchTellsNothing(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            return super().touch(key, accessed, expires) and None


class TestTouchTellsWhetherItMoved(StoreSuite):
    class store_class(VolatileSessionStore):
        def touch(self, key, accessed, expires):
            before = self.read(key)
            return super().touch(key, accessed, expires) and self.read(key) != before


class TestPurgesWhatIsUsedMeanwhile(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            purged = super().purge(now, batch)
            unused = [key for key, record in self.scan() if is_over(key, record, 0, unused_since)]
            for key in unused:
                dawdle()
                self._records.pop(key, None)
            return purged + len(unused)


class TestPurgesLocksAndTraces(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            purged = super().purge(now, batch, unused_since)
            unused = [key for key, record in self.scan() if record.accessed < (unused_since or 0)]
            for key in unused:
                self.remove(key)
            return purged + len(unused)


class TestPurgesTheOldInsteadOfTheUnused(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            purged = super().purge(now, batch)
            old = [key for key, record in self.scan() if record.modified < (unused_since or 0)]
            for key in old:
                self.remove(key)
            return purged + len(old)


class TestNeverPurgesTheUnused(StoreSuite):
    class store_class(VolatileSessionStore):
        def purge(self, now=None, batch=1000, unused_since=None):
            return super().purge(now, batch)


class TestThreadsMeet(StoreSuite):
    class store_class(VolatileSessionStore):
        def __init__(self, **options):
            super().__init__(**options)
            self._mutex = contextlib.nullcontext()

        def _compare(self, key, expected):
            super()._compare(key, expected)
            dawdle()


class TestIgnoresTheUser(StoreSuite):
    class store_class(VolatileSessionStore):
        def records_of(self, user):
            return ((key, record) for key, record in self.scan() if record.user is not None)


class TestFoldsCaseOfUsers(StoreSuite):
    class store_class(VolatileSessionStore):
        def records_of(self, user):
            return ((key, record) for key, record in self.scan() if (record.user or "").lower() == user.lower())


class TestForgetsToUnlistUsers(StoreSuite):
    class store_class(VolatileSessionStore):
        def __init__(self, **options):
            super().__init__(**options)
            self.listed = {}

        def write(self, key, record, expected):
            version = super().write(key, record, expected)
            self.listed[record.user, key] = record
            return version

        def records_of(self, user):
            return ((key, record) for (owner, key), record in list(self.listed.items()) if owner == user)


class TestLosesTheUser(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            return super().write(key, record._replace(user=None), expected)


class TestCutsTheUser(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            return super().write(key, record._replace(user=record.user and record.user[:255]), expected)


class TestRoundsTimes(StoreSuite):
    class store_class(VolatileSessionStore):
        def write(self, key, record, expected):
            return super().write(key, record._replace(accessed=round(record.accessed, 3)), expected)


class TestFoldsCaseOfKeys(StoreSuite):
    class store_class(VolatileSessionStore):
        def read(self, key):
            return super().read(key.lower())

        def write(self, key, record, expected):
            return super().write(key.lower(), record, expected)


def with_codec(codec_class):
    """Return a store that is whole but for how sessions become records and records sessions."""

    class Store(VolatileSessionStore):
        def __init__(self, **options):
            super().__init__(**options)
            self.sessions = Sessions(Filing(self, codec_class(self)))

    return Store


class LeakingCodec(Codec):
    def __init__(self, *args):
        super().__init__(*args)
        self.live = {}

    def restore(self, found, session_class):
        session = super().restore(found, session_class)
        if isinstance(session, DictSession):
            session.data = self.live.setdefault((found.key, found.record.version), session.data)
        return session


class TestLeaksLiveObjects(StoreSuite):
    store_class = with_codec(LeakingCodec)


class PlainCodec(Codec):
    def key(self, session_id):
        return session_id


class TestKeepsIds(StoreSuite):
    store_class = with_codec(PlainCodec)


class RaisingCodec(Codec):
    def restore(self, found, session_class):
        try:
            return super().restore(found, session_class)
        except SerializationError as error:
            raise ValueError from error


class TestRaisesOnDamage(StoreSuite):
    store_class = with_codec(RaisingCodec)


class TestSetupDrops(StoreSuite):
    class store_class(VolatileSessionStore):
        def setup(self, drop=False):
            super().setup(drop=True)


class TestDropKeepsTheExpired(StoreSuite):
    class store_class(VolatileSessionStore):
        def setup(self, drop=False):
            if drop:
                for key, _ in self.scan():
                    self.remove(key)


class TestCloseIsFinal(StoreSuite):
    class store_class(VolatileSessionStore):
        def close(self):
            self._records.clear()


class TestLockNeverExcludes(StoreSuite):
    class store_class(VolatileSessionStore):
        def lock(self, key, *, timeout=30.0, lease=60.0):
            return RecordLease(self, key, Left(key, b""), None, lease, 0, taken_over=False)


class TestLockNeverLapses(StoreSuite):
    class store_class(VolatileSessionStore):
        def lock(self, key, *, timeout=30.0, lease=60.0):
            return super().lock(key, timeout=timeout, lease=1e6)


class TestLockIsLeftBehind(StoreSuite):
    class store_class(RecordLockedStore):
        def remove(self, key, expected=None):
            record = self.read(key)
            if record is not None and record.data.startswith(b"s2 lock"):
                self._records[key] = record._replace(modified=0.0)
            else:
                super().remove(key, expected)


class TestLockOfOthersIsReleased(StoreSuite):
    class store_class(RecordLockedStore):
        def lock(self, key, *, timeout=30.0, lease=60.0):
            taken = super().lock(key, timeout=timeout, lease=lease)
            taken.release = lambda: self.remove(lock_key(key))
            return taken


class TestLockIsLostUntold(StoreSuite):
    class store_class(RecordLockedStore):
        def lock(self, key, *, timeout=30.0, lease=60.0):
            taken = super().lock(key, timeout=timeout, lease=lease)
            taken.check_time = lambda: None
            return taken


class UnfencedSessions(Sessions):
    def __init__(self, filing):
        super().__init__(filing)
        self.locking.fence = lambda session: None


class TestLockTakeoverIsUnfenced(StoreSuite):
    store_class = with_sessions(UnfencedSessions)


class NaiveFileStore(SessionStore):
    """A pickle per record, in a file of the key's name, written in place and without a lock."""

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, folder: Path, **options) -> None:
        super().__init__(**options)
        self.folder = folder
        self.versions = (time.time_ns() + number for number in itertools.count())
        folder.mkdir(exist_ok=True)

    def read(self, key):
        try:
            with open(os.path.join(self.folder, key), "rb") as file:
                record = pickle.load(file)
        except (OSError, ValueError, EOFError, pickle.UnpicklingError, KeyError):
            return None
        return record if record.is_live(self.clock()) else None

    def write(self, key, record, expected):
        found = self.read(key)
        if (found and found.version) != expected:
            raise Conflict(key)
        return self._put(key, record._replace(version=next(self.versions)))

    def _put(self, key, record):
        data = pickle.dumps(record)
        with open(os.path.join(self.folder, key), "wb", buffering=0) as file:
            for start in range(0, len(data), 100 + len(data) // 5):
                file.write(data[start:start + 100 + len(data) // 5])
                dawdle()
        return record.version

    def touch(self, key, accessed, expires):
        found = self.read(key)
        if found is not None and accessed > found.accessed:
            self._put(key, found._replace(accessed=accessed, expires=expires))
        return found is not None

    def remove(self, key, expected=None):
        found = self.read(key)
        if expected is not None and found is not None and found.version != expected:
            raise Conflict(key)
        (self.folder / key).unlink(missing_ok=True)

    def scan(self):
        for key in os.listdir(self.folder):
            record = self.read(key)
            if record is not None:
                yield key, record

    def purge(self, now=None, batch=1000, unused_since=None):
        return 0


class TestNaiveFiles(StoreSuite):
    store_class = NaiveFileStore

    def arguments(self, tmp_path):
        return (tmp_path / "sessions",), {}


class TestListsAfterAll(StoreSuite):
    """Says that it cannot list, and lists."""

    class store_class(VolatileSessionStore):
        can_list = False


class TestClaimsProcessesWrongly(StoreSuite):
    """A store in memory is another one in each process."""

    class store_class(VolatileSessionStore):
        is_multiprocess_safe = True
