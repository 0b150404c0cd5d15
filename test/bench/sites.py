"""Stores with so many sessions, each beside a twin from which the bare back end deletes what has expired."""

from __future__ import annotations

import atexit
import base64
import hashlib
import os
import random
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from cases import STATE

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_durus import DurusServer
from servers_sql import MariaServer, PostgresServer

from session2 import DictSession, from_url
from session2.record import Record
from session2.store.base import SessionStore
from session2.store.durus import layout
from session2.store.durus.store import DurusSessionStore
from session2.tokens import hash_id

_T = TypeVar("_T")

LASTS = 14 * 86400.0
"""Seconds that a session lives which was just used."""

_COLUMNS = ("key", "data", "created", "modified", "accessed", "expires")


def id_of(number: int) -> str:
    """Return the id of a session, by its number."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"%d" % number).digest()).rstrip(b"=").decode()


def key_of(number: int) -> str:
    """Return the key that the session of this number is filed under."""
    return hash_id(id_of(number))


def records(store: SessionStore, numbers: Iterable[int], lasts: float) -> Iterator[tuple[str, Record]]:
    """Iterate over keys and records of sessions that end so many seconds from now."""
    now, session = time.time(), DictSession()
    session.update(STATE)
    payload = store.sessions.codec.payload(session)
    for key in map(key_of, numbers):
        yield key, Record(store.serializer.seal(payload, key), now, now, now, now + lasts)


def rows(store: SessionStore, numbers: Iterable[int], lasts: float) -> Iterator[tuple[Any, ...]]:
    """Iterate over what `_COLUMNS` and the version are to hold."""
    return ((key, *record[:5], random.getrandbits(62)) for key, record in records(store, numbers, lasts))


def chunks(items: Iterable[_T], size: int = 1000) -> Iterator[list[_T]]:
    """Cut into pieces."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


class Site(ABC):
    """A store and its twin.

    :param folder: where the files may go.
    :param size: how many sessions there are, which all last.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = self.filled = size
        self.url, self.twin = self.prepare(folder)
        self.store = from_url(self.url)
        self.fill(range(size), LASTS)

    def fill_expired(self, count: int) -> None:
        """Add sessions that have expired."""
        self.fill(range(self.filled, self.filled + count), -1.0)
        self.filled += count

    @abstractmethod
    def prepare(self, folder: Path) -> tuple[str, Any]:
        """Make the store and its twin; return the URL of the one and what the other is known by."""

    @abstractmethod
    def fill(self, numbers: range, lasts: float) -> None:
        """Put sessions into both that last so many seconds."""

    @abstractmethod
    def purge_bare(self) -> object:
        """Delete from the twin what has expired."""


class DirectorySite(Site):
    """Files; bare is to look at all of them and to unlink."""

    def prepare(self, folder: Path) -> tuple[str, SessionStore]:
        ours, twin = (f"directory:{folder}/{name}{self.size}?create=true" for name in ("ours", "twin"))
        return ours, from_url(twin)

    def fill(self, numbers: range, lasts: float) -> None:
        for store in (self.store, self.twin):
            for key, record in records(self.store, numbers, lasts):
                store.write(key, record, None)
        os.sync()

    def purge_bare(self) -> None:
        now = time.time()
        for folder in [entry.path for entry in os.scandir(self.twin.directory) if entry.is_dir()]:
            for entry in os.scandir(folder):
                if entry.stat(follow_symlinks=False).st_atime <= now:
                    os.unlink(entry.path)


class SQLiteSite(Site):
    """Rows; bare is one DELETE."""

    def prepare(self, folder: Path) -> tuple[str, sqlite3.Connection]:
        paths = [folder / f"{name}{self.size}.db" for name in ("ours", "twin")]
        for path in paths:
            from_url(f"sqlite:{path}").setup()
        self._ours, twin = (sqlite3.connect(path, isolation_level=None) for path in paths)
        twin.execute("PRAGMA synchronous = NORMAL")
        return f"sqlite:{paths[0]}", twin

    def fill(self, numbers: range, lasts: float) -> None:
        for connection in (self._ours, self.twin):
            with connection:
                connection.execute("BEGIN")
                connection.executemany(
                    f"INSERT INTO sessions ({', '.join(_COLUMNS)}, version, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    ((*row, row[5]) for row in rows(self.store, numbers, lasts)))

    def purge_bare(self) -> None:
        self.twin.execute("DELETE FROM sessions WHERE due <= ?", [time.time()])


class SQLSite(Site):
    """Rows of a server; bare is one DELETE."""

    kind: Callable[..., Any]

    def prepare(self, folder: Path) -> tuple[str, str]:
        server = _server(self.kind)
        self._names = [f"{name}{self.size}" for name in ("ours", "twin")]
        urls = [f"{server.url}?table={name}" for name in self._names]
        for url in urls:
            from_url(url).setup()
        self._cursor = server.connect().cursor()
        return urls[0], self._names[1]

    def purge_bare(self) -> None:
        now = time.time()
        self._cursor.execute(f"DELETE FROM {self.twin} WHERE expires_hour <= %s AND expires <= %s",
                             [now // 3600 + 1, now])


class PostgresSite(SQLSite):
    """Rows, filled by COPY."""

    kind = PostgresServer

    def fill(self, numbers: range, lasts: float) -> None:
        for name in self._names:
            with self._cursor.copy(f"COPY {name} ({', '.join(_COLUMNS)}, version) FROM STDIN") as copy:
                for row in rows(self.store, numbers, lasts):
                    copy.write_row(row)
            self._cursor.execute(f"VACUUM ANALYZE {name}")
        self._cursor.execute("CHECKPOINT")


class MySQLSite(SQLSite):
    """Rows, filled in the order of their keys, or it would take hours."""

    kind = MariaServer

    def fill(self, numbers: range, lasts: float) -> None:
        for name in self._names:
            for some in chunks(sorted(rows(self.store, numbers, lasts))):
                self._cursor.executemany(f"INSERT INTO {name} (`{'`, `'.join(_COLUMNS)}`, version) "
                                         "VALUES (%s, %s, %s, %s, %s, %s, %s)", some)


@cache
def _server(kind: Callable[..., Any]) -> Any:
    server = kind(durable=True)
    atexit.register(server.close)
    return server


class DurusSite(Site):
    """Objects behind a server; bare is to delete given keys from B-trees, as many in a transaction as ours."""

    def prepare(self, folder: Path) -> tuple[str, Any]:
        self._servers = [DurusServer(folder / f"{name}{self.size}") for name in ("ours", "twin")]
        for server in self._servers:
            store = DurusSessionStore(os.fspath(server.file), create=True, durable=False)
            fill_durus(store, range(self.size), LASTS)
            atexit.register(server.start().stop)
        return self._servers[0].url, from_url(self._servers[1].url)

    def fill(self, numbers: range, lasts: float) -> None:
        if lasts < 0:
            self._expired = [key_of(number) for number in numbers]
            for store in (self.store, self.twin):
                fill_durus(store, numbers, lasts)

    def purge_bare(self) -> None:
        def delete(trees: layout.Trees, keys: list[str]) -> None:
            for key in keys:
                del layout._shard(trees.records, key)[key]

        for keys in chunks(self._expired, 100):
            self.twin._transact(partial(delete, keys=keys))


def fill_durus(store: Any, numbers: range, lasts: float) -> None:
    """Put sessions into a Durus database."""
    def put(trees: layout.Trees, some: list[tuple[str, Record]]) -> None:
        for key, record in some:
            layout.store(trees, key, None, None, record._replace(version=random.getrandbits(62)), ())

    for some in chunks(records(store, numbers, lasts), 20_000):
        store._transact(partial(put, some=some), create=True)
    store.close()


SITES = {"directory": DirectorySite, "sqlite": SQLiteSite, "durus": DurusSite, "postgres": PostgresSite,
         "mysql": MySQLSite}
