"""A socket: what it tells without anything being sent, and answers that have to come in time."""

from __future__ import annotations

import io
import select
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_AT_ONCE: Final = 65536
"""Bytes that are sent without waiting for somebody to read them."""


class Deadline:
    """Until when the answer to a question has to be there whole, however many pieces it comes in."""

    def __init__(self, seconds: float) -> None:
        self.begin(seconds)

    def begin(self, seconds: float) -> None:
        """Begin anew, for another question."""
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Return how many seconds are left; `TimeoutError` if none are."""
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class Reply(io.RawIOBase):
    """What a socket receives until a deadline, as a file; to close it leaves the socket open."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.deadline = Deadline(0)
        self._limit: float | None = None
        """The time limit of the socket, if it is known.  To set it takes a system call."""
        self._is_prompt = False

    def ask(self, question: bytes, seconds: float) -> None:
        """Send a question to which the answer is to be here in so many seconds."""
        self.deadline.begin(seconds)
        if self._limit != seconds:
            self._socket.settimeout(seconds)
            self._limit = seconds
        self._is_prompt = len(question) < _AT_ONCE
        self._socket.sendall(question)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._is_prompt:  # all the time is left
            self._is_prompt = False
        else:
            self._limit = self.deadline.left()
            self._socket.settimeout(self._limit)
        return int(self._socket.recv_into(buffer))


def polling(descriptor: int, or_written: bool = False) -> Callable[[float | None], object]:
    """Return what tells of a socket whether something, or the end, is there to be read.

    It is called with the milliseconds to wait for that, or None for as long as it takes.

    :param or_written: whether it is enough that something can be written.
    """
    if not hasattr(select, "poll"):
        written = [descriptor] if or_written else []
        return lambda milliseconds: any(select.select([descriptor], written, [], milliseconds and milliseconds / 1000))
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | (select.POLLOUT if or_written else 0))
    return poll.poll
