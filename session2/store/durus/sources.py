"""Connections to a Durus database, used by one transaction at a time.

Nothing here knows of sessions.  A `Source` lets one transaction use a connection; it begins with ``abort()``, which
brings it up to date.  A connection is as good as its last transaction: until that came to its end, client and server
may not agree on who speaks next, and nobody else gets it.
"""

from __future__ import annotations

import socket
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from ...errors import ConfigurationError, Conflict, StoreMissing, StoreUnavailable
from ...forks import Birthplace, PerProcess
from ...mutex import Mutex
from .caching import caching_connection
from .driver import driver

_T = TypeVar("_T")

Place: TypeAlias = "str | tuple[str, int]"
"""Where a server listens: the path of a Unix socket, or host and port."""

SQLITE = ("Durus keeps what is not its own in SQLite files: after they are opened again, new objects overwrite old "
          "ones.  Use a Durus FileStorage or server, or the sqlite store")

_BETWEEN_MESSAGES: Final = (Conflict, ConfigurationError, StoreMissing)
"""What our own work raises; Durus is not in the middle of anything then, nor when it raises its own conflicts."""


class Link:
    """An open connection that closes its file or socket when it is let go of, in whatever process."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.birthplace = Birthplace()
        storage = connection.storage
        is_client = isinstance(storage, driver().client_storage)
        self._close = partial(_close, storage, is_client, self.birthplace)
        # Also when the interpreter ends, and then before its modules are gone.
        self._finalizer = weakref.finalize(self, self._close)

    def close(self) -> None:
        """Close it; may be done again, if something came between."""
        self._close()
        self._finalizer.detach()


def _close(storage: Any, is_client: bool, birthplace: Birthplace) -> None:
    if is_client:
        storage.s.close()
    elif birthplace.is_here():
        storage.close()
    else:  # closing the file as Durus does would take the lock away from the process we were forked from
        storage.shelf.file.file.close()


def in_transaction(connection: Any, action: Callable[[Any], _T], good: Callable[[], object],
                   bad: Callable[[], object]) -> _T:
    """Let `action` use the connection; then say that it is good, or bad.

    For the caller it is bad until told otherwise: an exception from outside may prevent both.
    """
    try:
        result = action(connection)
    except (*_BETWEEN_MESSAGES, driver().conflict):
        good()
        raise
    except BaseException:
        bad()
        raise
    good()
    return result


class Source:
    """Lets transactions use a connection."""

    is_shared = False
    """Whether several processes may use the database at once."""

    def use(self, action: Callable[[Any], _T], create: bool = False) -> _T:
        """Let a transaction use a connection.

        :param create: make the database if it is a file and not there.
        """
        raise NotImplementedError

    def commit(self, connection: Any) -> None:
        connection.commit()

    def pack(self) -> None:
        self.use(lambda connection: connection.pack())

    def close(self) -> None:
        """Let go of everything that is not in use."""


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

    def use(self, action: Callable[[Any], _T], create: bool = False) -> _T:
        idle = self._own().idle  # what was taken before close() does not come back into use after it
        try:
            link = idle.pop()
        except IndexError:
            link = self._connect()

        def bad() -> None:
            link.close()  # the server would wait for the rest of what was cut short
            self.close()  # the others are of the same age; if the server was restarted they are dead too

        return in_transaction(link.connection, action, lambda: idle.append(link), bad)

    def _connect(self) -> Link:
        durus = driver()
        connected = _connected_socket(self._place, self._timeout)
        address = durus.socket_address()
        address.get_connected_socket = lambda: connected  # Durus' own would have no timeout
        try:
            return Link(caching_connection()(durus.client_storage(address=address), cache_size=self._cache_size))
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
        self._mutex = Mutex()

    def turn(self, action: Callable[[], _T]) -> _T:
        """Do something that nobody else does at the same time."""
        return self._mutex.run(action, self._timeout, f"the Durus connection was busy for {self._timeout:g} s")


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
        self._is_good = True

    def use(self, action: Callable[[Any], _T], create: bool = False) -> _T:
        if not self._birthplace.is_here():
            raise ConfigurationError("the Durus connection belongs to the process that forked this one; "
                                     "give the store the address of the server instead")
        return self.turn(lambda: self._use(action))

    def _use(self, action: Callable[[Any], _T]) -> _T:
        if not self._is_good:
            raise StoreUnavailable("the Durus connection broke and is not the store's to renew; "
                                   "give it the address or file name instead")
        if self._connection.changed:
            raise ConfigurationError("the application has uncommitted changes on the store's Durus connection; "
                                     "give the store a connection of its own")
        self._is_good = False
        return in_transaction(self._connection, partial(self._or_abort, action), self._good, lambda: None)

    def _or_abort(self, action: Callable[[Any], _T], connection: Any) -> _T:
        """Leave nothing behind in a connection that is the application's too."""
        try:
            return action(connection)
        except (*_BETWEEN_MESSAGES, driver().conflict):
            connection.abort()
            raise

    def _good(self) -> None:
        self._is_good = True
