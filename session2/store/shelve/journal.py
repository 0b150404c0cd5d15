"""A dbm file with a journal: changes are appended to the journal and now and then the file is made anew.

The journal is ``FILE.journal``.  Its start names the generation of the dbm file, random bytes that every entry begins
with.  All happens under a lock on the journal, which is therefore never replaced.  What a death in the middle leaves:

- an entry that is not whole, at the end: it never happened, and the next writer cuts it off;
- a new dbm file that is not whole: nothing refers to it, the journal still has everything;
- a whole one (the last entry is `SWAP`) that is not, or only in parts, in its place: the next one here finishes that.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ...errors import Conflict, StoreUnavailable
from ...patience import attempts
from . import dbmfile
from .entries import PUT, REMOVE, SWAP, TOUCH, Entry, encode, ends_with_swap, parse

log = logging.getLogger("session2")

_START: Final = struct.Struct("<8s8sI")  # magic, generation, checksum of both
_MAGIC: Final = b"s2shelf\n"

_LARGE_JOURNAL: Final = 1 << 24  # every process keeps the journal's values in memory


class JournaledFile:
    """A dbm file and its journal, in one process.

    Use it with ``with``: inside, nobody else, thread or process, uses it.

    :param path: the name of the dbm file, as `dbm.open` takes it.
    :param flavour: how to make the file if there is none.
    :param durable: have the disk confirm every change.
    :param journal_size: how large a journal, in bytes, is no reason yet to make the dbm file anew, even if that is
        smaller; 0: it is made anew after every change.
    :param timeout: how long to wait for others, in seconds, before `StoreUnavailable`.
    :param patch: makes the new value from the key, the old one and what a `TOUCH` entry holds.
    """

    def __init__(self, path: str, flavour: str, durable: bool, journal_size: int, timeout: float,
                 patch: Callable[[bytes, bytes, bytes], bytes]) -> None:
        self._path, self._flavour, self._durable, self._patch = path, flavour, durable, patch
        self._journal_size, self._timeout = journal_size, timeout
        self._mutex = threading.Lock()
        self._journal: int | None = None
        self._reader: dbmfile.Reader | None = None
        self._forget()

    def _forget(self) -> None:
        self._start = b""
        self._generation = b""
        self._end = self._size = 0
        self._changed: dict[bytes, bytes | None] = {}  # what the journal says; None: there is nothing
        self._limit = self._journal_size

    # -- inside the lock -------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        if key in self._changed:
            return self._changed[key]
        return None if self._reader is None else self._reader.get(key)

    def keys(self) -> list[bytes]:
        kept = [] if self._reader is None else self._reader.keys()
        return [key for key in kept if key not in self._changed] + [
            key for key, value in self._changed.items() if value is not None]

    def change(self, entries: Iterable[Entry]) -> None:
        """Make the changes, all of them or, after a crash, the first few."""
        entries = list(entries)
        self._append(b"".join(encode(self._generation, *entry) for entry in entries))
        for entry in entries:
            self._apply(*entry)
        if self._end > self._limit:
            self._try_to_compact()

    def compact(self, empty: bool = False) -> None:
        """Make the dbm file anew from itself and the journal, and the journal empty.

        :param empty: leave everything out.
        """
        self._build(iter(()) if empty else self._items())
        self._load()

    def _build(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the new file; once the journal says so, `_load` puts it in its place."""
        flavour = dbmfile.flavour_of(self._path) or self._flavour
        dbmfile.build(self._path, flavour, items, self._durable)
        self._append(encode(self._generation, SWAP, b"", b""))

    def _items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self.keys():
            value = self.get(key)
            if value is not None:
                yield key, value

    def _try_to_compact(self) -> None:
        """The change is safe already: a full disk, or a value too large for the flavour, must not fail it."""
        try:
            self._build(self._items())
        except (OSError, sqlite3.Error, ValueError, OverflowError) as error:
            self._limit = 2 * self._end
            log.warning("%s cannot be made anew, its journal goes on growing: %s", self._path, error)
        else:
            self._load()

    def _append(self, data: bytes) -> None:
        """Append entries; if that fails half way, take back what is there of them."""
        assert self._journal is not None
        if self._size > self._end:
            os.ftruncate(self._journal, self._end)
        try:
            _write(self._journal, data, self._end)
            if self._durable:
                os.fdatasync(self._journal)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._journal, self._end)
            raise
        self._size = self._end = self._end + len(data)

    def _apply(self, what: int, key: bytes, value: bytes) -> None:
        if what == PUT:
            self._changed[key] = value
        elif what == REMOVE:
            self._changed[key] = None
        elif what == TOUCH:
            old = self.get(key)
            if old is not None:
                self._changed[key] = self._patch(key, old, value)

    # -- the journal -----------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Learn what others did since the last time."""
        assert self._journal is not None
        start = os.pread(self._journal, _START.size, 0)
        if not start or start != self._start or self._size < self._end:
            self._load()
        elif self._size != self._end:
            end, entries = self._parse()
            self._replay(end, entries)

    def _load(self) -> None:
        """Read everything, after what was left undone is done."""
        assert self._journal is not None
        self._forget()
        self._close_reader()
        self._size = os.fstat(self._journal).st_size
        if self._size < _START.size:
            self._restart()
        self._start = os.pread(self._journal, _START.size, 0)
        magic, self._generation, check = _START.unpack(self._start)
        if magic != _MAGIC or check != zlib.crc32(self._start[:-4]):
            raise StoreUnavailable(f"{self._path}.journal is damaged or not a journal; restore it, or remove it and "
                                   f"lose what was saved since {self._path} was last made anew")
        self._end = _START.size
        end, entries = self._parse()
        if not ends_with_swap(entries):  # until it is finished the file may be in parts of two
            self._open_reader()
        self._replay(end, entries)

    def _open_reader(self) -> None:
        flavour = dbmfile.flavour_of(self._path)
        if flavour is None:
            return
        if self._journal_size:
            self._limit = max(self._journal_size, min(dbmfile.size(self._path), _LARGE_JOURNAL))
        self._reader = dbmfile.open_reader(self._path, flavour)

    def _replay(self, end: int, entries: list[Entry]) -> None:
        if ends_with_swap(entries):
            self._close_reader()
            dbmfile.swap(self._path, self._durable)
            self._restart()
            self._load()
            return
        for entry in entries:
            self._apply(*entry)
        self._end += end

    def _parse(self) -> tuple[int, list[Entry]]:
        """Return what the journal holds that is not known yet: the length of it, and the entries."""
        assert self._journal is not None
        unknown = os.pread(self._journal, self._size - self._end, self._end)
        return parse(self._generation, unknown, f"{self._path}.journal")

    def _restart(self) -> None:
        """Make the journal empty.  What a death half way leaves in it are entries of another generation."""
        assert self._journal is not None
        start = _MAGIC + os.urandom(8)
        _write(self._journal, start + struct.pack("<I", zlib.crc32(start)), 0)
        os.ftruncate(self._journal, _START.size)
        if self._durable:
            os.fsync(self._journal)
        self._size = _START.size

    # -- the lock --------------------------------------------------------------------------------------------------

    def __enter__(self) -> JournaledFile:
        end = time.monotonic() + self._timeout
        if not self._mutex.acquire(timeout=self._timeout):
            raise self._busy()
        try:
            self._lock(end - time.monotonic())
            self._catch_up()
        except BaseException as error:
            self._start = b""
            self._unlock()
            self._raise(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, Conflict):
            self._start = b""  # whatever was cut short in memory, the journal knows: read it again
        self._unlock()
        if error is not None:
            self._raise(error)

    def _raise(self, error: BaseException) -> None:
        if isinstance(error, (OSError, sqlite3.Error)):
            raise StoreUnavailable(f"{self._path} cannot be used: {error}") from error

    def _busy(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path} was in use by others for more than {self._timeout:g} s")

    def _lock(self, patience: float) -> None:
        while True:
            if self._journal is None:
                self._journal = os.open(self._path + ".journal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._wait_for_lock(self._journal, patience)
            status = os.fstat(self._journal)
            self._size = status.st_size
            if status.st_nlink:
                return
            self._close()  # removed meanwhile: there may be a new one

    def _wait_for_lock(self, journal: int, patience: float) -> None:
        """Not for ever: its holder may have been stopped."""
        for _ in attempts(patience, shortest=0.0001, longest=0.005):
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise self._busy()

    def _unlock(self) -> None:
        try:
            if self._journal is not None:
                fcntl.flock(self._journal, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        self._close_reader()
        self._forget()
        if self._journal is not None:
            journal, self._journal = self._journal, None
            os.close(journal)

    def _close_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()

    def let_go(self) -> None:
        """Close, in a child, what would keep the parent's lock alive there; the reader's closing would take it away."""
        journal, self._journal = self._journal, None
        if journal is not None:
            os.close(journal)


def _write(file: int, data: bytes, position: int) -> None:
    while data:
        count = os.pwrite(file, data, position)
        data, position = data[count:], position + count
