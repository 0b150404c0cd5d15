"""A dbm file with a journal: changes are appended to the journal and now and then the file is made anew.

What a death in the middle leaves:

- an entry that is not whole, at the end: it never happened, and the next writer cuts it off;
- a new dbm file that is not whole: nothing refers to it, the journal still has everything;
- a whole one (the last entry is `SWAP`) that is not, or only in parts, in its place: the next one here finishes that.
"""

from __future__ import annotations

import logging
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple, TypeAlias, TypeVar

from ...errors import Conflict, StoreUnavailable
from ...forks import PerProcess
from ...mutex import Mutex
from .. import rights
from . import dbmfile
from .entries import NOTE, PUT, REMOVE, SWAP, TOUCH, Damaged, Entry, encode, ends_with_swap
from .journal import Journal, busy

log = logging.getLogger("session2")

_T = TypeVar("_T")

Times: TypeAlias = tuple[float, float]
"""When a value may be over: it expires, and was last used, so."""

NEVER: Final = float("inf")

_NOTE: Final = struct.Struct("<dd")
_LARGE_JOURNAL: Final = 1 << 24  # every process keeps the journal's values in memory


class Settings(NamedTuple):
    """How a shelf is kept."""

    path: str
    """The name of the dbm file, as `dbm.open` takes it."""
    flavour: str
    """How to make the file if there is none."""
    durable: bool
    """Have the disk confirm every change."""
    journal_size: int
    """How large a journal, in bytes, is no reason yet to make the dbm file anew, even if that is smaller; 0: it is made
    anew after every change."""
    patch: Callable[[bytes, bytes, bytes], bytes]
    """Makes the new value from the key, the old one and what a `TOUCH` entry holds."""
    times: Callable[[bytes, bytes], Times]
    """Tells when the value under a key may be over; `NEVER` both for what is not to be purged."""
    damaged: Damaged


class JournaledFile:
    """A dbm file and its journal.

    :param timeout: how long to wait for others, in seconds, before `StoreUnavailable`.
    :param create: make a new shelf where there is none.
    """

    def __init__(self, settings: Settings, timeout: float, create: bool) -> None:
        self._settings, self._timeout, self._create = settings, timeout, create
        self._mutex = Mutex()
        self._shelf = PerProcess(lambda: Shelf(settings), Shelf.let_go)
        self._busy = busy(settings.path, timeout)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under a key; as a rule without a turn, for what the journal says is in memory."""
        return self._alone(partial(self._get, key))

    def turn(self, action: Callable[[Shelf], _T], create: bool = False) -> _T:
        """Do something while nobody else, thread or process, uses the shelf.

        :param create: make it if there is none.
        """
        return self._alone(partial(self._act, action, create))

    def _alone(self, action: Callable[[float], _T]) -> _T:
        try:
            return self._mutex.run(partial(action, time.monotonic()), self._timeout, self._busy)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"{self._settings.path} cannot be used: {error}") from error

    def _get(self, key: bytes, start: float) -> bytes | None:
        shelf = self._shelf()
        return shelf.get(key) if shelf.knows(key) else self._act(lambda shelf: shelf.get(key), False, start)

    def _act(self, action: Callable[[Shelf], _T], create: bool, start: float) -> _T:
        shelf = self._shelf()
        return shelf.journal.turn(partial(shelf.work, action), create or self._create, self._timeout, start)

    def close(self, wait: float | None = None) -> None:
        """Close the files; they are opened again when needed.

        :param wait: for the thread that uses it, in seconds; default as long as otherwise.
        """
        path = self._settings.path
        wait = self._timeout if wait is None else wait
        self._mutex.run(lambda: self._shelf().close(), wait, busy(path, wait))


class Shelf:
    """What this process has open and in memory, used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._path, self._settings = settings.path, settings
        self.journal = Journal(settings.path, settings.durable)
        self._reader: dbmfile.Reader | None = None
        self._trusted = False
        self._forget()

    def _forget(self) -> None:
        self._start = self._generation = b""
        self._end = 0
        self._changed: dict[bytes, bytes | None] = {}  # what the journal says; None: there is nothing
        self._limit = self._settings.journal_size
        self._over: Times | None = None

    def work(self, action: Callable[[Shelf], _T]) -> _T:
        """Do something with the locked journal.

        What was cut short, here or in memory, the journal knows: all is read again unless the last one here came to
        its end.
        """
        trusted, self._trusted = self._trusted, False
        self._catch_up(trusted)
        try:
            result = action(self)
        except Conflict:
            self._trusted = True
            raise
        self._trusted = True
        return result

    def knows(self, key: bytes) -> bool:
        """Tell whether it is in memory what is under a key, and nobody has written anything since, nor begun to.

        No lock is needed for that.  Whoever writes makes the journal longer first.  It gets shorter when something at
        its end was not whole, and so never counted, or when it is made anew, and then it gets another start.
        """
        return self._trusted and key in self._changed and self.journal.is_still(self._start, self._end)

    # -- inside a turn ---------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        if key in self._changed:
            return self._changed[key]
        return None if self._reader is None else self._reader.get(key)

    def keys(self) -> list[bytes]:
        kept = [] if self._reader is None else self._reader.keys()
        return [key for key in kept if key not in self._changed] + self.changed()

    def changed(self) -> list[bytes]:
        """Return the keys whose values are in the journal, all of which is in memory."""
        return [key for key, value in self._changed.items() if value is not None]

    def may_be_over(self, now: float, unused_since: float | None) -> bool:
        """Tell whether something in the dbm file may be over; nothing in there need be read to know that not."""
        if self._over is None:
            return self._reader is not None
        expires, accessed = self._over
        return expires <= now or (unused_since is not None and accessed < unused_since)

    def change(self, entries: Iterable[Entry]) -> None:
        """Make the changes, all of them or, after a crash, the first few."""
        entries = list(entries)
        data = b"".join(encode(self._generation, *entry) for entry in entries)
        self._end = self.journal.append(data, self._end)
        for entry in entries:
            self._apply(*entry)
        if self._end > self._limit:
            self._try_to_compact()

    def compact(self, empty: bool = False) -> None:
        """Make the dbm file anew from itself and the journal, and the journal empty.

        :param empty: leave everything out.
        """
        self._build(iter(()) if empty else self._items())
        self._load()

    def close(self) -> None:
        self._close_file()
        self.journal.close()

    def let_go(self) -> None:
        """In a child that inherited this: keep no lock for a parent that dies.  The dbm file is not closed here."""
        self.journal.close()

    # -- making the file anew --------------------------------------------------------------------------------------

    def _build(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the new file; once the journal says so, `_load` puts it in its place."""
        flavour = dbmfile.flavour_of(self._path) or self._settings.flavour
        over = [NEVER, NEVER]
        like = dbmfile.status_of(self._path) or self.journal.status()
        dbmfile.build(self._path, flavour, self._noting(over, items), self._settings.durable, like)
        self._end = self.journal.append(encode(self._generation, SWAP, b"", _NOTE.pack(*over)), self._end)

    def _noting(self, over: list[float], items: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Pass the items on and note when the first of them may be over."""
        for key, value in items:
            over[:] = map(min, over, self._settings.times(key, value))
            yield key, value

    def _items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self.keys():
            value = self.get(key)
            if value is not None:
                yield key, value

    def _try_to_compact(self) -> None:
        """The change is safe already: a full disk, or a value too large for the flavour, must not fail it."""
        try:
            self._build(self._items())
        except (OSError, sqlite3.Error, ValueError, OverflowError) as error:
            self._limit = 2 * self._end
            log.warning("%s cannot be made anew, its journal goes on growing: %s", self._path, error)
        else:
            self._load()

    # -- what the journal says -------------------------------------------------------------------------------------

    def _catch_up(self, trusted: bool) -> None:
        """Learn what others did since the last time."""
        start = self.journal.start()
        if not trusted or not start or start != self._start or self.journal.size < self._end:
            self._load()
        elif self.journal.size != self._end:
            self._replay(*self._entries())

    def _entries(self) -> tuple[int, list[Entry]]:
        return self.journal.entries(self._generation, self._end, self._settings.damaged)

    def _load(self) -> None:
        """Read everything, after what was left undone is done."""
        rights.check_parent(self._path)
        self._close_file()
        self._generation, self._end = self.journal.generation()
        self._start = self.journal.start()
        end, entries = self._entries()
        if not ends_with_swap(entries):  # until it is finished the file may be in parts of two
            self._open_reader()
        self._replay(end, entries)

    def _replay(self, end: int, entries: list[Entry]) -> None:
        if ends_with_swap(entries):
            self._close_reader()
            dbmfile.swap(self._path, self._settings.durable)
            self.journal.restart(entries[-1][2])
            self._load()
            return
        for entry in entries:
            self._apply(*entry)
        self._end = end

    def _apply(self, what: int, key: bytes, value: bytes) -> None:
        if what == PUT:
            self._changed[key] = value
        elif what == REMOVE:
            self._changed[key] = None
        elif what == TOUCH:
            old = self.get(key)
            if old is not None:
                self._changed[key] = self._settings.patch(key, old, value)
        elif what == NOTE and len(value) == _NOTE.size:
            self._over = _NOTE.unpack(value)

    # -- the dbm file ----------------------------------------------------------------------------------------------

    def _open_reader(self) -> None:
        flavour = dbmfile.flavour_of(self._path)
        if flavour is None:
            return
        if self._settings.journal_size:
            self._limit = max(self._settings.journal_size, min(dbmfile.size(self._path), _LARGE_JOURNAL))
        self._reader = dbmfile.open_reader(self._path, flavour)

    def _close_file(self) -> None:
        self._forget()
        self._close_reader()

    def _close_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()
