"""Reading the files of other programs: nothing is written, no link is followed, nothing but an ordinary file opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ...errors import ConfigurationError
from ..known import Unreadable
from ..source import Former, Skipped, attempt, place
from ..unpickle import MOST_BYTES


def names_in(folder: str) -> Iterator[str]:
    """Iterate over the names of what is no directory in a directory; `ConfigurationError` if there is none."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"there is no directory {folder}") from None


def demand_folder(folder: str) -> None:
    """Raise `ConfigurationError` if there is no such folder: to take all its sessions for ended would be wrong."""
    if not os.path.isdir(folder):
        raise ConfigurationError(f"there is no directory {folder}")


def read_file(folder: str, name: str) -> tuple[bytes, float] | None:
    """Return what is in a file and when it was changed, None if it is not there, or raise `Unreadable`.

    :raises ConfigurationError: if the folder is not there.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(os.path.join(folder, name), flags)
    except FileNotFoundError:
        demand_folder(folder)
        return None
    except OSError as error:
        raise Unreadable(f"its file cannot be opened: {error.strerror}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise Unreadable("it is no ordinary file")
    with open(fd, "rb") as file:
        return file.read(MOST_BYTES + 1), found.st_mtime


def in_file(id: str, folder: str, name: str, read: Callable[[bytes, float], Former]) -> Former | Skipped | None:
    """Return the session in a file, None if it is not there.

    :param read: makes it of what is in the file, and of when that was changed.
    """
    try:
        found = read_file(folder, name)
    except Unreadable as error:
        return Skipped(place(id), str(error))
    return None if found is None else attempt(id, partial(read, *found))


def named(ids: Iterable[str], is_id: Callable[[str], object],
          find: Callable[[str], Former | Skipped | None]) -> Iterator[Former | Skipped]:
    """Yield the sessions whose ids are in the names of files."""
    for id in ids:
        found = find(id) if is_id(id) else Skipped("a file", "its name is no id")
        if found is not None:
            yield found
