"""The journal of a shelf, ``FILE.journal``: opened once by each process, and locked for each turn.

Its start names the generation of the dbm file, random bytes that every entry begins with.  All that happens to a shelf
happens under a lock on the journal, which is therefore never replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...errors import StoreMissing, StoreUnavailable
from ...patience import attempts
from .. import rights
from . import dbmfile
from .entries import NOTE, Damaged, Entry, encode, parse

_START: Final = struct.Struct("<8s8sI")  # magic, generation, checksum of both
_MAGIC: Final = b"s2shelf\n"
_WHOSE: Final = 5  # of what is known of a file: its mode, its inode and device, how many names it has, its owner

_T = TypeVar("_T")


class Journal:
    """The journal as one process has it open.  All but `turn`, `is_still` and `close` is done within a turn.

    :param path: the dbm file's.
    :param durable: have the disk confirm every change.
    """

    def __init__(self, path: str, durable: bool) -> None:
        self._path, self._name, self._durable = path, f"{path}.journal", durable
        self._opened: io.FileIO | None = None
        self._seen: tuple[Any, ...] = ()
        self.size = 0

    # -- turns -----------------------------------------------------------------------------------------------------

    def turn(self, action: Callable[[], _T], create: bool, timeout: float, start: float) -> _T:
        """Do something alone among all processes; the threads of this one take turns before.

        An exception may come from outside at any moment.  So the lock is taken inside the ``try``, and no function is
        called before it is given up, nor is there an ``if``, at which Python 3.10 looks for exceptions.  This is not
        left to closing: somebody may have forked meanwhile, and the child have the file open too.

        :param create: make a journal if there is neither one nor the dbm file; otherwise that is `StoreMissing`.
        :param timeout: how long to wait for others, in seconds, before `StoreUnavailable`.
        :param start: since when.
        """
        try:
            self._lock(create, timeout, start)
            return action()
        finally:
            try:
                fcntl.flock(self._opened, fcntl.LOCK_UN)  # type: ignore[arg-type]
            except (TypeError, ValueError):  # it is not open
                pass
            except BaseException:
                self.close()
                raise

    def is_still(self, start: bytes, size: int) -> bool:
        """Tell, without a turn, whether it is in its place, begins so and is so long."""
        file = self._opened
        return file is not None and not file.closed and self._is_in_place(file) and self.size == size \
            and self.start() == start

    def close(self) -> None:
        """Close the file, and so give up its lock unless a child has it open too; it is opened again when needed."""
        if self._opened is not None:
            self._opened.close()

    def _lock(self, create: bool, timeout: float, start: float) -> None:
        while True:
            if self._opened is None or self._opened.closed:
                self._seen = ()
                self._opened = _opened(self._path, create)
            try:
                fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _wait_for_lock(self._path, self._opened, timeout - (time.monotonic() - start), timeout)
            if self._is_in_place(self._opened):
                return
            fcntl.flock(self._opened, fcntl.LOCK_UN)
            self._opened.close()  # removed meanwhile: there may be a new one

    def _is_in_place(self, file: io.FileIO) -> bool:
        """Tell whether this file is what the path names: no link, nor what somebody put there since we opened it."""
        try:
            found = os.lstat(self._name)
        except FileNotFoundError:
            return False
        if found[:_WHOSE] != self._seen:
            rights.check(self._name, found)
            if not os.path.samestat(found, os.fstat(file.fileno())):
                return False
            if found.st_nlink > 1:
                raise StoreUnavailable(f"{self._name} is not used: the same file has another name elsewhere; copy it "
                                       "in its place")
            self._seen = found[:_WHOSE]
        self.size = found.st_size
        return True

    @property
    def _file(self) -> int:
        assert self._opened is not None
        return self._opened.fileno()

    # -- what is in it ---------------------------------------------------------------------------------------------

    def status(self) -> os.stat_result:
        return os.fstat(self._file)

    def start(self) -> bytes:
        """Return what it begins with; empty, or the first bytes, if nobody has yet begun it, or not to the end."""
        return os.pread(self._file, _START.size, 0)

    def generation(self) -> tuple[bytes, int]:
        """Return the generation and where the entries begin."""
        start = self.start()
        if len(start) == _START.size:
            magic, generation, check = _START.unpack(start)
            if magic == _MAGIC and check == zlib.crc32(start[:-4]):
                return generation, _START.size
        elif _MAGIC.startswith(start[:len(_MAGIC)]):
            return self.restart(b"")
        raise StoreUnavailable(f"{self._path}.journal is damaged or not a journal; restore it, or remove it and "
                               f"lose what was saved since {self._path} was last made anew")

    def restart(self, note: bytes) -> tuple[bytes, int]:
        """Make it empty but for a note.  What a death half way leaves in it are entries of another generation."""
        generation = os.urandom(8)
        start = _MAGIC + generation
        start += struct.pack("<I", zlib.crc32(start))
        whole = start + encode(generation, NOTE, b"", note) if note else start
        _write(self._file, whole, 0)
        os.ftruncate(self._file, len(whole))
        if self._durable:
            os.fsync(self._file)
        self.size = len(whole)
        return generation, len(start)

    def entries(self, generation: bytes, position: int, damaged: Damaged) -> tuple[int, list[Entry]]:
        """Return the entries from this position on, and where the last whole one ends."""
        unknown = os.pread(self._file, max(self.size - position, 0), position)
        end, entries = parse(generation, unknown, f"{self._path}.journal", damaged)
        return position + end, entries

    def append(self, data: bytes, end: int) -> int:
        """Append entries where the last whole one ends, and return where they do.

        If that fails half way, what is there of them is taken back.
        """
        if self.size > end:
            os.ftruncate(self._file, end)
        try:
            _write(self._file, data, end)
            if self._durable:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise
        self.size = end + len(data)
        return self.size


def busy(path: str, timeout: float) -> str:
    """Return what to tell who waited too long."""
    return f"{path} was in use by others for more than {timeout:g} s"


def _opened(path: str, create: bool) -> io.FileIO:
    journal = f"{path}.journal"
    while True:
        if rights.look(journal) is None:
            _create(path, create)
        with contextlib.suppress(FileNotFoundError):
            return io.FileIO(journal, "r+")


def _create(path: str, wanted: bool) -> None:
    """Make the journal: of a new shelf if one is wanted, or of a dbm file that has none, as its owner would."""
    rights.check_parent(path)
    like = dbmfile.status_of(path)
    if like is None and not wanted:
        raise StoreMissing(f"there is no shelf at {path}{_folder_missing(path)}", StoreMissing.CREATE)
    if like is None and _folder_missing(path):
        raise StoreUnavailable(f"{path} cannot be made{_folder_missing(path)}; make the folder first")
    rights.create(f"{path}.journal", like)


def _folder_missing(path: str) -> str:
    folder = os.path.dirname(path)
    return "" if os.path.isdir(folder) else f", for there is no folder {folder}"


def _wait_for_lock(path: str, file: io.FileIO, left: float, timeout: float) -> None:
    """Not for ever: its holder may have been stopped."""
    for _ in attempts(left):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
    raise StoreUnavailable(busy(path, timeout))


def _write(file: int, data: bytes, position: int) -> None:
    while data:
        count = os.pwrite(file, data, position)
        data, position = data[count:], position + count
