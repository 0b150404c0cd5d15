"""Flask-Session, from 0.3 on: its sessions in files, Redis, memcached and tables, for `session2_flask`."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from ...errors import ConfigurationError
from ..ids import FLASK_SESSION
from ..known import Unreadable
from ..source import Former, Skipped, Source, Unlisted, attempt, ended, mapping
from ..unpickle import Unpickler
from .files import in_file
from .keys import MemcachedItems, RedisKeys, escaped
from .tables import Table, as_bytes
from .texts import from_json, moment, moment_of, two_pickles

is_id: Final = FLASK_SESSION.fullmatch

USER: Final = "_user_id"
"""Where Flask-Login keeps who is logged in, from 0.5 on."""


def former(id: str, items: Any, user_key: str, accessed: float | None, expires: float | None) -> Former:
    """Return a session as `session2_flask` stores it: its user is no item, but stands for one."""
    found = mapping(id, items, user_key, created=accessed, accessed=accessed, expires=expires)
    items.pop(user_key, None)
    if "user" not in found.state and not items.keys() - {"_permanent"}:
        return ended(id)
    return found


class Reader:
    """Knows what a session of Flask-Session's is, and what it is called, wherever it was stored.

    :param prefix: SESSION_KEY_PREFIX.
    :param user_key: the item that tells who is logged in: what is, or will be, the ``user_item`` of the
        `session2_flask.SessionInterface`.
    """

    def __init__(self, unpickler: Unpickler, prefix: str, user_key: str) -> None:
        self._unpickler, self.prefix, self._user_key = unpickler, prefix, user_key

    def read(self, id: str, data: bytes, expires: float | None) -> Former | Skipped:
        """Return a session, given its items as they were stored."""
        return attempt(id, lambda: former(id, self._items(data), self._user_key, None, expires))

    def read_file(self, id: str, data: bytes, changed: float) -> Former:
        """Return a session, given a file of cachelib's: when it expires, and the pickle of its items."""
        if data[4:5] == b"\x80":  # from cachelib 0.2 on
            end, pickled = struct.unpack("I", data[:4])[0], data[4:]
        else:
            first, pickled = two_pickles(data)
            end = self._unpickler.loads(first)
        return former(id, self._unpickler.loads(pickled), self._user_key, changed, moment(end))

    def _items(self, data: bytes) -> Any:
        """Return the items, which are pickled up to 0.6, and in MessagePack or JSON later."""
        if data[:1] == b"{":
            return from_json(data)
        # Of a pickle the second byte is the number of the protocol; in MessagePack 0x80 is a map without items.
        is_map = data == b"\x80" or b"\x81" <= data[:1] <= b"\x8f" or data[:1] in (b"\xde", b"\xdf")
        return self._unpickler.plain(_from_msgpack(data)) if is_map else self._unpickler.loads(data)

    def id(self, name: str) -> str | None:
        """Return the id in the name of a session, None for what is none."""
        id = name.removeprefix(self.prefix)
        return id if name.startswith(self.prefix) and is_id(id) else None


def _from_msgpack(data: bytes) -> Any:
    try:
        import msgspec
    except ImportError as error:
        raise ConfigurationError("sessions of Flask-Session 0.7 and later need msgspec: pip install 'session2[msgpack]'"
                                 ) from error
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):  # TypeError: a key that cannot be hashed
        raise Unreadable("it is damaged") from None


class Files(Unlisted):
    """Flask-Session's ``filesystem``, and ``cachelib`` with a FileSystemCache.

    Of the names of its files no id can be made, so sessions are found when their visitors come and not before.

    :param place: SESSION_FILE_DIR, by default ``flask_session``.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "session:", user_key: str = USER) -> None:
        self._reader = Reader(unpickler, prefix, user_key)
        self._folder = os.path.abspath(place)

    def find(self, id: str) -> Former | Skipped | None:
        if not is_id(id):
            return None
        for name in _names(self._reader.prefix + id):
            found = in_file(id, self._folder, name, partial(self._reader.read_file, id))
            if found is not None:
                return found
        return None


def _names(key: str) -> Iterator[str]:
    """Yield the names that the file of a key may have: cachelib has used one hash up to 0.16, and another one since."""
    yield hashlib.sha256(key.encode()).hexdigest()
    yield hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()


class Redis(Source):
    """Flask-Session's ``redis``.

    :param place: a URL of Redis, or the path of a socket.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "session:", user_key: str = USER) -> None:
        self._reader = Reader(unpickler, prefix, user_key)
        self._keys = RedisKeys(place)

    def scan(self) -> Iterator[Former | Skipped]:
        for value in self._keys.all(escaped(self._reader.prefix) + "*"):
            id = self._reader.id(value.name)
            yield self._reader.read(id, value.data, value.expires) if id else Skipped("a key", "there is no id in it")

    def find(self, id: str) -> Former | Skipped | None:
        value = self._keys.get(self._reader.prefix + id) if is_id(id) else None
        return None if value is None else self._reader.read(id, value.data, value.expires)

    def close(self) -> None:
        self._keys.close()


class Memcached(Unlisted):
    """Flask-Session's ``memcached``.

    :param place: ``memcached://host:11211``, several servers with commas between.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "session:", user_key: str = USER) -> None:
        self._reader = Reader(unpickler, prefix, user_key)
        self._items_of = MemcachedItems(place)

    def find(self, id: str) -> Former | Skipped | None:
        value = self._items_of.get(self._reader.prefix + id) if is_id(id) else None
        return None if value is None else self._reader.read(id, value.data, None)

    def close(self) -> None:
        self._items_of.close()


class Rows(Source):
    """Flask-Session's ``sqlalchemy``.

    :param place: a URL of PostgreSQL or MySQL, or the path of an SQLite file.
    :param table: SESSION_SQLALCHEMY_TABLE.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "session:", user_key: str = USER,
                 table: str = "sessions") -> None:
        self._reader = Reader(unpickler, prefix, user_key)
        self._table = Table(place, table, "session_id", ["data", "expiry"])

    def scan(self) -> Iterator[Former | Skipped]:
        for name, data, end in self._table.rows():
            id = self._reader.id(name)
            yield self._reader.read(id, as_bytes(data), moment_of(end)) if id else Skipped("a row", "its key is no id")

    def find(self, id: str) -> Former | Skipped | None:
        row = self._table.row(self._reader.prefix + id) if is_id(id) else None
        return None if row is None else self._reader.read(id, as_bytes(row[1]), moment_of(row[2]))
