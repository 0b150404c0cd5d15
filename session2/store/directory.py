"""Sessions in a directory, one file each; the bytes of a file are laid out in `slots`.

Whoever changes a file holds its lock (`flock`, on the file itself).  Whoever reads takes none: checksums tell a whole
record from one that is just being written.  A file that loses its name, because it is removed or replaced by a
roomier one, is marked first, so that those who waited for its lock look for the new one and nobody else has to.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from typing import Any, Final

from ..errors import ConfigurationError, Conflict, StoreUnavailable
from .base import SessionStore
from .record import Record, Version
from .slots import DOUBT_AT, Image, fits, pack_file, pack_slot, pack_touch, parse

log = logging.getLogger("session2")

_KEY: Final = re.compile(r"[0-9A-Za-z_-]{1,80}")
_TEMPORARY: Final = re.compile(r"[0-9A-Za-z_-]{1,80}\.[0-9a-f]{16}\.tmp")

# O_NONBLOCK: a named pipe in the place of a session must not stop us for ever.
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_READ: Final = os.O_RDONLY | _FLAGS
_CHANGE: Final = os.O_RDWR | _FLAGS
_INSERT: Final = os.O_RDWR | os.O_CREAT | _FLAGS
_TEMPORARY_ONLY: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS

# What comes of opening or reading a symbolic link, a folder, a socket, a pipe.
_NO_FILE: Final = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESPIPE)

# One system call reads any file up to this size; the odd byte proves that it has been read to its end.
_AT_ONCE: Final = 65536 + 1

# Seconds after which what a killed process left behind is taken away.
_LEFT_BEHIND: Final = 3600.0

# Seconds to wait for the lock of a file.  It is held for one write; only who is stopped meanwhile holds it longer.
_PATIENCE: Final = 10.0

_flush: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class _NoFile(FileNotFoundError):
    """There is something in the place of a session that is no regular file."""


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
        if create:
            self.setup()
        elif not os.path.isdir(self.directory):
            raise FileNotFoundError(f"{self.directory} is not a directory: make it, or pass create=True")

    def setup(self, drop: bool = False) -> None:
        """Make the directory, for its owner only.  With `drop` delete all sessions first."""
        with self._system():
            os.makedirs(self.directory, 0o700, exist_ok=True)
        super().setup(drop)

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
            fd, image = self._hold_new(path) if expected is None else _hold(path, _CHANGE)
            try:
                live = self._live(image)
                if (None if live is None else live.version) != expected:
                    raise Conflict(f"the record {key:.8} changed")
                return self._put(fd, path, image, record)
            finally:
                _release(fd)
        except OSError as error:
            if expected is None or not isinstance(error, FileNotFoundError):
                raise self._unavailable(error) from error
            self._absent()
            raise Conflict(f"the record {key:.8} is gone") from None

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        path = self._path(key)
        try:
            fd, image = _hold(path, _CHANGE)
            try:
                live = self._live(image)
                if live is not None and accessed > live.accessed:
                    _write(fd, pack_touch(live, accessed, expires), image.spare_touch)
            finally:
                _release(fd)
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
        for path, name in self._files():
            if self._is_ours(path, name):
                record = None
                with suppress(FileNotFoundError):
                    record = self._peek(path)  # what is damaged is told by `read`, not at every look around
                if record is not None and record.is_live(self.clock()):
                    yield name, record

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        """Delete the records expired at `now` (default: the clock's time); return their number.

        Each is deleted on its own, so there is nothing for `batch` to bound.  What killed processes left behind goes
        too, once it is an hour old.
        """
        limit = self.clock() if now is None else now
        purged = 0
        for path, name in self._files():
            with self._system(), suppress(FileNotFoundError):
                if self._is_ours(path, name):
                    purged += self._purge(path, limit)
                elif _TEMPORARY.fullmatch(name) and _is_left_behind(path):
                    os.unlink(path)
        return purged

    def _peek(self, path: str) -> Record | None:
        """Return the record in a file, None if it is damaged."""
        try:
            return _look(path).record
        except _NoFile:
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

    def _is_ours(self, path: str, name: str) -> bool:
        return _KEY.fullmatch(name) is not None and self._path(name) == path

    def _files(self) -> Iterator[tuple[str, str]]:
        """Iterate over path and name of what is in the folders, one folder at a time."""
        with self._system():
            folders = os.listdir(self.directory)
        for folder in folders:
            names: list[str] = []
            with self._system(), suppress(FileNotFoundError, NotADirectoryError):
                names = os.listdir(self._prefix + folder)
            for name in names:
                yield f"{self._prefix}{folder}/{name}", name

    # -- changing files; the caller sees to OSError ----------------------------------------------------------------

    def _live(self, image: Image) -> Record | None:
        record = image.record
        return record if record is not None and record.is_live(self.clock()) else None

    def _hold_new(self, path: str) -> tuple[int, Image]:
        """Like `_hold`, but make the file, and its folder, if need be.

        An empty file is no record yet: of two who make the same one, the first to lock it wins.
        """
        while True:
            try:
                return _hold(path, _INSERT)
            except _NoFile:
                _clear(path)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder, 0o700)
            self._sync_folder(self.directory)
        except FileExistsError:
            if not os.path.isdir(folder):  # a symbolic link to nowhere: to try again would never end
                raise

    def _put(self, fd: int, path: str, image: Image, record: Record) -> int:
        # The sum makes versions grow; the clock keeps one from coming back after the file was removed.
        version = max(time.time_ns(), image.newest + 1)
        slot = pack_slot(record, version)
        if not image.half:
            self._begin(fd, path, image, slot)
        elif fits(slot, image.half):
            _write(fd, slot, image.spare_slot)
            if self.fsync:
                _flush(fd)
        else:
            self._resize(fd, path, slot)
        return version

    def _begin(self, fd: int, path: str, image: Image, slot: bytes) -> None:
        """Fill a file that is empty, or holds nothing one could lose."""
        try:
            if image.length:
                os.ftruncate(fd, 0)
            _write(fd, pack_file(slot), 0)
            if self.fsync:
                _flush(fd)
        except OSError:
            with suppress(OSError):
                os.unlink(path)
            raise
        self._sync_folder(os.path.dirname(path))

    def _resize(self, fd: int, path: str, slot: bytes) -> None:
        """Put a file with larger, or much smaller, slots in the place of the one held."""
        temporary = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            self._write_temporary(temporary, pack_file(slot))
            _write(fd, b"\1", DOUBT_AT)
            os.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._sync_folder(os.path.dirname(path))

    def _write_temporary(self, path: str, data: bytes) -> None:
        fd = os.open(path, _TEMPORARY_ONLY, 0o600)
        try:
            _write(fd, data, 0)
            if self.fsync:
                _flush(fd)
        finally:
            os.close(fd)

    def _unlink(self, path: str, judge: Callable[[Image], bool]) -> bool:
        """Remove the file if `judge` says so of what it holds once it is locked."""
        fd, image = _hold(path, _CHANGE)
        try:
            if not judge(image):
                return False
            if image.half:
                _write(fd, b"\1", DOUBT_AT)
            os.unlink(path)
        finally:
            _release(fd)
        self._sync_folder(os.path.dirname(path))
        return True

    def _purge(self, path: str, limit: float) -> bool:
        def is_expired(image: Image) -> bool:
            return image.record is not None and not image.record.is_live(limit)

        def is_nothing(image: Image) -> bool:
            return image.record is None and (image.half > 0 or not image.length) and _is_left_behind(path)

        image = _look(path)
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


def _look(path: str) -> Image:
    """Return what a file holds, without waiting for anybody who writes into it.

    What looks torn may be half of two saves.  Only then is the lock taken: what is torn under the lock stays torn.
    """
    while True:
        fd = _open(path, _READ)
        try:
            image = parse(_fetch(fd))
            found = _look_again(fd) if image.torn else image
            if found is not None:
                return found
        finally:
            os.close(fd)


def _look_again(fd: int) -> Image | None:
    """Return what a file holds while nobody writes into it, None if it has lost its name."""
    _lock(fd, LOCK_SH)
    try:
        image = parse(_fetch(fd))
        return image if not image.doubt or os.fstat(fd).st_nlink else None
    finally:
        flock(fd, LOCK_UN)


def _hold(path: str, flags: int) -> tuple[int, Image]:
    """Open and lock a file and return it with what it holds, sure that it has not lost its name; then `_release` it."""
    while True:
        fd = _open(path, flags)
        try:
            _lock(fd, LOCK_EX)
            image = parse(_fetch(fd))
            if not image.doubt or os.fstat(fd).st_nlink:
                return fd, image
        except BaseException:
            _release(fd)
            raise
        _release(fd)


def _lock(fd: int, kind: int) -> None:
    """Take the lock of a file; TimeoutError if its holder does not let go of it."""
    end = pause = 0.0
    while True:
        try:
            return flock(fd, kind | LOCK_NB)
        except BlockingIOError:
            end = end or time.monotonic() + _PATIENCE
        if time.monotonic() >= end:
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock of a session and does not go on")
        pause = min(pause * 1.5 + 0.0001, 0.005)
        time.sleep(random.uniform(0, pause))


def _release(fd: int) -> None:
    # A process forked a moment ago has a copy of `fd` and would keep the lock if it were not let go of by name.
    try:
        flock(fd, LOCK_UN)
    finally:
        os.close(fd)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _NoFile from error
        raise


def _fetch(fd: int) -> bytes:
    """Return all bytes of a file."""
    try:
        data = os.pread(fd, _AT_ONCE, 0)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _NoFile from error
        raise
    if len(data) < _AT_ONCE:
        return data
    parts = [data]
    at = len(data)
    while parts[-1]:
        parts.append(os.pread(fd, 1 << 20, at))
        at += len(parts[-1])
    return b"".join(parts)


def _write(fd: int, data: bytes, at: int) -> None:
    """Write all of `data`; a full disk shows as a short write first."""
    done = os.pwrite(fd, data, at)
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


def _clear(path: str) -> None:
    """Take away what is no regular file.

    The folder's lock keeps the slower of two from taking away the session that the faster one put there.
    """
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(fd, LOCK_EX)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                os.unlink(path)
    finally:
        _release(fd)


def _is_left_behind(path: str) -> bool:
    """Tell whether nobody wrote the file for a while: by the real time, as files know no other."""
    return os.lstat(path).st_mtime < time.time() - _LEFT_BEHIND
