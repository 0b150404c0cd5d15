"""What a socket tells without anything being sent."""

from __future__ import annotations

import select


class Ear:
    """Listens at a socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(descriptor, select.POLLIN)

    def hears(self, seconds: float | None = 0) -> bool:
        """Tell whether something, or the end, is there to be read; of a connection at rest that is bad news.

        :param seconds: how long to wait for it; None: as long as it takes.
        """
        if self._poll is None:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))


def is_ready(descriptor: int, seconds: float | None) -> bool:
    """Wait until something can be read or written, for so many seconds at most; tell whether it can."""
    if not hasattr(select, "poll"):
        return any(select.select([descriptor], [descriptor], [], seconds))
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLOUT)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
