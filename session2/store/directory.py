"""Sessions in a directory, one file each; `slots` lays out the bytes of a file, `sessionfile` opens and locks it.

Whoever changes a file holds its lock (`flock`, on the file itself).  Whoever reads takes none: checksums tell a whole
record from one that is just being written.  A file that loses its name is emptied first or, if a roomier one replaces
it, marked, so that those who waited for its lock look for the new one and nobody else has to.

The sessions of a user are found by their entries: empty files named after session and user, all entries of a user in
one folder.  A record gets its entry before it is there and loses it after it is gone, under the lock of its file; so
who is killed leaves an entry too many, never one too few.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, Final, TypeVar

from ..errors import ConfigurationError, Conflict, StoreUnavailable
from ..record import Record, Version
from .base import SessionStore
from .sessionfile import CHANGE, MAKE, MAKE_ONLY, NoFile, clear, hold, look, open_file, release, write_all
from .slots import DOUBT_AT, Image, fits, pack_file, pack_slot, pack_touch

_T = TypeVar("_T")

log = logging.getLogger("session2")

_KEY: Final = re.compile(r"[0-9A-Za-z_-]{1,80}")
_TEMPORARY: Final = re.compile(r"[0-9A-Za-z_-]{1,80}\.[0-9a-f]{16}\.tmp")
_USERS: Final = "users-"
_ENTRY: Final = re.compile(r"([0-9A-Za-z_-]{1,80})@[0-9a-f]{64}")

# Seconds after which what a killed process left behind is taken away.
_LEFT_BEHIND: Final = 3600.0

_flush: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class DirectorySessionStore(SessionStore):
    """Keeps each session in a file of its own.  A save is one write in place, under a lock of the file itself.

    The store keeps nothing open and nothing in memory, so any number of threads and processes of one host, forked or
    not, may use the same directory.

    :param directory: where; it should belong to this application alone.
    :param create: make the directory if it is missing.
    :param fsync: wait for the disk at each save, so that an acknowledged one survives a power failure.
    :raises FileNotFoundError: the directory is missing and is not to be made.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, directory: str | os.PathLike[str], create: bool = False, *, fsync: bool = False,
                 **options: Any) -> None:
        super().__init__(**options)
        self.directory = os.path.abspath(os.fsdecode(directory))  # a daemon changes its working directory later
        self.fsync = fsync
        self._prefix = os.path.join(self.directory, "")
        self._indexed = f"{self._prefix}indexed"  # this file tells that every record of a user has its entry
        if create:
            self.setup()
        elif not os.path.isdir(self.directory):
            raise FileNotFoundError(f"{self.directory} is not a directory: make it, or pass create=True")

    def setup(self, drop: bool = False) -> None:
        """Make the directory, for its owner only.  With `drop` delete all sessions first."""
        with self._system():
            os.makedirs(self.directory, 0o700, exist_ok=True)
            super().setup(drop)
            self._index()

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        path = self._path(key)
        try:
            record = self._peek(path)
        except FileNotFoundError:
            self._absent()
            return None
        if record is None:
            log.warning("corrupt record %.8s is treated as missing: its file is damaged", key)
            return None
        return record if record.is_live(self.clock()) else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        path = self._path(key)
        try:
            fd, image = self._make(path, hold) if expected is None else hold(path, CHANGE)
            try:
                live = self._live(image)
                if (None if live is None else live.version) != expected:
                    raise Conflict(f"the record {key:.8} changed")
                return self._put(fd, path, image, record, live)
            finally:
                release(fd)
        except OSError as error:
            if expected is None or not isinstance(error, FileNotFoundError):
                raise self._unavailable(error) from error
            self._absent()
            raise Conflict(f"the record {key:.8} is gone") from None

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        path = self._path(key)
        try:
            fd, image = hold(path, CHANGE)
            try:
                live = self._live(image)
                if live is not None and accessed > live.accessed:
                    write_all(fd, pack_touch(live, accessed, expires), image.spare_touch)
            finally:
                release(fd)
        except FileNotFoundError:
            self._absent()
        except OSError as error:
            raise self._unavailable(error) from error

    def remove(self, key: str, expected: Version | None = None) -> None:
        def is_expected(image: Image) -> bool:
            live = self._live(image)
            if expected is not None and live is not None and live.version != expected:
                raise Conflict(f"the record {key:.8} changed")
            return True

        with self._system():
            try:
                self._unlink(self._path(key), is_expected)
            except FileNotFoundError:
                self._absent()

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._found(name for path, name in self._files() if self._is_ours(path, name))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        with self._system():
            self._index()
        end = _end_of_entries(user)
        names = (name for name in self._names(_USERS + end[-2:]) if name.endswith(end))
        keys = (match[1] for match in map(_ENTRY.fullmatch, names) if match)
        return ((key, record) for key, record in self._found(keys) if record.user == user)

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        """Delete the records expired at `now` (default: the clock's time); return their number.

        Each is deleted on its own, so there is nothing for `batch` to bound.  What killed processes left behind goes
        too: files once they are an hour old, entries at once.
        """
        limit = self.clock() if now is None else now
        purged = 0
        for path, name in self._files():
            with self._system(), suppress(FileNotFoundError):
                if self._is_ours(path, name):
                    purged += self._purge(path, limit)
                elif _TEMPORARY.fullmatch(name) and _is_left_behind(path):
                    os.unlink(path)
        for path, name in self._files(of_users=True):
            if match := _ENTRY.fullmatch(name):
                with self._system():
                    self._sweep(path, self._path(match[1]))
        return purged

    def _found(self, keys: Iterable[str]) -> Iterator[tuple[str, Record]]:
        for key in keys:
            record = None
            with suppress(FileNotFoundError):
                record = self._peek(self._path(key))  # what is damaged is told by `read`, not at every look around
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
            raise self._unavailable(error) from error

    # -- names -----------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        """Return the file of a key; its last two characters spread the files over 256 folders."""
        if not _KEY.fullmatch(key):
            raise ConfigurationError(f"a key consists of letters, digits, '-' and '_'; {key[:80]!r} is none")
        return f"{self._prefix}{key[-2:]}/{key}"

    def _entry(self, path: str, user: str) -> str:
        """Return the entry of the user's session in a file."""
        end = _end_of_entries(user)
        return f"{self._prefix}{_USERS}{end[-2:]}/{os.path.basename(path)}{end}"

    def _is_ours(self, path: str, name: str) -> bool:
        return _KEY.fullmatch(name) is not None and path.endswith(f"/{name[-2:]}/{name}")

    def _files(self, of_users: bool = False) -> Iterator[tuple[str, str]]:
        """Iterate over path and name of what is in the folders of sessions, or of users, one folder at a time."""
        with self._system():
            folders = os.listdir(self.directory)
        for folder in (folder for folder in folders if folder.startswith(_USERS) == of_users):
            for name in self._names(folder):
                yield f"{self._prefix}{folder}/{name}", name

    def _names(self, folder: str) -> list[str]:
        with self._system(), suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self._prefix + folder)
        return []

    # -- changing files; the caller sees to OSError ----------------------------------------------------------------

    def _live(self, image: Image) -> Record | None:
        record = image.record
        return record if record is not None and record.is_live(self.clock()) else None

    def _make(self, path: str, how: Callable[[str, int], _T]) -> _T:
        """Open or hold a file, and make it, and its folder, if need be.

        An empty file is no record yet: of two who make the same one, the first to lock it wins.
        """
        while True:
            try:
                return how(path, MAKE)
            except NoFile:
                clear(path)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder, 0o700)
            self._sync_folder(self.directory)
        except FileExistsError:
            if not os.path.isdir(folder):  # a symbolic link to nowhere: to try again would never end
                raise

    def _put(self, fd: int, path: str, image: Image, record: Record, live: Record | None) -> int:
        # The sum makes versions grow; the clock keeps one from coming back after the file was removed.
        version = max(time.time_ns(), image.newest + 1)
        slot = pack_slot(record, version)
        try:
            if record.user is not None and (live is None or live.user != record.user):
                self._enter(path, record.user)
            if not image.half:
                self._begin(fd, path, image, slot)
            elif fits(slot, image.half):
                write_all(fd, slot, image.spare_slot)
                if self.fsync:
                    _flush(fd)
            else:
                self._resize(fd, path, slot)
        except OSError:
            if not image.half:  # there was no record, and nothing of this one shall stay
                with suppress(OSError):
                    self._erase(fd, path, record)
            raise
        return version

    def _begin(self, fd: int, path: str, image: Image, slot: bytes) -> None:
        """Fill a file that is empty, or holds nothing one could lose."""
        if image.length:
            os.ftruncate(fd, 0)
        write_all(fd, pack_file(slot), 0)
        if self.fsync:
            _flush(fd)
        self._sync_folder(os.path.dirname(path))

    def _resize(self, fd: int, path: str, slot: bytes) -> None:
        """Put a file with larger, or much smaller, slots in the place of the one held."""
        temporary = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            self._write_temporary(temporary, pack_file(slot))
            write_all(fd, b"\1", DOUBT_AT)
            os.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._sync_folder(os.path.dirname(path))

    def _write_temporary(self, path: str, data: bytes) -> None:
        fd = open_file(path, MAKE_ONLY)
        try:
            write_all(fd, data, 0)
            if self.fsync:
                _flush(fd)
        finally:
            os.close(fd)

    def _unlink(self, path: str, judge: Callable[[Image], bool]) -> bool:
        """Remove the file if `judge` says so of what it holds once it is locked."""
        fd, image = hold(path, CHANGE)
        try:
            if not judge(image):
                return False
            self._erase(fd, path, image.record)
        finally:
            release(fd)
        self._sync_folder(os.path.dirname(path))
        return True

    def _purge(self, path: str, limit: float) -> bool:
        def is_expired(image: Image) -> bool:
            return image.record is not None and not image.record.is_live(limit)

        def is_nothing(image: Image) -> bool:
            return image.record is None and (image.half > 0 or not image.length) and _is_left_behind(path)

        image = look(path)
        if is_nothing(image):
            self._unlink(path, is_nothing)
        return is_expired(image) and self._unlink(path, is_expired)

    def _sync_folder(self, folder: str) -> None:
        """Make sure of the names in a folder, if sure is wanted."""
        if not self.fsync:
            return
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # -- the sessions of a user; the caller sees to OSError --------------------------------------------------------

    def _enter(self, path: str, user: str) -> None:
        """Make the entry of the user's session in a file."""
        entry = self._entry(path, user)
        os.close(self._make(entry, open_file))
        self._sync_folder(os.path.dirname(entry))

    def _erase(self, fd: int, path: str, record: Record | None) -> None:
        """Take away what is in a file, then its entry, then its name: with the name we lose the lock."""
        os.ftruncate(fd, 0)
        if record is not None and record.user is not None:
            if self.fsync:
                _flush(fd)
            with suppress(FileNotFoundError):
                os.unlink(self._entry(path, record.user))
        os.unlink(path)

    def _sweep(self, entry: str, path: str) -> None:
        """Take an entry away if the file has no record for it.

        Whoever is making that record holds the lock of the file.  So must we, even if we have to make the file first.
        """
        def is_needed(image: Image) -> bool:
            user = image.record and image.record.user
            return user is not None and self._entry(path, user) == entry

        with suppress(FileNotFoundError):
            if is_needed(look(path)):
                return
        fd, image = self._make(path, hold)
        try:
            if not is_needed(image):
                with suppress(FileNotFoundError):
                    os.unlink(entry)
            if not image.length:
                os.unlink(path)
        finally:
            release(fd)

    def _index(self) -> None:
        """Make the entries of the records in a directory made by hand or by a backup, and note that all are there."""
        if os.path.exists(self._indexed):
            return
        for key, record in self.scan():
            if record.user is not None:
                self._enter(self._path(key), record.user)
        os.close(self._make(self._indexed, open_file))
        self._sync_folder(self.directory)

    # -- failures --------------------------------------------------------------------------------------------------

    def _absent(self) -> None:
        """Do nothing if it is just the session that is missing; without the directory nothing can be said."""
        if not os.path.isdir(self.directory):
            raise StoreUnavailable(f"the session directory {self.directory} is gone")

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"the session directory {self.directory} cannot be used: {error.strerror}")

    @contextmanager
    def _system(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unavailable(error) from error


def _is_left_behind(path: str) -> bool:
    """Tell whether nobody wrote the file for a while: by the real time, as files know no other."""
    return os.lstat(path).st_mtime < time.time() - _LEFT_BEHIND


def _end_of_entries(user: str) -> str:
    """Return how the names of a user's entries end; what comes before is the session's key."""
    return "@" + sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
