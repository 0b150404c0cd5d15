"""The connection to a Durus database in a file, and what a crash may have left of that file."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from ... import forks
from ...errors import ConfigurationError, StoreMissing, StoreUnavailable
from ...forks import Birthplace
from ...mutex import Mutex
from .. import rights
from .caching import caching_connection
from .driver import driver
from .sources import SQLITE, Link, SingleSource, in_transaction

log = logging.getLogger("session2")

_T = TypeVar("_T")

_FIRST_LINE: Final = b"SHELF-1\n"
_SMALL: Final = 1 << 16  # what may be read without another look at how much there is

# Durus locks a file against a second opening, even by the same process.
_sources: Final[WeakValueDictionary[tuple[Any, ...], FileSource]] = WeakValueDictionary()
_mutex: Final = Mutex()


def file_source(path: str, timeout: float, *settings: Any) -> FileSource:
    """Return the source for a file: the one there is, if another store of this process has it open."""
    path = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
    key = (path, forks.pid(), timeout, *settings)

    def found_or_made() -> FileSource:
        source = _sources.get(key)
        if source is None:
            source = _sources[key] = FileSource(path, timeout, *settings)
        return source

    return _mutex.run(found_or_made, timeout, f"another thread kept everybody from {path}")


class FileSource(SingleSource):
    """The connection to a database file, opened when it is first needed."""

    def __init__(self, path: str, timeout: float, cache_size: int, durable: bool) -> None:
        super().__init__(timeout)
        self._path, self._cache_size, self._durable = path, cache_size, durable
        self._file: Any = None  # what was locked, also when the connection to it was not finished
        self._link: Link | None = None
        self._is_good = False
        self._birthplace = Birthplace()

    def _is_of_parent(self) -> bool:
        return self._file is not None and not self._birthplace.is_here()

    def use(self, action: Callable[[Any], _T], create: bool = False) -> _T:
        if self._is_of_parent():
            raise ConfigurationError(f"{self._path} is open in the process that forked this one; use a Durus server "
                                     "for several processes, or the store after the fork only")
        return self.turn(lambda: self._use(action, create))

    def _use(self, action: Callable[[Any], _T], create: bool) -> _T:
        if not self._is_good:
            self._close()
        self._is_good = False
        return in_transaction(self._opened(create).connection, action, self._good, self._close)

    def _good(self) -> None:
        self._is_good = True

    def commit(self, connection: Any) -> None:
        connection.commit()
        if self._durable:
            connection.storage.shelf.file.fsync()

    def pack(self) -> None:
        self.use(self._pack)

    def _pack(self, connection: Any) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path + ".pack")
        # Durus would make it readable by everybody, and its own of whoever packs.
        rights.create(self._path + ".pack", os.stat(self._path))
        connection.pack()
        os.remove(self._path + ".prepack")  # what was ended should not lie about
        _sync_folder(self._path)

    def close(self) -> None:
        if not self._is_of_parent():
            self.turn(self._close)

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._file is not None:
            self._file.close()
        self._link = self._file = None

    def _opened(self, create: bool) -> Link:
        if self._link is None:
            _check_file(self._path, create)
            self._birthplace = Birthplace()
            self._file = _checking_file()(self._path)
            try:
                storage = _storage(self._file, self._path)
                self._link = Link(caching_connection()(storage, cache_size=self._cache_size))
            except BaseException:
                self._close()
                raise
        return self._link


def _check_file(path: str, create: bool) -> None:
    """Refuse what is not ours to write; make the file, if it is not there and wanted."""
    rights.check_parent(path)
    if rights.look(path) is None:
        _make_file(path, create)
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format"):
        raise ConfigurationError(SQLITE)
    if head and not head.startswith(_FIRST_LINE):
        raise ConfigurationError(f"{path} is not a Durus file; if it is one of an old version, open it yourself "
                                 "and pass the durus Connection")


def _make_file(path: str, wanted: bool) -> None:
    if os.path.lexists(path + ".prepack"):  # an empty store in its place would lose every session
        raise ConfigurationError(f"{path} was being packed when the machine stopped; "
                                 f"rename {path}.prepack to {path}")
    folder = os.path.dirname(path)
    missing = "" if os.path.isdir(folder) else f", for there is no folder {folder}"
    if not wanted:
        raise StoreMissing(f"there is no Durus database at {path}{missing}", StoreMissing.CREATE)
    if missing:
        raise StoreUnavailable(f"{path} cannot be made{missing}; make the folder first")
    rights.create(path)
    _sync_folder(path)


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _storage(file: Any, path: str) -> Any:
    _lock(file, path)
    found = rights.look(path)
    if found is None or not os.path.samestat(found, os.fstat(file.file.fileno())):
        raise StoreUnavailable(f"{path} was replaced while it was opened; try again")
    try:
        _cut_off_half_written(file, path)
        return driver().file_storage(file)
    except (ValueError, OverflowError, LookupError, AssertionError, struct.error) as error:
        raise StoreUnavailable(f"the Durus file {path} is damaged: {error}") from error


def _lock(file: Any, path: str) -> None:
    try:
        file.obtain_lock()
    except BlockingIOError:
        raise StoreUnavailable(f"{path} is open elsewhere; use a Durus server for several processes") from None


@functools.cache
def _checking_file() -> Any:
    durus = driver()

    class CheckingFile(durus.file):  # type: ignore[misc, name-defined]
        """Reads no more than there is: Durus believes every length in a file, and so would ask for any memory."""

        def read(self, n: int | None = None) -> bytes:
            if n is not None and n > _SMALL and n > os.fstat(self.file.fileno()).st_size:
                raise durus.error(f"{self.get_name()} is damaged: it is shorter than one of its records")
            return super().read(n)  # type: ignore[no-any-return]

    return CheckingFile


def _cut_off_half_written(file: Any, path: str) -> None:
    """Remove what a crash left of a transaction; nobody was told that it is stored.

    Durus would find only some of these, and go on writing behind the others.
    """
    size = len(file)
    if size:
        whole = _end_of_whole_transactions(file, size)
        if whole < size:
            file.seek(whole)
            file.truncate()
            log.warning("%s ended in a broken transaction; cut off %d bytes", path, size - whole)


def _end_of_whole_transactions(file: Any, size: int) -> int:
    """Go over the file: its first line, a transaction, an index, and further transactions.

    Each part begins with its length, which Durus writes last: while it is 0, the transaction is not complete.
    """
    position = len(_FIRST_LINE)
    position += 8 + _number_at(file, position, size)
    _check_index(file, position, size)
    position += 8 + _number_at(file, position, size)
    while position + 8 <= size:
        length = _number_at(file, position, size)
        if length == 0 or position + 8 + length > size:
            break
        position += 8 + length
    return position


def _check_index(file: Any, position: int, size: int) -> None:
    """The index says how many numbers it has, and of how many bytes each; Durus takes memory for them unasked."""
    length, width, count = (_number_at(file, position + 8 * part, size) for part in range(3))
    if width > 8 or length != 16 + width * count or position + 8 + length > size:
        raise ConfigurationError(f"the Durus file {file.get_name()} is damaged; it ends in its index")


def _number_at(file: Any, position: int, size: int) -> int:
    if position + 8 > size:
        raise ConfigurationError(f"the Durus file {file.get_name()} is damaged; it ends in its index")
    file.seek(position)
    return int.from_bytes(file.read(8), "big")
