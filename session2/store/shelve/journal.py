"""The journal of a shelf, ``FILE.journal``: opened and locked anew for each turn, so that nothing outlives one.

Its start names the generation of the dbm file, random bytes that every entry begins with.  All that happens to a shelf
happens under a lock on the journal, which is therefore never replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from ...errors import StoreMissing, StoreUnavailable
from ...patience import attempts
from .. import rights
from . import dbmfile
from .entries import NOTE, Damaged, Entry, encode, parse

_START: Final = struct.Struct("<8s8sI")  # magic, generation, checksum of both
_MAGIC: Final = b"s2shelf\n"


class Journal:
    """A journal that is open and locked.

    :param path: the dbm file's.
    :param durable: have the disk confirm every change.
    """

    def __init__(self, path: str, file: io.FileIO, durable: bool) -> None:
        self._path, self._file, self._durable = path, file.fileno(), durable
        self.size = self.status().st_size

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


@contextlib.contextmanager
def locked(path: str, durable: bool, timeout: float, create: bool, waited: float = 0.0) -> Iterator[Journal]:
    """Open the journal of the dbm file at `path`, alone among all threads and processes.

    An exception may come from outside at any moment.  The lock is one of the open file, which is in nobody's hands but
    ours and closed when we let go of it, in whatever way.

    :param timeout: how long to wait for others, in seconds, before `StoreUnavailable`.
    :param waited: so much of it is over.
    :param create: make one if there is neither the journal nor the dbm file; otherwise that is `StoreMissing`.
    """
    file = _locked(path, timeout, waited, create)
    try:
        yield Journal(path, file, durable)
    finally:
        # Not left to closing: somebody may have forked meanwhile, and the child have it open too.
        fcntl.flock(file, fcntl.LOCK_UN)
        file.close()


def busy(path: str, timeout: float) -> str:
    """Return what to tell who waited too long."""
    return f"{path} was in use by others for more than {timeout:g} s"


def _locked(path: str, timeout: float, waited: float, create: bool) -> io.FileIO:
    while True:
        file = _opened(path, create)
        try:
            _wait_for_lock(path, file, timeout, waited)
            if _is_at(f"{path}.journal", file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # removed meanwhile: there may be a new one


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


def _is_at(path: str, file: io.FileIO) -> bool:
    """Tell whether this file is what the path names: no link, nor what somebody put there since we looked."""
    found, opened = rights.look(path), os.fstat(file.fileno())
    if found is None or not os.path.samestat(found, opened):
        return False
    if opened.st_nlink > 1 and stat.S_ISREG(opened.st_mode):
        raise StoreUnavailable(f"{path} is not used: the same file has another name elsewhere; copy it in its place")
    return True


def _wait_for_lock(path: str, file: io.FileIO, timeout: float, waited: float) -> None:
    """Not for ever: its holder may have been stopped."""
    for _ in attempts(timeout - waited):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
    raise StoreUnavailable(busy(path, timeout))


def _write(file: int, data: bytes, position: int) -> None:
    while data:
        count = os.pwrite(file, data, position)
        data, position = data[count:], position + count
