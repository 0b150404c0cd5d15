"""The connection to a Durus database in a file, and what a crash may have left of that file."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

from ...errors import ConfigurationError, SessionError, StoreUnavailable
from ...forks import PerProcess
from .driver import driver
from .sources import SQLITE, Link, SingleSource

log = logging.getLogger("session2")

_FIRST_LINE: Final = b"SHELF-1\n"

# Durus locks a file against a second opening, even by the same process.
_sources: Final[WeakValueDictionary[tuple[Any, ...], FileSource]] = WeakValueDictionary()
_mutex: Final = PerProcess(threading.Lock)


def file_source(path: str, *settings: Any) -> FileSource:
    """Return the source for a file: the one there is, if another store of this process has it open."""
    key = (os.path.realpath(path), os.getpid(), *settings)
    with _mutex():
        source = _sources.get(key)
        if source is None:
            source = _sources[key] = FileSource(path, *settings)
        return source


class FileSource(SingleSource):
    """The connection to a database file, opened when it is first needed."""

    def __init__(self, path: str, timeout: float, cache_size: int, durable: bool) -> None:
        super().__init__(timeout)
        self._path, self._cache_size, self._durable = path, cache_size, durable

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        if self._link is not None and not self._link.birthplace.is_here():
            raise ConfigurationError(f"{self._path} is open in the process that forked this one; use a Durus server "
                                     "for several processes, or the store after the fork only")
        with self._turn():
            self._link = self._link or self._open()
            try:
                yield self._link.connection
            except (driver().conflict, SessionError):  # raised between two messages: the connection is still good
                raise
            except BaseException:
                self._link = None
                raise

    def commit(self, connection: Any) -> None:
        connection.commit()
        if self._durable:
            connection.storage.shelf.file.fsync()

    def pack(self) -> None:
        with self.lend() as connection:
            mode = stat.S_IMODE(os.stat(self._path).st_mode)
            _create(self._path + ".pack", mode)  # Durus would create it readable by everybody
            connection.pack()
            os.remove(self._path + ".prepack")  # what was ended should not lie about
            _sync_folder(self._path)

    def close(self) -> None:
        if self._link is not None and self._link.birthplace.is_here():
            with self._turn():
                self._link = None

    def _open(self) -> Link:
        _check_file(self._path)
        try:
            return Link(driver().connection(_storage(self._path), cache_size=self._cache_size))
        except BlockingIOError:
            raise StoreUnavailable(f"{self._path} is open elsewhere; "
                                   "use a Durus server for several processes") from None


def _check_file(path: str) -> None:
    """Create the file if it is not there; refuse what is not ours to write."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            head = file.read(16)
        if head.startswith(b"SQLite format"):
            raise ConfigurationError(SQLITE)
        if head and not head.startswith(_FIRST_LINE):
            raise ConfigurationError(f"{path} is not a Durus file; if it is one of an old version, open it yourself "
                                     "and pass the durus Connection")
        return
    if os.path.exists(path + ".prepack"):  # an empty store in its place would lose every session
        raise ConfigurationError(f"{path} was being packed when the machine stopped; "
                                 f"rename {path}.prepack to {path}")
    _create(path, 0o600)
    _sync_folder(path)


def _create(path: str, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _storage(path: str) -> Any:
    durus = driver()
    file = durus.file(path)
    try:
        file.obtain_lock()
        _cut_off_half_written(file, path)
        return durus.file_storage(file)
    except BaseException:
        file.close()
        raise


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
    for _ in ("the first transaction", "the index"):
        position += 8 + _number_at(file, position)
    if position > size:
        raise ConfigurationError(f"the Durus file {file.get_name()} is damaged; it ends in its index")
    while position + 8 <= size:
        length = _number_at(file, position)
        if length == 0 or position + 8 + length > size:
            break
        position += 8 + length
    return position


def _number_at(file: Any, position: int) -> int:
    file.seek(position)
    return int.from_bytes(file.read(8), "big")
