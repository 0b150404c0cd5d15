"""What is known of files without opening them: when a purge has to look at them, whose they are.

The time of access of a session file is when a purge has to look at it.  It is never later than the record in it
expires; often it is earlier, for saves and touches set it only when that end comes sooner, and else a purge does.  What
reads the file leaves a time of access in the future alone.

An entry bears the end of its record, to the hour.  So nothing that removes old files takes it for one while the session
lives.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Final

SECOND: Final = 10**9
_HOUR: Final = 3600

# In 2038; every file system can tell it.
FAR: Final = 2**31 - 1


def is_due(due: int, latest: float) -> bool:
    """Tell whether a purge has to look at a file, by the time it bears, in nanoseconds.

    What gets its time by being used gets that of the moment, with a fraction of a second.
    """
    return due <= latest or due % SECOND != 0


def latest_due(limit: float) -> float:
    """Return the latest time of a file that tells a purge with this limit to look."""
    return max(limit, time.time()) * SECOND


def due_time(expires: float | None) -> int:
    """Return the last full second before a record expires."""
    return FAR if expires is None else int(min(max(expires, 0), FAR))


def end_time(expires: float | None) -> int:
    """Return the first full hour after a record expires."""
    return min((due_time(expires) // _HOUR + 1) * _HOUR, FAR)


def set_due(fd: int, expires: float | None) -> None:
    set_times(fd, due_time(expires), time.time())


def set_times(file: int | str, accessed: float, changed: float) -> None:
    try:
        os.utime(file, (accessed, changed))
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        os.utime(file)  # of a shared file only its owner may set another time


def give_to(fd: int, like: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of the one whose place it takes, as far as we may."""
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (like.st_uid, like.st_gid):
        owner = -1 if os.geteuid() else like.st_uid
        os.fchown(fd, owner, like.st_gid)
    if found.st_mode != like.st_mode:
        os.fchmod(fd, stat.S_IMODE(like.st_mode))
