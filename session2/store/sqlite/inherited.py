"""What SQLite believes in a forked child, and how to make it true.

SQLite keeps account in memory of the locks it has on a file, for the whole process, and asks the system only when that
says no.  In a child that was forked while connections were open it takes its parent's locks for its own.  The child may
open connections of its own and they exclude each other well, but two locks that a connection keeps for as long as it is
open would be missing: then whoever else closes the file last takes it to be unused, and deletes the log that the child
goes on writing to.  So the child takes these two itself.  Their places are part of SQLite's file format.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Final

from ...errors import ConfigurationError
from ...patience import attempts

_SHARED: Final = (510, 0x40000002)  # how many bytes, and where: of the database, by all who have it open
_ALIVE: Final = (1, 128)  # of the index of the write-ahead log, likewise

# Open for ever: closing any descriptor of a file gives up all locks that the process has on it.
_held: Final[list[int]] = []


def index_of(path: str) -> int | None:
    """Return what tells the index of the write-ahead log from one that is made anew; None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path + "-shm").st_ino
    return None


def take_locks(path: str, index: int | None, timeout: float) -> None:
    """Take the locks that SQLite believes this process to have on the database.

    :param index: what `index_of` said in the parent; it stays ours for as long as the child has it open.

    Raises `ConfigurationError` if it is too late: the parent has closed the database already.
    """
    files = [_open(path, _SHARED, timeout), _open(path + "-shm", _ALIVE, timeout)]
    _held.extend(file for file in files if file is not None)
    if None in files or index_of(path) != index:
        raise ConfigurationError(f"{path} was open when this process was forked, and is no longer: SQLite cannot open "
                                 "it again here.  Close the store before the fork, or make it after")


def _open(path: str, place: tuple[int, int], timeout: float) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    for _ in attempts(timeout):
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, *place)
            break
    return file
