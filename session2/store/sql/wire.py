"""What a socket tells without anything being sent."""

from __future__ import annotations

import select


def is_readable(descriptor: int) -> bool:
    """Tell whether something, or the end, is there to be read; of a connection at rest that is bad news."""
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
