"""Durus databases of session2 0.6 and session3: all sessions in one persistent dictionary, pickled together."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from ...errors import ConfigurationError, StoreUnavailable
from ...store.durus.driver import driver
from ..known import Standin, Unreadable
from ..opcodes import check
from ..source import Former, Skipped, attempt
from ..unpickle import Unpickler
from .sessions06 import Objects, former, is_id
from .tables import as_bytes

_ROOT: Final = bytes(8)

_MOST: Final = 2 ** 30
"""How many bytes all sessions together may have."""

_COMPRESSED: Final = b"x"
"""What zlib begins with, and no pickle."""


class Durus(Objects):
    """A Durus file, or a server: ``//HOST:PORT``."""

    def __init__(self, place: str, unpickler: Unpickler) -> None:
        super().__init__(place, unpickler)
        self._last: tuple[bytes, dict[Any, Any]] = b"", {}

    def scan(self) -> Iterator[Former | Skipped]:
        for id, session in self._sessions().items():
            if isinstance(id, str) and is_id(id):
                yield self._read(id, session)
            else:
                yield Skipped("an entry", "it is filed under something else than an id")

    def _find(self, id: str) -> Former | Skipped | None:
        sessions = self._sessions()
        return self._read(id, sessions[id]) if id in sessions else None

    def _read(self, id: str, session: Any) -> Former | Skipped:
        return attempt(id, lambda: former(id, self._unpickler.attributes_of(session)))

    def _sessions(self) -> dict[Any, Any]:
        """Return the sessions by their ids, as their pickle holds them."""
        with closing(self._open()) as storage:
            record = self._record(storage, _oid_of(self._items(self._record(storage, _ROOT)).get("sessions")))
        if record != self._last[0]:
            self._last = record, self._items(record)
        return self._last[1]

    def _open(self) -> Any:
        durus = driver()
        failures: tuple[type[Exception], ...] = (ValueError, LookupError, AttributeError, *durus.failures)
        try:
            return self._opened_file() if "://" not in self._place else _Closing(self._opened_client())
        except failures as error:
            raise StoreUnavailable("the Durus database cannot be opened: "
                                   f"{str(error) or 'it is none, or damaged'}") from error

    def _opened_file(self) -> Any:
        if not os.path.isfile(self._place):
            raise ConfigurationError(f"there is no file {self._place}")
        file = driver().file(self._place, readonly=True)
        try:
            return driver().file_storage(file, readonly=True)
        except BaseException:
            file.close()
            raise

    def _opened_client(self) -> Any:
        host, _, port = self._place.partition("://")[2].rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigurationError("a server of Durus is written //HOST:PORT")
        return driver().client_storage(address=(host, int(port)))

    def _record(self, storage: Any, oid: bytes) -> bytes:
        failures: tuple[type[Exception], ...] = (KeyError, *driver().failures)
        try:
            return bytes(storage.load(oid))
        except failures as error:
            raise StoreUnavailable(f"the Durus database cannot be read: {type(error).__name__}") from error

    def _items(self, record: bytes) -> dict[Any, Any]:
        """Return the items of the persistent dictionary in a record: object id, length, class and state, references."""
        data = record[12:12 + int.from_bytes(record[8:12], "big")]
        try:
            end = check(data)
            state = data[:end] + _decompressed(data[end:])
        except (ValueError, zlib.error):
            raise StoreUnavailable("the Durus database is damaged") from None
        found = self._unpickler.load(state, _MOST, _Reference, pickles=2)
        items = found.get("data") if isinstance(found, dict) else None
        if not isinstance(items, dict):
            raise ConfigurationError("this Durus database is none of session2 0.6 or session3")
        return items


class _Reference(Standin):
    """What stands for another persistent object."""

    name = "another object of the database"

    def __new__(cls, *arguments: Any) -> _Reference:
        return object.__new__(cls)

    def __init__(self, target: Any) -> None:
        self.state = target


class _Closing:
    """A client that lets go of its socket, and does not ask the server first."""

    def __init__(self, client: Any) -> None:
        self.load, self.close = client.load, client.s.close


def _oid_of(reference: Any) -> bytes:
    target = reference.state if isinstance(reference, _Reference) else None
    if not isinstance(target, tuple) or not target:
        raise ConfigurationError("this Durus database has no sessions of session2 0.6 or session3")
    return as_bytes(target[0])


def _decompressed(state: bytes) -> bytes:
    if not state.startswith(_COMPRESSED):
        return state
    reader = zlib.decompressobj()
    data = reader.decompress(state, _MOST)
    if reader.unconsumed_tail:
        raise Unreadable(f"the sessions are larger than {_MOST} bytes")
    return data
