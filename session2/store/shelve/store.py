"""Sessions in a dbm file of any flavour, as the standard library's shelves are."""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...events import Observer, tell
from ...record import Record, Version
from ...traces import is_over, is_session
from ..base import SessionStore
from ..hostlock import HostLocks
from ..lockfile import LockFile
from ..records import KEY, checked_key
from ..versions import new_version
from .dbmfile import default_flavour
from .entries import PUT, REMOVE, TOUCH
from .file import NEVER, JournaledFile, Settings, Shelf, Times

_MAGIC = b"s2r1"
_HEAD = struct.Struct("<4sIQddddi")  # magic, checksum, version, four times, length of the user's name
_CHECKED_FROM = 8  # the checksum is over the key and everything behind it: a record in a wrong place is a damaged one
_TIMES = struct.Struct("<dd")  # accessed, expires: next to each other in the head
_TIMES_AT = 32

_SCAN_BATCH = 100


class ShelveSessionStore(SessionStore):
    """Keeps sessions in a dbm file, safe to use by several threads and processes of one machine.

    :param filename: the dbm file as `dbm.open` takes it, or its name without what the flavour adds; its folder must
        exist.  ``filename.journal`` beside it holds what changed since the file was last made anew.
    :param create: make a new shelf if there is none, at the first use; otherwise that is `StoreMissing`, for a mistyped
        name must not look like a shelf without sessions.  `setup` makes one too.
    :param flavour: how to make a new file: "sqlite3", "gnu", "ndbm" or "dumb"; default what `dbm.open` prefers.  An
        existing file keeps its flavour.
    :param fsync: have the disk confirm each save, so that not even a power failure loses one; slow.
    :param journal_size: the dbm file is made anew when the journal is larger than itself and than this, in bytes; 0: at
        every save, for small shelves that other programs look into.
    :param timeout: how long to wait for other threads and processes, in seconds, before `StoreUnavailable`.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, filename: str | os.PathLike[str], create: bool = False, *, flavour: str | None = None,
                 fsync: bool = False, journal_size: int = 1 << 18, timeout: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        if not os.fspath(filename):
            raise ConfigurationError("the shelve store needs the name of a file")
        path = os.path.abspath(os.fspath(filename))
        settings = Settings(path, default_flavour(flavour), fsync, journal_size, _patch, _times,
                            partial(_tell_of_damage, self.observer))
        self._file = JournaledFile(settings, timeout, create)
        self._locks = HostLocks(partial(LockFile, f"{path}.locks", os.path.dirname(path)))
        weakref.finalize(self, _close_unless_used, self._file)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        return self._live(key, self._file.get(_name(key)))

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        name = _name(key)
        version = new_version()
        value = _encode(name, record, version)

        def put(shelf: Shelf) -> None:
            self._compare(key, self._live(key, shelf.get(name)), expected)
            shelf.change([(PUT, name, value)])

        self._file.turn(put)
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        name = _name(key)
        times = _TIMES.pack(accessed, NEVER if expires is None else expires)

        def move(shelf: Shelf) -> bool:
            record = self._live(key, shelf.get(name))
            if record is not None and accessed > record.accessed:
                shelf.change([(TOUCH, name, times)])
            return record is not None

        return self._file.turn(move)

    def remove(self, key: str, expected: Version | None = None) -> None:
        name = _name(key)

        def take_away(shelf: Shelf) -> None:
            value = shelf.get(name)
            if value is None:
                return
            record = self._live(key, value)
            if expected is not None and record is not None:
                self._compare(key, record, expected)
            shelf.change([(REMOVE, name, b"")])

        self._file.turn(take_away)

    def scan(self) -> Iterator[tuple[str, Record]]:
        for names in self._batches(Shelf.keys, _SCAN_BATCH):
            for name, value in self._values(names):
                key = _key(name)
                record = self._live(key, value)
                if record is not None:
                    yield key, record

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        now = self.clock() if now is None else now
        whole = self._file.turn(lambda shelf: shelf.may_be_over(now, unused_since))
        names = self._batches(Shelf.keys if whole else Shelf.changed, batch)
        total = sum(self._purge_some(some, now, unused_since) for some in names)
        if whole or total:
            self.compact()
        return total

    # -- abilities -------------------------------------------------------------------------------------------------

    def setup(self, drop: bool = False) -> None:
        """Create what is missing.  With `drop` delete everything, also what session2 does not understand."""
        self._file.turn(lambda shelf: shelf.compact(empty=True) if drop else None, create=True)

    def compact(self) -> None:
        """Make the dbm file anew, with all that is in the journal and without what was deleted.

        This happens by itself from time to time; do it before you give the file to another program.
        """
        self._file.turn(Shelf.compact)

    def close(self) -> None:
        """Close the files."""
        self._file.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _batches(self, keys: Callable[[Shelf], list[bytes]], size: int) -> Iterator[list[bytes]]:
        names = iter(self._file.turn(keys))
        return iter(lambda: list(islice(names, size)), [])

    def _values(self, names: list[bytes]) -> list[tuple[bytes, bytes | None]]:
        return self._file.turn(lambda shelf: [(name, shelf.get(name)) for name in names])

    def _purge_some(self, names: list[bytes], now: float, unused_since: float | None) -> int:
        def take_away(shelf: Shelf) -> int:
            over = [name for name in names if _is_over(name, shelf.get(name), now, unused_since)]
            if over:
                shelf.change([(REMOVE, name, b"") for name in over])
            return len(over)

        return self._file.turn(take_away)

    def _live(self, key: str, value: bytes | None) -> Record | None:
        if value is None:
            return None
        record = _decode(key.encode("utf-8", "surrogateescape"), value)
        if record is None:
            self._damaged(_shown(key), "the shelf holds something else there")
            return None
        return record if record.is_live(self.clock()) else None

    def _compare(self, key: str, record: Record | None, expected: Version | None) -> None:
        if (None if record is None else record.version) != expected:
            raise Conflict(f"the record {key:.8} changed")


def _name(key: str) -> bytes:
    """Return what a key is called in the file."""
    return checked_key(key).encode("ascii")


def _key(name: bytes) -> str:
    """Return the key of this name; what others put into the file has none that could be a key, but counts as damage."""
    return name.decode("utf-8", "surrogateescape")


def _shown(key: str) -> str:
    return key if KEY.fullmatch(key) else ascii(key)


def _tell_of_damage(observer: Observer | None, name: bytes, why: str) -> None:
    """As a store's `_damaged`; the file does not know the store, which is let go of before it."""
    tell(observer, "corrupt", _shown(_key(name)), f"treated as missing: {why}")


def _encode(name: bytes, record: Record, version: int) -> bytes:
    user = b"" if record.user is None else record.user.encode("utf-8", "surrogatepass")
    expires = NEVER if record.expires is None else record.expires
    head = _HEAD.pack(_MAGIC, 0, version, record.created, record.modified, record.accessed, expires,
                      -1 if record.user is None else len(user))
    return _sealed(name, head + user + record.data)


def _sealed(name: bytes, value: bytes) -> bytes:
    checked = value[_CHECKED_FROM:]
    return _MAGIC + struct.pack("<I", zlib.crc32(checked, zlib.crc32(name))) + checked


def _decode(name: bytes, value: bytes) -> Record | None:
    """Return the record, None if the value is foreign or damaged."""
    if len(value) < _HEAD.size:
        return None
    magic, checksum, version, created, modified, accessed, expires, length = _HEAD.unpack_from(value)
    if magic != _MAGIC or checksum != zlib.crc32(memoryview(value)[_CHECKED_FROM:], zlib.crc32(name)):
        return None
    data_at = _HEAD.size + max(length, 0)
    if data_at > len(value):
        return None
    user = None if length < 0 else value[_HEAD.size:data_at].decode("utf-8", "surrogatepass")
    return Record(value[data_at:], created, modified, accessed, None if expires == NEVER else expires, user, version)


def _patch(name: bytes, value: bytes, times: bytes) -> bytes:
    """Return the value with other times; a damaged one stays as it is."""
    if _decode(name, value) is None:
        return value
    return _sealed(name, value[:_TIMES_AT] + times + value[_TIMES_AT + _TIMES.size:])


def _times(name: bytes, value: bytes) -> Times:
    """Return when a purge may have to delete the value: that it expires, and was last used."""
    record = _decode(name, value)
    if record is None:
        return NEVER, NEVER
    expires = NEVER if record.expires is None else record.expires
    return expires, record.accessed if is_session(_key(name), record) else NEVER


def _is_over(name: bytes, value: bytes | None, now: float, unused_since: float | None) -> bool:
    record = None if value is None else _decode(name, value)
    return record is not None and is_over(_key(name), record, now, unused_since)


def _close_unless_used(file: JournaledFile) -> None:
    """Close what a store leaves, also when the interpreter ends; a thread that hangs must not keep it from that."""
    with suppress(StoreUnavailable):
        file.close(0)
