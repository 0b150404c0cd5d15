"""A purge of a directory.  It opens no file that cannot be due, and no folder in which nothing can be: see `stamps`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ... import traces
from ...record import Record
from . import stamps
from .folder import Folder
from .sessionfile import CHANGE, hold, look
from .slots import Image
from .status import FAR, SECOND, due_time, is_due, latest_due

_TEMPORARY: Final = re.compile(r"[0-9A-Za-z_-]{1,80}\.[0-9a-f]{16}\.tmp")
_ENTRY: Final = re.compile(r"([0-9A-Za-z_-]{1,80})@[0-9a-f]{64}")

# Seconds after which what a killed process left behind is taken away.
_LEFT_BEHIND: Final = 3600.0

_NOW: Final = 0
_NEVER: Final = FAR * SECOND


class Purge:
    """One purge, folder by folder.

    :param limit: the time by which records have expired that are to go.
    :param unused_since: the sessions that were not used since then are to go too.
    """

    def __init__(self, folder: Folder, limit: float, unused_since: float | None) -> None:
        self._folder, self._limit, self._unused_since = folder, limit, unused_since
        self._latest = latest_due(limit)
        self._purged = 0

    def run(self) -> int:
        """Delete what is to go, and return how many records that were."""
        for folder in self._folder.folders():
            self._go_through(folder, _due_of_file, self._see_to_file, self._unused_since is not None)
        for folder in self._folder.folders(of_users=True):
            self._go_through(folder, _due_of_entry, self._see_to_entry, False)
        return self._purged

    def _go_through(self, folder: str, due_of: Callable[[str], int], see_to: Callable[[str, str, int], int],
                    all_of_it: bool) -> None:
        """Look at what is in a folder: at next to nothing of what is not due, for there may be very much of it."""
        stamp, before = self._folder.stamp(folder), self._purged
        with self._folder.system():
            if not all_of_it and stamps.says_nothing_is_due(stamp, self._latest):
                return
            due, fd = stamps.furthest(), self._folder.make_stamp(stamp)
            try:
                for path, name in self._folder.files_in(folder):
                    found = due_of(path)
                    if all_of_it or is_due(found, self._latest) or "." in name:
                        found = see_to(path, name, found)
                    due = min(due, found)
                stamps.finish(fd, due)
            finally:
                os.close(fd)
            if self._purged > before:
                self._folder.sync(folder)

    def _see_to_file(self, path: str, name: str, due: int) -> int:
        """Take away a file if it is time; return when a purge has to look again."""
        try:
            if not self._folder.is_ours(path, name):
                return self._see_to_temporary(path) if _TEMPORARY.fullmatch(name) else _NEVER
            # Most of what is looked at because nobody may have used it is in use: it is not locked for that.
            if not is_due(due, self._latest) and not self._is_over(name, look(path).record):
                return due
            return self._judge(path, name)
        except FileNotFoundError:
            return _NEVER
        except TimeoutError:  # a stopped process has its lock: the next purge is soon enough
            return _NOW

    def _see_to_temporary(self, path: str) -> int:
        if not _is_left_behind(path):
            return _NOW
        os.unlink(path)
        return _NEVER

    def _judge(self, path: str, name: str) -> int:
        file, image = hold(path, CHANGE)
        try:
            if image.record is not None and not self._is_over(name, image.record):
                self._folder.postpone(file.fd, path, image.record)
                return due_time(image.record.expires) * SECOND
            if image.record is None and not _is_nothing(image, path):
                return _NOW
            self._folder.erase(file.fd, path, image.record)
            self._purged += image.record is not None
            return _NEVER
        finally:
            file.release()

    def _is_over(self, key: str, record: Record | None) -> bool:
        return record is not None and traces.is_over(key, record, self._limit, self._unused_since)

    def _see_to_entry(self, path: str, name: str, due: int) -> int:
        """Take away an entry if its session is no more; return when a purge has to look again."""
        match = _ENTRY.fullmatch(name)
        if match is None:
            return _NEVER
        with suppress(FileNotFoundError):
            self._folder.sweep(path, self._folder.path(match[1]))
        return _due_of_entry(path)


def _due_of_file(path: str) -> int:
    try:
        return os.lstat(path).st_atime_ns
    except FileNotFoundError:
        return _NEVER


def _due_of_entry(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except FileNotFoundError:
        return _NEVER


def _is_nothing(image: Image, path: str) -> bool:
    """Tell whether a file without a record is a session file that nobody will finish."""
    return (image.half > 0 or not image.data) and _is_left_behind(path)


def _is_left_behind(path: str) -> bool:
    """Tell whether nobody wrote the file for a while: by the real time, as files know no other."""
    return os.lstat(path).st_mtime < time.time() - _LEFT_BEHIND
