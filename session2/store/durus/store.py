"""Sessions in a Durus object database: in a file for one process, or behind a Durus server for many."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...patience import attempts
from ...record import Record, Version
from ...traces import is_over
from ..base import SessionStore
from ..hostlock import HostLocks
from ..records import checked_key
from ..versions import new_version
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
        - a file name, for one process;
        - a durus ``Connection``, for one process, as in session2 0.6.  The store takes it in turn with itself only:
          do not use it elsewhere while sessions are served.
    :param create: make what is missing: the file, for its owner only, and at the first save the store's part of the
        database.  Otherwise that is `StoreMissing`, for a mistyped name must not look like a database without sessions.
        `setup` makes it too; in the database of a ``Connection`` it is always made.
    :param cache_size: objects a connection keeps in memory; best more than there are sessions in use.
    :param timeout: seconds after which `StoreUnavailable` is raised when the server does not answer.  A Durus server
        itself waits 10 seconds for a client that stopped in the middle of a commit; a shorter time fails with it.
    :param durable: force each save of a database file to disk.  A server decides for itself, and does not.

    Raises `ConfigurationError` for a Durus ``SqliteStorage``, which loses data, and if Durus is missing.
    """

    is_thread_safe = True

    def __init__(self, connection: Any, create: bool = False, *, cache_size: int = 10_000, timeout: float = 15.0,
                 durable: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._timeout = timeout
        self._source = _source(connection, cache_size, timeout, durable)
        self._create = create or isinstance(self._source, GivenSource)
        self.is_multiprocess_safe = self._source.is_shared
        self._locks = None if self._source.is_shared else HostLocks()

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> DurusSessionStore:
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
        version = new_version()

        def compare_and_set(trees: Trees) -> None:
            entry, found = layout.find(trees, key)
            past = () if found is None else (found.version, *layout.past(entry))
            if version in past:  # it is there already: the connection broke before the answer came
                return
            live = self._live(found)
            if (None if live is None else live.version) != expected:
                raise Conflict(f"the record {key:.8} changed")
            layout.store(trees, key, entry, found, record._replace(version=version), past[:_PAST])

        self._transact(compare_and_set, create=self._create)
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        checked_key(key)

        def move(trees: Trees) -> bool:
            entry, found = layout.find(trees, key)
            record = self._live(found)
            if record is not None and accessed > record.accessed:
                layout.touch(trees, key, entry, accessed, expires)
            return record is not None

        return self._transact(move)

    def remove(self, key: str, expected: Version | None = None) -> None:
        checked_key(key)

        def delete(trees: Trees) -> None:
            entry, found = layout.find(trees, key)
            record = self._live(found)
            if record is not None and expected not in (None, record.version):
                raise Conflict(f"the record {key:.8} changed")
            if entry is not None:
                layout.delete(trees, key, entry, found)

        self._transact(delete)

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._live_of(partial(layout.part, size=_SLICE))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        found = self._live_of(partial(layout.part_of_user, size=_SLICE, user=user))
        return ((key, record) for key, record in found if record.user == user)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        now = self.clock() if now is None else now
        size = min(batch, _SLICE)
        count = 0
        for number in range(self._transact(lambda trees: len(trees.due))):
            count += self._purge_due(number, now, size)
        if unused_since is not None:
            for found in self._slices(partial(layout.part, size=size)):
                over = [key for key, record in found if record is not None and is_over(key, record, now, unused_since)]
                if over:
                    count += self._transact(partial(self._purge_keys, keys=over, now=now, unused_since=unused_since))
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

    def _purge_due(self, number: int, now: float, size: int) -> int:
        """Delete what has expired in one of the B-trees, a transaction a batch; what has not is not even read."""
        def delete(trees: Trees, last: str) -> tuple[int, str | None]:
            keys, place = layout.due(trees, number, now, size, last)
            return self._purge_keys(trees, keys, now, None), place

        count, place = self._transact(partial(delete, last=""))
        while place is not None:
            deleted, place = self._transact(partial(delete, last=place))
            count += deleted
        return count

    def _purge_keys(self, trees: Trees, keys: list[str], now: float, unused_since: float | None) -> int:
        count = 0
        for key in keys:
            entry, record = layout.find(trees, key)
            if record is not None and is_over(key, record, now, unused_since):
                layout.delete(trees, key, entry, record)
                count += 1
        return count

    def _transact(self, work: Callable[[Trees], _T], create: bool = False, drop: bool = False) -> _T:
        """Do `work` on the B-trees and commit, again until nothing comes between."""
        def attempt(connection: Any) -> _T:
            connection.abort()
            result = work(layout.open_trees(connection, self._damaged, create, self._create, drop))
            if connection.changed:
                self._source.commit(connection)
            return result

        return self._again(lambda: self._source.use(attempt, create or self._create))

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
