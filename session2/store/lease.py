"""`Lease`: a lock that somebody holds, of whatever kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from ..errors import LockLost, LockTimeout


class Lease(ABC):
    """A lock somebody holds.  A context manager: leaving it releases the lock.

    :param key: what is locked.
    :param taken_over: whether the holder before let its lease lapse: it may still be about to write.
    """

    def __init__(self, key: str, taken_over: bool = False) -> None:
        self.key = key
        self.taken_over = taken_over

    @abstractmethod
    def check_time(self) -> None:
        """Raise `LockLost` if the lock may be somebody else's by now: what was loaded since may be too old.

        Asks the store for nothing.
        """

    @abstractmethod
    def renew(self) -> None:
        """Start the lease anew; `LockLost` if it was released or another holder has the lock meanwhile."""

    @abstractmethod
    def is_held(self) -> bool:
        """Tell whether this is still the holder."""

    @abstractmethod
    def release(self) -> None:
        """Let the lock go; harmless when it was lost or released before, and in a process that only inherited it."""

    @abstractmethod
    def leave(self) -> None:
        """Let whoever comes next take the lock over, for the holder before this one could not be fenced off."""

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


def lost() -> LockLost:
    """Return the error of whoever was too slow."""
    return LockLost("the lock's lease ran out and another request has taken it over")


def timed_out(key: str, timeout: float) -> LockTimeout:
    """Return the error of whoever waited in vain."""
    return LockTimeout(f"another request kept the session {key:.8} locked for more than {timeout:g} s; try again")
