"""A dbm file of any flavour, read as it is and replaced as a whole, never changed in place.

No flavour survives the death of a process in the middle of a change, so there are no changes.  `build` makes a new
file beside the old one, `swap` puts it in the old one's place; a swap that was cut short is finished by another one.
"""

from __future__ import annotations

import ast
import contextlib
import dbm
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol
from urllib.parse import quote

from ...errors import ConfigurationError, StoreUnavailable
from .. import rights

FLAVOURS: Final = ("sqlite3", "gnu", "ndbm", "dumb")  # in the order in which `dbm.open` prefers them

_SUFFIXES: Final = ("", ".db", ".dir", ".pag", ".dat")
_NEW: Final = ".new"
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SQLITE_TABLE: Final = "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
_BLOCK: Final = 512  # dbm.dumb aligns values to it
_PLAIN_NAME: Final = re.compile("'[0-9A-Za-z_-]*'", re.ASCII)
_DUMB_LINE: Final = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"), \((\d{1,18}), (\d{1,18})\)""")


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


def status_of(path: str) -> os.stat_result | None:
    """Return what is known of the file, or of a part of it; None if there is none.  Looks whether it is to be trusted.

    Absent is what the system says does not exist.  What may not be looked at is an `OSError`, never an empty shelf.
    """
    return next(filter(None, _statuses(path).values()), None)


def flavour_of(path: str) -> str | None:
    """Return the flavour of the file at `path`, None if there is none; `StoreUnavailable` if it is no dbm file."""
    statuses = _statuses(path)
    for suffix in statuses:  # a file that may not be read is not of no flavour
        open(path + suffix, "rb").close()
    found = dbm.whichdb(path)
    if found:
        return found.removeprefix("dbm.")
    if _is_sqlite(path):
        return "sqlite3"
    if set(statuses) <= {""} and not size(path):
        return None
    raise StoreUnavailable(f"{path} is not a dbm file, or not all of one; it was left as it is, restore it, choose "
                           "another name or remove it")


def _statuses(path: str) -> dict[str, os.stat_result]:
    """Return the parts that are there."""
    found = {suffix: rights.look(path + suffix) for suffix in _SUFFIXES}
    return {suffix: status for suffix, status in found.items() if status is not None}


def open_reader(path: str, flavour: str) -> Reader:
    """Open the file; `StoreUnavailable` if it is damaged as a whole, or of a flavour this Python cannot read."""
    try:
        return _READERS.get(flavour, partial(_DbmReader, flavour))(path)
    except ImportError as error:
        raise StoreUnavailable(f"{path} is a dbm.{flavour} file and this Python has no such module") from error
    except (OSError, MemoryError):  # says nothing about the file
        raise
    except Exception as error:  # what the libraries raise about damaged files
        raise StoreUnavailable(f"{path} cannot be opened as a dbm.{flavour} file: {error}; restore or remove it"
                               ) from error


def size(path: str) -> int:
    """Return how many bytes the file has, in all its parts."""
    return sum(status.st_size for status in _statuses(path).values())


def build(path: str, flavour: str, items: Iterable[tuple[bytes, bytes]], durable: bool, like: os.stat_result) -> None:
    """Make the file that is to replace the one at `path`.

    It is made in a folder of its own, where nobody can have put anything.

    :param durable: have the disk confirm it.
    :param like: whose owner and mode it gets.
    """
    folder = _work(path)
    new = os.path.join(folder, os.path.basename(path))
    _clear(path)
    os.mkdir(folder, 0o700)
    try:
        _BUILDERS.get(flavour, partial(_build_dbm, flavour))(new, items)
        for name in sorted(os.listdir(folder)):
            rights.take_after(os.path.join(folder, name), like)
            if durable:
                _sync(os.path.join(folder, name))
        _move(new, path + _NEW)
        os.rmdir(folder)
    except BaseException:
        _clear(path)  # on a full disk it is in the way
        raise
    if durable:
        _sync(os.path.dirname(path))


def swap(path: str, durable: bool) -> None:
    """Put what `build` made, or what is left of it, in the place of the file.

    What SQLite may have left beside the old file would be taken for a part of the new one.
    """
    if _is_sqlite(path):
        _remove(path + "-wal")
        _remove(path + "-shm")
    _move(path + _NEW, path)
    if durable:
        _sync(os.path.dirname(path))


class _DbmReader:
    def __init__(self, flavour: str, path: str) -> None:
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


class _DumbReader:
    """dbm.dumb itself believes every number in its index, reads it as Python, and opens a file at each get."""

    def __init__(self, path: str) -> None:
        with open(path + ".dir", encoding="latin-1") as index:
            self._places = dict(map(_place, index))
        self._file = open(path + ".dat", "rb", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._size = os.fstat(self._file.fileno()).st_size

    def get(self, key: bytes) -> bytes | None:
        """Return as much of the value as there is; its checksum tells whether that is all."""
        if key not in self._places:
            return None
        position, length = self._places[key]
        return os.pread(self._file.fileno(), max(min(length, self._size - position), 0), position)

    def keys(self) -> list[bytes]:
        return list(self._places)

    def close(self) -> None:
        self._file.close()


def _place(line: str) -> tuple[bytes, tuple[int, int]]:
    found = _DUMB_LINE.fullmatch(line.rstrip())
    if found is None:
        raise ValueError("its index is damaged")
    name = found[1]
    # Ours need no parser, of which there would be one call a line.
    text = name[1:-1] if _PLAIN_NAME.fullmatch(name) else ast.literal_eval(name)
    return text.encode("latin-1"), (int(found[2]), int(found[3]))


class _SQLiteReader:
    """The format of dbm.sqlite3, which Python has from 3.13 on and lets no second thread use."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False,
                                     isolation_level=None)
        try:
            if sys.version_info >= (3, 11):  # no value is larger than the file
                self._file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(os.stat(path).st_size, _BLOCK))
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


def _build_dbm(flavour: str, new: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    with contextlib.closing(import_module("dbm." + flavour).open(new, "n", 0o600)) as file:
        for key, value in items:
            file[key] = value


def _build_sqlite(new: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    """Not in write-ahead mode: its further files could not be swapped with this one in one step."""
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous = OFF")
        file.execute("BEGIN")
        file.execute(_SQLITE_TABLE)
        file.executemany("INSERT INTO Dict VALUES (?, ?)", items)
        file.execute("COMMIT")


def _build_dumb(new: str, items: Iterable[tuple[bytes, bytes]]) -> None:
    """dbm.dumb itself opens three files for each value."""
    with open(new + ".dat", "xb") as data, open(new + ".dir", "x", encoding="latin-1") as index:
        position = 0
        for key, value in items:
            data.write(value)
            index.write(f"{key.decode('latin-1')!r}, ({position}, {len(value)})\n")
            padding = -len(value) % _BLOCK
            data.write(bytes(padding))
            position += len(value) + padding


def _is_sqlite(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except FileNotFoundError:
        return False


def _move(path: str, target: str) -> None:
    """Give the parts of a file another name, those that are there."""
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, target + suffix)


def _clear(path: str) -> None:
    """Remove what a build left."""
    for suffix in _SUFFIXES:
        _remove(path + _NEW + suffix)
    folder = _work(path)
    if not os.path.lexists(folder):
        return
    rights.check_own(folder)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)


def _work(path: str) -> str:
    """Return the folder where this user makes files; another one's is closed, and what it left cannot be removed."""
    return f"{path}.build-{os.geteuid()}"


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


_READERS: Final[dict[str, Callable[[str], Reader]]] = {"sqlite3": _SQLiteReader, "dumb": _DumbReader}
_BUILDERS: Final[dict[str, Callable[[str, Iterable[tuple[bytes, bytes]]], None]]] = {
    "sqlite3": _build_sqlite, "dumb": _build_dumb}
