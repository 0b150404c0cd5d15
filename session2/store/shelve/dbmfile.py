"""A dbm file of any flavour, read as it is and replaced as a whole, never changed in place.

No flavour survives the death of a process in the middle of a change, so there are no changes.  `build` makes a new
file beside the old one, `swap` puts it in the old one's place; a swap that was cut short is finished by another one.
"""

from __future__ import annotations

import contextlib
import dbm
import os
import sqlite3
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, Protocol
from urllib.parse import quote

from ...errors import ConfigurationError, StoreUnavailable

FLAVOURS: Final = ("sqlite3", "gnu", "ndbm", "dumb")  # in the order in which `dbm.open` prefers them

_SUFFIXES: Final = ("", ".db", ".dir", ".pag", ".dat")
_NEW: Final = ".new"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SQLITE_TABLE: Final = "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
_BLOCK: Final = 512  # dbm.dumb aligns values to it


class Reader(Protocol):
    """An open file, for reading."""

    def get(self, key: bytes) -> bytes | None: ...

    def keys(self) -> list[bytes]: ...

    def close(self) -> None: ...


def default_flavour(wanted: str | None) -> str:
    """Return `wanted`, or what `dbm.open` would choose; `ConfigurationError` if this Python cannot make it."""
    if wanted is None:
        return next(name for name in FLAVOURS if _has_module(name))
    if wanted not in FLAVOURS:
        raise ConfigurationError(f"flavour must be one of {', '.join(FLAVOURS)}, not {wanted!r}")
    if wanted != "sqlite3" and not _has_module(wanted):
        raise ConfigurationError(f"this Python has no module dbm.{wanted}; install it or choose another flavour")
    return wanted


def flavour_of(path: str) -> str | None:
    """Return the flavour of the file at `path`, None if there is none; `StoreUnavailable` if it is no dbm file."""
    found = dbm.whichdb(path)
    if found:
        return found.removeprefix("dbm.")
    if _is_sqlite(path):
        return "sqlite3"
    if not os.path.exists(path) or not os.path.getsize(path):
        return None
    raise StoreUnavailable(f"{path} is not a dbm file; it was left as it is, choose another name or remove it")


def open_reader(path: str, flavour: str) -> Reader:
    """Open the file; `StoreUnavailable` if it is damaged as a whole, or of a flavour this Python cannot read."""
    try:
        return _SQLiteReader(path) if flavour == "sqlite3" else _DbmReader(path, flavour)
    except ImportError as error:
        raise StoreUnavailable(f"{path} is a dbm.{flavour} file and this Python has no such module") from error
    except Exception as error:  # a damaged dbm.dumb index can raise anything
        raise StoreUnavailable(f"{path} cannot be opened as a dbm.{flavour} file: {error}; restore or remove it"
                               ) from error


def size(path: str) -> int:
    """Return how many bytes the file has, in all its parts."""
    total = 0
    for suffix in _SUFFIXES:
        with contextlib.suppress(OSError):
            total += os.stat(path + suffix).st_size
    return total


def build(path: str, flavour: str, items: Iterable[tuple[bytes, bytes]], durable: bool) -> None:
    """Make the file that is to replace the one at `path`.

    :param durable: have the disk confirm it.
    """
    new = path + _NEW
    _remove_all(new)
    try:
        _builder(flavour)(new, items)
    except BaseException:
        _remove_all(new)  # on a full disk it is in the way
        raise
    if durable:
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                _sync(new + suffix)
        _sync(os.path.dirname(path))


def swap(path: str, durable: bool) -> None:
    """Put what `build` made, or what is left of it, in the place of the file.

    What SQLite may have left beside the old file would be taken for a part of the new one.
    """
    if _is_sqlite(path):
        _remove(path + "-wal")
        _remove(path + "-shm")
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + _NEW + suffix, path + suffix)
    if durable:
        _sync(os.path.dirname(path))


class _DbmReader:
    def __init__(self, path: str, flavour: str) -> None:
        self._file: Any = import_module("dbm." + flavour).open(path, "r")

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes = self._file[key]
        except KeyError:
            return None
        return value

    def keys(self) -> list[bytes]:
        return list(self._file.keys())

    def close(self) -> None:
        self._file.close()


class _SQLiteReader:
    """The format of dbm.sqlite3, which Python has from 3.13 on and lets no second thread use."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False,
                                     isolation_level=None)
        try:
            self.get(b"")
        except BaseException:
            self.close()
            raise

    def get(self, key: bytes) -> bytes | None:
        row = self._file.execute("SELECT value FROM Dict WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def keys(self) -> list[bytes]:
        return [bytes(row[0]) for row in self._file.execute("SELECT key FROM Dict")]

    def close(self) -> None:
        self._file.close()


def _builder(flavour: str) -> Callable[[str, Iterable[tuple[bytes, bytes]]], None]:
    if flavour == "sqlite3":
        return _build_sqlite
    if flavour == "dumb":
        return _build_dumb
    return lambda new, items: _build_dbm(new, flavour, items)


def _build_dbm(new: str, flavour: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    with contextlib.closing(import_module("dbm." + flavour).open(new, "n", 0o600)) as file:
        for key, value in items:
            file[key] = value


def _build_sqlite(new: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Not in write-ahead mode: its further files could not be swapped with this one in one step."""
    os.close(_create(new))
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous = OFF")
        file.execute("BEGIN")
        file.execute(_SQLITE_TABLE)
        file.executemany("INSERT INTO Dict VALUES (?, ?)", items)
        file.execute("COMMIT")


def _build_dumb(new: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    """dbm.dumb itself opens three files for each value."""
    with open(_create(new + ".dat"), "wb") as data, open(_create(new + ".dir"), "w", encoding="latin-1") as index:
        position = 0
        for key, value in items:
            data.write(value)
            index.write(f"{key.decode('latin-1')!r}, ({position}, {len(value)})\n")
            padding = -len(value) % _BLOCK
            data.write(bytes(padding))
            position += len(value) + padding


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _is_sqlite(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except FileNotFoundError:
        return False


def _remove_all(new: str) -> None:
    """Remove what a build left; Berkeley DB, which is behind some ndbm, begins under another name."""
    folder, name = os.path.split(new)
    for suffix in (*_SUFFIXES, "-journal"):
        _remove(new + suffix)
        _remove(os.path.join(folder, f"__db.{name}{suffix}"))


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has_module(flavour: str) -> bool:
    try:
        import_module("dbm." + flavour)
    except ImportError:
        return False
    return True
