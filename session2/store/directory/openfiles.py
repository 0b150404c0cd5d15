"""`OpenFiles`: session files that stay open, since whoever reads one mostly writes it next, and reads it again soon."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final, NamedTuple

from ... import forks

_MOST: Final = 64
"""How many files of a store a process keeps open."""


class OpenFile(NamedTuple):
    """A file that whoever has this may use alone."""

    fd: int
    pid: int
    """Of the process that opened it: a child would share its locks with its parent."""
    identity: tuple[int, int] | None = None
    """Which file it is, once somebody asked."""

    def close(self) -> None:
        """Close it; what was inherited is left alone, for its number may be another file's by now."""
        if self.pid == forks.pid():
            os.close(self.fd)


    def is_found(self, path: str) -> bool:
        """Tell whether the path still leads here, as far as is known; OSError if it leads nowhere."""
        found = os.lstat(path)
        return self.identity in (None, (found.st_ino, found.st_dev))


class OpenFiles:
    """The open files of a store, by their paths; no step takes a lock, so each may be interrupted."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, OpenFile] = OrderedDict()

    def take(self, path: str) -> OpenFile | None:
        """Return the file if it is open, for the caller alone; it is one that was there when it was last read."""
        file = self._files.pop(path, None)
        return file if file is not None and file.pid == forks.pid() else None

    def take_found(self, path: str) -> OpenFile | None:
        """Return the file if it is open, and is the one that is found there now; OSError if none is."""
        file = self.take(path)
        if file is None:
            return None
        try:
            if file.identity is None:
                found = os.fstat(file.fd)
                file = file._replace(identity=(found.st_ino, found.st_dev))
            if file.is_found(path):
                return file
        except BaseException:
            os.close(file.fd)
            raise
        os.close(file.fd)
        return None

    def keep(self, path: str, file: OpenFile) -> None:
        """Let others have the file; one is closed when too many are open."""
        while self._files.setdefault(path, file) is not file:  # in one step: what is there must not be lost, open
            self.drop(path)
        if len(self._files) > _MOST and (other := self._oldest()) is not None:
            other.close()

    def drop(self, path: str) -> None:
        """Close the file if it is open: another one takes its place."""
        file = self._files.pop(path, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close all files."""
        while (file := self._oldest()) is not None:
            file.close()

    def _oldest(self) -> OpenFile | None:
        try:
            return self._files.popitem(last=False)[1]
        except KeyError:
            return None
