"""Sessions in a Durus object database: in a file for one process, or behind a Durus server for many."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...patience import attempts
from ...record import Record, Version
from ..base import SessionStore
from ..records import checked_key
from . import layout
from .driver import driver
from .file import file_source
from .layout import Part, Place, Trees
from .sources import GivenSource, ServerSource, Source

_T = TypeVar("_T")

_SLICE = 100  # records looked at in one transaction of a scan
_PAST = 8  # versions a record remembers, to recognise a write whose answer got lost

_ADDRESS = re.compile(r"(\[[^/\\\]]+\]|[^/\\:\[\]]+):(\d{1,5})")


class DurusSessionStore(SessionStore):
    """Keeps records in a Durus database.

    :param connection: where the database is:

        - a server: ``"host:port"``, a pair ``(host, port)``, ``"unix:PATH"`` or the path of its Unix socket.  Safe for
          threads and processes;
        - a file name, for one process.  The file is created, for its owner only, if it is missing;
        - a durus ``Connection``, for one process, as in session2 0.6.  The store takes it in turn with itself only:
          do not use it elsewhere while sessions are served.
    :param cache_size: objects a connection keeps in memory; best more than there are sessions in use.
    :param timeout: seconds after which `StoreUnavailable` is raised when the server does not answer.  A Durus server
        itself waits 10 seconds for a client that stopped in the middle of a commit; a shorter time fails with it.
    :param durable: force each save of a database file to disk.  A server decides for itself, and does not.

    Raises `ConfigurationError` for a Durus ``SqliteStorage``, which loses data, and if Durus is missing.
    """

    is_thread_safe = True

    def __init__(self, connection: Any, *, cache_size: int = 10_000, timeout: float = 15.0, durable: bool = True,
                 **options: Any) -> None:
        super().__init__(**options)
        self._timeout = timeout
        self._source = _source(connection, cache_size, timeout, durable)
        self.is_multiprocess_safe = self._source.is_shared

    @classmethod
    def from_location(cls, location: str, **options: Any) -> DurusSessionStore:
        """Make a store from ``durus:PATH`` (a file), ``durus://HOST[:PORT]`` or ``durus+unix:PATH`` (a server)."""
        scheme, _, rest = location.partition(":")
        if not rest.strip("/"):
            raise ConfigurationError("write durus:/var/lib/sessions.durus, durus://localhost:2972 or "
                                     "durus+unix:/run/durus.socket")
        if scheme == "durus+unix":
            return cls("unix:" + rest, **options)
        if rest.startswith("//"):
            return cls(_host_and_port(location), **options)
        return cls(os.fspath(_Path(rest)), **options)

    def read(self, key: str) -> Record | None:
        checked_key(key)
        return self._transact(lambda trees: self._live(layout.find(trees, key)[1]))

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        checked_key(key)
        version = secrets.randbits(63)

        def compare_and_set(trees: Trees) -> None:
            entry, found = layout.find(trees, key)
            past = () if found is None else (found.version, *entry[7])
            if version in past:  # it is there already: the connection broke before the answer came
                return
            live = self._live(found)
            if (None if live is None else live.version) != expected:
                raise Conflict(f"the record {key:.8} changed")
            state = [*record._replace(version=version), past[:_PAST]]
            if found is None:
                layout.put(trees, key, state)
            else:
                entry[:] = state
            layout.index(trees, key, found, record)

        self._transact(compare_and_set, create=True)
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> None:
        checked_key(key)

        def move(trees: Trees) -> None:
            entry, found = layout.find(trees, key)
            record = self._live(found)
            if record is not None and accessed > record.accessed:
                entry[3:5] = [accessed, expires]

        self._transact(move)

    def remove(self, key: str, expected: Version | None = None) -> None:
        checked_key(key)

        def delete(trees: Trees) -> None:
            entry, found = layout.find(trees, key)
            record = self._live(found)
            if record is not None and expected not in (None, record.version):
                raise Conflict(f"the record {key:.8} changed")
            if entry is not None:
                layout.delete(trees, key, found)

        self._transact(delete)

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._live_of(partial(layout.part, size=_SLICE))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        found = self._live_of(partial(layout.part_of_user, size=_SLICE, user=user))
        return ((key, record) for key, record in found if record.user == user)

    def purge(self, now: float | None = None, batch: int = 1000) -> int:
        now = self.clock() if now is None else now
        count = 0
        for found in self._slices(partial(layout.part, size=min(batch, _SLICE))):
            expired = [key for key, record in found if record is not None and not record.is_live(now)]
            if expired:
                count += self._delete_expired(expired, now)
        return count

    def setup(self, drop: bool = False) -> None:
        """Create what is missing.  With `drop` delete all sessions first, in one transaction."""
        self._transact(lambda trees: None, create=True, drop=drop)

    def pack(self) -> None:
        """Give the space of old states back; a Durus database grows by every save.

        A server packs in the background and this returns at once; a file is packed here, and the store waits.
        """
        self._again(self._source.pack)

    def close(self) -> None:
        self._source.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _live(self, record: Record | None) -> Record | None:
        return record if record is not None and record.is_live(self.clock()) else None

    def _live_of(self, read: Callable[..., tuple[Part, Place | None]]) -> Iterator[tuple[str, Record]]:
        for found in self._slices(read):
            now = self.clock()
            yield from ((key, record) for key, record in found if record is not None and record.is_live(now))

    def _slices(self, read: Callable[..., tuple[Part, Place | None]]) -> Iterator[Part]:
        """Go through the database some records at a time; nobody waits while the caller works on them."""
        found, place = self._transact(read)
        yield found
        while place is not None:
            found, place = self._transact(partial(read, place=place))
            yield found

    def _delete_expired(self, keys: list[str], now: float) -> int:
        def delete(trees: Trees) -> int:
            found = [(key, layout.find(trees, key)[1]) for key in keys]
            expired = [(key, record) for key, record in found if record is not None and not record.is_live(now)]
            for key, record in expired:
                layout.delete(trees, key, record)
            return len(expired)

        return self._transact(delete)

    def _transact(self, work: Callable[[Trees], _T], create: bool = False, drop: bool = False) -> _T:
        """Do `work` on the B-trees and commit, again until nothing comes between."""
        def attempt() -> _T:
            with self._source.lend() as connection:
                connection.abort()
                result = work(layout.open_trees(connection, create, drop))
                if connection.changed:
                    self._source.commit(connection)
                return result

        return self._again(attempt)

    def _again(self, attempt: Callable[[], _T]) -> _T:
        lost = False
        for _ in attempts(self._timeout, longest=0.032):
            try:
                return attempt()
            except driver().conflict:
                continue
            except driver().failures as error:
                if lost or isinstance(error, TimeoutError):
                    raise StoreUnavailable(f"the Durus database does not answer: {_text(error)}") from error
                lost = True  # the server was restarted, perhaps; a new connection will tell
        raise StoreUnavailable(f"the Durus database was too busy for {self._timeout:g} s")


def _source(connection: Any, cache_size: int, timeout: float, durable: bool) -> Source:
    if isinstance(connection, driver().connection):
        return GivenSource(connection, timeout)
    if not isinstance(connection, (str, tuple, os.PathLike)):
        raise ConfigurationError("a Durus store takes an address, a file name or a durus Connection, not a "
                                 + type(connection).__name__)
    place = _place(connection)
    if place is not None:
        return ServerSource(place, timeout, cache_size)
    assert not isinstance(connection, tuple)
    return file_source(os.fspath(connection), timeout, cache_size, durable)


class _Path(os.PathLike[str]):
    """A path, however much it may look like an address."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


def _place(where: Any) -> str | tuple[str, int] | None:
    """Return where the server listens, None if `where` is a file name."""
    if isinstance(where, tuple):
        host, port = where
        return str(host), int(port)
    if isinstance(where, str):
        address = _ADDRESS.fullmatch(where)
        if address:
            return address[1].strip("[]"), int(address[2])
        if where.startswith("unix:"):
            return where[5:]
    try:
        return os.fspath(where) if stat.S_ISSOCK(os.stat(where).st_mode) else None
    except OSError:
        return None


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url}: {error}") from None
    if not host or parts.path.strip("/"):
        raise ConfigurationError(f"write durus://HOST:PORT for a server or durus:PATH for a file, not {url}")
    return host, port or 2972


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
