"""Whose files a store trusts: what others can write may be anything, and what they can read is no secret.

One rule for all stores.  No link is followed but to a directory, and a file is an ordinary one.  It is this user's own
or root's; root may use those of others, and so may whoever shares them on purpose.  Nobody else may replace it or write
to it; who else may read it is for the store to say (`Rule`).
"""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from ..errors import ConfigurationError

_ROOT: Final = 0

_HOW: Final = "say shared=True, in a URL ?shared=true"


class Rule(NamedTuple):
    """What a store allows others."""

    refused: int
    """The bits that a file's mode may not have."""
    any_owner: bool = False
    can_share: bool = True
    """Whether the store has an option that allows more."""


PRIVATE: Final = Rule(0o077)
SHARED: Final = Rule(0o007, any_owner=True)
"""Another owner, and a group that may read and write, are meant."""

FOREIGN: Final = Rule(0o002, can_share=False)
"""For files in the format of other programs, whose modes are those that such programs give."""


def rule_of(shared: bool) -> Rule:
    """Return what an option `shared` of a store means."""
    return SHARED if shared else PRIVATE


def look(path: str, rule: Rule = FOREIGN) -> os.stat_result | None:
    """Return what is known of the file, None if there is none; `ConfigurationError` if it is not to be trusted.

    Only what the system says does not exist is absent.  Any other failure is an `OSError`: a file that may not be read
    is no reason to begin with an empty one.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    check(path, found, rule)
    return found


def check(path: str, found: os.stat_result, rule: Rule = FOREIGN) -> None:
    """Refuse a file of which this is known, if it is not to be trusted."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no ordinary file"
        raise ConfigurationError(f"{path} is {kind}: name a file itself")
    _check_owner(path, found, rule)
    if found.st_mode & rule.refused:
        raise ConfigurationError(_open_to_others(path, found, rule))


def check_parent(path: str, rule: Rule = FOREIGN) -> None:
    """Refuse a file that somebody else can replace by another one, and for root one that may have been put there."""
    folder = os.path.dirname(path)
    try:
        found = os.stat(folder)
    except FileNotFoundError:
        return
    _check_owner(folder, found, rule)
    for_all = found.st_mode & stat.S_IWOTH
    if for_all and not found.st_mode & stat.S_ISVTX:
        raise ConfigurationError(f"{folder} can be written by others ({_mode(found)}), who can replace the file: "
                                 f"chmod o-w {folder}")
    there = look(path, rule) if for_all and os.geteuid() == _ROOT else None
    if there is not None and there.st_uid != _ROOT:
        raise ConfigurationError(f"{path} was put into {folder}, where everybody may, by somebody else (uid "
                                 f"{there.st_uid}): root does not use it")


def check_folder(path: str, rule: Rule) -> None:
    """Refuse a directory of sessions that belongs to somebody else, or in which others can put something."""
    link, found = os.lstat(path), os.stat(path)
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (_ROOT, os.geteuid()):
        raise ConfigurationError(f"{path} is a symbolic link of another user (uid {link.st_uid}): name the directory "
                                 "itself")
    _check_owner(path, found, rule)
    if found.st_mode & rule.refused & 0o022:
        raise ConfigurationError(f"{path} can be written by others ({_mode(found)}), who can put anything there: "
                                 f"chmod go-w {path}, or to share it with a group {_HOW}")


def check_own(folder: str) -> None:
    """Refuse a folder that is not one, or not this very user's."""
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(f"{folder} was put there by somebody else: remove it")


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
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        look(path)
        return
    try:
        leave_file_to(fd, os.path.dirname(path))
    finally:
        os.close(fd)
    if like is not None:
        take_after(path, like)


def leave_to(path: str, folder: str) -> None:
    """Have a directory that root has just made belong to the owner of another one, who is to use it."""
    if os.geteuid() == _ROOT:
        found = os.stat(folder)
        os.chown(path, found.st_uid, found.st_gid, follow_symlinks=False)


def leave_file_to(made: int, folder: str) -> None:
    """Do so with an open file: what has its name by now may be a link that the owner made to another one."""
    if os.geteuid() == _ROOT:
        found = os.stat(folder)
        os.fchown(made, found.st_uid, found.st_gid)


def _check_owner(path: str, found: os.stat_result, rule: Rule) -> None:
    if rule.any_owner or found.st_uid in (_ROOT, os.geteuid()) or os.geteuid() == _ROOT:
        return
    raise ConfigurationError(f"{path} belongs to another user (uid {found.st_uid}), who can put anything there: "
                             "run this as that user" + (f" or, if it is meant, {_HOW}" if rule.can_share else ""))


def _open_to_others(path: str, found: os.stat_result, rule: Rule) -> str:
    if rule is FOREIGN:
        return f"{path} can be written by everybody ({_mode(found)}): chmod o-w {path}"
    wanted, more = (660, "") if rule is SHARED else (600, f", or to share it with a group {_HOW}")
    return f"{path} is open to others ({_mode(found)}): chmod {wanted} {path}{more}"


def _mode(found: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(found.st_mode):04o}"
