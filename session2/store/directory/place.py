"""The directory of a store: made, checked, and what is said when it fails."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from ...errors import ConfigurationError, StoreMissing, StoreUnavailable
from .. import rights
from .sessionfile import MAKE, NoFile, clear

_T = TypeVar("_T")

_FOLDER: Final = re.compile(r"[0-9A-Za-z_-]{2}|users-..")
_SHARED_FOLDER: Final = 0o770


class Place:
    """A directory with folders of files.

    :param directory: where, as an absolute path.
    :param fsync: wait for the disk at each change.
    :param shared: the group may do all that the owner may.
    """

    def __init__(self, directory: str, fsync: bool, shared: bool) -> None:
        self.directory, self.fsync, self.shared = directory, fsync, shared
        self._prefix = os.path.join(directory, "")

    def create(self) -> None:
        """Make the directory, for its owner only or also the group; root leaves it to the owner of the one above."""
        if is_directory(self.directory):
            return
        with suppress(FileExistsError):  # what is there is told by `check`
            missing = list(_missing(self.directory))
            os.makedirs(self.directory, 0o700, exist_ok=True)
            for folder in reversed(missing):
                rights.leave_to(folder, os.path.dirname(folder))
        if self.shared and is_directory(self.directory):
            os.chmod(self.directory, _SHARED_FOLDER)

    def check(self) -> None:
        """`StoreMissing` without a directory, `ConfigurationError` if others may have put something there."""
        if not is_directory(self.directory):
            if os.path.lexists(self.directory):
                raise ConfigurationError(f"{self.directory} is not a directory: choose another path")
            raise StoreMissing(f"there is no directory {self.directory}", "create=True, in a URL ?create=true")
        rule = rights.rule_of(self.shared)
        rights.check_folder(self.directory, rule)
        for name in os.listdir(self.directory):
            if is_folder(name) and is_directory(self._prefix + name):
                rights.check_folder(self._prefix + name, rule)

    def _names(self, folder: str) -> list[str]:
        with self.system(), suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self._prefix + folder)
        return []

    def sync(self, folder: str) -> None:
        """Make sure of the names in a folder, given its own, if sure is wanted."""
        self._sync_folder(self._prefix + folder)

    # -- making files; the caller sees to OSError ------------------------------------------------------------------

    def make(self, path: str, how: Callable[[str, int], _T]) -> _T:
        """Open or hold a file, and make it, and its folder, if need be.

        An empty file is no record yet: of two who make the same one, the first to lock it wins.
        """
        while True:
            try:
                return how(path, MAKE)
            except NoFile:
                clear(path)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder, 0o700)
            if self.shared:
                os.chmod(folder, _SHARED_FOLDER)
            rights.leave_to(folder, self.directory)
            self._sync_folder(self.directory)
        except FileExistsError:
            if not os.path.isdir(folder):  # a symbolic link to nowhere: to try again would never end
                raise

    def _share(self, fd: int) -> None:
        """Give what was just made the rights of what is shared."""
        if self.shared:
            os.fchmod(fd, 0o660)
        if not os.geteuid():
            found = os.stat(self.directory)
            os.fchown(fd, found.st_uid, found.st_gid)

    def _sync_folder(self, folder: str) -> None:
        """Make sure of the names in a folder, if sure is wanted."""
        if not self.fsync:
            return
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # -- failures --------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        """Do nothing if it is just the session that is missing; without the directory nothing can be said."""
        if not is_directory(self.directory):
            raise StoreUnavailable(f"the session directory {self.directory} is gone")

    def unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"the session directory {self.directory} cannot be used: {error.strerror}")

    @contextmanager
    def system(self) -> Iterator[None]:
        """Say of whatever goes wrong inside that the store is unavailable."""
        try:
            yield
        except OSError as error:
            raise self.unavailable(error) from error


def _missing(path: str) -> Iterator[str]:
    """Yield a path and those above it, up to the first where something is."""
    while not os.path.lexists(path):
        yield path
        path = os.path.dirname(path)


def is_folder(name: str) -> bool:
    """Tell whether this is the name of one of our folders."""
    return _FOLDER.fullmatch(name) is not None


def exists(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def is_directory(path: str) -> bool:
    """Tell whether there is a directory; OSError if that cannot be told."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
