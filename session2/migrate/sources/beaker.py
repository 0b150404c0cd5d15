"""Beaker, from 1.5 on: its sessions in files, dbm files, tables, Redis and memcached."""

from __future__ import annotations

import dbm
import os
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

from ..ids import BEAKER
from ..known import Unreadable
from ..source import Former, Skipped, Source, Unlisted, attempt, ended, mapping
from ..unpickle import Unpickler
from .beaker_cipher import decrypted, is_encrypted
from .files import demand_folder, in_file, named
from .keys import MemcachedItems, RedisKeys
from .tables import Table, as_bytes
from .texts import from_base64, from_json, inflated, moment

is_id: Final = BEAKER.fullmatch

_OWN: Final = frozenset({"_creation_time", "_accessed_time", "_domain", "_path", "_expires", "_id"})
"""What Beaker keeps among the items for itself."""

_DAMAGED: Final = (*dbm.error, ValueError, SyntaxError, EOFError)
"""What the modules for dbm files raise."""


_BEGINNINGS: Final = (b"\x80\x02", b"x\x9c")
"""What Beaker encrypts begins so: pickles of protocol 2, and compressed JSON."""


class Keys(NamedTuple):
    """What sessions are encrypted with: Beaker's ``session.encrypt_key`` and ``session.validate_key``."""

    encrypt: str = ""
    validate: str = ""


class Reader:
    """Knows what a session of Beaker's is, wherever it was stored.

    :param timeout: Beaker's ``session.timeout``, in seconds: what was not used for longer is over.  0: there is none.
    :param user_key: the item that tells who is logged in.
    """

    def __init__(self, unpickler: Unpickler, timeout: float, user_key: str, keys: Keys) -> None:
        self.load = unpickler.loads
        self._timeout, self._user_key, self._keys = timeout, user_key, keys

    def former(self, id: str, stored: Any) -> Former:
        """Return a session, given what is under the name ``session``."""
        items = self._items(stored)
        if not isinstance(items, dict):
            raise Unreadable(f"it holds no mapping but a {type(items).__name__}")
        created, accessed = moment(items.get("_creation_time")), moment(items.get("_accessed_time"))
        own = {name: value for name, value in items.items() if name not in _OWN}
        if not own:  # logged out
            return ended(id)
        expires = accessed + self._timeout if accessed and self._timeout else None
        return mapping(id, own, self._user_key, created=created, accessed=accessed, expires=expires)

    def _items(self, stored: Any) -> Any:
        if not isinstance(stored, (str, bytes)):  # up to 1.11
            return stored
        text = stored if isinstance(stored, str) else stored.decode("latin-1")
        if self._keys.encrypt:
            return self._decrypted(text)
        if is_encrypted(text):
            raise Unreadable("it is encrypted: name encrypt_key and validate_key")
        return self._unserialized(from_base64(text))

    def _decrypted(self, text: str) -> Any:
        data = decrypted(text, *self._keys)
        if not data.startswith(_BEGINNINGS):
            raise Unreadable("it was encrypted with other keys, or it is damaged")
        return self._unserialized(data)

    def _unserialized(self, data: bytes) -> Any:
        return from_json(inflated(data)) if data[:1] == b"x" else self.load(data)

    def in_namespace(self, id: str, pickled: bytes) -> Former:
        """Return a session, given the pickle of what Beaker calls its namespace."""
        namespace = self.load(pickled)
        if namespace == {}:  # logged out, up to 1.5
            return ended(id)
        if not isinstance(namespace, dict) or "session" not in namespace:
            raise Unreadable("it is no session")  # but what Beaker's caches keep, perhaps
        return self.former(id, namespace["session"])


class Files(Source):
    """Beaker's ``file``: a file for each session in two levels of folders below ``container_file``.

    :param place: Beaker's ``data_dir``, or its ``file_dir``.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", validate_key: str = "") -> None:
        self._reader = Reader(unpickler, timeout, user_key, Keys(encrypt_key, validate_key))
        self._folder = _folder(place, "container_file")

    def scan(self) -> Iterator[Former | Skipped]:
        names = (name.rpartition(".") for name in _names_below(self._folder))
        return named((id for id, _, ending in names if ending == "cache"), is_id, self.find)

    def find(self, id: str) -> Former | Skipped | None:
        if not is_id(id):
            return None
        return in_file(id, self._folder, _path(id, ".cache"), lambda data, _: self._reader.in_namespace(id, data))


class DBM(Source):
    """Beaker's ``dbm``: a dbm file for each session in two levels of folders below ``container_dbm``.

    :param place: Beaker's ``data_dir``, or its ``dbm_dir``.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", validate_key: str = "") -> None:
        self._reader = Reader(unpickler, timeout, user_key, Keys(encrypt_key, validate_key))
        self._folder = _folder(place, "container_dbm")

    def scan(self) -> Iterator[Former | Skipped]:
        names = (name.partition(".dbm") for name in _names_below(self._folder))
        # Some kinds of dbm have several files.
        return named(dict.fromkeys(id for id, found, _ in names if found), is_id, self.find)

    def find(self, id: str) -> Former | Skipped | None:
        if not is_id(id):
            return None
        path = os.path.join(self._folder, _path(id, ".dbm"))
        if not any(os.path.lexists(path + ending) for ending in ("", ".db", ".dir", ".pag", ".dat")):
            demand_folder(self._folder)
            return None
        return attempt(id, lambda: self._reader.former(id, self._reader.load(_under_session(path))))


class Rows(Source):
    """Beaker's ``ext:database`` and ``ext:sqla``: a row for each session.

    :param place: a URL of PostgreSQL or MySQL, or the path of an SQLite file.
    :param table: Beaker's ``table_name``.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", validate_key: str = "", table: str = "beaker_cache") -> None:
        self._reader = Reader(unpickler, timeout, user_key, Keys(encrypt_key, validate_key))
        self._table = Table(place, table, "namespace", ["data"])

    def scan(self) -> Iterator[Former | Skipped]:
        for id, data in self._table.rows():
            yield self._read(id, data) if is_id(id) else Skipped("a row", "its namespace is no id")

    def find(self, id: str) -> Former | Skipped | None:
        row = self._table.row(id) if is_id(id) else None
        return None if row is None else self._read(*row)

    def _read(self, id: str, data: bytes) -> Former | Skipped:
        return attempt(id, lambda: self._reader.in_namespace(id, as_bytes(data)))


_PREFIX: Final = "beaker_cache:"
_SUFFIX: Final = ":session"


class Redis(Source):
    """Beaker's ``ext:redis``, from 1.10 on: a key for each session.

    :param place: a URL of Redis, or the path of a socket.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", validate_key: str = "") -> None:
        self._reader = Reader(unpickler, timeout, user_key, Keys(encrypt_key, validate_key))
        self._keys = RedisKeys(place)

    def scan(self) -> Iterator[Former | Skipped]:
        for value in self._keys.all(f"{_PREFIX}*{_SUFFIX}"):
            id = value.name[len(_PREFIX):-len(_SUFFIX)]
            yield self._read(id, value.data, value.expires) if is_id(id) else Skipped("a key", "there is no id in it")

    def find(self, id: str) -> Former | Skipped | None:
        value = self._keys.get(f"{_PREFIX}{id}{_SUFFIX}") if is_id(id) else None
        return None if value is None else self._read(id, value.data, value.expires)

    def _read(self, id: str, data: bytes, end: float | None) -> Former | Skipped:
        def read() -> Former:
            found = self._reader.former(id, self._reader.load(data))
            return found._replace(expires=min(filter(None, (found.expires, end)), default=None))

        return attempt(id, read)

    def close(self) -> None:
        self._keys.close()


class Memcached(Unlisted):
    """Beaker's ``ext:memcached``: an item for each session.

    :param place: ``memcached://host:11211``, several servers with commas between.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", validate_key: str = "") -> None:
        self._reader = Reader(unpickler, timeout, user_key, Keys(encrypt_key, validate_key))
        self._items_of = MemcachedItems(place)

    def find(self, id: str) -> Former | Skipped | None:
        value = self._items_of.get(f"{id}_session") if is_id(id) else None
        return None if value is None else attempt(id, lambda: self._reader.former(id, self._stored(value.data)))

    def _stored(self, data: bytes) -> Any:
        """Return what was given to the client, which pickles all but texts and bytes, and may compress it."""
        if data[:1] == b"x":
            data = inflated(data)
        return data if re.fullmatch(rb"[A-Za-z0-9+/=]+", data) else self._reader.load(data)

    def close(self) -> None:
        self._items_of.close()


# -- where Beaker puts files ------------------------------------------------------------------------------------------


def _folder(place: str, name: str) -> str:
    below = os.path.join(os.path.abspath(place), name)
    return below if os.path.isdir(below) else os.path.abspath(place)


def _path(id: str, ending: str) -> str:
    return os.path.join(id[:1], id[:2], id + ending)


def _names_below(folder: str) -> Iterator[str]:
    """Iterate over the names of the files where those of sessions are."""
    demand_folder(folder)
    for parent, _, names in os.walk(folder, onerror=_fail):
        if re.fullmatch(r"./..", os.path.relpath(parent, folder), re.DOTALL):
            yield from names


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # which was there a moment ago
        raise error


def _under_session(path: str) -> bytes:
    kind = dbm.whichdb(path)
    if not kind:
        raise Unreadable("it is no dbm file of a kind that this Python reads" if kind == "" else
                         "its file is not there any more, or cannot be read")
    try:
        with closing(dbm.open(path, "r")) as database:
            return bytes(database[b"session"])
    except ImportError:
        raise Unreadable(f"its file is of {kind}, which this Python does not have") from None
    except KeyError:
        raise Unreadable("it is no session") from None
    except (*_DAMAGED, OSError):
        raise Unreadable(f"its file of {kind} is damaged, or in use") from None
