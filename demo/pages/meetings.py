"""Where two requests wait for each other, so that they overlap for certain, however busy the machine is."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

PATIENCE: Final = 10.0
"""Seconds; who is alone then goes on."""

_barriers: dict[str, threading.Barrier] = {}
_lock: Final = threading.Lock()


def meet(name: str) -> None:
    """Wait until somebody else comes to the meeting of this name too."""
    with _lock:
        barrier = _barriers.setdefault(name, threading.Barrier(2))
    with suppress(threading.BrokenBarrierError):
        barrier.wait(PATIENCE)
    with _lock:
        if _barriers.get(name) is barrier:
            del _barriers[name]
