"""`OpenFiles`: session files that stay open, since whoever reads one mostly writes it next, and reads it again soon."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from fcntl import LOCK_UN, flock
from typing import Final

from ... import forks
from .slots import Image

_MOST: Final = 128
"""How many files of a store a process keeps open."""


class OpenFile:
    """A file that whoever has this may use alone.

    It is closed when nobody has it any more, and so loses its lock: an interruption may come between any two steps.
    """

    __slots__ = ("fd", "identity", "image", "key", "path", "pid")

    def __init__(self, key: str, path: str, fd: int = -1) -> None:
        self.fd = fd
        """What is there as a rule is opened when this can close it: an interruption would lose the bare number."""
        self.pid = forks.pid()
        """Of the process that opened it: a child would share its locks with its parent."""
        self.key, self.path = key, path
        self.identity: tuple[int, int] | None = None
        """Which file it is, once somebody asked."""
        self.image: Image | None = None
        """What it held when it was read or written last, unless that is too much to be kept in memory."""

    def is_found(self) -> bool:
        """Tell whether its path still leads here; OSError if it leads nowhere."""
        if self.identity is None:
            own = os.fstat(self.fd)
            self.identity = own.st_ino, own.st_dev
        found = os.lstat(self.path)
        return self.identity == (found.st_ino, found.st_dev)

    def release(self) -> None:
        """Give up its lock and close it."""
        try:
            flock(self.fd, LOCK_UN)  # a child may have it open too
        finally:
            self.close()

    def close(self) -> None:
        """Close it; what was inherited is left alone, for its number may be another file's by now."""
        if self.fd >= 0 and self.pid == forks.pid():
            fd, self.fd = self.fd, -1
            os.close(fd)

    __del__ = close


class OpenFiles:
    """The open files of a store, by their keys; each step is one of the dict's, so that no lock is needed.

    :param path_of: returns the path of a key's file; `ConfigurationError` if it is none.
    """

    def __init__(self, path_of: Callable[[str], str]) -> None:
        self.path_of = path_of
        self._files: OrderedDict[str, OpenFile] = OrderedDict()
        _all.add(self)

    def take(self, key: str) -> OpenFile | None:
        """Return the file if it is open, for the caller alone; it is one that was there when it was last read."""
        file = self._files.pop(key, None)
        return file if file is not None and file.pid == forks.pid() else None

    def keep(self, file: OpenFile) -> None:
        """Let others have the file; one is closed when too many are open."""
        while self._files.setdefault(file.key, file) is not file:  # in one step: what is there must not be lost, open
            self.drop(file.key)
        if len(self._files) > _MOST:
            self._drop_oldest()

    def drop(self, key: str) -> None:
        """Close the file if it is open: another one takes its place."""
        file = self._files.pop(key, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._drop_oldest()

    def close_inherited(self) -> None:
        """Close the files of the parent, in a child that has done nothing else yet.

        They have no locks at the moment; those that the parent takes later would outlive it here.
        """
        for file in self._files.values():
            fd, file.fd = file.fd, -1
            with suppress(OSError):
                os.close(fd)
        self._files.clear()

    def _drop_oldest(self) -> None:
        with suppress(KeyError):
            self._files.popitem(last=False)[1].close()


_all: Final[weakref.WeakSet[OpenFiles]] = weakref.WeakSet()


def _close_inherited() -> None:
    for files in list(_all):
        files.close_inherited()


# A child that was forked in C leaves them open: when it notices, their numbers may be those of other files.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
