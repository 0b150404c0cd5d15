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


def polling(descriptor: int) -> Callable[[float | None], object]:
    """Return what tells of a socket whether something, or the end, is there to be read.

    It is called with the milliseconds to wait for that, or None for as long as it takes.
    """
    if not hasattr(select, "poll"):
        return lambda milliseconds: select.select([descriptor], [], [], milliseconds and milliseconds / 1000)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


class Ear:
    """Listens at a socket."""

    def __init__(self, descriptor: int) -> None:
        self._poll = polling(descriptor)

    def hears(self, seconds: float | None = 0) -> bool:
        """Tell whether something, or the end, is there to be read; of a connection at rest that is bad news.

        :param seconds: how long to wait for it; None: as long as it takes.
        """
        return bool(self._poll(None if seconds is None else seconds * 1000))


def is_ready(descriptor: int, seconds: float | None) -> bool:
    """Wait until something can be read or written, for so many seconds at most; tell whether it can."""
    if not hasattr(select, "poll"):
        return any(select.select([descriptor], [descriptor], [], seconds))
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLOUT)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
