"""A directory of session files: how the files are named, made, replaced and taken away.

The sessions of a user are found by their entries: empty files named after session and user, all entries of a user in
one folder.  A record gets its entry before it is there and loses it after it is gone, under the lock of its file; so
who is killed leaves an entry too many, never one too few.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Final, TypeVar

from ...errors import StoreUnavailable
from ...record import Record
from ..records import KEY, checked_key
from .sessionfile import CHANGE, MAKE, MAKE_ONLY, NoFile, clear, hold, look, open_file, release, write_all
from .slots import DOUBT_AT, Image, fits, pack_file, pack_slot

_T = TypeVar("_T")

_USERS: Final = "users-"

_flush: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class Folder:
    """The files of a store, each found by the key of its record.

    :param directory: where, as an absolute path.
    :param fsync: wait for the disk at each change.
    """

    def __init__(self, directory: str, fsync: bool) -> None:
        self.directory, self.fsync = directory, fsync
        self._prefix = os.path.join(directory, "")
        self._indexed = f"{self._prefix}indexed"  # this file tells that every record of a user has its entry

    # -- names -----------------------------------------------------------------------------------------------------

    def path(self, key: str) -> str:
        """Return the file of a key; its last two characters spread the files over 256 folders."""
        return f"{self._prefix}{checked_key(key)[-2:]}/{key}"

    def entry(self, path: str, user: str) -> str:
        """Return the entry of the user's session in a file."""
        end = _end_of_entries(user)
        return f"{self._prefix}{_USERS}{end[-2:]}/{os.path.basename(path)}{end}"

    def is_ours(self, path: str, name: str) -> bool:
        """Tell whether a session of ours may be there."""
        return KEY.fullmatch(name) is not None and path.endswith(f"/{name[-2:]}/{name}")

    def files(self, of_users: bool = False) -> Iterator[tuple[str, str]]:
        """Iterate over path and name of what is in the folders of sessions, or of users, one folder at a time."""
        with self.system():
            folders = os.listdir(self.directory)
        for folder in (folder for folder in folders if folder.startswith(_USERS) == of_users):
            for name in self._names(folder):
                yield f"{self._prefix}{folder}/{name}", name

    def keys_of(self, user: str) -> Iterator[str]:
        """Return the keys of the sessions that are the user's, or were."""
        end = _end_of_entries(user)
        keys = (name.removesuffix(end) for name in self._names(_USERS + end[-2:]) if name.endswith(end))
        return (key for key in keys if KEY.fullmatch(key))

    def _names(self, folder: str) -> list[str]:
        with self.system(), suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self._prefix + folder)
        return []

    # -- changing files; the caller sees to OSError ----------------------------------------------------------------

    def make(self, path: str, how: Callable[[str, int], _T]) -> _T:
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

    def put(self, fd: int, path: str, image: Image, record: Record, live: Record | None) -> int:
        """Write a record into a file that is held, and return its version.

        :param live: the record that is in the file, if it has not expired.
        """
        # The sum makes versions grow; the clock keeps one from coming back after the file was removed.
        version = max(time.time_ns(), image.newest + 1)
        slot = pack_slot(os.path.basename(path), record, version)
        try:
            if record.user is not None and (live is None or live.user != record.user):
                self.enter(path, record.user)
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

    def unlink(self, path: str, judge: Callable[[Image], bool]) -> bool:
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

    def enter(self, path: str, user: str) -> None:
        """Make the entry of the user's session in a file."""
        entry = self.entry(path, user)
        os.close(self.make(entry, open_file))
        self._sync_folder(os.path.dirname(entry))

    def is_indexed(self) -> bool:
        return os.path.exists(self._indexed)

    def mark_indexed(self) -> None:
        """Note that every record of a user has its entry."""
        os.close(self.make(self._indexed, open_file))
        self._sync_folder(self.directory)

    def _erase(self, fd: int, path: str, record: Record | None) -> None:
        """Take away what is in a file, then its entry, then its name: with the name we lose the lock."""
        os.ftruncate(fd, 0)
        if record is not None and record.user is not None:
            if self.fsync:
                _flush(fd)
            with suppress(FileNotFoundError):
                os.unlink(self.entry(path, record.user))
        os.unlink(path)

    def sweep(self, entry: str, path: str) -> None:
        """Take an entry away if the file has no record for it.

        Whoever is making that record holds the lock of the file.  So must we, even if we have to make the file first.
        """
        def is_needed(image: Image) -> bool:
            user = image.record and image.record.user
            return user is not None and self.entry(path, user) == entry

        with suppress(FileNotFoundError):
            if is_needed(look(path)):
                return
        fd, image = self.make(path, hold)
        try:
            if not is_needed(image):
                with suppress(FileNotFoundError):
                    os.unlink(entry)
            if not image.length:
                os.unlink(path)
        finally:
            release(fd)

    # -- failures --------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        """Do nothing if it is just the session that is missing; without the directory nothing can be said."""
        if not os.path.isdir(self.directory):
            raise StoreUnavailable(f"the session directory {self.directory} is gone")

    def unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"the session directory {self.directory} cannot be used: {error.strerror}")

    @contextmanager
    def system(self) -> Iterator[None]:
        """Say of whatever goes wrong inside that the store is unavailable."""
        try:
            yield
        except OSError as error:
            raise self.unavailable(error) from error


def _end_of_entries(user: str) -> str:
    """Return how the names of a user's entries end; what comes before is the session's key."""
    return "@" + sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
