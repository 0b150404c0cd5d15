"""Files that a store may trust: no links, its own user's, and not for everybody to write.

What lies at a path may have been put there by somebody else, to be read as sessions or to be overwritten by them.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from ..errors import StoreUnavailable

_ROOT: Final = 0


def look(path: str) -> os.stat_result | None:
    """Return what is known of the file, None if there is none; `StoreUnavailable` if it is not to be trusted.

    Only what the system says does not exist is absent.  Any other failure is an `OSError`: a file that may not be read
    is no reason to begin with an empty one.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    check(path, status)
    return status


def check(path: str, status: os.stat_result) -> None:
    """Refuse a file of which this is known, if it is not to be trusted."""
    _refuse(path, _fault(status))


def check_folder(path: str) -> None:
    """Refuse a path in a folder in which anybody may put a file in the place of another."""
    folder = os.path.dirname(path)
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return
    everybody, sticky = status.st_mode & stat.S_IWOTH, status.st_mode & stat.S_ISVTX
    if everybody and not sticky:
        _refuse(path, f"everybody may write to its folder; chmod o-w {folder}")
    if everybody and os.geteuid() == _ROOT:
        found = look(path)
        if found is not None and found.st_uid != _ROOT:
            _refuse(path, f"in the folder of everybody, {folder}, somebody else put it there")


def check_own(folder: str) -> None:
    """Refuse a folder that is not one, or not this very user's."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        _refuse(folder, "somebody else put it there; remove it")


def take_after(path: str, like: os.stat_result) -> None:
    """Give a new file the owner, group and mode of the one it replaces; `OSError` if that is not ours to do."""
    new = os.lstat(path)
    if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(like.st_mode))


def create(path: str, like: os.stat_result | None = None) -> None:
    """Make an empty file, for its owner only or with the rights of another; it is no error if it is there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        look(path)
        return
    if like is not None:
        take_after(path, like)


def _fault(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link; name the file itself"
    if not stat.S_ISREG(status.st_mode):
        return "it is no ordinary file"
    if status.st_uid not in (os.geteuid(), _ROOT) and os.geteuid() != _ROOT:
        return f"it belongs to another user, {status.st_uid}; chown it to the one the application runs as"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write to it; chmod o-w"
    return ""


def _refuse(path: str, fault: str) -> None:
    if fault:
        raise StoreUnavailable(f"{path} is not used: {fault}")
