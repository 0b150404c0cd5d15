"""`OpenFiles`: session files that stay open, since whoever reads one mostly writes it next, and reads it again soon."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from contextlib import suppress
from fcntl import LOCK_UN, flock
from typing import Final

from ... import forks
from .slots import Image

_MOST: Final = 128
"""How many files of a store a process keeps open."""

_REMEMBERED: Final = 16384
"""Bytes of a file that are remembered with it at most."""


class OpenFile:
    """A file that whoever has this may use alone.

    It is closed when nobody has it any more, and so loses its lock: an interruption may come between any two steps.
    """

    __slots__ = ("data", "fd", "identity", "image", "pid")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pid = forks.pid()
        """Of the process that opened it: a child would share its locks with its parent."""
        self.identity: tuple[int, int] | None = None
        """Which file it is, once somebody asked."""
        self.data = b""
        self.image: Image | None = None
        """What `data` means, which was in the file when it was read last."""

    def is_found(self, path: str) -> bool:
        """Tell whether the path still leads here; OSError if it leads nowhere."""
        if self.identity is None:
            own = os.fstat(self.fd)
            self.identity = own.st_ino, own.st_dev
        found = os.lstat(path)
        return self.identity == (found.st_ino, found.st_dev)

    def release(self) -> None:
        """Give up its lock and close it."""
        try:
            flock(self.fd, LOCK_UN)  # a child may have it open too
        finally:
            self.close()

    def close(self) -> None:
        """Close it; what was inherited is left alone, for its number may be another file's by now."""
        fd, self.fd = self.fd, -1
        if fd >= 0 and self.pid == forks.pid():
            os.close(fd)

    __del__ = close


class OpenFiles:
    """The open files of a store, by their paths; each step is one of the dict's, so that no lock is needed."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, OpenFile] = OrderedDict()
        _all.add(self)

    def take(self, path: str) -> OpenFile | None:
        """Return the file if it is open, for the caller alone; it is one that was there when it was last read."""
        file = self._files.pop(path, None)
        return file if file is not None and file.pid == forks.pid() else None

    def keep(self, path: str, file: OpenFile) -> None:
        """Let others have the file; one is closed when too many are open."""
        if len(file.data) > _REMEMBERED:
            file.data, file.image = b"", None
        while self._files.setdefault(path, file) is not file:  # in one step: what is there must not be lost, open
            self.drop(path)
        if len(self._files) > _MOST:
            self._drop_oldest()

    def drop(self, path: str) -> None:
        """Close the file if it is open: another one takes its place."""
        file = self._files.pop(path, None)
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
