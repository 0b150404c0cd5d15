"""Noticing a fork, at use and by the process id: not every forker runs Python's hooks; uWSGI, for one, forks in C.

What was inherited is neither used nor closed: it is still its parent's, and to close it may end it there.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

_T = TypeVar("_T")

# Not even the garbage collector may close it.
_inherited: Final[list[object]] = []


_WIPE_ON_FORK: Final = 18
"""``MADV_WIPEONFORK`` of Linux: a child finds nothing but zeros in its copy of the page, however it was forked."""


def _page() -> mmap.mmap | None:
    """Return a page that the kernel wipes in every child, None where there is no such thing."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):
        return None
    with suppress(OSError):
        page.madvise(-1)
        return None  # some emulators take any advice, and heed none
    return page


_mark: Final = _page()
_asked: Final = {"pid": 0}


def pid() -> int:
    """Return the id of this process, for which the system is asked once in each."""
    if _mark is None:
        return os.getpid()
    if not _mark[0]:
        _asked["pid"] = os.getpid()
        _mark[0] = 1
    return _asked["pid"]


class PerProcess(Generic[_T]):
    """A value that each process has its own of: call this to get it.  Never keep what it returns beyond one operation.

    :param make: makes the value; called at once, and again at the first use in a forked process.
    :param let_go: told of the inherited value there, to let go of what it must not hold on to, such as a lock.
    """

    def __init__(self, make: Callable[[], _T], let_go: Callable[[_T], object] | None = None) -> None:
        self._make, self._let_go = make, let_go
        self._values = {pid(): make()}
        if let_go is not None:
            _eager.add(self)

    def __call__(self) -> _T:
        try:
            return self._values[pid()]
        except KeyError:
            return self._renewed()

    def _renewed(self) -> _T:
        """Of threads that notice a fork at once all get the same value; without a lock, for that may be inherited."""
        here = pid()
        value = self._values.setdefault(here, self._make())
        self.leave_inherited()
        return value

    def leave_inherited(self) -> None:
        """Let go of what other processes made, and make nothing yet."""
        here = pid()
        for other in [known for known in list(self._values) if known != here]:
            self._abandon(self._values.pop(other, None))

    def _abandon(self, value: _T | None) -> None:
        if value is not None:
            _inherited.append(value)
            if self._let_go is not None:
                self._let_go(value)


class Birthplace:
    """The process that made this."""

    def __init__(self) -> None:
        self._pid = pid()

    def is_here(self) -> bool:
        """Tell whether that is this process."""
        return self._pid == pid()


def _notice() -> None:
    for value in list(_eager):
        value.leave_inherited()


# Where Python's hooks are run, what must be let go of is let go of at once.  What takes its place is made at the first
# use: gunicorn has gevent replace the locks of `threading` in each worker after the fork, and one made before would be
# the thread's, which all greenlets are.
_eager: Final[weakref.WeakSet[PerProcess[Any]]] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice)
