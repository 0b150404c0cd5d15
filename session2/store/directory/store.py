"""Sessions in a directory, one file each; `folder` names, makes and replaces them, `sessionfile` opens
and locks one, `slots` lays out its bytes.

Whoever changes a file holds its lock (`flock`, on the file itself).  Whoever reads takes none: checksums tell a whole
record from one that is just being written.  A file that loses its name is emptied first or, if a roomier one replaces
it, marked, so that those who waited for its lock look for the new one and nobody else has to.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from ...errors import Conflict
from ...record import Record, Version
from .. import rights
from ..base import SessionStore
from ..hostlock import HostLocks
from ..lockfile import LockFile
from .folder import Folder
from .openfiles import OpenFiles
from .purging import Purge
from .sessionfile import NoFile, give_back, hold, hold_kept, look, look_and_keep
from .slots import Image


class DirectorySessionStore(SessionStore):
    """Keeps each session in a file of its own.  A save is one write in place, under a lock of the file itself.

    What counts is in the files, so any number of threads and processes of one host, forked or not, may use the same
    directory.  Each process keeps some of the files open that it used last, 128 at most.

    :param directory: where; it should belong to this application alone.
    :param create: make the directory if it is missing.
    :param fsync: wait for the disk at each save, so that an acknowledged one survives a power failure.
    :param shared: the directory may belong to another user, and its group may do all that the owner may.
    :raises StoreMissing: the directory is missing and is not to be made.
    :raises ConfigurationError: others can put something into the directory, or can have done so.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, directory: str | os.PathLike[str], create: bool = False, *, fsync: bool = False,
                 shared: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.directory = os.path.abspath(os.fsdecode(directory))  # a daemon changes its working directory later
        self.fsync = fsync
        self._folder = Folder(self.directory, fsync, shared)
        self._files = OpenFiles(self._folder.path)
        weakref.finalize(self, self._files.close)
        self._locks = HostLocks(partial(LockFile, os.path.join(self.directory, "locks"), self.directory,
                                        rights.rule_of(shared)))
        if create:
            self.setup()
        else:
            with self._folder.system():
                self._folder.check()

    def setup(self, drop: bool = False) -> None:
        """Make the directory, for its owner only.  With `drop` delete all sessions first."""
        with self._folder.system():
            self._folder.create()
            self._folder.check()
            super().setup(drop)
            self._index()

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        try:
            record = look_and_keep(key, self._files).record
        except NoFile:
            record = None
        except FileNotFoundError:
            self._folder.absent()
            return None
        except OSError as error:
            raise self._folder.unavailable(error) from error
        if record is None:
            self._damaged(key, "its file is damaged, or another key's")
            return None
        return record if record.expires is None or record.expires > self.clock() else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        try:
            file, image = (self._folder.make(self._folder.path(key), hold) if expected is None
                           else hold_kept(key, self._files))
            try:
                live = self._live(image)
                if (None if live is None else live.version) != expected:
                    raise Conflict(f"the record {key:.8} changed")
                return self._folder.put(file, image, record, live)
            finally:
                if expected is None:
                    file.release()  # most visitors that begin a session never come back: it is not worth a place
                else:
                    give_back(file, self._files)
        except OSError as error:
            if expected is None or not isinstance(error, FileNotFoundError):
                raise self._folder.unavailable(error) from error
            self._folder.absent()
            raise Conflict(f"the record {key:.8} is gone") from None

    def close(self) -> None:
        self._files.close()

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        try:
            file, image = hold_kept(key, self._files)
            try:
                live = self._live(image)
                if live is not None and accessed > live.accessed:
                    self._folder.touch(file, image, live, accessed, expires)
                return live is not None
            finally:
                give_back(file, self._files)
        except FileNotFoundError:
            self._folder.absent()
            return False
        except OSError as error:
            raise self._folder.unavailable(error) from error

    def remove(self, key: str, expected: Version | None = None) -> None:
        def is_expected(image: Image) -> bool:
            live = self._live(image)
            if expected is not None and live is not None and live.version != expected:
                raise Conflict(f"the record {key:.8} changed")
            return True

        with self._folder.system():
            try:
                self._folder.unlink(self._folder.path(key), is_expected)
            except FileNotFoundError:
                self._folder.absent()

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._found(name for path, name in self._folder.files() if self._folder.is_ours(path, name))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        with self._folder.system():
            self._index(user)
        found = self._found(self._folder.keys_of(user))
        return ((key, record) for key, record in found if record.user == user)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Delete the records expired at `now` (default: the clock's time), or not used since; return their number.

        Each is deleted on its own, so there is nothing for `batch` to bound.  What killed processes left behind goes
        too: files once they are an hour old, entries when the time of their session is over.  What cannot be due is not
        opened.
        """
        return Purge(self._folder, self.clock() if now is None else now, unused_since).run()

    def _found(self, keys: Iterable[str]) -> Iterator[tuple[str, Record]]:
        for key in keys:
            record = None
            with suppress(FileNotFoundError):
                # What is damaged is told by `read`, not at every look around.
                record = self._peek(self._folder.path(key))
            if record is not None and record.is_live(self.clock()):
                yield key, record

    def _peek(self, path: str) -> Record | None:
        """Return the record in a file, None if it is damaged."""
        try:
            return look(path).record
        except NoFile:
            return None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._folder.unavailable(error) from error

    def _live(self, image: Image) -> Record | None:
        record = image.record
        return record if record is not None and (record.expires is None or record.expires > self.clock()) else None

    def _index(self, user: str | None = None) -> None:
        """Make the entries of the records in a directory made by hand or by a backup, and note that all are there."""
        if self._folder.is_indexed(user):
            return
        for key, record in self.scan():
            if record.user is not None:
                self._folder.enter(self._folder.path(key), record.user, record.expires)
        self._folder.mark_indexed()
