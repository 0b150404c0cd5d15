"""A directory of session files: how the files are named, made, replaced and taken away.

The sessions of a user are found by their entries: empty files named after session and user, all entries of a user in
one folder.  A record gets its entry before it is there and loses it after it is gone, under the lock of its file; so
who is killed leaves an entry too many, never one too few.

The times of files tell when a purge has to look at them: see `status`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final

from ...record import Record
from ..records import KEY, checked_key
from . import stamps
from .openfiles import OpenFile
from .place import Place, exists, is_folder
from .sessionfile import CHANGE, MAKE_ONLY, hold, look, open_file, write_all
from .slots import DOUBT_AT, Image, fits, pack_file, pack_slot, pack_touch, saved, touched
from .status import end_time, give_to, set_due, set_times

_USERS: Final = "users-"
_INDEXED: Final = "indexed"

# How long an entry is believed to be there, while its session is in use.
_MINUTE: Final = 60.0

_flush: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class Folder(Place):
    """The files of a store, each found by the key of its record."""

    def __init__(self, directory: str, fsync: bool, shared: bool) -> None:
        super().__init__(directory, fsync, shared)
        # This file tells that every record of a user has its entry.  Its times are older than those of any entry, so
        # that what removes old files removes it first.
        self._indexed = self._prefix + _INDEXED

    # -- names -----------------------------------------------------------------------------------------------------

    def path(self, key: str) -> str:
        """Return the file of a key; its last two characters spread the files over 256 folders."""
        if KEY.fullmatch(key) is None:
            checked_key(key)
        return f"{self._prefix}{key[-2:]}/{key}"

    def entry(self, path: str, user: str) -> str:
        """Return the entry of the user's session in a file."""
        end = _end_of_entries(user)
        return f"{self._prefix}{_USERS}{end[-2:]}/{os.path.basename(path)}{end}"

    def is_ours(self, path: str, name: str) -> bool:
        """Tell whether a session of ours may be there."""
        return KEY.fullmatch(name) is not None and path.endswith(f"/{name[-2:]}/{name}")

    def folders(self, of_users: bool = False) -> list[str]:
        """Return the names of the folders of sessions, or of users."""
        with self.system():
            found = os.listdir(self.directory)
        return [name for name in found if is_folder(name) and name.startswith(_USERS) == of_users]

    def files(self) -> Iterator[tuple[str, str]]:
        """Iterate over path and name of what is in the folders of sessions, one folder at a time."""
        return ((path, name) for folder in self.folders() for path, name in self.files_in(folder))

    def files_in(self, folder: str) -> Iterator[tuple[str, str]]:
        """Iterate over path and name of what is in a folder."""
        return ((f"{self._prefix}{folder}/{name}", name) for name in self._names(folder))

    def keys_of(self, user: str) -> Iterator[str]:
        """Return the keys of the sessions that are the user's, or were."""
        end = _end_of_entries(user)
        keys = (name.removesuffix(end) for name in self._names(_USERS + end[-2:]) if name.endswith(end))
        return (key for key in keys if KEY.fullmatch(key))

    # -- changing files; the caller sees to OSError ----------------------------------------------------------------

    def _make_folder(self, folder: str) -> None:
        if os.path.basename(folder).startswith(_USERS) and not self._is_first(folder):
            with suppress(FileNotFoundError):
                os.unlink(self._indexed)
        super()._make_folder(folder)

    def _is_first(self, folder: str) -> bool:
        """Note that there is a folder of entries; tell whether there never was one, whose entries are lost with it."""
        try:
            fd = open_file(_note_of(folder), MAKE_ONLY)
        except FileExistsError:
            return False
        try:
            self._share(fd)
            set_times(fd, 0, 0)
        finally:
            os.close(fd)
        return True

    def put(self, file: OpenFile, image: Image, record: Record, live: Record | None) -> int:
        """Write a record into a file that is held, and return its version.

        :param image: what the file holds.
        :param live: the record that is in the file, if it has not expired.
        """
        # The sum makes versions grow; the clock keeps one from coming back after the file was removed.
        version = max(time.time_ns(), image.newest + 1)
        fd, path = file.fd, file.path
        slot = pack_slot(file.key, record, version)
        try:
            if record.user is not None:
                self._enter_first(path, record, record.user, live)
            if not image.half:
                self._begin(fd, path, image, slot)
                set_due(fd, record.expires)
                self._note(path, record.expires)
            elif fits(slot, image.half):
                self.hasten(fd, path, image.record, record.expires)
                write_all(fd, slot, image.spare_slot)
                if self.fsync:
                    _flush(fd)
                if file.image is not None:
                    file.image = saved(image, slot, record, version, file.key)
            else:
                self._resize(fd, path, slot, record.expires)
            if image.record is not None and image.record.user is not None:
                self._leave(path, image.record.user, record.user)
        except OSError:
            if not image.half:  # there was no record, and nothing of this one shall stay
                with suppress(OSError):
                    self.erase(fd, path, record)
            raise
        return version

    def touch(self, file: OpenFile, image: Image, live: Record, accessed: float, expires: float | None) -> None:
        """Write a touch of the record that is in a file, which is held."""
        self.hasten(file.fd, file.path, live, expires)
        touch = pack_touch(live, accessed, expires)
        write_all(file.fd, touch, image.spare_touch)
        if file.image is not None:
            file.image = touched(image, touch, accessed, expires, file.key)
        if live.user is not None:
            self.renew(file.path, live.user, expires)

    def _begin(self, fd: int, path: str, image: Image, slot: bytes) -> None:
        """Fill a file that is empty, or holds nothing one could lose."""
        if image.data:
            os.ftruncate(fd, 0)
        else:
            self._share(fd)
        write_all(fd, pack_file(slot), 0)
        if self.fsync:
            _flush(fd)
        self._sync_folder(os.path.dirname(path))

    def _resize(self, fd: int, path: str, slot: bytes, expires: float | None) -> None:
        """Put a file with larger, or much smaller, slots in the place of the one held."""
        temporary = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            self._write_temporary(temporary, pack_file(slot), expires, os.fstat(fd))
            write_all(fd, b"\1", DOUBT_AT)
            os.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._note(path, expires)
        self._sync_folder(os.path.dirname(path))

    def _write_temporary(self, path: str, data: bytes, expires: float | None, like: os.stat_result) -> None:
        fd = open_file(path, MAKE_ONLY)
        try:
            give_to(fd, like)
            write_all(fd, data, 0)
            set_due(fd, expires)
            if self.fsync:
                _flush(fd)
        finally:
            os.close(fd)

    def unlink(self, path: str, judge: Callable[[Image], bool]) -> bool:
        """Remove the file if `judge` says so of what it holds once it is locked."""
        file, image = hold(path, CHANGE)
        try:
            if not judge(image):
                return False
            self.erase(file.fd, path, image.record)
        finally:
            file.release()
        self._sync_folder(os.path.dirname(path))
        return True

    # -- the sessions of a user; the caller sees to OSError --------------------------------------------------------

    def enter(self, path: str, user: str, expires: float | None) -> None:
        """Make the entry of the user's session in a file, and let it last as long as the session."""
        entry = self.entry(path, user)
        fd = self.make(entry, open_file)
        try:
            self._share(fd)
            set_times(fd, end_time(expires), end_time(expires))
        finally:
            os.close(fd)
        self._sync_folder(os.path.dirname(entry))

    def renew(self, path: str, user: str, expires: float | None) -> None:
        """Let the entry last as long as the session, and make it again if it is gone."""
        try:
            set_times(self.entry(path, user), end_time(expires), end_time(expires))
        except FileNotFoundError:
            self.enter(path, user, expires)

    def _enter_first(self, path: str, record: Record, user: str, live: Record | None) -> None:
        """See to the entry of a record that is about to be written, from time to time also if it has one."""
        if live is None or live.user != user:
            self.enter(path, user, record.expires)
        elif record.accessed >= live.accessed + _MINUTE or end_time(record.expires) != end_time(live.expires):
            self.renew(path, user, record.expires)

    def _leave(self, path: str, before: str, user: str | None) -> None:
        """Take away the entry of whoever was logged in before."""
        if before != user:
            with suppress(FileNotFoundError):
                os.unlink(self.entry(path, before))

    def is_indexed(self, user: str | None = None) -> bool:
        """Tell whether every record of a user has its entry, as far as is known."""
        if not exists(self._indexed):
            return False
        folder = "" if user is None else self._prefix + _USERS + _end_of_entries(user)[-2:]
        return not folder or exists(folder) or not exists(_note_of(folder))

    def mark_indexed(self) -> None:
        """Note that every record of a user has its entry."""
        fd = self.make(self._indexed, open_file)
        try:
            self._share(fd)
            set_times(fd, 0, 0)
        finally:
            os.close(fd)
        self._sync_folder(self.directory)

    # -- when a purge has to look; the caller sees to OSError ------------------------------------------------------

    def hasten(self, fd: int, path: str, before: Record | None, expires: float | None) -> None:
        """Have a purge look sooner at a file that is about to get a record, or a touch, which ends sooner."""
        if before is None or (expires is not None and (before.expires is None or expires < before.expires)):
            set_due(fd, expires)
            self._note(path, expires)

    def _note(self, path: str, expires: float | None) -> None:
        """Have a purge look into a folder in time, for a file that is to be looked at by then."""
        if expires is not None and expires < time.time() + stamps.HOUR:
            stamps.note(self.stamp(path[-2:]), expires)

    def postpone(self, fd: int, path: str, record: Record) -> None:
        """Have the next purges pass over a file, which is held, with a record that lives, and see to its entry."""
        set_due(fd, record.expires)
        if record.user is not None:
            self.renew(path, record.user, record.expires)

    def stamp(self, folder: str) -> str:
        """Return the stamp of a folder."""
        return f"{self._prefix}due-{folder}"

    def make_stamp(self, stamp: str) -> int:
        """Make the stamp of a folder that is about to be looked through, and return its open file."""
        fd = stamps.begin(stamp)
        try:
            self._share(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def erase(self, fd: int, path: str, record: Record | None) -> None:
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
            image = look(path)
            if is_needed(image) and image.record is not None:
                return set_times(entry, end_time(image.record.expires), end_time(image.record.expires))
        file, image = self.make(path, hold)
        try:
            if not is_needed(image):
                with suppress(FileNotFoundError):
                    os.unlink(entry)
            if not image.data:
                os.unlink(path)
        finally:
            file.release()


def _note_of(folder: str) -> str:
    """Return the file that tells that there is, or was, a folder of entries."""
    parent, _, name = folder.rpartition("/")
    return f"{parent}/made-{name}"


def _end_of_entries(user: str) -> str:
    """Return how the names of a user's entries end; what comes before is the session's key."""
    return "@" + sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
