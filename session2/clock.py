"""The time of the stores: the wall clock without its jumps."""

from __future__ import annotations

import time
from collections.abc import Callable

RATE = 0.1
"""Seconds of a step of the wall clock that are made up for in each second."""

TOLERANCE = 0.01
"""Seconds of difference that are no step."""


def _elapsed() -> float:
    """Return seconds that nobody can set; where the system tells, those of a suspended machine count too."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class SteadyClock:
    """Seconds since the epoch as the wall clock has them, except that a step of it is absorbed little by little.

    If the wall clock is set by hours, then a running process neither finds all its sessions expired nor sees expired
    ones come back: its time always moves forward, at most a tenth faster or slower, until it agrees with the wall
    clock again.  A process that is started after the step goes by the new time at once.
    """

    def __init__(self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        start = elapsed()
        # Replaced as a whole, so that threads overwrite each other's correction and never add to it.
        self._state = start, wall() - start

    def __call__(self) -> float:
        """Return the time."""
        last, offset = self._state
        elapsed = self._elapsed()
        error = self._wall() - elapsed - offset
        if not -TOLERANCE < error < TOLERANCE:
            limit = max(elapsed - last, 0.0) * RATE
            offset += max(-limit, min(limit, error))
        self._state = elapsed, offset
        return elapsed + offset
