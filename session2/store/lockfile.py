"""`LockFile`: a file whose bytes processes lock, each for itself; nothing is ever written into it.

Linux has locks that belong to an open file instead of a process (``F_OFD_SETLK``): one such file serves all locks.
Elsewhere each lock is `flock` on one of a fixed set of files.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from functools import partial
from io import FileIO
from typing import Any, Final

from ..errors import StoreUnavailable
from ..mutex import Place
from . import rights

_SET_LOCK: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
_GET_LOCK: Final[int | None] = getattr(fcntl, "F_OFD_GETLK", None)

_FLOCK: Final = struct.Struct("@hhqqi0q")
"""``struct flock``: what to do, from where the place counts, the place, its length, and a process id that must be 0."""

_BELLS: Final = 2**32
"""Where the bytes are by which processes tell each other what they wait for."""

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)

_FILES: Final = 256
"""In how many files sessions share their locks where a byte of one cannot be locked alone."""

_TRUSTED: Final = 1.0
"""Seconds for which the file is believed to be in its place."""

_PATIENCE: Final = 10.0
"""Seconds to wait for another thread that opens the file."""

_FAR: Final = 2**31 - 1
"""What the file's times are set to, in 2038: nothing that removes old files shall take it for one."""


class LockFile:
    """One process's locks against others; `session2.store.hostlock` keeps its threads apart.

    :param path: made when it is first needed.
    :param like: a file or directory whose owner may use this file too, and its group if that may write.
    :param rule: whose file is trusted.
    """

    def __init__(self, path: str, like: str, rule: rights.Rule = rights.FOREIGN) -> None:
        self._path, self._like, self._rule = path, like, rule
        self._fd: int | None = None
        self._found: os.stat_result | None = None
        self._checked = 0.0
        self._opening = Place()

    def take(self, byte: int, now: float) -> int | FileIO | None:
        """Lock a byte at this time of `time.monotonic`; return what `give` needs, None if another process has it."""
        try:
            if _SET_LOCK is None:
                return self._take_file(byte)
            fd = self._fd if self._fd is not None and now - self._checked < _TRUSTED else self._file(now)
            try:
                fcntl.fcntl(fd, _SET_LOCK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
            except (BlockingIOError, PermissionError):  # POSIX allows both
                return None
            return fd
        except OSError as error:
            raise StoreUnavailable(f"the lock file {self._path} cannot be used: {error.strerror}") from error

    def give(self, taken: Any, byte: int) -> None:
        """Unlock a byte; harmless if it is not locked."""
        if _SET_LOCK is not None:
            fcntl.fcntl(taken, _SET_LOCK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0))
        elif not taken.closed:
            fcntl.flock(taken, fcntl.LOCK_UN)  # a child may have it open too
            taken.close()

    def wait(self, byte: int, waits: bool) -> None:
        """Have other processes know that this one waits for a byte, or that it does no more."""
        if _SET_LOCK is not None and self._fd is not None:
            kind = fcntl.F_RDLCK if waits else fcntl.F_UNLCK  # any number may have it
            with suppress(OSError):
                fcntl.fcntl(self._fd, _SET_LOCK, _FLOCK.pack(kind, os.SEEK_SET, _BELLS + byte, 1, 0))

    def is_awaited(self, byte: int) -> bool:
        """Tell whether another process waits for a byte."""
        if _GET_LOCK is None or self._fd is None:
            return False
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BELLS + byte, 1, 0)
        answer = fcntl.fcntl(self._fd, _GET_LOCK, asked)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def forget(self, byte: int) -> None:
        """Unlock a byte that nobody of this process has, though it may be locked; harmless if it is not."""
        if self._fd is not None:
            with suppress(OSError):
                self.give(self._fd, byte)

    def abandon(self) -> None:
        """Close what a child inherited: the locks are its parent's, and shall end with that."""
        fd, self._fd = self._fd, None
        if fd is not None and self._is_ours(fd):  # what was forked in C may have closed it, and opened another file
            os.close(fd)

    def _file(self, now: float) -> int:
        """Return the open file, which is in its place.  One that lost it is left open: others may hold locks on it."""
        return self._opening.run(partial(self._found_or_opened, now), _PATIENCE, "others open the lock file")

    def _found_or_opened(self, now: float) -> int:
        if self._fd is None or not self._is_in_place(self._fd):
            self._fd = self._open(self._path)
            self._found = os.fstat(self._fd)
        self._checked = now
        return self._fd

    def _is_in_place(self, fd: int) -> bool:
        try:
            return self._is_ours(fd) and self._found is not None \
                and os.path.samestat(os.lstat(self._path), self._found)
        except FileNotFoundError:
            return False

    def _is_ours(self, fd: int) -> bool:
        """Tell whether it is the file that was opened."""
        try:
            return self._found is not None and os.path.samestat(os.fstat(fd), self._found)
        except OSError:
            return False

    def _take_file(self, byte: int) -> FileIO | None:
        """Return the locked file, which is closed when nobody has it any more: an interruption may lose it."""
        file = FileIO(self._open(f"{self._path}-{byte % _FILES:02x}"), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        return file

    def _open(self, path: str) -> int:
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError:
            self._create(path)
            fd = os.open(path, _FLAGS)
        try:
            rights.check(path, os.fstat(fd), self._rule)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _create(self, path: str) -> None:
        """Make the file, for whoever may write what it belongs to."""
        like = os.stat(self._like)
        try:
            fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        try:
            if not os.geteuid():
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, 0o600 | like.st_mode & 0o060)
            with suppress(PermissionError):
                os.utime(fd, (_FAR, _FAR))
        finally:
            os.close(fd)
