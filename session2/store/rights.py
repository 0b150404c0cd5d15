"""Whose files a store trusts: what others can write may be anything, and what they can read is no secret."""

from __future__ import annotations

import os
import stat

from ..errors import ConfigurationError

_HOW = "say shared=True, in a URL ?shared=true"


def check_folder(path: str, shared: bool) -> None:
    """Refuse a directory of sessions that belongs to somebody else, or in which others can put something.

    :param shared: another owner, and a group that may write, are meant.
    """
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(f"{path} is a symbolic link of another user (uid {found.st_uid}): name the "
                                     "directory itself")
        found = os.stat(path)
    _check_owner(path, found, shared)
    if found.st_mode & (0o002 if shared else 0o022):
        raise ConfigurationError(f"{path} can be written by others ({_mode(found)}), who can put anything there: "
                                 f"chmod go-w {path}, or to share it with a group {_HOW}")


def check_file(path: str, shared: bool) -> None:
    """Refuse a file of sessions that is a link, belongs to somebody else, or is open to others.

    :param shared: another owner, and a group that may read and write, are meant.
    """
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path} is {_kind(found)}: name a file itself")
    _check_owner(path, found, shared)
    if found.st_mode & (0o007 if shared else 0o077):
        raise ConfigurationError(f"{path} is open to others ({_mode(found)}): chmod {660 if shared else 600} {path}"
                                 + ("" if shared else f", or to share it with a group {_HOW}"))
    _check_parent(os.path.dirname(path), shared)


def _check_parent(folder: str, shared: bool) -> None:
    """Refuse a file that somebody else can replace by another one."""
    found = os.stat(folder)
    if found.st_uid != 0:
        _check_owner(folder, found, shared)
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        raise ConfigurationError(f"{folder} can be written by others ({_mode(found)}), who can replace the file: "
                                 f"chmod o-w {folder}")


def _check_owner(path: str, found: os.stat_result, shared: bool) -> None:
    if found.st_uid != os.geteuid() and not shared:
        raise ConfigurationError(f"{path} belongs to another user (uid {found.st_uid}), who can put anything there: "
                                 f"run this as that user or, if it is meant, {_HOW}")


def _mode(found: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(found.st_mode):04o}"


def _kind(found: os.stat_result) -> str:
    return "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
