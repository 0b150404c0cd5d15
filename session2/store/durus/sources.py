"""Connections to a Durus database, lent to one transaction at a time.

Nothing here knows of sessions.  A `Source` lends a connection; whoever gets one begins with ``abort()``, which brings
it up to date.  A connection that failed in the middle of anything is thrown away: client and server may no longer agree
on who speaks next.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

from ...errors import ConfigurationError, SessionError, StoreUnavailable
from ...forks import Birthplace, PerProcess
from .driver import driver

Place: TypeAlias = "str | tuple[str, int]"
"""Where a server listens: the path of a Unix socket, or host and port."""

SQLITE = ("Durus keeps what is not its own in SQLite files: after they are opened again, new objects overwrite old "
          "ones.  Use a Durus FileStorage or server, or the sqlite store")


class Link:
    """An open connection that closes its file or socket when it is let go of, in whatever process."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.birthplace = Birthplace()

    def close(self) -> None:
        storage = self.connection.storage
        if isinstance(storage, driver().client_storage):
            storage.s.close()
        elif self.birthplace.is_here():
            storage.close()
        else:  # closing the file as Durus does would take the lock away from the process we were forked from
            storage.shelf.file.file.close()

    __del__ = close


class Source:
    """Lends connections."""

    is_shared = False
    """Whether several processes may use the database at once."""

    def lend(self) -> contextlib.AbstractContextManager[Any]:
        """Lend a connection to one transaction."""
        raise NotImplementedError

    def commit(self, connection: Any) -> None:
        connection.commit()

    def pack(self) -> None:
        with self.lend() as connection:
            connection.pack()

    def close(self) -> None:
        """Let go of everything that is not lent."""


class _Kept:
    """What one process keeps for the next transactions."""

    def __init__(self) -> None:
        self.idle: deque[Link] = deque()


class ServerSource(Source):
    """Connections to a Durus server: as many as there are transactions at the same time, kept for the next ones.

    A Durus connection serves one thread at a time and holds a cache that is costly to fill, so connections outlive
    the threads that use them; and they are not taken along into a forked process.
    """

    is_shared = True

    def __init__(self, place: Place, timeout: float, cache_size: int) -> None:
        self._place, self._timeout, self._cache_size = place, timeout, cache_size
        self._own = PerProcess(_Kept)

    def close(self) -> None:
        self._own().idle = deque()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        idle = self._own().idle  # what was lent before close() does not come back into use after it
        try:
            link = idle.pop()
        except IndexError:
            link = self._connect()
        try:
            yield link.connection
        except (driver().conflict, SessionError):  # raised between two messages: the connection is still good
            idle.append(link)
            raise
        except BaseException:
            self.close()  # the others are of the same age; if the server was restarted they are dead too
            raise
        idle.append(link)

    def _connect(self) -> Link:
        durus = driver()
        connected = _connected_socket(self._place, self._timeout)
        address = durus.socket_address()
        address.get_connected_socket = lambda: connected  # Durus' own would have no timeout
        try:
            return Link(durus.connection(durus.client_storage(address=address), cache_size=self._cache_size))
        except BaseException:
            connected.close()
            raise


def _connected_socket(place: Place, timeout: float) -> socket.socket:
    if isinstance(place, tuple):
        connected = socket.create_connection(place, timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(timeout)
        connected.connect(place)
    except BaseException:
        connected.close()
        raise
    return connected


class SingleSource(Source):
    """One connection that everybody in one process takes in turn."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # Not re-entrant: a transaction begun by a signal handler would undo the one it interrupts.
        self._mutex = PerProcess(threading.Lock)
        self._link: Link | None = None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        mutex = self._mutex()
        if not mutex.acquire(timeout=self._timeout):
            raise StoreUnavailable(f"the Durus connection was busy for {self._timeout:g} s")
        try:
            yield
        finally:
            mutex.release()


class GivenSource(SingleSource):
    """A connection of the application's."""

    def __init__(self, connection: Any, timeout: float) -> None:
        super().__init__(timeout)
        if any(base.__name__ == "SqliteStorage" for base in type(connection.storage).__mro__):
            raise ConfigurationError(SQLITE)
        if isinstance(connection.storage, driver().client_storage) and connection.storage.s.gettimeout() is None:
            connection.storage.s.settimeout(timeout)
        self._connection = connection
        self._birthplace = Birthplace()
        self._failure: BaseException | None = None

    @contextlib.contextmanager
    def lend(self) -> Iterator[Any]:
        if not self._birthplace.is_here():
            raise ConfigurationError("the Durus connection belongs to the process that forked this one; "
                                     "give the store the address of the server instead")
        with self._turn():
            if self._failure is not None:
                raise StoreUnavailable("the Durus connection broke and is not the store's to renew; "
                                       "give it the address or file name instead") from self._failure
            if self._connection.changed:
                raise ConfigurationError("the application has uncommitted changes on the store's Durus connection; "
                                         "give the store a connection of its own")
            try:
                yield self._connection
            except (driver().conflict, SessionError):  # raised between two messages: the connection is still good
                self._connection.abort()
                raise
            except BaseException as error:
                self._failure = error
                raise
