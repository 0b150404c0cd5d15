"""When a purge has to look into a folder.

Beside each folder stands a stamp, an empty file whose time says: nothing in there is due before.  A purge makes it
before it looks around and sets its time afterwards; until then the time is far off.  Whoever makes something due
before the time of the stamp takes the stamp away, and then a purge looks.  So a stamp that is taken away while a purge
looks around stays away: the purge sets the time of its own file, which has no name any more.

A stamp is believed for an hour at most.  This is the longest that a purge misses what nobody told of, as who restores
single files from a backup does not; and what ends later than that needs no look at the stamp.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

from .sessionfile import MAKE_ONLY, open_file
from .status import FAR, SECOND, due_time, set_times

HOUR: Final = 3600.0


def says_nothing_is_due(stamp: str, latest: float) -> bool:
    """Tell whether a purge may pass over a folder, given the latest time that counts as due, in nanoseconds."""
    try:
        until = os.stat(stamp).st_mtime_ns
    except FileNotFoundError:
        return False
    return latest < until <= furthest() and until % SECOND == 0


def furthest() -> int:
    """Return the latest time that a stamp may bear, in nanoseconds; to be asked for before the stamp is made."""
    return int(time.time() + HOUR) * SECOND


def begin(stamp: str) -> int:
    """Make the stamp of a folder that is about to be looked through; return its open file."""
    while True:
        with suppress(FileNotFoundError):
            os.unlink(stamp)
        with suppress(FileExistsError):  # by another purge, that will lose its stamp to us
            fd = open_file(stamp, MAKE_ONLY)
            set_times(fd, FAR, FAR)
            return fd


def finish(fd: int, due: int) -> None:
    """Set the time, in nanoseconds, before which nothing in the folder is due."""
    set_times(fd, due // SECOND, due // SECOND)


def note(stamp: str, expires: float) -> None:
    """Have a purge look into the folder in time for what was just stored there, and ends within `HOUR` seconds."""
    with suppress(FileNotFoundError):
        if os.stat(stamp).st_mtime > due_time(expires):
            os.unlink(stamp)
