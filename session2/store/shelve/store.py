"""Sessions in a dbm file of any flavour, as the standard library's shelves are."""

from __future__ import annotations

import logging
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from ...errors import ConfigurationError, Conflict
from ...forks import PerProcess
from ...record import Record, Version
from ..base import SessionStore
from ..records import checked_key
from .dbmfile import default_flavour
from .entries import PUT, REMOVE, TOUCH
from .journal import JournaledFile

log = logging.getLogger("session2")

_MAGIC = b"s2r1"
_HEAD = struct.Struct("<4sIQddddi")  # magic, checksum, version, four times, length of the user's name
_CHECKED_FROM = 8  # the checksum is over the key and everything behind it: a record in a wrong place is a damaged one
_TIMES = struct.Struct("<dd")  # accessed, expires: next to each other in the head
_TIMES_AT = 32
_NEVER = float("inf")

_SCAN_BATCH = 100


class ShelveSessionStore(SessionStore):
    """Keeps sessions in a dbm file, safe to use by several threads and processes of one machine.

    :param filename: the dbm file as `dbm.open` takes it, or its name without what the flavour adds; its folder must
        exist.  ``filename.journal`` beside it holds what changed since the file was last made anew.
    :param flavour: how to make a new file: "sqlite3", "gnu", "ndbm" or "dumb"; default what `dbm.open` prefers.  An
        existing file keeps its flavour.
    :param fsync: have the disk confirm each save, so that not even a power failure loses one; slow.
    :param journal_size: the dbm file is made anew when the journal is larger than itself and than this, in bytes; 0: at
        every save, for small shelves that other programs look into.
    :param timeout: how long to wait for other threads and processes, in seconds, before `StoreUnavailable`.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, filename: str | os.PathLike[str], *, flavour: str | None = None, fsync: bool = False,
                 journal_size: int = 1 << 18, timeout: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        if not os.fspath(filename):
            raise ConfigurationError("the shelve store needs the name of a file")
        path = os.path.abspath(os.fspath(filename))
        made = partial(JournaledFile, path, default_flavour(flavour), fsync, journal_size, timeout, _patch)
        self._file = PerProcess(made, JournaledFile.let_go)
        weakref.finalize(self, _close, self._file)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        name = _name(key)
        with self._file() as file:
            value = file.get(name)
        return self._live(key, value)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        name = _name(key)
        version = int.from_bytes(os.urandom(8), "little") >> 2
        value = _encode(name, record, version)
        with self._file() as file:
            self._compare(key, self._live(key, file.get(name)), expected)
            file.change([(PUT, name, value)])
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        name = _name(key)
        with self._file() as file:
            record = self._live(key, file.get(name))
            if record is not None and accessed > record.accessed:
                file.change([(TOUCH, name, _TIMES.pack(accessed, _NEVER if expires is None else expires))])

    def remove(self, key: str, expected: Version | None = None) -> None:
        name = _name(key)
        with self._file() as file:
            value = file.get(name)
            if value is None:
                return
            record = self._live(key, value)
            if expected is not None and record is not None:
                self._compare(key, record, expected)
            file.change([(REMOVE, name, b"")])

    def scan(self) -> Iterator[tuple[str, Record]]:
        for names in self._batches(_SCAN_BATCH):
            with self._file() as file:
                values = [(_key(name), file.get(name)) for name in names]
            for key, value in values:
                record = self._live(key, value)
                if record is not None:
                    yield key, record

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        now = self.clock() if now is None else now
        total = 0
        for names in self._batches(batch):
            with self._file() as file:
                expired = [name for name in names if _is_expired(name, file.get(name), now)]
                if expired:
                    file.change([(REMOVE, name, b"") for name in expired])
            total += len(expired)
        if total:
            self.compact()
        return total

    # -- abilities -------------------------------------------------------------------------------------------------

    def setup(self, drop: bool = False) -> None:
        """Create what is missing.  With `drop` delete everything, also what session2 does not understand."""
        with self._file() as file:
            if drop:
                file.compact(empty=True)

    def compact(self) -> None:
        """Make the dbm file anew, with all that is in the journal and without what was deleted.

        This happens by itself from time to time; do it before you give the file to another program.
        """
        with self._file() as file:
            file.compact()

    def close(self) -> None:
        """Close the files."""
        self._file().close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _batches(self, size: int) -> Iterator[list[bytes]]:
        with self._file() as file:
            names = iter(file.keys())
        return iter(lambda: list(islice(names, size)), [])

    def _live(self, key: str, value: bytes | None) -> Record | None:
        if value is None:
            return None
        record = _decode(key.encode("utf-8", "surrogateescape"), value)
        if record is None:
            log.warning("corrupt record %.8s is treated as missing: the shelf holds something else there", key)
            return None
        return record if record.is_live(self.clock()) else None

    def _compare(self, key: str, record: Record | None, expected: Version | None) -> None:
        if (None if record is None else record.version) != expected:
            raise Conflict(f"the record {key:.8} changed")


def _close(file: PerProcess[JournaledFile]) -> None:
    file().close()


def _name(key: str) -> bytes:
    """Return what a key is called in the file."""
    return checked_key(key).encode("ascii")


def _key(name: bytes) -> str:
    """Return the key of this name; what others put into the file has none that could be a key, but counts as damage."""
    return name.decode("utf-8", "surrogateescape")


def _encode(name: bytes, record: Record, version: int) -> bytes:
    user = b"" if record.user is None else record.user.encode("utf-8", "surrogatepass")
    expires = _NEVER if record.expires is None else record.expires
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
    user = None if length < 0 else value[_HEAD.size:data_at].decode("utf-8", "surrogatepass")
    return Record(value[data_at:], created, modified, accessed, None if expires == _NEVER else expires, user, version)


def _patch(name: bytes, value: bytes, times: bytes) -> bytes:
    """Return the value with other times; a damaged one stays as it is."""
    if _decode(name, value) is None:
        return value
    return _sealed(name, value[:_TIMES_AT] + times + value[_TIMES_AT + _TIMES.size:])


def _is_expired(name: bytes, value: bytes | None, now: float) -> bool:
    record = None if value is None else _decode(name, value)
    return record is not None and not record.is_live(now)
