"""Django: its sessions in a table, in files and in caches, for `session2_django`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from ...clocks import DAY
from ...errors import ConfigurationError
from ..ids import DJANGO
from ..known import Unreadable
from ..signatures import is_of_old_django, of_django
from ..source import Former, Skipped, Source, Unlisted, attempt, ended, mapping
from ..unpickle import Unpickler
from .files import in_file, named, names_in
from .keys import MemcachedItems, RedisKeys, escaped
from .tables import Table
from .texts import LATEST, from_base64, from_json, inflated, moment, moment_of, two_pickles

is_id: Final = DJANGO.fullmatch

_USER: Final = "_auth_user_id"
_LOGIN: Final = (_USER, "_auth_user_backend", "_auth_user_hash")
NOTES: Final = "_django_login"
"""Where `session2_django` keeps what Django notes of a login."""


def former(id: str, items: Any, accessed: float | None, expires: float | None) -> Former:
    """Return a session as `session2_django` stores it."""
    found = mapping(id, items, accessed=accessed, created=accessed, expires=expires)
    if not items:
        return ended(id)
    notes = {name: items.pop(name) for name in _LOGIN if name in items}
    if notes.get(_USER) is None:
        return found
    notes[_USER] = str(notes[_USER])  # a number, up to Django 1.7
    return found._replace(state={**found.state, "user": notes[_USER], NOTES: notes})


class Decoder:
    """Reads what those engines of Django's have written that serialize by themselves.

    :param secret: SECRET_KEY, to check signatures with; without it they are not looked at.
    """

    def __init__(self, unpickler: Unpickler, secret: str) -> None:
        self._unpickler, self._secrets = unpickler, [secret] if secret else []

    def items(self, text: str) -> Any:
        """Return the items that a text of Django's stands for."""
        return self._from_base64(text) if ":" in text else self._before_3_1(from_base64(text))

    def _from_base64(self, text: str) -> Any:
        if self._secrets and of_django(text, "django.contrib.sessions.SessionStore", self._secrets) is None:
            raise Unreadable("its signature is not of this secret")
        return self.unpacked(text.partition(":")[0])

    def _before_3_1(self, data: bytes) -> Any:
        hash, colon, serialized = data.partition(b":")
        if not colon:
            raise Unreadable("it is damaged")
        salt = "django.contrib.sessionsSessionStore"
        if self._secrets and not is_of_old_django(hash, serialized, salt, self._secrets):
            raise Unreadable("its signature is not of this secret")
        return self._unserialized(serialized)

    def unpacked(self, text: str) -> Any:
        """Return the items that are in a signed text, without the signature: Base64, and compressed after a dot."""
        data = inflated(from_base64(text[1:])) if text.startswith(".") else from_base64(text)
        return self._unserialized(data)

    def _unserialized(self, data: bytes) -> Any:
        """Return what JSONSerializer or PickleSerializer has made bytes of."""
        return from_json(data) if data[:1] == b"{" else self._unpickler.loads(data)


class Rows(Source):
    """Django's ``db`` and ``cached_db``: a row of ``django_session`` for each session.

    :param place: a URL of PostgreSQL or MySQL, or the path of an SQLite file.
    :param secret: SECRET_KEY, to check signatures with; without it the table is trusted.
    :param times: ``utc``, or ``local`` where USE_TZ is false, and the times in the table are those of this machine.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, table: str = "django_session", secret: str = "",
                 times: str = "utc") -> None:
        self._table = Table(place, table, "session_key", ["session_data", "expire_date"])
        self._decoder = Decoder(unpickler, secret)
        self._is_local = is_local(times)

    def scan(self) -> Iterator[Former | Skipped]:
        for row in self._table.rows():
            yield self._read(*row) if is_id(row[0]) else Skipped("a row", "its session_key is no id")

    def find(self, id: str) -> Former | Skipped | None:
        row = self._table.row(id) if is_id(id) else None
        return None if row is None else self._read(*row)

    def _read(self, id: str, data: str, end: Any) -> Former | Skipped:
        return attempt(id, lambda: former(id, self._decoder.items(data), None, moment_of(end, self._is_local)))


def is_local(times: str) -> bool:
    """Return whether times without a zone are those of this machine."""
    if times not in ("utc", "local"):
        raise ConfigurationError("times must be utc, or local where USE_TZ is false")
    return times == "local"


class Files(Source):
    """Django's ``file``: a file for each session.

    :param place: SESSION_FILE_PATH.
    :param prefix: SESSION_COOKIE_NAME, with which the names of the files begin.
    :param cookie_age: SESSION_COOKIE_AGE, in seconds.
    :param secret: SECRET_KEY, to check signatures with; without it the folder is trusted.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "sessionid", cookie_age: float = 14 * DAY,
                 secret: str = "") -> None:
        self._folder, self._prefix, self._age = os.path.abspath(place), prefix, cookie_age
        self._decoder = Decoder(unpickler, secret)

    def scan(self) -> Iterator[Former | Skipped]:
        names = (name for name in names_in(self._folder) if name.startswith(self._prefix))  # the folder may be /tmp
        return named((name.removeprefix(self._prefix) for name in names), is_id, self.find)

    def find(self, id: str) -> Former | Skipped | None:
        return in_file(id, self._folder, self._prefix + id, partial(self._read, id)) if is_id(id) else None

    def _read(self, id: str, data: bytes, changed: float) -> Former:
        items = self._decoder.items(data.decode("ascii", "replace")) if data else {}
        return former(id, items, changed, changed + age_of(items, changed, self._age))


def age_of(items: Any, changed: float, default: float) -> float:
    """Return how many seconds a session lives that was changed then: as `set_expiry` said, or by default."""
    expiry = items.get("_session_expiry") if isinstance(items, dict) else None
    end = moment_of(expiry, is_local=True)  # one without a zone was set where USE_TZ is false
    if end is not None:
        return end - changed
    return float(expiry) if isinstance(expiry, (int, float)) and expiry and abs(expiry) < LATEST else default


# -- caches -----------------------------------------------------------------------------------------------------------

_KEY: Final = ":{version}:django.contrib.sessions.cache"


class Cached:
    """Knows what a session is, and what it is called, in a cache, whichever that is.

    :param prefix: the cache's KEY_PREFIX.
    :param version: the cache's VERSION.
    """

    def __init__(self, unpickler: Unpickler, prefix: str, version: int) -> None:
        self.load, self.prefix = unpickler.loads, prefix + _KEY.format(version=version)

    def read(self, id: str, data: bytes, expires: float | None) -> Former | Skipped:
        """Return a session, given the pickle of its items, which may be compressed."""
        def read() -> Former:
            pickled = inflated(data) if data[:1] == b"x" else data
            return former(id, self.load(pickled), None, expires)

        return attempt(id, read)

    def id(self, key: str) -> str | None:
        """Return the id in a key, None for what is no session."""
        id = key.removeprefix(self.prefix)
        return id if key != id and is_id(id) else None


class CacheFiles(Unlisted):
    """Django's ``cache`` where that is a FileBasedCache: of the names of its files no id can be made.

    :param place: the cache's LOCATION.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "", version: int = 1) -> None:
        self._cached = Cached(unpickler, prefix, version)
        self._folder = os.path.abspath(place)

    def find(self, id: str) -> Former | Skipped | None:
        if not is_id(id):
            return None
        return in_file(id, self._folder, _hash(self._cached.prefix + id) + ".djcache", partial(self._parts, id))

    def _parts(self, id: str, data: bytes, _changed: float) -> Former:
        end, compressed = two_pickles(data)
        return former(id, self._cached.load(inflated(compressed)), None, moment(self._cached.load(end)))


def _hash(key: str) -> str:
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()


class CacheRows(Source):
    """Django's ``cache`` where that is a DatabaseCache.

    :param place: a URL of PostgreSQL or MySQL, or the path of an SQLite file.
    :param table: the cache's LOCATION.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, table: str = "cache", prefix: str = "", version: int = 1,
                 times: str = "utc") -> None:
        self._cached = Cached(unpickler, prefix, version)
        self._table = Table(place, table, "cache_key", ["value", "expires"])
        self._is_local = is_local(times)

    def scan(self) -> Iterator[Former | Skipped]:
        for key, value, end in self._table.rows():
            if id := self._cached.id(key):
                yield self._row(id, value, end)

    def find(self, id: str) -> Former | Skipped | None:
        row = self._table.row(self._cached.prefix + id) if is_id(id) else None
        return None if row is None else self._row(id, *row[1:])

    def _row(self, id: str, value: str, end: Any) -> Former | Skipped:
        def read() -> Former:
            items = self._cached.load(from_base64(value.strip()))
            return former(id, items, None, moment_of(end, self._is_local))

        return attempt(id, read)


class CacheRedis(Source):
    """Django's ``cache`` where that is its RedisCache, from 4.0 on, or django-redis.

    :param place: a URL of Redis, or the path of a socket.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "", version: int = 1) -> None:
        self._cached = Cached(unpickler, prefix, version)
        self._keys = RedisKeys(place)

    def scan(self) -> Iterator[Former | Skipped]:
        for value in self._keys.all(escaped(self._cached.prefix) + "*"):
            if id := self._cached.id(value.name):
                yield self._cached.read(id, value.data, value.expires)

    def find(self, id: str) -> Former | Skipped | None:
        value = self._keys.get(self._cached.prefix + id) if is_id(id) else None
        return None if value is None else self._cached.read(id, value.data, value.expires)

    def close(self) -> None:
        self._keys.close()


class CacheMemcached(Unlisted):
    """Django's ``cache`` where that is memcached.

    :param place: ``memcached://host:11211``, several servers with commas between.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, prefix: str = "", version: int = 1) -> None:
        self._cached = Cached(unpickler, prefix, version)
        self._items = MemcachedItems(place)

    def find(self, id: str) -> Former | Skipped | None:
        value = self._items.get(self._cached.prefix + id) if is_id(id) else None
        return None if value is None else self._cached.read(id, value.data, None)

    def close(self) -> None:
        self._items.close()
